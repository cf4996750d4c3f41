"""Pictures to look at: a scene in false colour, maps in class colours, panels side by side. The only user of OpenCV."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hfd_edge.errors import HfdError, RasterError
from hfd_edge.radiometry import check_declared, gathered, linear_power, make_gather
from hfd_edge.spec import NODATA_LABEL, Unit
from hfd_edge.stitch import STATUS_NODATA

if TYPE_CHECKING:
    from hfd_edge.radiometry import SourceRadiometry
    from hfd_edge.raster import RasterSource, Selection
    from hfd_edge.spec import ModelSpec

LARGEST_SIDE_PX = 1200
ENLARGED_SIDE_PX = 800                  # a small scene is enlarged up to this, so that captions fit
NODATA_GREY = (128, 128, 128)
_STRETCH_PERCENT = (2.0, 98.0)
_READ_PX = 1 << 22                      # pixels per band held while a scene is reduced
_BAR_PX, _GAP_PX = 34, 8                # height of the title and legend bars; space between panels


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture with its title."""

    title: str
    image: np.ndarray                   # (rows, cols, 3) uint8 RGB


def require_opencv() -> Any:
    """The module cv2.

    Raises:
        HfdError: it is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise HfdError(f"pictures need OpenCV, which is not here ({error}): pip install 'hfd-edge[view]', or leave the picture out") from error
    return cv2


def check_picture(path: Path) -> None:
    """Raise HfdError unless OpenCV is there and can write pictures with this suffix; none is .png."""
    if not require_opencv().haveImageWriter(f"picture{path.suffix or '.png'}"):
        raise HfdError(f"{path}: OpenCV cannot write {path.suffix} pictures; use .png or .jpg")


def draw_scene(source: RasterSource, radiometry: SourceRadiometry, largest_px: int = LARGEST_SIDE_PX) -> np.ndarray:
    """A scene in false colour, reduced by averaging power; memory does not grow with the scene.

    Two bands are shown as VV, VH and VV - VH in dB, one band in grey, each stretched between percentiles 2 and 98 of the scene.

    Returns:
        (rows, cols, 3) uint8 RGB, sides at most `largest_px`; nodata grey.
    """
    power, valid = _reduced_power(source, radiometry, largest_px)
    channels = power if radiometry.unit is Unit.DN else 10 * np.log10(np.maximum(power, np.float32(1e-10)))
    if len(channels) == 2:
        channels = np.stack([channels[0], channels[1], channels[0] - channels[1]])
    elif len(channels) != 3:
        channels = np.repeat(channels[:1], 3, axis=0)
    image = np.stack([_stretched(channel, valid) for channel in channels], axis=-1)
    image[~valid] = NODATA_GREY
    return image


def draw_map(source: RasterSource, colors: Mapping[int, tuple[int, int, int]]) -> np.ndarray:
    """A map in its class colours (RGB by value), reduced by taking every n-th pixel.

    Returns:
        (rows, cols, 3) uint8 RGB; nodata grey.
    Raises:
        RasterError: not one band of uint8.
    """
    if source.count != 1 or source.dtype != np.uint8:
        raise RasterError(f"{source.name} has {source.count} bands of {source.dtype}: a map is one band of uint8 class numbers")
    table = np.full((256, 3), NODATA_GREY, np.uint8)
    for value, color in colors.items():
        table[value] = color
    table[NODATA_LABEL] = NODATA_GREY
    step = _step(source, LARGEST_SIDE_PX)
    rows = range(step // 2, source.rows, step) if source.rows > step // 2 else range(0, 1)
    cols = slice(step // 2 if source.cols > step // 2 else 0, None, step)
    return np.stack([table[source.read(row, 1)[0][0, 0, cols]] for row in rows])


def enlarged(image: np.ndarray, side_px: int, of_px: int = 0) -> np.ndarray:
    """Each pixel as a square of whole pixels, as many as make the longer side (or `of_px`) at most `side_px`; never fewer than one."""
    factor = max(1, side_px // (of_px or max(image.shape[:2])))
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def draw_quicklook(path: Path, panels: list[Panel], spec: ModelSpec | Selection) -> None:
    """Panels side by side with their titles, and a legend below; written beside, then renamed. Small panels are enlarged, all alike.

    Raises:
        HfdError: OpenCV is missing, or refuses the file's suffix.
        RasterError: the folder cannot be written to.
    """
    cv2 = require_opencv()
    largest = max(max(panel.image.shape[:2]) for panel in panels)
    picture = _side_by_side(cv2, [Panel(panel.title, enlarged(panel.image, ENLARGED_SIDE_PX, largest)) for panel in panels])
    picture = np.concatenate([picture, _legend(cv2, spec, picture.shape[1])])
    _write(cv2, path, picture)


def draw_panels(path: Path, panels: list[Panel]) -> None:
    """As draw_quicklook, without a legend."""
    cv2 = require_opencv()
    _write(cv2, path, _side_by_side(cv2, panels))


def _side_by_side(cv2: Any, panels: list[Panel]) -> np.ndarray:
    rows = max(panel.image.shape[0] for panel in panels)
    drawn = [_with_title(cv2, panel, rows) for panel in panels]
    gap = np.full((rows + _BAR_PX, _GAP_PX, 3), 255, np.uint8)
    return np.concatenate([part for panel in drawn for part in (panel, gap)][:-1], axis=1)


def _step(source: RasterSource, largest_px: int) -> int:
    return max(1, ceil(max(source.rows, source.cols) / largest_px))


def _reduced_power(source: RasterSource, radiometry: SourceRadiometry, largest_px: int) -> tuple[np.ndarray, np.ndarray]:
    """(bands, r, c) float32 mean power of each cell's valid pixels, of digital numbers their mean, and (r, c) bool whether it has any."""
    step = _step(source, largest_px)
    strip_rows = max(1, _READ_PX // (source.cols * step)) * step
    plain = linear_power(source.count)
    gather = make_gather(check_declared(radiometry, source.dtype), replace(plain, unit=Unit.DN) if radiometry.unit is Unit.DN else plain)
    means, anys = [], []
    for row in range(0, source.rows, strip_rows):
        power, status = gathered(gather, *source.read(row, min(strip_rows, source.rows - row)))
        counts = _cell_sums((status != STATUS_NODATA)[np.newaxis].astype(np.float32), step)
        means.append(_cell_sums(power, step) / np.maximum(counts, 1))
        anys.append(counts[0] > 0)
    return np.concatenate(means, axis=1), np.concatenate(anys)


def _cell_sums(planes: np.ndarray, step: int) -> np.ndarray:
    """(bands, r, c) to sums over cells of step x step; cells at the end may hold fewer pixels."""
    sums = np.add.reduceat(planes, np.arange(0, planes.shape[1], step), axis=1)
    return np.add.reduceat(sums, np.arange(0, planes.shape[2], step), axis=2)


def _stretched(channel: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """uint8, percentiles 2 and 98 of the valid cells at black and white."""
    if not valid.any():
        return np.zeros(channel.shape, np.uint8)
    low, high = np.percentile(channel[valid], _STRETCH_PERCENT)
    scaled = (np.where(valid, channel, low) - low) * (255 / max(high - low, 1e-6))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def _with_title(cv2: Any, panel: Panel, rows: int) -> np.ndarray:
    cols = panel.image.shape[1]
    image = np.full((rows + _BAR_PX, cols, 3), 255, np.uint8)
    image[_BAR_PX:_BAR_PX + panel.image.shape[0]] = panel.image
    _text(cv2, image, panel.title, (4, 23), cols - 8)
    return image


def _legend(cv2: Any, spec: ModelSpec | Selection, cols: int) -> np.ndarray:
    """A swatch and a name for every class and for nodata, in as many lines as they take."""
    entries = [*zip(spec.classes, spec.colors), ("nodata", NODATA_GREY)]
    lines, x = [[]], 0
    for name, color in entries:
        width = 34 + 11 * len(name)
        if x and x + width > cols:
            lines.append([])
            x = 0
        lines[-1].append((x, name, color))
        x += width
    bar = np.full((_BAR_PX * len(lines), cols, 3), 255, np.uint8)
    for number, line in enumerate(lines):
        top = number * _BAR_PX
        for x, name, color in line:
            bar[top + 9:top + 25, x + 6:x + 22] = color
            _text(cv2, bar, name, (x + 28, top + 23), cols)
    return bar


def _text(cv2: Any, image: np.ndarray, text: str, at: tuple[int, int], width: int) -> None:
    """Black text, shrunk to fit; OpenCV's own fonts hold ASCII only."""
    text = text.encode("ascii", "replace").decode()
    scale = 0.55
    (length, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale * min(1.0, width / max(length, 1)), (0, 0, 0), 1, cv2.LINE_AA)


def _write(cv2: Any, path: Path, picture: np.ndarray) -> None:
    from hfd_edge.raster import write_bytes

    try:
        done, data = cv2.imencode(path.suffix or ".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    except cv2.error as error:
        raise HfdError(f"{path}: OpenCV cannot write {path.suffix or 'this kind of'} pictures; use .png or .jpg") from error
    if not done:
        raise HfdError(f"{path}: OpenCV could not encode the picture; use .png or .jpg")
    write_bytes(path, data.tobytes(), overwrite=True)
