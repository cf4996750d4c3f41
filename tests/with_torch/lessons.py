"""A training in small: simulated pairs of 64 x 64 pixels, a tiny network, a few steps."""

import tempfile
from functools import lru_cache

import torch

from training.batches import open_data
from training.config import Config
from training.schema import build
from training.student import train_student, train_teacher
from training.teacher import Teacher

NETWORK = {"encoder": "resnet10t", "max_stride": 8, "width": 8, "align": "local"}
RECORD = {"name": "small", "work": "unused", "seed": 0, "network": NETWORK,
          "data": {"layout": "simulated", "crop_px": 32, "batch": 4, "workers": 0,
                   "options": {"side_px": 64, "train": 4, "select": 1, "test": 1}},
          "loop": {"steps": 4, "log_every": 100, "threads": 1}}


def merged(base, changes):
    return {**base, **{k: merged(base[k], v) if isinstance(v, dict) and isinstance(base.get(k), dict) else v
                       for k, v in changes.items()}}


def config(work="unused", **changes):
    """The small configuration with nested keys replaced."""
    return build(Config, merged({**RECORD, "work": str(work)}, changes))


@lru_cache(maxsize=None)
def data(share=1.0):
    """The small data set; its statistics are measured in a folder that is thrown away."""
    with tempfile.TemporaryDirectory() as work:
        return open_data(config(work, data={"labelled_share": share}))


@lru_cache(maxsize=None)
def teacher(kind="eo"):
    return Teacher((train_teacher(config(teacher={"kinds": [kind]}), data(), log=silent),), (kind,))


def student(taught=None, share=1.0, **changes):
    """The weights of a small student."""
    return train_student(config(data={"labelled_share": share, **changes.pop("data", {})}, **changes), data(share), taught,
                         log=silent).state_dict()


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def silent(line):
    return None
