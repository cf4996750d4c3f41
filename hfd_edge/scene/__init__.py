"""What is known of a whole scene after one streaming read: counts, the equivalent number of looks, percentiles of power.

Whole numbers are counted, so tiles, their order and the number of threads change nothing: every tile of a scene, and every
later run, works with the same statistics. Nothing is ever estimated per tile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from hfd_edge import _native
from hfd_edge.device import thread_budget
from hfd_edge.errors import ArrayError
from hfd_edge.radiometry.power import percentile_of, power_edges
from hfd_edge.scene.strips import IntensitySource, strips_of
from hfd_edge.source.offset import TrainingOffset, counts_offset
from hfd_edge.source.vector import PowerCounts
from hfd_edge.spec import ModelInput
from hfd_edge.speckle import as_intensity, as_mask
from hfd_edge.speckle.enl import LooksCounts, halo_px

HALO_PX = halo_px()


@dataclass(frozen=True, slots=True)
class BandStatistics:
    """Counts of one band."""

    name: str
    valid: int                                      # pixels with a value
    no_signal: int                                  # of these, pixels whose power is 0 or below
    power_histogram: np.ndarray                     # (POWER_BINS,) int64: positive power, 128 bins an octave; see power_edges
    looks: LooksCounts                              # local looks of windows, and of pairs of them

    @property
    def enl_histogram(self) -> np.ndarray:
        """(ENL_BINS,) int64: log2 of the local looks, from -2 to 10."""
        return self.looks.windows

    @property
    def enl(self) -> float | None:
        """Equivalent number of looks, None where no window is valid in whole and not flat."""
        return self.looks.looks if self.enl_histogram.any() else None

    def percentile(self, percent: float) -> float:
        """Linear power below which so many percent of the valid pixels lie; pixels without signal lie below all others.

        Exact to the width of a bin, 0.8 %. 0 where the answer is a pixel without signal.
        Raises:
            ArrayError: percent is not 0 to 100, or no pixel is valid.
        """
        try:
            return percentile_of(self.power_histogram, self.valid, self.no_signal, percent)
        except ArrayError as error:
            raise ArrayError(f"{self.name}: {error}") from error

    def mean_db(self) -> float | None:
        """Mean power in dB, from the middles of the bins (0.1 % off at most); None where nothing has signal."""
        index = np.flatnonzero(self.power_histogram)
        low, high = power_edges(index)
        power = float(np.dot(self.power_histogram[index], (low + high) / 2)) / max(self.valid, 1)
        return float(10 * np.log10(power)) if power > 0 else None


@dataclass(frozen=True, slots=True)
class SceneStatistics:
    """Counts of a scene of rows x cols pixels, band by band."""

    rows: int
    cols: int
    bands: tuple[BandStatistics, ...]

    @property
    def enl(self) -> float:
        """Equivalent number of looks of all bands together. Raises ArrayError where no window is whole and not flat."""
        return LooksCounts(sum(band.looks.windows for band in self.bands), sum(band.looks.pairs for band in self.bands)).looks

    @property
    def nodata_share(self) -> float:
        return 1 - self.bands[0].valid / (self.rows * self.cols)

    @property
    def bright(self) -> tuple[float, ...]:
        """The 98th percentile of each band, linear: what improved Lee sigma takes for bright."""
        return tuple(band.percentile(98) for band in self.bands)

    def offset(self, model: ModelInput, names: tuple[str, ...], looks: float | None = None,
               source: IntensitySource | None = None) -> TrainingOffset | None:
        """How far the scene lies off a network's training data, all pixels counted; None where that cannot be told.

        Args:
            names: of the network's bands, which the scene's are.
            looks: of the scene, where its product tells them.
            source: that these statistics were measured of, read once: pixels of the number that fills its border do not count.
        """
        counts = PowerCounts(np.stack([band.power_histogram for band in self.bands]),
                             np.array([(band.valid, band.no_signal) for band in self.bands], np.int64))
        filled = source and source.counts_of_fill()
        if not filled:
            return counts_offset(counts, looks, model, names)
        others = PowerCounts(counts.power - filled.power, counts.totals - filled.totals)
        found = counts_offset(others, looks, model, names)
        return found and replace(found, left_out=source.fill.words)


@dataclass(slots=True)
class SceneCounts:
    """Adds up the windows of a scene, in any order."""

    names: tuple[str, ...]
    threads: int = 1
    power: np.ndarray = field(init=False)
    totals: np.ndarray = field(init=False)          # (bands, 2): valid, of these without signal
    looks: tuple[LooksCounts, ...] = field(init=False)

    def __post_init__(self) -> None:
        bands = len(self.names)
        self.power = np.zeros((bands, _native.POWER_BINS), np.int64)
        self.totals = np.zeros((bands, 2), np.int64)
        self.looks = tuple(LooksCounts() for _ in self.names)

    def add(self, values: np.ndarray, mask: np.ndarray | None, rows: slice, cols: slice = slice(None)) -> None:
        """Count one window.

        Args:
            values: (bands, r, c) float32, linear power: the window with up to HALO_PX more on each side that is not the scene's border.
            mask: (r, c) bool or uint8, nonzero = valid, or None.
            rows, cols: the window inside `values`.
        """
        values, mask = as_intensity(values), as_mask(mask, values.shape[1:])
        own = np.ascontiguousarray(values[:, rows, cols])
        own_mask = None if mask is None else np.ascontiguousarray(mask[rows, cols])
        _native.count_power(own, own_mask, self.power, self.totals)
        first, count = rows.indices(values.shape[1])[0], own.shape[1]
        for band in range(len(values)):
            self.looks[band].add(values[band:band + 1], mask, (first, count), cols=cols, threads=self.threads)

    def result(self, rows: int, cols: int) -> SceneStatistics:
        """The statistics of a scene of so many pixels, all of which have been added."""
        return SceneStatistics(rows, cols, tuple(
            BandStatistics(name, int(valid), int(dark), power, looks)
            for name, (valid, dark), power, looks in zip(self.names, self.totals, self.power, self.looks)))


def measure_array(intensity: np.ndarray, mask: np.ndarray | None = None, threads: int | None = None) -> SceneStatistics:
    """Statistics of a scene in memory.

    Args:
        intensity: (bands, rows, cols) or (rows, cols) float32, linear power.
        mask: (rows, cols), nonzero = valid; None = all that are finite.
    Raises:
        ArrayError: wrong arrays.
    """
    values = as_intensity(intensity)
    counts = SceneCounts(tuple(f"band {i + 1}" for i in range(len(values))), thread_budget(threads))
    counts.add(values, mask, slice(None))
    return counts.result(*values.shape[1:])


def measure_scene(source: IntensitySource, threads: int | None = None,
                  progress: Callable[[int, int], None] | None = None) -> SceneStatistics:
    """Statistics of a scene that is read once, from top to bottom; memory holds one strip.

    Raises:
        RasterError: the source cannot be read.
    """
    counts = SceneCounts(source.names, thread_budget(threads))
    for strip in strips_of(source, HALO_PX):
        counts.add(strip.values, strip.mask, slice(strip.first, strip.first + strip.rows))
        if progress is not None:
            progress(strip.row + strip.rows, source.rows)
    return counts.result(source.rows, source.cols)
