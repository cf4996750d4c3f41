"""What the network must know of a set's numbers: measured once on the train split, kept as JSON beside the run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hfd_edge.durable import write_whole
from hfd_edge.spec import NODATA_LABEL, ModelInput, Unit
from training.layouts.files import FileSet
from training.moments import DB_RANGE, Histogram, Sums
from training.pairs import SPLITS, DataError, Pair, PairSet
from training.progress import Log, silent
from training.units import UnitCheck

LIMIT_PAIRS = 512                        # measured of a large set, evenly over its names
_FORMAT = 3                              # of statistics.json: what an older one holds is measured again


@dataclass(frozen=True, slots=True)
class Normalisation:
    """How the pixels of both sensors become the numbers that a network sees."""

    sar: ModelInput
    eo_mean: tuple[float, ...]
    eo_std: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of the train split. `hash` names the data set: its names, sizes, description, these numbers and, of files, the pixels that were measured."""

    input: ModelInput
    eo_mean: tuple[float, ...]
    eo_std: tuple[float, ...]
    class_counts: tuple[int, ...]        # pixels per class in the pairs that were measured
    hash: str
    pairs: int = 0                       # measured; this and the next tell of the set and are in no hash
    eo_pairs: int = 0                    # of those, with an optical image

    @property
    def normalisation(self) -> Normalisation:
        return Normalisation(self.input, self.eo_mean, self.eo_std)


def measure(pairs: PairSet, limit: int = LIMIT_PAIRS, log: Log = silent) -> Statistics:
    """Mean, spread and range of the valid pixels of the train split.

    Physical units (intensity, amplitude, dB) are measured in dB, clipped where the outermost 0.05 % begin (whole dB outwards);
    DN stays DN, without floor or clip. Histograms of 0.01 dB and float64 sums: the order of the pairs does not matter.

    Args:
        limit: pairs read at most, evenly spaced over the names.
        log: hears of values that are odd and may be right, and of pairs without a label that can be learnt.
    Raises:
        DataError: no train pairs, no valid pixel, a label that is no class, values that contradict the set's unit.
    """
    chosen = evenly(pairs.names("train"), limit)
    if not chosen:
        raise DataError(f"set {pairs.info.name}: the train split is empty; nothing can be measured or learnt")
    found = _Measurement(pairs)
    for name in chosen:
        found.add(pairs.read(name))
    return found.result(log)


class _Measurement:
    """What the pairs of a set add up to."""

    def __init__(self, pairs: PairSet) -> None:
        info = pairs.info
        self._pairs, self._decibel = pairs, info.sar_unit is not Unit.DN
        self._sar = Histogram(len(info.bands)) if self._decibel else Sums(len(info.bands))
        self._eo, self._eo_pairs, self._counts = Sums(len(info.eo_bands)), 0, np.zeros(NODATA_LABEL + 1, np.int64)
        self._units, self._sizes, self._blind = UnitCheck(info), [], []
        self._contents = hashlib.sha256() if isinstance(pairs, FileSet) else None      # simulated pixels are a function of the description

    def add(self, pair: Pair) -> None:
        check_labels(pair, self._pairs)
        self._units.add(pair)
        self._sar.add(to_network_unit(pair.sar, self._pairs.info.sar_unit)[:, pair.valid])
        if pair.eo is not None:
            self._eo.add(pair.eo.reshape(len(pair.eo), -1) if pair.eo_seen is None else pair.eo[:, pair.eo_seen])
            self._eo_pairs += 1
        self._counts += np.bincount(pair.labels.ravel(), minlength=NODATA_LABEL + 1)
        self._sizes.append((pair.name, *pair.labels.shape))
        if (pair.labels == NODATA_LABEL).all():
            self._blind.append(pair.name)
        if self._contents is not None:
            add_pixels(self._contents, pair)

    def result(self, log: Log) -> Statistics:
        info, count = self._pairs.info, len(self._sizes)
        if self._sar.count == 0:
            raise DataError(f"set {info.name}: none of {count} train pairs has a valid SAR pixel; check nodata, unit")
        self._units.check()
        for remark in self._units.remarks():
            log(remark)
        if self._blind:
            log(f"warning: {len(self._blind)} of {count} measured train pairs, e.g. {self._blind[0]}, have no pixel with both SAR and a class: no label is learnt from "
                "them; check nodata, the codes of ignore and what the label files call nodata")
        clip, mean, std = self._sar.result()
        spec = ModelInput(Unit.DB if self._decibel else Unit.DN, mean, std, clip, min(low for low, _ in clip) if clip else None, info.quantity, info.looks)
        eo_part = self._eo.result()[1:] if self._eo.count else ((0.0,) * len(info.eo_bands), (1.0,) * len(info.eo_bands))
        class_counts = tuple(int(v) for v in self._counts[:len(info.classes)])
        record = [identity(self._pairs), self._sizes, _spec_record(spec), eo_part, class_counts]
        if self._contents is not None:
            record.append(self._contents.hexdigest())
        return Statistics(spec, *eo_part, class_counts, _digest(record), count, self._eo_pairs)


def add_pixels(digest: hashlib._Hash, pair: Pair) -> None:
    """All planes of a pair into a digest."""
    for plane in (pair.sar, pair.eo, pair.labels, pair.valid, pair.eo_seen):
        digest.update(b"none" if plane is None else np.ascontiguousarray(plane))


def evenly(names: Sequence[str], limit: int) -> list[str]:
    """At most so many names, evenly over all."""
    count = min(limit, len(names))
    return [names[i * len(names) // count] for i in range(count)]


def count_classes(pairs: PairSet, names: Sequence[str], eo: bool = False) -> tuple[int, ...]:
    """Pixels per class in some pairs; `eo`: where there is an optical image alone."""
    counts = np.zeros(NODATA_LABEL + 1, np.int64)
    for name in names:
        pair = pairs.read(name, eo=eo)
        check_labels(pair, pairs)
        counts += np.bincount((pair.eo_labels if eo else pair.labels).ravel(), minlength=NODATA_LABEL + 1)
    return tuple(int(v) for v in counts[:len(pairs.info.classes)])


def check_labels(pair: Pair, pairs: PairSet) -> None:
    """Refuse labels that are neither a class nor 255."""
    known = pair.labels[pair.labels != NODATA_LABEL]
    if known.size and known.max() >= len(pairs.info.classes):
        raise DataError(f"pair {pair.name}: label {known.max()} is no class; labels are 0 to {len(pairs.info.classes) - 1} or "
                        f"{NODATA_LABEL}; correct the codes of the layout")


def to_network_unit(sar: np.ndarray, unit: Unit) -> np.ndarray:
    """(bands, r, c) float32 in the set's unit to the network's: dB of physical units (no power or less: -100 dB), DN as it is.

    An amplitude's power is its square, whatever its sign, as in a run.
    """
    if unit in (Unit.DB, Unit.DN):
        return sar
    factor = np.float32(20 if unit is Unit.AMPLITUDE else 10)
    lowest = np.float32(10 ** (DB_RANGE[0] / float(factor)))
    return factor * np.log10(np.maximum(np.abs(sar) if unit is Unit.AMPLITUDE else sar, lowest))


def normalise(values: np.ndarray, spec: ModelInput) -> np.ndarray:
    """(bands, ...) in `spec.unit`: floor, clip, z-score, as the run-time does; new memory. Invalid pixels are not looked at."""
    mean, std = (_column(v, values.ndim) for v in (spec.mean, spec.std))
    if spec.floor is not None:
        values = np.maximum(values, np.float32(spec.floor))
    if spec.clip is not None:
        low, high = (_column(v, values.ndim) for v in zip(*spec.clip))
        values = np.clip(values, low, high)
    return (values - mean) / std


def sar_tensor(pair: Pair, unit: Unit, spec: ModelInput) -> Tensor:
    """(bands, r, c) float32 network input of a whole pair; invalid pixels are 0."""
    return torch.from_numpy(normalise(to_network_unit(pair.sar, unit), spec) * pair.valid)


def eo_tensor(pair: Pair, by: Normalisation) -> Tensor:
    """(eo bands, r, c) float32 input of the teacher; zeros where there is no optical image."""
    if pair.eo is None:
        return torch.zeros(len(by.eo_mean), *pair.labels.shape)
    normal = (pair.eo - _column(by.eo_mean, 3)) / _column(by.eo_std, 3)
    return torch.from_numpy(normal if pair.eo_seen is None else normal * pair.eo_seen)


def identity(pairs: PairSet) -> str:
    """Digest of description and names: what can be known of a set without reading it."""
    return _digest([{**asdict(pairs.info), "sar_unit": str(pairs.info.sar_unit)}, {s: pairs.names(s) for s in SPLITS}])


def measured(pairs: PairSet, path: str | Path, limit: int = LIMIT_PAIRS, files: str = "", log: Log = silent) -> Statistics:
    """The statistics kept at `path` (JSON) if they are of this set, these files and this limit, else measured and written there.

    Of a set of files the labels of as many pairs of select and test are looked at too.

    Args:
        files: fingerprint of the set's files; "" = it has none (simulated scenes).
    """
    path, key = Path(path), _digest([_FORMAT, identity(pairs), limit, files])
    if path.exists():
        record = _read(path)
        if record["key"] == key:
            log(f"statistics: kept from {path}, as the files are those that were measured")
            return _statistics(record, path)
        log(f"statistics: measured anew, as the set or a file of it has changed since {path} was written")
    found = measure(pairs, limit, log)
    for split in ("select", "test") if files else ():                # what a judgement would end on after the training
        for name in evenly(pairs.names(split), limit):
            check_labels(pairs.read(name, eo=False), pairs)
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {"key": key, **asdict(found), "input": _spec_record(found.input)}
    write_whole(path, f"{json.dumps(record, indent=2)}\n".encode())
    log(f"statistics: measured on {found.pairs} train pairs, kept in {path}")
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        record["key"]
        return record
    except (ValueError, KeyError, TypeError) as error:
        raise _spoilt(path, error) from error


def _statistics(record: dict[str, Any], path: Path) -> Statistics:
    try:
        parts = (tuple(record[name]) for name in ("eo_mean", "eo_std", "class_counts"))
        return Statistics(ModelInput(**record["input"]), *parts, record["hash"], record["pairs"], record["eo_pairs"])
    except (ValueError, KeyError, TypeError) as error:
        raise _spoilt(path, error) from error


def _spoilt(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} does not hold the statistics of a set ({type(error).__name__}: {error}); delete it, it is made anew")


def _spec_record(spec: ModelInput) -> dict[str, Any]:
    return {**asdict(spec), "unit": str(spec.unit)}


def _digest(record: Any) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _column(values: tuple[float, ...], axes: int) -> np.ndarray:
    return np.array(values, np.float32).reshape(-1, *[1] * (axes - 1))
