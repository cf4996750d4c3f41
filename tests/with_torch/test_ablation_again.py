"""An ablation over files: no cell keeps a figure of labels that are no longer there, and each seed's labels are looked at."""

import json

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from hfd_edge.network import load_checkpoint  # noqa: E402
from lessons import RECORD  # noqa: E402
from tiny_sets import SIDE, ombria, write  # noqa: E402
from training import ablate as ablation  # noqa: E402
from training.__main__ import main  # noqa: E402
from training.batches import open_data, shared_out  # noqa: E402
from training.config import load_config  # noqa: E402
from training.measures import answer_of, judged  # noqa: E402

pytestmark = pytest.mark.slow
SELECT_CHIP, TEST_CHIP, TRAIN_CHIPS = 60, 110, (1, 30, 80)


@pytest.fixture
def run(tmp_path):
    """A configuration of five tiny chips in tmp_path/set: three to train, one each to select and to test."""
    ombria(tmp_path / "set", (*TRAIN_CHIPS, SELECT_CHIP, TEST_CHIP))
    record = {"name": "chips", "work": str(tmp_path / "work"), "network": RECORD["network"], "loop": RECORD["loop"],
              "data": {"layout": "ombria", "root": str(tmp_path / "set"), "crop_px": 16, "batch": 2, "workers": 0},
              "ablate": {"seeds": [0, 1], "alignments": ["none"], "settings": {"features": {}}}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(record))
    return tmp_path / "run.yaml"


def ablated(run, capsys, *words):
    """(lines said, cells by file name) of an ablation."""
    assert main(["ablate", str(run), *words]) == 0
    return capsys.readouterr().out.splitlines(), {path.name: json.loads(path.read_text()) for path in sorted((run.parent / "work" / "cells").glob("*.json"))}


def relabelled(run, number):
    """The left half of a chip flooded, the right half dry, in files of the same size."""
    write(run.parent / f"set/train_{number:04d}_mask.png", np.repeat([[255] * (SIDE // 2) + [0] * (SIDE // 2)], SIDE, axis=0).astype(np.uint8))


def test_corrected_labels_of_the_test_pairs_are_judged_again_and_nothing_is_trained_again(run, capsys):
    _, first = ablated(run, capsys)
    relabelled(run, TEST_CHIP)
    said, second = ablated(run, capsys)
    assert second.keys() == first.keys() and not any(line.startswith("  step") for line in said)
    data = open_data(load_config(run))
    for name, cell in second.items():
        assert cell["select"] == first[name]["select"] and sum(map(sum, cell["test"]["counts"])) == SIDE * SIDE
        assert np.sum(cell["test"]["counts"], axis=1).tolist() == [SIDE * SIDE // 2] * 2 != np.sum(first[name]["test"]["counts"], axis=1).tolist()
        if "checkpoint" in cell:
            net, _, made = load_checkpoint(run.parent / "work" / cell["checkpoint"])
            assert judged(answer_of(net, made["kind"], data), data, "test").to_dict() == cell["test"]
    assert sum("judged again" in line for line in said) == len(first)
    said, third = ablated(run, capsys)
    assert third == second and not any("judged again" in line for line in said)


def test_touched_files_are_no_news(run, capsys):
    _, first = ablated(run, capsys)
    for path in (run.parent / "set").iterdir():
        path.write_bytes(path.read_bytes())
    said, second = ablated(run, capsys)
    assert second == first and not any("again" in line or "warning" in line for line in said if not line.startswith("statistics"))


def test_a_cell_whose_train_labels_may_be_others_now_is_told_of(run, capsys):
    words = ["data.measured_pairs=1"]
    _, first = ablated(run, capsys, *words)
    relabelled(run, TRAIN_CHIPS[-1])
    said, second = ablated(run, capsys, *words)
    assert second == first
    assert sum("data.measured_pairs" in line and "cells/" in line for line in said) == len(first)


@pytest.mark.parametrize("every, chip, told", [(2, SELECT_CHIP, True), (2, TEST_CHIP, False), (0, SELECT_CHIP, False)])
def test_a_cell_whose_weights_were_kept_by_other_select_labels_is_told_of(run, capsys, every, chip, told):
    words = [f"loop.select_every={every}"]
    _, first = ablated(run, capsys, *words)
    relabelled(run, chip)
    said, second = ablated(run, capsys, *words)
    assert second != first and sum("judged again" in line for line in said) == len(first)
    assert sum("loop.select_every" in line and "cells/" in line for line in said) == told * len(first)
    said, _ = ablated(run, capsys, *words)
    assert sum("loop.select_every" in line and "cells/" in line for line in said) == told * sum("checkpoint" in cell for cell in first.values())


def test_a_class_that_the_labels_of_one_seed_lack_is_told_of_for_that_seed(run, capsys, monkeypatch):
    monkeypatch.setattr(ablation, "_cells", lambda bench, wanted: [])
    for number in TRAIN_CHIPS[1:]:
        write(run.parent / f"set/train_{number:04d}_mask.png", np.zeros((SIDE, SIDE), np.uint8))
    first, names = f"train_{TRAIN_CHIPS[0]:04d}", tuple(f"train_{number:04d}" for number in TRAIN_CHIPS)
    seeds = {has: [seed for seed in range(30) if (first in shared_out(names, 1 / 3, seed)[0]) is has][:2] for has in (True, False)}
    # the configuration's own seed trains nothing here
    for own, wanted in ((seeds[True][0], seeds[False]), (seeds[False][0], seeds[True]), (0, [seeds[True][0], seeds[False][0]])):
        said, _ = ablated(run, capsys, f"seed={own}", f"ablate.seeds={wanted}", "data.labelled_share=0.3333")
        told = [line for line in said if "no pixel of the class flooded" in line]
        lacking = [seed for seed in wanted if seed in seeds[False]]
        assert len(told) == len(lacking) and all(f"in the 1 train pairs with labels in use (seed {seed}):" in line for line, seed in zip(told, lacking)), said
