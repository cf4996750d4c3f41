"""What changes a pair between two looks at it: the same geometry for both sensors, everything else on one of them only."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hfd_edge.spec import NODATA_LABEL, Unit
from training.pairs import FLIPS, DataError, Pair, SetInfo

MAX_SHIFT_PX = 3
_TRIES, _WANTED_SHARE = 4, 1 / 16        # a crop with fewer labelled pixels than this is drawn again, a few times
_HOLE_SHARE = 0.3                        # of the nodata shapes are holes, the others border wedges


@dataclass(frozen=True, slots=True)
class AugmentOptions:
    """Everything that is drawn anew for every item."""

    flips: tuple[str, ...] = FLIPS       # used where the set allows them too
    speckle_looks: float | None = None   # looks of a multiplicative gamma on SAR, in linear power; None = none
    shift_px: int = 0                    # EO against SAR, up to so many pixels in each direction
    drop_eo: float = 0.0                 # probability that an item has no optical image
    nodata_wedge: float = 0.2            # probability of a border wedge or a hole without SAR: scenes have nodata borders

    def __post_init__(self) -> None:
        unknown = [flip for flip in self.flips if flip not in FLIPS]
        if unknown:
            raise DataError(f"augment.flips={unknown}: use some of {', '.join(FLIPS)}, or none")
        if self.speckle_looks is not None and not self.speckle_looks > 0:
            raise DataError(f"augment.speckle_looks={self.speckle_looks}: looks must be above 0; leave it out for no speckle")
        if not 0 <= self.shift_px <= MAX_SHIFT_PX:
            raise DataError(f"augment.shift_px={self.shift_px}: use 0 to {MAX_SHIFT_PX}; larger errors are not misregistration")
        for name in ("drop_eo", "nodata_wedge"):
            if not 0 <= getattr(self, name) <= 1:
                raise DataError(f"augment.{name}={getattr(self, name)}: a probability is 0 to 1")


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where a crop lies in its pair, in pixels (it may reach beyond a small pair), and how it is turned afterwards."""

    row: int
    col: int
    crop_px: int
    flips: tuple[str, ...]               # applied in the order of FLIPS
    shift: tuple[int, int]               # rows and cols by which EO is read elsewhere


@dataclass(frozen=True, slots=True)
class Item:
    """One crop, still in the set's units."""

    sar: np.ndarray                      # (bands, c, c) float32, 0 where not valid
    eo: np.ndarray | None                # (eo bands, c, c) float32
    eo_seen: np.ndarray | None           # (c, c) bool, False beyond the edge of the pair
    labels: np.ndarray                   # (c, c) uint8, 255 where not valid
    valid: np.ndarray                    # (c, c) bool


def check_augment(options: AugmentOptions, info: SetInfo) -> None:
    """Refuse speckle where power is not known."""
    if options.speckle_looks is not None and info.sar_unit is Unit.DN:
        raise DataError(f"augment.speckle_looks={options.speckle_looks} on set {info.name} of unit dn: speckle multiplies "
                        "linear power, and digital numbers do not say theirs; leave speckle_looks out or declare the unit")


def draw_geometry(pair: Pair, crop_px: int, options: AugmentOptions, info: SetInfo, rng: np.random.Generator,
                  pixel: tuple[int, int] | None = None) -> Geometry:
    """Any position, of those that hold `pixel` (row, col) where one is given; again, a few times, while the crop holds nearly no labels. EO is not looked at."""
    starts = [(min(0, side - crop_px), max(0, side - crop_px)) for side in pair.labels.shape]
    if pixel is not None:
        starts = [(max(first, at - crop_px + 1), min(last, at)) for (first, last), at in zip(starts, pixel)]
    for _ in range(_TRIES):
        row, col = (int(rng.integers(first, last + 1)) for first, last in starts)
        inside = pair.labels[max(row, 0):row + crop_px, max(col, 0):col + crop_px]
        if np.count_nonzero(inside != NODATA_LABEL) >= _WANTED_SHARE * crop_px ** 2:
            break
    coins = rng.random(len(FLIPS)) < 0.5
    flips = tuple(flip for flip, coin in zip(FLIPS, coins) if coin and flip in options.flips and flip in info.flips)
    down, across = rng.integers(-options.shift_px, options.shift_px + 1, 2)
    return Geometry(row, col, crop_px, flips, (int(down), int(across)))


def cut(pair: Pair, geometry: Geometry) -> Item:
    """The crop a geometry describes; beyond the pair nothing is valid."""
    rows, cols = (start + np.arange(geometry.crop_px) for start in (geometry.row, geometry.col))
    sar, labels, valid = (_turn(_window(plane, geometry.row, geometry.col, geometry.crop_px, fill), geometry.flips)
                          for plane, fill in ((pair.sar, 0), (pair.labels, NODATA_LABEL), (pair.valid, False)))
    eo = seen = None
    if pair.eo is not None:
        height, width = pair.labels.shape
        there = ((rows >= 0) & (rows < height))[:, None] & ((cols >= 0) & (cols < width))
        at_rows, at_cols = np.clip(rows + geometry.shift[0], 0, height - 1), np.clip(cols + geometry.shift[1], 0, width - 1)
        if pair.eo_seen is not None:
            there = there & pair.eo_seen[at_rows[:, None], at_cols]
        eo, seen = _turn(pair.eo[:, at_rows[:, None], at_cols], geometry.flips), _turn(there, geometry.flips)
    return Item(sar, eo, seen, labels, valid)


def speckled(sar: np.ndarray, unit: Unit, looks: float, rng: np.random.Generator) -> np.ndarray:
    """(bands, r, c) float32 with linear power times independent gamma draws of mean 1 and variance 1 / looks; new memory.

    Zero power stays zero. In dB the factor is added as 10 log10 of it, which is the same thing.
    """
    factor = rng.standard_gamma(looks, sar.shape, dtype=np.float32) * np.float32(1 / looks)
    if unit is Unit.INTENSITY:
        return sar * factor
    if unit is Unit.AMPLITUDE:
        return sar * np.sqrt(factor)
    if unit is Unit.DB:
        return sar + np.float32(10) * np.log10(np.maximum(factor, np.float32(1e-30)))
    raise DataError(f"speckle on pixels of unit {unit}: linear power is not known; use intensity, amplitude or db")


def nodata_shape(side_px: int, rng: np.random.Generator) -> np.ndarray:
    """(side, side) bool, True where SAR is taken away: a straight border at any angle, or an elliptic hole."""
    rows, cols = np.mgrid[:side_px, :side_px].astype(np.float32) / side_px - np.float32(0.5)
    angle = rng.uniform(0, 2 * np.pi)
    along, across = rows * np.cos(angle) - cols * np.sin(angle), rows * np.sin(angle) + cols * np.cos(angle)
    if rng.random() < _HOLE_SHARE:
        center, radii = rng.uniform(-0.4, 0.4, 2), rng.uniform(0.02, 0.2, 2)
        return ((along - center[0]) / radii[0]) ** 2 + ((across - center[1]) / radii[1]) ** 2 <= 1
    return along > rng.uniform(0, 0.48)


def without(item: Item, hole: np.ndarray) -> Item:
    """The item with SAR and labels taken away in a hole; EO stays."""
    valid = item.valid & ~hole
    return replace(item, sar=item.sar * valid, labels=np.where(valid, item.labels, NODATA_LABEL).astype(np.uint8), valid=valid)


def _window(plane: np.ndarray, row: int, col: int, side: int, fill: float) -> np.ndarray:
    """(..., side, side) from (row, col), `fill` beyond the plane; a view where nothing is beyond it."""
    rows, cols = plane.shape[-2:]
    if row >= 0 and col >= 0 and row + side <= rows and col + side <= cols:
        return plane[..., row:row + side, col:col + side]
    out = np.full((*plane.shape[:-2], side, side), fill, plane.dtype)
    top, left, bottom, right = max(row, 0), max(col, 0), min(row + side, rows), min(col + side, cols)
    out[..., top - row:bottom - row, left - col:right - col] = plane[..., top:bottom, left:right]
    return out


def _turn(plane: np.ndarray, flips: tuple[str, ...]) -> np.ndarray:
    if "rows" in flips:
        plane = plane[..., ::-1, :]
    if "cols" in flips:
        plane = plane[..., ::-1]
    return np.swapaxes(plane, -1, -2) if "transpose" in flips else plane
