"""Pairs of different splits that lie on the same ground: what was learnt of one is known of the other, and figures come out too good."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rasterio.transform import Affine

from training.layouts.files import image_frame
from training.pairs import SPLITS, DataError

_MARGIN_PX = 1.0                        # tiles that are cut side by side may share an edge


@dataclass(frozen=True, slots=True)
class Ground:
    """Where the pixels of a pair lie. Without a coordinate system or transform nobody knows."""

    crs: str | None
    transform: Affine | None             # columns and rows to coordinates in `crs`; the identity is none
    size: tuple[int, int]                # rows, cols

    @classmethod
    def of_file(cls, path: Path) -> Ground:
        """Of an image file; its pixels are not read."""
        size, transform, crs, _ = image_frame(path)
        return cls(crs, Affine.from_gdal(*transform), size)

    @property
    def system(self) -> str | None:
        known = self.transform is not None and not self.transform.is_identity and not self.transform.is_degenerate
        return self.crs if known else None

    @property
    def corners(self) -> np.ndarray:
        """(4, 2) float64, x and y."""
        t, (rows, cols) = self.transform, self.size
        return np.array([(t.c + t.a * col + t.b * row, t.f + t.d * col + t.e * row) for row in (0, rows) for col in (0, cols)])


def apart(rule: str, grounds: Mapping[str, Ground], splits: dict[str, str], as_given: bool = False) -> tuple[dict[str, str], tuple[str, ...]]:
    """The splits without pairs that lie on ground of another split, and what is to be said of them.

    Args:
        rule: by which the set is split, for words.
        splits: split of each name, "" = in none; all others have a ground.
        as_given: the splits are somebody's lists: they stay as they are, with a warning.
    Raises:
        DataError: no pair would be left of one split.
    """
    used = {name: split for name, split in splits.items() if split}
    found = shared(grounds, used)
    if not found:
        return splits, ()
    counts = [f"{len(lost)} of {sum(own == split for own in used.values())} pairs of {split}"
              for split in ("train", "select") if (lost := [name for name in found if used[name] == split])]
    one, other = next(iter(found.items()))
    what = f"{' and '.join(counts)} lie on ground of pairs that judge (e.g. {one} on that of {other}, which is in {used[other]})"
    if as_given:
        return splits, (f"warning: {what}: figures will be too good; take them out of the lists",)
    if len({split for name, split in used.items() if name not in found}) < len(SPLITS):
        raise DataError(f"{rule}: {what}, and no pair would be left of one split; cut the tiles without overlap, make the blocks larger, or give lists")
    return {name: "" if name in found else split for name, split in splits.items()}, (
        f"{rule}: {what}; these are left out, as figures would be too good; larger blocks, or tiles without overlap, leave more",)


def shared(grounds: Mapping[str, Ground], splits: Mapping[str, str]) -> dict[str, str]:
    """Pairs of train that share more than an edge with one of select or test, and pairs of select with one of test: name to the first such pair.

    Pairs are compared where they lie in one coordinate system, by their corners. A pair of select that is found is no reason to find one of train.
    """
    found: dict[str, str] = {}
    for split, kept_apart in (("select", ("test",)), ("train", ("test", "select"))):
        by_system: dict[str, list[str]] = {}
        for name, own in splits.items():
            if own == split and (system := grounds[name].system) is not None:
                by_system.setdefault(system, []).append(name)
        corners = {system: np.stack([grounds[name].corners for name in names]) for system, names in by_system.items()}
        for other, own in splits.items():
            system = grounds[other].system if own in kept_apart and other not in found else None
            if system in corners:
                for number in _meeting(corners[system], grounds[other]):
                    found.setdefault(by_system[system][number], other)
    return found


def _meeting(corners: np.ndarray, ground: Ground) -> np.ndarray:
    """Which of (n, 4, 2) corners meet a ground, seen in its own rows and columns: turned tiles beside each other do not."""
    low, high = ground.corners.min(axis=0), ground.corners.max(axis=0)
    near = np.flatnonzero(((corners.min(axis=1) < high) & (corners.max(axis=1) > low)).all(axis=1))
    back = ~ground.transform
    x, y = corners[near, :, 0], corners[near, :, 1]
    places = np.stack([back.d * x + back.e * y + back.f, back.a * x + back.b * y + back.c], axis=-1)
    both = np.minimum(places.max(axis=1), ground.size) - np.maximum(places.min(axis=1), 0)
    return near[(both > _MARGIN_PX).all(axis=1)]
