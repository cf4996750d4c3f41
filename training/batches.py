"""A data set as a run uses it: opened once, its train pairs told apart into those with labels and those without."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from hfd_edge.spec import NODATA_LABEL
from training.by_class import WORK_FILE, ByClass, by_class, class_pixels
from training.config import Config
from training.fingerprint import WORK_MARK, fingerprint
from training.layouts import open_pairs
from training.layouts.files import FileSet
from training.loader import Batch, Loader, LoaderOptions, View
from training.pairs import Pair, PairSet, SetInfo
from training.processes import Processes
from training.progress import Log, silent
from training.start import input_of
from training.statistics import Normalisation, Statistics, count_classes, evenly, measured


@dataclass(frozen=True)
class Data:
    """One data set, ready for training and judgement."""

    pairs: PairSet
    statistics: Statistics
    labelled: tuple[str, ...]            # train pairs whose labels are used
    unlabelled: tuple[str, ...]          # the others
    views: tuple[Normalisation, ...] = ()        # beside the set's own: those of teachers of another set
    files: str = ""                      # fingerprint of the set's files; "" = it has none

    @property
    def info(self) -> SetInfo:
        return self.pairs.info

    @property
    def bands(self) -> tuple[int, int]:
        """Of SAR and of EO."""
        return len(self.info.bands), len(self.info.eo_bands)

    @property
    def unknown_files(self) -> str:
        """The fingerprint of the files, where the statistics' hash knows a part of the train pairs only; "" = it knows all."""
        return "" if self.statistics.pairs == len(self.labelled) + len(self.unlabelled) else self.files

    def class_counts(self, eo: bool = False) -> tuple[int, ...]:
        """Pixels per class in the labels that training sees, of as many pairs as were measured at most.

        Args:
            eo: of a network that needs optical images, which learns where there is one.
        """
        if not eo and not self.unlabelled:
            return self.statistics.class_counts
        return count_classes(self.pairs, evenly(self.labelled, self.statistics.pairs), eo)


class WithoutLabels:
    """The same pairs, their labels withheld."""

    def __init__(self, pairs: PairSet) -> None:
        self.info, self._pairs = pairs.info, pairs

    def names(self, split: str) -> tuple[str, ...]:
        return self._pairs.names(split)

    def read(self, name: str, eo: bool = True) -> Pair:
        pair = self._pairs.read(name, eo=eo)
        return replace(pair, labels=np.full_like(pair.labels, NODATA_LABEL))


def open_data(config: Config, log: Log = silent) -> Data:
    """The data set of a configuration; its statistics are measured once and kept as WORK/statistics.json until a file of it changes.

    Args:
        log: hears whether statistics were kept or measured, how many pairs have what, and of classes that no pair holds.
    Raises:
        DataError: the folder is not of this layout, a split is empty, or the values contradict the unit.
        CheckpointError: the checkpoint to start from does not fit the set.
    """
    root = Path(config.data.root)
    pairs = open_pairs(config.data.layout, root, **config.data.options)
    files = fingerprint(root, config.folder) if isinstance(pairs, FileSet) else ""
    statistics = measured(pairs, _own_file(config, WORK_MARK), config.data.measured_pairs, files, log)
    if config.start is not None:
        statistics = replace(statistics, input=input_of(config.start, pairs, statistics.input, log))
    data = Data(pairs, statistics, *shared_out(pairs.names("train"), config.data.labelled_share, config.seed), files=files)
    for line in (*(pairs.notes if isinstance(pairs, FileSet) else ()), *what_there_is(data, config.seed)):
        log(line)
    return data


def _own_file(config: Config, name: str) -> Path:
    """A file of WORK, of which each process has its own: no two write one."""
    here = Processes.here()
    return config.folder / (name if here.first else f".{name.removesuffix('.json')}-{here.rank}.json")


def for_seed(data: Data, config: Config) -> Data:
    """The same open set for a run that differs in seed or network only: the seed says which labels are used."""
    labelled, unlabelled = shared_out(data.pairs.names("train"), config.data.labelled_share, config.seed)
    return replace(data, labelled=labelled, unlabelled=unlabelled)


def what_there_is(data: Data, seed: int) -> list[str]:
    """A line on the train pairs, and a warning for each class without a pixel in those of them that were looked at and whose labels are used: `seed` says
    which, where not all are."""
    found, count = data.statistics, len(data.labelled) + len(data.unlabelled)
    measured_of = "" if found.pairs == count else f" of the {found.pairs} that were measured"
    optical = f"{found.eo_pairs}{measured_of} with EO" if data.info.eo_bands else "the set has no EO"
    lines = [f"{count} train pairs, {optical}" + (f", {len(data.labelled)} with labels in use (seed {seed})" if data.unlabelled else "")]
    seen, used = min(found.pairs, len(data.labelled)), f"{len(data.labelled)} train pairs with labels in use (seed {seed})"
    looked_at = (f"{found.pairs} measured train pairs" if not data.unlabelled else used if seen == len(data.labelled) else
                 f"{seen} of {used} that {'was' if seen == 1 else 'were'} looked at")
    return lines + [f"warning: no pixel of the class {name} in the {looked_at}: it is not learnt; give pairs that hold it, or leave "
                    "the class out" for name, pixels in zip(data.info.classes, data.class_counts()) if not pixels]


def shared_out(names: tuple[str, ...], share: float, seed: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(with labels, without): the share of the names with the lowest hash of (seed, name), at least one; each in the given
    order."""
    count = max(1, round(share * len(names)))
    chosen = set(sorted(names, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())[:count])
    return tuple(n for n in names if n in chosen), tuple(n for n in names if n not in chosen)


@dataclass(frozen=True)
class Batches:
    """Where a run's batches come from: pairs with labels, and beside them, if there are any and they are wanted, pairs
    without."""

    labelled: Loader
    unlabelled: Loader | None

    def __call__(self, start: int) -> Iterator[Batch]:
        """From batch number `start` on. The labelled part is the same whether or not the other is there."""
        first = self.labelled.batches(start)
        if self.unlabelled is None:
            yield from first
            return
        for one, other in zip(first, self.unlabelled.batches(start)):
            yield joined(one, other)

    @property
    def wait_s(self) -> float:
        return self.labelled.wait_s + (self.unlabelled.wait_s if self.unlabelled is not None else 0.0)


def make_batches(config: Config, data: Data, eo: bool, unlabelled: bool, seed: int | None = None, log: Log = silent) -> Batches:
    """The batches of a run.

    Args:
        eo: whether optical images are read. unlabelled: whether pairs without labels come beside.
        seed: of the order and the crops; None = config.seed. log: hears where crops are placed by class.
    """
    here, part = Processes.here(), config.data
    seed = config.seed if seed is None else seed
    options = LoaderOptions(part.crop_px, part.batch, seed, part.augment.options(), part.workers,
                            crops_per_pair=part.crops_per_pair,
                            rank=here.rank, ranks=here.count, views=data.views, by_class=_by_class(config, data, log))
    first = Loader(data.pairs, data.labelled, data.statistics, options, eo)
    if not unlabelled or not data.unlabelled:
        return Batches(first, None)
    beside = replace(options, batch=part.unlabelled_batch or part.batch, seed=seed + (1 << 20), by_class=None)      # their labels say nothing
    return Batches(first, Loader(WithoutLabels(data.pairs), data.unlabelled, data.statistics, beside, eo))


def _by_class(config: Config, data: Data, log: Log) -> ByClass | None:
    share = config.data.by_class
    if share == 0:
        return None
    return by_class(share, class_pixels(data.pairs, data.labelled, _own_file(config, WORK_FILE), data.files, log), data.info, log)


def joined(one: Batch, other: Batch) -> Batch:
    """Two batches as one; images stay channels last."""
    own = _images(one, other)
    return Batch(own.sar, own.eo, *(torch.cat([getattr(one, name), getattr(other, name)]) for name in ("eo_seen", "labels", "valid")),
                 {by: _images(view, other.views[by]) for by, view in one.views.items()})


def _images(one: Batch | View, other: Batch | View) -> View:
    sar, eo = (None if first is None else torch.cat([first, second]).contiguous(memory_format=torch.channels_last)
               for first, second in ((one.sar, other.sar), (one.eo, other.eo)))
    return View(sar, eo)
