"""Training from an earlier student instead of random numbers: what must fit, and what is taken over."""

from __future__ import annotations

import hashlib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

from hfd_edge.errors import CheckpointError
from hfd_edge.network import HFDNet, load_checkpoint
from hfd_edge.network.checkpoint import checkpoint_paths, read_sidecar
from hfd_edge.spec import ModelInput
from training.pairs import PairSet
from training.progress import Log
from training.trained_on import check_sar, other_quantity, sar_of, shown, tell_of_known_pairs


def digest(path: str | Path) -> str:
    """SHA-256 of a checkpoint's weights.

    Raises:
        CheckpointError: there are none.
    """
    weights = checkpoint_paths(path)[0]
    if not weights.is_file():
        raise CheckpointError(f"{path}: {weights} is not there; give a checkpoint, e.g. start=runs/first/student or teacher.checkpoints=[runs/first/teacher-0]")
    return hashlib.sha256(weights.read_bytes()).hexdigest()


def input_of(path: str, pairs: PairSet, own: ModelInput, log: Log) -> ModelInput:
    """How pixels are normalised in a run from this checkpoint: as its weights have learnt them, not by what was measured here.

    Args:
        own: what was measured on the train pairs; quantity and looks are its.
    Raises:
        CheckpointError: it is missing, no student, or of other bands, another unit or another scale of digital numbers.
    """
    digest(path)
    record, info = read_sidecar(path), pairs.info
    spec, kind = record["spec"], record["provenance"].get("kind", "sar")
    theirs = sar_of(path, spec)
    if kind != "sar":
        raise CheckpointError(f"start={path}: a teacher (kind={kind}); a student starts from a student, a teacher made elsewhere is teacher.checkpoints")
    if tuple(spec["bands"]) != info.bands or theirs.unit is not own.unit:
        raise CheckpointError(f"start={path}: it sees the bands {', '.join(spec['bands'])} in {theirs.unit}, the set {info.name} has "
                              f"{', '.join(info.bands)} in {own.unit}: weights mean the same only on the same bands in the same order and unit")
    check_sar(f"start={path}: its pixels were", theirs, own)
    log(f"start: {path}; pixels stay normalised as it learnt them, mean {shown(theirs.mean)}, spread {shown(theirs.std)} (this set: {shown(own.mean)}, "
        f"{shown(own.std)}{other_quantity(theirs, own)})")
    tell_of_known_pairs(path, record["provenance"], pairs, log)
    left, new = ([name for name in one if name not in other] for one, other in ((spec["classes"], info.classes), (info.classes, spec["classes"])))
    if new or left:
        log("start: classes are taken over by name" + "".join(f"; {what}: {', '.join(names)}" for what, names in (
            ("from random numbers", new), ("left out", left)) if names))
    return replace(theirs, quantity=own.quantity, looks=own.looks)


def fill(net: HFDNet, path: str, classes: tuple[str, ...]) -> None:
    """Weights and batch-norm statistics of a checkpoint into a network; of the classifier the classes of the same name.

    Raises:
        CheckpointError: missing, damaged, or of another network.
    """
    theirs, spec, _ = load_checkpoint(path)
    for field in fields(net.config):
        here, there = getattr(net.config, field.name), getattr(theirs.config, field.name)
        if here != there and field.name != "classes":
            raise CheckpointError(f"start={path}: its network has {field.name}={there!r}, this run {here!r}: give the same "
                                  f"({'distil' if field.name == 'hallucinate' else 'network'}.{field.name}), or leave start out")
    own, places = net.state_dict(), [(i, spec["classes"].index(name)) for i, name in enumerate(classes) if name in spec["classes"]]
    with torch.no_grad():
        for name, value in theirs.state_dict().items():
            if not name.startswith("classifier."):
                own[name].copy_(value)
                continue
            for here, there in places:
                own[name][here] = value[there]


def record_of(path: str | None) -> dict[str, Any]:
    """What a state and a checkpoint say of where a run started; nothing of one that began with random numbers."""
    return {} if path is None else {"start": {"checkpoint": Path(path).name, "sha256": digest(path)}}
