"""What a network is told of the whole scene: one vector, from whole-number counts over one read, the same for every tile.

A network with global context that pools over its tile makes tiles differ from the whole. One that takes its context as a second
input does not, if that input is the scene's: percentiles of each band's power, in the network's own input numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hfd_edge import _native
from hfd_edge.errors import EmptySceneError
from hfd_edge.radiometry import SourceRadiometry, gathered, linear_power, make_gather
from hfd_edge.radiometry.power import percentile_of
from hfd_edge.source import Source
from hfd_edge.source.device import DeviceArraySource
from hfd_edge.source.device_counts import count_power
from hfd_edge.spec import ModelInput, ModelSpec, Unit
from hfd_edge.stitch import STATUS_NODATA

_STRIP_PX = 1 << 22             # pixels of all bands read at once


def scene_vector(source: Source, radiometry: SourceRadiometry, spec: ModelSpec, threads: int, allow_empty: bool = False) -> np.ndarray:
    """The second input of a network with `scene_percentiles`, from one read of the scene.

    A pixel counts where all bands have a value, as in the network's input. Percentiles are exact to a bin of 0.8 % of power, 0.03 dB.

    Args:
        radiometry: what the pixels are, checked.
        allow_empty: whether a scene may be without one valid pixel. No tile of it reaches the network.
    Returns:
        (1, bands x percentiles) float32, band by band: percentiles of the band's linear power in the network's unit, then floor,
        clip and z-score as a pixel; NaN of a scene without a valid pixel.
    Raises:
        EmptySceneError: not one pixel of the scene is valid, and that is not allowed.
    """
    counts = count_scene(source, radiometry, threads, allow_empty)
    if counts.empty:
        return np.full((1, source.count * len(spec.scene_percentiles)), np.nan, np.float32)
    return _as_input(percentiles_of(counts, spec.scene_percentiles), spec.input)


@dataclass(frozen=True, slots=True)
class PowerCounts:
    """What a scene's linear power was counted in; see radiometry_power."""

    power: np.ndarray               # (bands, POWER_BINS) int64
    totals: np.ndarray              # (bands, 2) int64: valid, of these without signal

    @property
    def empty(self) -> bool:
        """Whether a band has no valid pixel: then none has."""
        return not self.totals[:, 0].all()


def count_scene(source: Source, radiometry: SourceRadiometry, threads: int, allow_empty: bool = False) -> PowerCounts:
    """Count a scene's linear power, band by band, in one read; whole numbers, so the order of rows and threads changes nothing.

    A scene on a GPU is counted there, and its pixels stay there.

    Raises:
        EmptySceneError: not one pixel of the scene is valid, and that is not allowed.
    """
    plain = linear_power(source.count)
    if isinstance(source, DeviceArraySource):
        power, totals = count_power(source, radiometry, plain)
    else:
        power, totals = _count_strips(source, make_gather(radiometry, plain), threads)
    counts = PowerCounts(power, totals)
    if counts.empty and not allow_empty:
        raise EmptySceneError(f"not one of the {source.rows} x {source.cols} pixels is valid: this network needs percentiles of the "
                              "scene; check the nodata value, the unit and the band order")
    return counts


def _count_strips(source: Source, gather: _native.Gather, threads: int) -> tuple[np.ndarray, np.ndarray]:
    bands = source.count
    power, totals = np.zeros((bands, _native.POWER_BINS), np.int64), np.zeros((bands, 2), np.int64)
    step = max(1, _STRIP_PX // (source.cols * bands))
    for row in range(0, source.rows, step):
        values, valid = source.read(row, min(step, source.rows - row))
        intensity, status = gathered(gather, values, valid, threads)
        _native.count_power(intensity, status, power, totals, STATUS_NODATA)
    return power, totals


def percentiles_of(counts: PowerCounts, percents: Sequence[float]) -> np.ndarray:
    """(bands, n) float32: linear power below which so many percent of each band's valid pixels lie."""
    found = [[percentile_of(power, int(valid), int(dark), percent) for percent in percents]
             for power, (valid, dark) in zip(counts.power, counts.totals)]
    return np.array(found, np.float32)


def _as_input(power: np.ndarray, model: ModelInput) -> np.ndarray:
    """(bands, n) linear power to (1, bands * n) network input."""
    made, _ = gathered(make_gather(SourceRadiometry(Unit.INTENSITY), model), np.ascontiguousarray(power[:, None]))
    return made.reshape(1, -1)
