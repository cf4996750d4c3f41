"""The picture of a seam measurement: the map, where tiles change it, and how that falls with the halo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hfd_edge.spec import NODATA_LABEL
from hfd_edge.view import NODATA_GREY, Panel, draw_panels, enlarged, require_opencv

_CHART_PX = (640, 720)                              # rows, cols
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 30, 20, 50       # around the plot
_COLORS = ((31, 90, 180), (214, 96, 30), (40, 140, 70), (150, 60, 150), (90, 90, 90))
_LOWEST = -6                                        # log10 of the lowest rate drawn; 0 lies on it
_DOT_PX = 2                                         # a flip is one pixel: drawn larger, or nobody would see it
_RED, _LINE = (220, 30, 30), (150, 150, 150)


@dataclass(frozen=True, slots=True)
class FlipCurve:
    """Flips of one way to stitch."""

    name: str
    halos_px: tuple[int, ...]
    rates: tuple[float, ...]
    bounds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SeamPicture:
    """What is drawn of one grid."""

    title: str
    labels: np.ndarray                              # (rows, cols) uint8, made of tiles
    whole: np.ndarray                               # (rows, cols) uint8, made as one tile
    borders: tuple[tuple[int, ...], tuple[int, ...]]


def draw_seams(path: Path, picture: SeamPicture, colors: Sequence[tuple[int, int, int]], curves: Sequence[FlipCurve],
               wanted: float | None = None) -> None:
    """Three panels: the tiled map with its borders, the labels that differ from one tile over the scene, and the curves.

    Raises:
        HfdError: OpenCV is missing, or refuses the file's suffix.
        RasterError: the folder cannot be written to.
    """
    cv2 = require_opencv()
    table = np.full((256, 3), NODATA_GREY, np.uint8)
    table[:len(colors)] = colors
    flipped = picture.labels != picture.whole
    faint = np.full((*picture.labels.shape, 3), 255, np.uint8)
    faint[picture.whole == NODATA_LABEL] = NODATA_GREY
    faint[list(picture.borders[0])] = faint[:, list(picture.borders[1])] = _LINE
    grown = cv2.dilate(flipped.astype(np.uint8), np.ones((2 * _DOT_PX + 1,) * 2, np.uint8)) > 0
    faint[grown] = _RED
    panels = [Panel(picture.title, enlarged(table[picture.labels], _CHART_PX[0])),
              Panel(f"{int(flipped.sum())} labels that differ from one tile over the scene", enlarged(faint, _CHART_PX[0]))]
    if any(len(curve.halos_px) > 1 for curve in curves):
        panels.append(Panel("share of labels that differ, by halo in px; thin = upper 95 % bound", _chart(cv2, curves, wanted)))
    draw_panels(path, panels)


def _chart(cv2: Any, curves: Sequence[FlipCurve], wanted: float | None) -> np.ndarray:
    rows, cols = _CHART_PX
    image = np.full((rows, cols, 3), 255, np.uint8)
    largest = max(1, *(halo for curve in curves for halo in curve.halos_px))

    def at(halo: float, rate: float) -> tuple[int, int]:
        level = min(0.0, max(float(_LOWEST), float(np.log10(rate)) if rate > 0 else _LOWEST)) / _LOWEST
        return _LEFT + round(halo / largest * (cols - _LEFT - _RIGHT)), _TOP + round(level * (rows - _TOP - _BOTTOM))

    def write(text: str, place: tuple[int, int], color: tuple[int, int, int] = (0, 0, 0)) -> None:
        cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, color, 1, cv2.LINE_AA)

    for power in range(_LOWEST, 1):
        y = at(0, 10.0 ** power)[1]
        cv2.line(image, (_LEFT, y), (cols - _RIGHT, y), (228, 228, 228), 1)
        write(f"1e{power}" if power > _LOWEST else "0", (14, y + 5))
    for halo in sorted({halo for curve in curves for halo in curve.halos_px}):
        write(str(halo), (at(halo, 1)[0] - 8, rows - _BOTTOM + 24))
    if wanted is not None:
        cv2.line(image, at(0, wanted), at(largest, wanted), (0, 0, 0), 1)
        write(f"wanted {wanted:g}", (cols - _RIGHT - 140, at(0, wanted)[1] - 6))
    for number, curve in enumerate(curves):
        color = _COLORS[number % len(_COLORS)]
        for values, width in ((curve.rates, 2), (curve.bounds, 1)):
            points = np.array([at(halo, value) for halo, value in zip(curve.halos_px, values)], np.int32)
            cv2.polylines(image, [points], False, color, width, cv2.LINE_AA)
        write(curve.name, (cols - _RIGHT - 140, _TOP + 20 + 22 * number), color)
    return image
