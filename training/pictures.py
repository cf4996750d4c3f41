"""Pictures of a run: how the loss fell, and example pairs beside truth and answer. OpenCV through hfd_edge.view."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hfd_edge.durable import write_whole
from hfd_edge.spec import NODATA_LABEL
from hfd_edge.view import NODATA_GREY, Panel, draw_quicklook, require_opencv
from training.pairs import Pair, SetInfo
from training.statistics import to_network_unit

_SIZE, _EDGE = (360, 760), (28, 60)                 # of a curve in px, (rows, cols); margins for the numbers
_INKS = ((38, 102, 178), (200, 58, 52), (34, 110, 60), (196, 156, 104))


def draw_curves(path: Path, curves: dict[str, list[tuple[float, float]]], title: str) -> None:
    """Lines of (x, y) points by name, a dot for a single one; logarithmic in y where all values are positive and span more than tenfold."""
    cv2 = require_opencv()
    picture = np.full((*_SIZE, 3), 255, np.uint8)
    points = np.array([p for line in curves.values() for p in line], np.float64).reshape(-1, 2)
    logarithmic = len(points) > 0 and points[:, 1].min() > 0 and points[:, 1].max() > 10 * points[:, 1].min()
    scale = np.log10 if logarithmic else lambda y: y
    if len(points):
        low, high = scale(points[:, 1]).min(), scale(points[:, 1]).max()
        ends = (points[:, 0].min(), points[:, 0].max(), low, high if high > low else low + 1)
        for ink, (name, line) in zip(_INKS * len(curves), curves.items()):
            at = np.array([_place(x, float(scale(y)), ends) for x, y in line], np.int32)
            if len(at) == 1:
                cv2.circle(picture, tuple(map(int, at[0])), 3, ink, cv2.FILLED, cv2.LINE_AA)        # a line through one point draws nothing
            cv2.polylines(picture, [at], False, ink, 2, cv2.LINE_AA)
        _numbers(cv2, picture, ends, logarithmic)
    for number, (ink, name) in enumerate(zip(_INKS * len(curves), curves)):
        _write(cv2, picture, name, (_EDGE[1] + 150 * number, _SIZE[0] - 6), ink)
    _write(cv2, picture, title, (_EDGE[1], 18), (0, 0, 0))
    _save(cv2, path, picture)


def draw_panels(path: Path, pair: Pair, answers: dict[str, np.ndarray], info: SetInfo) -> None:
    """One pair: SAR, EO where it has one, truth, and the answer of each network; nodata grey, legend below."""
    panels = [Panel("SAR", picture_of(to_network_unit(pair.sar, info.sar_unit), pair.valid))]
    if pair.eo is not None:
        panels.append(Panel("EO", picture_of(pair.eo, np.ones(pair.valid.shape, bool) if pair.eo_seen is None else pair.eo_seen)))
    panels += [Panel(title, in_colors(labels, info)) for title, labels in {"truth": pair.labels, **answers}.items()]
    draw_quicklook(path, panels, info)


def picture_of(planes: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """(bands, r, c) to (r, c, 3) uint8, percentiles 2 and 98 at black and white.

    Two bands as first, second and their difference; more than two as the third, second and first: red, green, blue of most products.
    """
    shown = [planes[0], planes[1], planes[0] - planes[1]] if len(planes) == 2 else [planes[2], planes[1], planes[0]] if (
        len(planes) > 2) else [planes[0]] * 3
    out = np.full((*valid.shape, 3), NODATA_GREY, np.uint8)
    for channel, plane in enumerate(shown):
        if valid.any():
            low, high = np.percentile(plane[valid], (2, 98))
            out[..., channel][valid] = np.clip((plane[valid] - low) * (255 / max(high - low, 1e-6)), 0, 255).astype(np.uint8)
    return out


def in_colors(labels: np.ndarray, info: SetInfo) -> np.ndarray:
    """(r, c) uint8 classes to (r, c, 3) uint8; 255 grey."""
    table = np.full((256, 3), NODATA_GREY, np.uint8)
    table[:len(info.colors)] = info.colors
    table[NODATA_LABEL] = NODATA_GREY
    return table[labels]


def _place(x: float, y: float, ends: Sequence[float]) -> tuple[int, int]:
    rows, cols = (size - 2 * edge for size, edge in zip(_SIZE, _EDGE))
    across = (x - ends[0]) / max(ends[1] - ends[0], 1e-12)
    return round(_EDGE[1] + cols * across), round(_EDGE[0] + rows * (1 - (y - ends[2]) / (ends[3] - ends[2])))


def _numbers(cv2: Any, picture: np.ndarray, ends: Sequence[float], logarithmic: bool) -> None:
    """Ticks at the ends and the middle of both axes."""
    for share in (0.0, 0.5, 1.0):
        y = ends[2] + share * (ends[3] - ends[2])
        row = _place(ends[0], y, ends)[1]
        cv2.line(picture, (_EDGE[1], row), (_SIZE[1] - _EDGE[1], row), (225, 225, 225), 1)
        _write(cv2, picture, f"{10 ** y if logarithmic else y:.3g}", (4, row + 4), (90, 90, 90))
        x = ends[0] + share * (ends[1] - ends[0])
        _write(cv2, picture, f"{x:.0f}", (_place(x, ends[2], ends)[0] - 12, _SIZE[0] - _EDGE[0] + 12), (90, 90, 90))


def _write(cv2: Any, picture: np.ndarray, text: str, at: tuple[int, int], ink: tuple[int, int, int]) -> None:
    cv2.putText(picture, text.encode("ascii", "replace").decode(), at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, ink, 1, cv2.LINE_AA)


def _save(cv2: Any, path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))[1].tobytes())
