"""Pairs as an endless stream of batches, made ahead by threads; batch number k is a pure function of (seed, k)."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.augment import AugmentOptions, Item, check_augment, cut, draw_geometry, nodata_shape, speckled, without
from training.by_class import ByClass, draw_pixel, pixels_above
from training.pairs import DataError, Pair, PairSet
from training.statistics import Normalisation, Statistics, check_labels, normalise, to_network_unit

_ORDER, _ROUND, _GEOMETRY, _SAR, _EO, _CLASS, _PIXEL = range(7)      # streams of random numbers: what EO draws must not move what SAR draws


@dataclass(frozen=True, slots=True)
class LoaderOptions:
    """How pairs become batches."""

    crop_px: int = 256
    batch: int = 8
    seed: int = 0
    augment: AugmentOptions = field(default_factory=AugmentOptions)
    workers: int = 2                     # threads; 0 makes each batch when it is asked for
    ahead: int = 4                       # batches made ahead
    cache_bytes: int = 1 << 30           # of decoded pairs; with crops_per_pair above 1 two rounds should fit
    crops_per_pair: int = 1              # crops taken of a pair before the next round of pairs; more for large or costly pairs
    round_pairs: int = 16                # pairs that are mixed with each other while their crops are taken
    rank: int = 0                        # which of `ranks` equal processes this is: each gets its own share of the items
    ranks: int = 1
    views: tuple[Normalisation, ...] = ()        # in which teachers of another set are shown the same crops
    by_class: ByClass | None = None      # which items are placed on a class, and where it lies; None = all of them anywhere

    def __post_init__(self) -> None:
        for name, least in (("crop_px", 1), ("batch", 1), ("seed", 0), ("workers", 0), ("ahead", 1), ("cache_bytes", 0),
                            ("crops_per_pair", 1), ("round_pairs", 1), ("ranks", 1)):
            if getattr(self, name) < least:
                raise DataError(f"loader.{name}={getattr(self, name)}: it must be at least {least}")
        if not 0 <= self.rank < self.ranks:
            raise DataError(f"loader.rank={self.rank} of ranks={self.ranks}: it must be 0 to {self.ranks - 1}")


@dataclass(frozen=True, slots=True)
class View:
    """The images of a batch in one normalisation; fields as of Batch."""

    sar: Tensor
    eo: Tensor | None


@dataclass(frozen=True, slots=True)
class Batch:
    """Aligned crops, ready for the networks; images are channels last."""

    sar: Tensor                          # (n, bands, c, c) float32, normalised as ModelInput says, 0 where not valid
    eo: Tensor | None                    # (n, eo bands, c, c) float32, normalised; zeros: an item has none; None: not asked for
    eo_seen: Tensor                      # (n, c, c) bool, an optical image exists; nowhere of one that is not asked for
    labels: Tensor                       # (n, c, c) int64, 255 = ignored (always where not valid)
    valid: Tensor                        # (n, c, c) bool
    views: dict[Normalisation, View] = field(default_factory=dict)      # the same images for teachers of another set


class Loader:
    """Batches without end. SAR, labels and validity do not depend on whether EO is asked for."""

    def __init__(self, pairs: PairSet, names: Sequence[str], statistics: Statistics, options: LoaderOptions, eo: bool) -> None:
        if not names:
            raise DataError(f"set {pairs.info.name}: no pairs were given to the loader; check the split")
        check_augment(options.augment, pairs.info)
        self._pairs, self._names, self._statistics, self.options, self._eo = pairs, tuple(names), statistics, options, eo
        self._cache, self._orders = _Cache(options.cache_bytes), _Cache(1 << 26)
        self.wait_s = 0.0                # seconds the consumer waited in `batches`

    def batches(self, start: int = 0) -> Iterator[Batch]:
        """Batch number start, start + 1, ... without end; closing the iterator stops the threads."""
        if self.options.workers == 0:
            yield from self._in_line(start)
            return
        pool = ThreadPoolExecutor(self.options.workers, thread_name_prefix="pairs")
        try:
            waiting = deque(pool.submit(self._ahead, start + i) for i in range(self.options.ahead))
            number = start + self.options.ahead
            while True:
                begin = time.perf_counter()
                batch = waiting.popleft().result()
                self.wait_s += time.perf_counter() - begin
                waiting.append(pool.submit(self._ahead, number))
                number += 1
                yield batch
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def batch(self, number: int) -> Batch:
        """Batch `number`, whatever was asked for before."""
        options = self.options
        first = (number * options.ranks + options.rank) * options.batch
        items = [self._item(first + i) for i in range(options.batch)]
        own = self._shown(items, self._statistics.normalisation)
        labels = np.stack([item.labels for item in items]).astype(np.int64)
        valid = np.stack([item.valid for item in items])
        seen = np.stack([np.zeros_like(item.valid) if item.eo_seen is None else item.eo_seen for item in items])
        return Batch(own.sar, own.eo, *map(torch.from_numpy, (seen, labels, valid)), {by: self._shown(items, by) for by in options.views})

    def _shown(self, items: list[Item], by: Normalisation) -> View:
        """The images of some items, normalised."""
        size, info = (len(items), self.options.crop_px, self.options.crop_px), self._pairs.info
        sar = np.empty((*size, len(info.bands)), np.float32)
        eo = np.zeros((*size, len(info.eo_bands)), np.float32) if self._eo else None
        for place, item in enumerate(items):
            sar[place] = (normalise(to_network_unit(item.sar, info.sar_unit), by.sar) * item.valid).transpose(1, 2, 0)
            if eo is not None and item.eo is not None:
                mean, std = (np.array(v, np.float32)[:, None, None] for v in (by.eo_mean, by.eo_std))
                eo[place] = ((item.eo - mean) / std * item.eo_seen).transpose(1, 2, 0)
        return View(_channels_last(sar), None if eo is None else _channels_last(eo))

    def _ahead(self, number: int) -> Batch:
        """Batch `number`; then pairs of the next round are read, evenly over this one, so that no round begins with a halt."""
        batch, options = self.batch(number), self.options
        crops = options.crops_per_pair
        if crops > 1 and options.cache_bytes:
            first = (number * options.ranks + options.rank) * options.batch
            for index in range(first, first + options.batch):
                if index % crops == 0:
                    (epoch, _), place, members = self._round(index + options.round_pairs * crops)
                    member = int(members[place // crops])
                    self._pair(self._names[member])
                    if options.by_class is not None and options.by_class.share * crops >= 1:
                        self._pair(self._sent(epoch, member)[0])
        return batch

    def _in_line(self, start: int) -> Iterator[Batch]:
        while True:
            begin = time.perf_counter()
            batch = self.batch(start)
            self.wait_s += time.perf_counter() - begin
            start += 1
            yield batch

    def _item(self, index: int) -> Item:
        """Item number `index` of the endless sequence."""
        options, info = self.options, self._pairs.info
        pair, pixel = self._place(index)
        item = cut(pair, draw_geometry(pair, options.crop_px, options.augment, info, self._rng(_GEOMETRY, index), pixel))
        rng = self._rng(_SAR, index)
        if options.augment.speckle_looks is not None:
            item = replace(item, sar=speckled(item.sar, info.sar_unit, options.augment.speckle_looks, rng) * item.valid)
        if rng.random() < options.augment.nodata_wedge:
            item = without(item, nodata_shape(options.crop_px, rng))
        if self._eo and self._rng(_EO, index).random() < options.augment.drop_eo:
            item = replace(item, eo=None, eo_seen=None)
        return item

    def _place(self, index: int) -> tuple[Pair, tuple[int, int] | None]:
        """The pair of an item, and the pixel (row, col) that the item must hold; None = any."""
        if self.options.by_class is None or not self.options.by_class.takes(index):
            return self._pair(self._name(index)), None
        name, wanted = self._sent(index // (len(self._names) * self.options.crops_per_pair), self._member(index))
        pair = self._pair(name)
        above = self._orders.get((name, wanted), lambda: pixels_above(pair, wanted))
        return pair, draw_pixel(pair, wanted, above, self._rng(_PIXEL, index))

    def _sent(self, epoch: int, member: int) -> tuple[str, int]:
        """Where those crops of a pair go in an epoch that are placed on a class: pair and class. One for all of them, so that no more pairs are read."""
        return self.options.by_class.draw(self._rng(_CLASS, epoch, member))

    def _name(self, index: int) -> str:
        return self._names[self._member(index)]

    def _member(self, index: int) -> int:
        """Number of the pair: they come in a new order every epoch, in rounds; in a round the crops of its pairs are mixed."""
        key, place, members = self._round(index)
        crops_of = np.repeat(members, self.options.crops_per_pair)
        mixed = self._orders.get(key, lambda: self._rng(_ROUND, *key).permutation(crops_of))
        return int(mixed[place])

    def _round(self, index: int) -> tuple[tuple[int, int], int, np.ndarray]:
        """(epoch, round in it), the item's place in the round, and the numbers of the round's pairs."""
        crops, size = self.options.crops_per_pair, self.options.round_pairs
        epoch, place = divmod(index, len(self._names) * crops)
        order = self._orders.get(epoch, lambda: self._rng(_ORDER, epoch).permutation(len(self._names)))
        number, place = divmod(place, size * crops)
        return (epoch, number), place, order[number * size:(number + 1) * size]

    def _pair(self, name: str) -> Pair:
        def read() -> Pair:
            pair = self._pairs.read(name, eo=self._eo)
            check_labels(pair, self._pairs)
            return pair
        return self._cache.get(name, read)

    def _rng(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng((self.options.seed, *stream))


class _Cache:
    """The most recently used values within a number of bytes; a value larger than that is made and not kept."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit, self._used, self._kept, self._making, self._lock = limit_bytes, 0, OrderedDict(), {}, threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The value of a key; `make` runs outside the lock, once for all threads that want it at the same time."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            made = self._making.get(key)
            if made is None:
                own = self._making[key] = Future()
        if made is not None:
            return made.result()
        try:
            value = make()
        except BaseException as error:
            with self._lock:
                del self._making[key]
            own.set_exception(error)
            raise
        with self._lock:
            del self._making[key]
            self._keep(key, value)
        own.set_result(value)
        return value

    def _keep(self, key: Hashable, value: Any) -> None:
        if value.nbytes <= self._limit:
            self._kept[key] = value
            self._used += value.nbytes
            while self._used > self._limit:
                self._used -= self._kept.popitem(last=False)[1].nbytes


def _channels_last(images: np.ndarray) -> Tensor:
    """(n, r, c, bands) memory as an (n, bands, r, c) tensor."""
    return torch.from_numpy(images).permute(0, 3, 1, 2)
