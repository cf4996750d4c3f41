"""The picture of a scene's statistics: the scene, how its power is spread, and how its looks are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hfd_edge.radiometry.power import power_edges
from hfd_edge.speckle.enl import ENL_BINS, LOG2_HIGH, LOG2_LOW
from hfd_edge.view import Panel, draw_panels, draw_scene, enlarged, require_opencv

if TYPE_CHECKING:
    from hfd_edge.radiometry import SourceRadiometry
    from hfd_edge.raster import RasterSource
    from hfd_edge.scene import SceneStatistics

_CHART_PX = (520, 560)                          # rows, cols
_LEFT, _RIGHT, _TOP, _BOTTOM = 20, 20, 20, 40   # around the plot
_COLORS = ((31, 90, 180), (214, 96, 30), (40, 140, 70), (150, 60, 150))
_DB_BIN, _DB_SPAN = 0.5, 200
_DB_BINS = round(2 * _DB_SPAN / _DB_BIN)


@dataclass(frozen=True, slots=True)
class Curve:
    """Counts over equal bins from `low` to `high` of a chart's axis, and a number to mark."""

    name: str
    counts: np.ndarray
    mark: float | None


def draw_statistics(path: Path, source: RasterSource, radiometry: SourceRadiometry, statistics: SceneStatistics) -> None:
    """Three panels: the scene in false colour, histograms of power in dB with their 98th percentile, histograms of the looks of
    all windows, and the mode of those beside the evenest: the looks that are told.

    Raises:
        HfdError: OpenCV is missing, or refuses the file's suffix.
        RasterError: the scene cannot be read, or the folder cannot be written to.
    """
    cv2 = require_opencv()
    scene = enlarged(draw_scene(source, radiometry, largest_px=_CHART_PX[0]), _CHART_PX[0])
    draw_panels(path, [Panel(f"scene: {source.name}", scene),
                       Panel("power, dB; line = 98th percentile", _power_chart(cv2, statistics)),
                       Panel("looks of all 15 x 15 px windows; line = mode beside the evenest", _looks_chart(cv2, statistics))])


def _power_chart(cv2: Any, statistics: SceneStatistics) -> np.ndarray:
    spread = [db_counts(band.power_histogram) for band in statistics.bands]
    filled = np.flatnonzero(sum(spread))
    if filled.size == 0:
        return _chart(cv2, [], (0, 1), [])
    first, last = int(filled[0]) // 4 * 4, int(filled[-1]) + 1
    low, high = -_DB_SPAN + first * _DB_BIN, -_DB_SPAN + last * _DB_BIN
    curves = [Curve(band.name, counts[first:last], _decibel(band.percentile(98)))
              for band, counts in zip(statistics.bands, spread)]
    step = 5 if high - low < 60 else 20
    ticks = range(int(-(-low // step) * step), int(high) + 1, step)
    return _chart(cv2, curves, (low, high), [(float(v), str(v)) for v in ticks])


def _looks_chart(cv2: Any, statistics: SceneStatistics) -> np.ndarray:
    curves = []
    for band in statistics.bands:
        counts, enl = band.enl_histogram.reshape(ENL_BINS // 4, 4).sum(axis=1), band.enl
        curves.append(Curve(f"{band.name} {enl:.2f}", counts, float(np.log2(enl))) if enl else Curve(band.name, counts, None))
    ticks = range(int(LOG2_LOW), int(LOG2_HIGH) + 1, 2)
    return _chart(cv2, curves, (LOG2_LOW, LOG2_HIGH), [(float(v), f"{2.0 ** v:g}") for v in ticks])


def db_counts(histogram: np.ndarray) -> np.ndarray:
    """Counts of power in bins of 0.5 dB; what a fine bin holds is shared out between those that it crosses, evenly over its power.

    Args:
        histogram: (POWER_BINS,) whole numbers, see radiometry_power.
    Returns:
        (800,) float64 from -200 to 200 dB; what lies outside is in the first and the last. Their sum is the histogram's.
    """
    filled = np.flatnonzero(histogram)
    if filled.size == 0:
        return np.zeros(_DB_BINS)
    index = np.arange(filled[0], filled[-1] + 1)
    low, high = power_edges(index)
    edges = 10 ** (np.linspace(-_DB_SPAN, _DB_SPAN, _DB_BINS + 1) / 10)
    edges[0], edges[-1] = -1, np.inf
    return np.diff(np.interp(edges, np.append(low, high[-1]), np.append(0, np.cumsum(histogram[index]))))


def _decibel(power: float) -> float | None:
    return float(10 * np.log10(power)) if power > 0 else None


def _chart(cv2: Any, curves: Sequence[Curve], axis: tuple[float, float], ticks: Sequence[tuple[float, str]]) -> np.ndarray:
    rows, cols = _CHART_PX
    image = np.full((rows, cols, 3), 255, np.uint8)
    bottom, width, height = rows - _BOTTOM, cols - _LEFT - _RIGHT, rows - _TOP - _BOTTOM

    def x_of(value: float) -> int:
        return _LEFT + round((value - axis[0]) / (axis[1] - axis[0]) * width)

    for value, label in ticks:
        cv2.line(image, (x_of(value), _TOP), (x_of(value), bottom), (228, 228, 228), 1)
        cv2.putText(image, label, (x_of(value) - 5 * len(label), bottom + 22), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1,
                    cv2.LINE_AA)
    cv2.line(image, (_LEFT, bottom), (cols - _RIGHT, bottom), (0, 0, 0), 1)
    for number, curve in enumerate(curves):
        color = _COLORS[number % len(_COLORS)]
        x = _LEFT + (np.arange(len(curve.counts)) + 0.5) / len(curve.counts) * width
        y = bottom - curve.counts / max(curve.counts.max(), 1) * height
        cv2.polylines(image, [np.stack([x, y], axis=1).round().astype(np.int32)], False, color, 2, cv2.LINE_AA)
        if curve.mark is not None and axis[0] <= curve.mark <= axis[1]:
            cv2.line(image, (x_of(curve.mark), _TOP), (x_of(curve.mark), bottom), color, 1, cv2.LINE_AA)
        cv2.putText(image, curve.name.encode("ascii", "replace").decode(), (_LEFT + 8, _TOP + 22 + 24 * number),
                    cv2.FONT_HERSHEY_SIMPLEX, 0.55, color, 1, cv2.LINE_AA)
    return image
