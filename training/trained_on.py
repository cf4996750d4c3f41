"""What a checkpoint takes its pixels for and which pairs it learnt from, beside what a data set holds: weights mean something on the numbers that they
learnt, on no others, and their figures something on pairs that they did not learn."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from hfd_edge.errors import CheckpointError, SpecError
from hfd_edge.network.checkpoint import PAIRS_KEY
from hfd_edge.spec import ModelInput, Unit
from training.pairs import PairSet
from training.progress import Log
from training.statistics import Normalisation, Statistics

_DIGITS = 12                             # of the SHA-256 of a pair's name: a sidecar holds 13 bytes a pair
_OTHER_SCALE = 10.0                      # spreads of all bands at least so many times apart: 8 bits for 16, reflectance for digital numbers


def sar_of(path: str | Path, spec: dict[str, Any]) -> ModelInput:
    """How a checkpoint normalises SAR.

    Raises:
        CheckpointError: its sidecar does not say so.
    """
    try:
        return ModelInput(**spec["input"])
    except (KeyError, TypeError, SpecError) as error:
        raise _unusable(path, "spec.input", error) from error


def eo_of(path: str | Path, spec: dict[str, Any], bands: int) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """(mean, spread) by which a checkpoint normalises optical pixels; None = it is older than this record.

    Raises:
        CheckpointError: they are not numbers, one per band.
    """
    if "eo_input" not in spec:
        return None
    try:
        mean, std = (tuple(float(value) for value in spec["eo_input"][name]) for name in ("mean", "std"))
    except (KeyError, TypeError, ValueError) as error:
        raise _unusable(path, "spec.eo_input", error) from error
    if not len(mean) == len(std) == bands or not all(map(math.isfinite, mean + std)) or not all(value > 0 for value in std):
        raise _unusable(path, "spec.eo_input", ValueError(f"mean {mean}, std {std} for {bands} bands"))
    return mean, std


def pairs_record(name: str, pairs: Iterable[str], earlier: dict[str, str]) -> dict[str, str]:
    """By a set's name the digests of the pairs that a network learnt from, with or without their labels, in one line; those of the network that it
    began with too."""
    own = {*map(_digits, pairs), *earlier.get(name, "").split()}
    return {**earlier, name: " ".join(sorted(own))}


def pairs_of(path: str | Path, provenance: dict[str, Any]) -> dict[str, str]:
    """The record in a checkpoint; {} of one that is older.

    Raises:
        CheckpointError: it is no such record.
    """
    record = provenance.get(PAIRS_KEY, {})
    if not isinstance(record, dict) or not all(isinstance(line, str) for line in record.values()):
        raise _unusable(path, f"provenance.{PAIRS_KEY}", TypeError("it is names of sets and lines of digests"), "which pairs it learnt from")
    return record


def tell_of_known_pairs(path: str | Path, provenance: dict[str, Any], pairs: PairSet, log: Log) -> None:
    """Warn where a checkpoint learnt from pairs, of a set of this name, that judge now. Raises as `pairs_of`."""
    known, parts = {*pairs_of(path, provenance).get(pairs.info.name, "").split()}, []
    for split in ("select", "test"):
        names = pairs.names(split)
        if seen := [name for name in names if _digits(name) in known]:
            parts.append(f"{len(seen)} of the {len(names)} pairs of {split} (e.g. {seen[0]})")
    if parts:
        log(f"warning: {path} learnt from {' and '.join(parts)}: figures on them will be too good; keep the split that it was trained with (split: by lists), "
            "or train it again on this one")


def check_scale(what: str, theirs: tuple[float, ...], own: tuple[float, ...], way_out: str) -> None:
    """Refuse spreads that lie ten times and more apart in every band, in one direction: these are pixels of another scale.

    Raises:
        CheckpointError: they do.
    """
    ratios = [here / there for here, there in zip(own, theirs, strict=True)]
    if min(ratios) >= _OTHER_SCALE or max(ratios) <= 1 / _OTHER_SCALE:
        raise CheckpointError(f"{what} learnt with a spread of {shown(theirs)}, those of this set have {shown(own)}: {_OTHER_SCALE:g} times apart in every "
                              f"band is another scale, not another place; {way_out}")


def teacher_view(path: Path, spec: dict[str, Any], provenance: dict[str, Any], statistics: Statistics, log: Log) -> Normalisation | None:
    """How a teacher must be shown the pixels of a set: as its own checkpoint says; None = as the set's networks see them.

    Args:
        spec, provenance: of its checkpoint. log: hears both numbers where they differ, and of a checkpoint that does not say its own.
    Raises:
        CheckpointError: its SAR is of another unit, or its pixels are of another scale.
    """
    kind, own, words = provenance["kind"], statistics.normalisation, []
    sar, eo = own.sar, (own.eo_mean, own.eo_std)
    if "sar" in kind:
        found = sar_of(path, spec)
        check_sar(f"{path}: its SAR pixels were", found, own.sar)
        sar = replace(found, quantity=own.sar.quantity, looks=own.sar.looks)
        words.append(f"SAR mean {shown(sar.mean)}, spread {shown(sar.std)} (this set: {shown(own.sar.mean)}, {shown(own.sar.std)}"
                     f"{other_quantity(found, own.sar)})")
    if "eo" in kind:
        found = eo_of(path, spec, len(own.eo_mean))
        if found is None and provenance.get("data", {}).get("statistics") != statistics.hash:
            log(f"warning: teacher {path}: made before checkpoints recorded optical numbers, so mean and spread of this set are taken ({shown(own.eo_mean)}, "
                f"{shown(own.eo_std)}); it was trained on other pixels, so what it sees is shifted by what they differ; train it again")
        if found is not None:
            eo = found
            if statistics.eo_pairs:
                check_scale(f"{path}: its optical pixels were", eo[1], own.eo_std, "bring the optical files to the teacher's scale (gdal_translate -a_scale "
                            "writes one into a file), or train a teacher on this set")
            words.append(f"optical mean {shown(eo[0])}, spread {shown(eo[1])} (this set: {shown(own.eo_mean)}, {shown(own.eo_std)})")
    view = Normalisation(sar, *eo)
    if view == own:
        return None
    log(f"teacher {path}: sees pixels normalised as it learnt them, {'; '.join(words)}")
    return view


def check_sar(what: str, theirs: ModelInput, own: ModelInput) -> None:
    """Refuse SAR of another unit, or digital numbers of another scale.

    Raises:
        CheckpointError: they are.
    """
    if theirs.unit is not own.unit:
        raise CheckpointError(f"{what} learnt in {theirs.unit}, this set gives {own.unit}: weights mean the same only in the same unit; give a set of "
                              "that unit, or a checkpoint of this one")
    if own.unit is Unit.DN:
        check_scale(what, theirs.std, own.std, "give scale in set.yaml, or a checkpoint of such pixels")


def other_quantity(theirs: ModelInput, own: ModelInput) -> str:
    """What is said of two quantities; "" where they are one."""
    if theirs.quantity == own.quantity:
        return ""
    return f"; {own.quantity}, and it learnt {theirs.quantity}: they differ by the incidence angle, which is not corrected"


def shown(values: tuple[float, ...]) -> str:
    return "/".join(f"{value:.3g}" for value in values)


def _digits(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:_DIGITS]


def _unusable(path: str | Path, what: str, error: Exception, lost: str = "how its pixels were normalised") -> CheckpointError:
    return CheckpointError(f"{path}: {what} of its sidecar is not what a training writes ({type(error).__name__}: {error}), so nobody knows {lost}; "
                           "save the checkpoint again")
