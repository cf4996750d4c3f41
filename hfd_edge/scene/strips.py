"""A scene as strips of linear intensity with a halo: every row is read and converted once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from hfd_edge import _native
from hfd_edge.errors import RadiometryError
from hfd_edge.radiometry import SourceRadiometry, gathered, linear_power, make_gather
from hfd_edge.source import Source
from hfd_edge.source.checked import checked
from hfd_edge.source.saturation import saturated
from hfd_edge.source.vector import PowerCounts
from hfd_edge.spec import Unit
from hfd_edge.stitch import STATUS_NODATA

VALIDITY = ("valid", "nodata", "no signal", "saturated")        # what each number of a validity plane means
FLOOR_DB = -100.0                   # where power that is not positive lands in decibels
_STRIP_PX = 1 << 23                 # pixels of all bands in a strip
_MOST_ROWS, _LEAST_ROWS = 1024, 64


class IntensitySource:
    """Stored pixels of a scene as linear intensity, in whatever unit they are stored."""

    def __init__(self, source: Source, radiometry: SourceRadiometry | None, threads: int = 1) -> None:
        """Check the declared unit against the values.

        Raises:
            RadiometryError: the unit is not known, has no intensity (dn), or the values contradict it.
        """
        self.radiometry, (values, valid), self.fill = checked(source, radiometry)
        if self.radiometry.unit is Unit.DN:
            raise RadiometryError("unit=dn: digital numbers without physical meaning have no intensity; declare what they are "
                                  "with --unit, and --scale where the product has a calibration factor")
        self.checked_pixels = int((valid & np.isfinite(values).all(axis=0)).sum())
        self.source, self.rows, self.cols = source, source.rows, source.cols
        names = getattr(source, "band_names", ("",) * source.count)
        numbers = getattr(source, "band_numbers", range(1, source.count + 1))
        self.names = tuple(name or f"band {number}" for name, number in zip(names, numbers))
        self._gather = make_gather(self.radiometry, linear_power(source.count))
        self._threads = threads
        self.saturated = 0              # of the rows read so far
        self.filled = 0                 # valid pixels of the rows read so far that are the fill
        self.on_codes: Callable[[int, np.ndarray], None] | None = None      # gets the validity plane of each row that is read, VALIDITY codes

    def read(self, row: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Linear intensity (bands, rows, cols) float32 of some rows, 0 where there is none; (rows, cols) bool, True = valid."""
        values, valid = self.source.read(row, rows)
        made, status = gathered(self._gather, values, valid, self._threads)
        known = status != STATUS_NODATA
        full = saturated(values, valid, self.radiometry)
        self.saturated += int(np.count_nonzero(full))
        if self.fill is not None:
            self.filled += int(np.count_nonzero(self.fill.of(values) & known))
        if self.on_codes is not None:
            self.on_codes(row, _codes(made, known, full))
        return made, known

    def counts_of_fill(self) -> PowerCounts | None:
        """Those of the rows read so far that are the fill, counted by power; None without one."""
        if self.fill is None:
            return None
        bands = len(self.names)
        stored = np.full((bands, 1, 1), self.fill.stored, self.source.dtype)
        power, totals = np.zeros((bands, _native.POWER_BINS), np.int64), np.zeros((bands, 2), np.int64)
        _native.count_power(gathered(self._gather, stored)[0], None, power, totals)
        return PowerCounts(power * self.filled, totals * self.filled)


@dataclass(frozen=True, slots=True)
class Strip:
    """Some rows of a scene with those around them that a window may see."""

    row: int                        # of the scene: the strip's own first row
    rows: int                       # of its own
    first: int                      # its own first row inside `values`
    values: np.ndarray              # (bands, r, cols) float32, linear intensity
    mask: np.ndarray                # (r, cols) bool, True = valid


def strips_of(source: IntensitySource, halo_px: int) -> Iterator[Strip]:
    """A scene from top to bottom; memory holds one strip with its halo."""
    step = min(_MOST_ROWS, max(_LEAST_ROWS, _STRIP_PX // (source.cols * len(source.names))))
    values = np.empty((len(source.names), 0, source.cols), np.float32)
    mask, top = np.empty((0, source.cols), bool), 0             # scene row of values[:, 0]
    for row in range(0, source.rows, step):
        rows, read = min(step, source.rows - row), top + len(mask)
        drop, end = max(0, row - halo_px - top), min(row + rows + halo_px, source.rows)
        top, values, mask = top + drop, values[:, drop:], mask[drop:]
        if end > read:
            more, more_valid = source.read(read, end - read)
            values, mask = np.concatenate([values, more], axis=1), np.concatenate([mask, more_valid])
        yield Strip(row, rows, row - top, values, mask)


class OutputUnit:
    """Linear intensity as it is written: in a unit, NaN where there is no value."""

    def __init__(self, unit: Unit, bands: int, threads: int = 1) -> None:
        """Raises RadiometryError for a unit that filtered intensity cannot have."""
        if unit not in (Unit.INTENSITY, Unit.AMPLITUDE, Unit.DB):
            raise RadiometryError(f"output unit {unit}: filtered intensity has no phase and is no digital number; use intensity, amplitude or db")
        self.unit, self._threads = unit, threads
        self._gather = make_gather(SourceRadiometry(Unit.INTENSITY), replace(linear_power(bands), unit=unit, floor=FLOOR_DB if unit is Unit.DB else None))

    def convert(self, intensity: np.ndarray) -> np.ndarray:
        """(bands, rows, cols) float32 of linear intensity, NaN where none, to the unit; NaN band by band."""
        if self.unit is Unit.INTENSITY:
            return intensity
        known = np.isfinite(intensity)
        made, _ = gathered(self._gather, np.where(known, intensity, np.float32(0)), None, self._threads)
        made[~known] = np.nan
        return made


def _codes(intensity: np.ndarray, known: np.ndarray, full: np.ndarray) -> np.ndarray:
    """(rows, cols) uint8, indices of VALIDITY; nodata wins over saturated, saturated over no signal."""
    codes = np.where((intensity <= 0).any(axis=0), np.uint8(2), np.uint8(0))
    codes[full] = 3
    codes[~known] = 1
    return codes
