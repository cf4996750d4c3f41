"""The native operations once more: float64, slow, obvious. These are the specification; nothing here is clever.

float32 appears only where the contract says so: calibration (scale and offset) is done in float32, because a subtraction in it
decides which pixels have no power at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

VALID, NODATA, NO_SIGNAL = 0, 1, 2
NODATA_LABEL = 255


@dataclass(frozen=True)
class Radiometry:
    """Arguments of `_native.Gather`, by the same names."""

    unit: str
    model_unit: str
    mean: list[float]
    gain: list[float]
    scale: float = 1.0
    offset: float = 0.0
    nodata: list[float] = field(default_factory=list)
    floor: float = float("nan")
    clip_low: list[float] = field(default_factory=list)
    clip_high: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Place:
    """Where the values lie in the scene and where the tile does: window, scene size, tile origin, tile size; (row, col) each."""

    window: tuple[int, int]
    scene: tuple[int, int]
    origin: tuple[int, int]
    size: tuple[int, int]


def reflect101(index: int, size: int) -> int:
    """Walk to the index, turning round at both ends."""
    if size == 1:
        return 0
    position, step = 0, 1 if index >= 0 else -1
    for _ in range(abs(index)):
        if not 0 <= position + step < size:
            step = -step
        position += step
    return position


def gather(values: np.ndarray, place: Place, radiometry: Radiometry,
           valid: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(bands, h, w) of any dtype to tile (bands, th, tw) float64 and status (th, tw) uint8."""
    rows = [reflect101(place.origin[0] + r, place.scene[0]) - place.window[0] for r in range(place.size[0])]
    cols = [reflect101(place.origin[1] + c, place.scene[1]) - place.window[1] for c in range(place.size[1])]
    raw = values[:, rows][:, :, cols]
    missing = is_nodata(raw, radiometry.nodata)
    if valid is not None:
        missing |= (valid[rows][:, cols] == 0)[None]
    with np.errstate(all="ignore"):
        tile, no_signal = convert(calibrate(raw, radiometry), radiometry)
        missing = (missing | ~np.isfinite(tile.astype(np.float32))).any(axis=0)
    status = np.where(missing, NODATA, np.where(no_signal.any(axis=0), NO_SIGNAL, VALID)).astype(np.uint8)
    return np.where(missing, 0.0, tile), status


def to_bytes(tile: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    """(bands, h, w) float32 to cells (h / 2, w / 2, 4 * bands) uint8 of 2 x 2 pixels."""
    made = np.clip(np.rint(np.float32(tile) / np.float32(scale)) + zero_point, 0, 255)
    rows, cols = tile.shape[1] // 2, tile.shape[2] // 2
    cells = np.empty((rows, cols, 4 * len(tile)), np.uint8)
    for row, col, band in np.ndindex(2, 2, len(tile)):
        cells[:, :, (2 * row + col) * len(tile) + band] = made[band, row::2, col::2]
    return cells


def is_nodata(raw: np.ndarray, nodata: list[float]) -> np.ndarray:
    with np.errstate(over="ignore"):
        missing = ~np.isfinite(raw.astype(np.complex64 if np.iscomplexobj(raw) else np.float32))
    wide = raw.astype(np.complex128 if np.iscomplexobj(raw) else np.float64)
    for value in nodata:
        missing |= wide == value
    return missing


def calibrate(raw: np.ndarray, radiometry: Radiometry) -> np.ndarray:
    x = raw.astype(np.complex64 if np.iscomplexobj(raw) else np.float32)
    if radiometry.scale == 1.0 and radiometry.offset == 0.0:
        return x
    if np.iscomplexobj(x):
        return x * np.float32(radiometry.scale)
    return x * np.float32(radiometry.scale) + np.float32(radiometry.offset)


def power_by_tables(stored: np.ndarray, gain: tuple, noise: tuple, factors: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Arguments of `_native.power_by_tables`; amplitudes (rows, cols) to linear power, float32."""
    def between(table: tuple, row: int, col: int) -> float:
        lines, first, weight = table
        above = lines[first[row], col]
        return above + weight[row] * (lines[first[row] + 1, col] - above) if weight[row] else above

    power = np.empty(stored.shape, np.float32)
    for row, col in np.ndindex(stored.shape):
        piece = next(number for number, end in enumerate(ends) if col < end)
        left = float(stored[row, col]) ** 2 - between(noise, row, col) * factors[row, piece]
        power[row, col] = max(left, 0.0) / between(gain, row, col) ** 2
    return power


def convert(x: np.ndarray, radiometry: Radiometry) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated values to network input, and where the power is known not to be positive."""
    source, target = radiometry.unit, radiometry.model_unit
    if source == "dn" or source == target == "db":
        y, no_signal = x.astype(np.float64), np.zeros(x.shape, bool)
    else:
        power = to_power(x, source)
        no_signal = power <= 0
        y = x.astype(np.float64) if source == target else from_power(power, target, radiometry.floor)
    if not np.isnan(radiometry.floor):
        y = np.maximum(y, np.float32(radiometry.floor))
    per_band = (-1, 1, 1)
    if radiometry.clip_low:
        y = np.clip(y, np.float32(radiometry.clip_low).reshape(per_band), np.float32(radiometry.clip_high).reshape(per_band))
    return (y - np.float32(radiometry.mean).reshape(per_band)) * np.float32(radiometry.gain).reshape(per_band), no_signal


def to_power(x: np.ndarray, unit: str) -> np.ndarray:
    """Linear power, rounded to float32 at the end: what underflows there is no power, what overflows is none to speak of."""
    wide = x.astype(np.complex128 if np.iscomplexobj(x) else np.float64)
    power = {"intensity": lambda: wide, "amplitude": lambda: wide ** 2, "db": lambda: 10 ** (wide / 10),
             "complex": lambda: wide.real ** 2 + wide.imag ** 2}[unit]()
    return power.astype(np.float32).astype(np.float64)


def from_power(power: np.ndarray, unit: str, floor: float) -> np.ndarray:
    positive = np.where(power > 0, power, 1.0)
    if unit == "amplitude":
        return np.where(power > 0, np.sqrt(positive), 0.0)
    if unit == "db":
        return np.where(power > 0, 10 * np.log10(positive), np.float32(floor))
    return power


def upsample(logits: np.ndarray, stride: int, align_corners: bool = False) -> np.ndarray:
    """(classes, rows, cols) to (classes, rows * stride, cols * stride), bilinear, half-pixel, clamped at the edge.

    align_corners=True is the well-known mistake, here as a negative control.
    """
    for axis in (2, 1):                               # columns first, then rows
        logits = _upsample_axis(np.moveaxis(logits.astype(np.float64), axis, 0), stride, align_corners, axis)
    return logits


def _upsample_axis(logits: np.ndarray, stride: int, align_corners: bool, axis: int) -> np.ndarray:
    count = logits.shape[0]
    out = np.empty((count * stride, *logits.shape[1:]))
    for x in range(count * stride):
        u = x * (count - 1) / max(count * stride - 1, 1) if align_corners else (2 * x + 1 - stride) / (2 * stride)
        u = min(max(u, 0.0), count - 1.0)
        low = int(np.floor(u))
        out[x] = logits[low] if u == low else logits[low] + (u - low) * (logits[low + 1] - logits[low])
    return np.moveaxis(out, 0, axis)


@dataclass(frozen=True)
class Finished:
    """labels and score uint8; margin float64: largest minus second largest logit; level: 254 * the softmax that the score is of."""

    labels: np.ndarray
    score: np.ndarray
    margin: np.ndarray
    level: np.ndarray
    nodata: int
    nan: int


def finish(logits: np.ndarray, stride: int, status: np.ndarray, crop: tuple[int, int], size: tuple[int, int],
           align_corners: bool = False, score_class: int = -1) -> Finished:
    """Up-sample, crop, argmax and softmax in float64; see `_native.finish`. The score is of the largest logit, or of `score_class`."""
    window = (slice(crop[0], crop[0] + size[0]), slice(crop[1], crop[1] + size[1]))
    with np.errstate(invalid="ignore", over="ignore"):
        full = upsample(logits, stride, align_corners)[:, window[0], window[1]]
        missing, broken = status[window] == NODATA, np.isnan(full).any(axis=0)
        order = np.sort(full, axis=0)
        margin = order[-1] - order[-2] if len(full) > 1 else np.full(size, np.inf)
        terms = np.where(full == order[-1], 1.0, np.exp(full - order[-1]))
        level = 254 * (1.0 if score_class < 0 else terms[score_class]) / terms.sum(axis=0)
    gone = missing | broken
    labels = np.where(gone, NODATA_LABEL, full.argmax(axis=0)).astype(np.uint8)
    score = np.where(gone, NODATA_LABEL, np.floor(np.where(gone, 0, level) + 0.5)).astype(np.uint8)
    return Finished(labels, score, margin, level, int(missing.sum()), int((broken & ~missing).sum()))


def _blocks_of_four(image):
    """The four pixels of each cell of 2 x 2; an odd last row or column counts twice."""
    rows, cols = image.shape
    for row in range(0, rows, 2):
        for col in range(0, cols, 2):
            down, right = min(row + 1, rows - 1), min(col + 1, cols - 1)
            yield row // 2, col // 2, [int(image[r, c]) for r in (row, down) for c in (col, right)]


def most_frequent(image):
    """Overview of labels: the most frequent of the valid ones, the first of them on a tie, 255 where none is valid."""
    result = np.full((-(-image.shape[0] // 2), -(-image.shape[1] // 2)), 255, np.uint8)
    for row, col, four in _blocks_of_four(image):
        valid = [label for label in four if label != 255]
        if valid:
            result[row, col] = max(valid, key=valid.count)
    return result


def mean_valid(image):
    """Overview of confidence: the mean of the valid ones, halves rounded up, 255 where none is valid."""
    result = np.full((-(-image.shape[0] // 2), -(-image.shape[1] // 2)), 255, np.uint8)
    for row, col, four in _blocks_of_four(image):
        valid = [value for value in four if value != 255]
        if valid:
            result[row, col] = np.floor(sum(valid) / len(valid) + 0.5)
    return result
