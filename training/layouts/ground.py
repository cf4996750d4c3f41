"""Pairs of different splits that lie on the same ground: what was learnt of one is known of the other, and figures come out too good."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hfd_edge.raster import GeoReference

_MARGIN_PX = 1.0                        # tiles that are cut side by side may share an edge


@dataclass(frozen=True, slots=True)
class Ground:
    """Where the pixels of a pair lie. Without a coordinate system or transform nobody knows."""

    geo: GeoReference
    size: tuple[int, int]                # rows, cols

    @property
    def system(self) -> str | None:
        known = self.geo.crs is not None and self.geo.transform is not None and not self.geo.transform.is_degenerate
        return self.geo.crs.to_string() if known else None

    @property
    def corners(self) -> np.ndarray:
        """(4, 2) float64, x and y."""
        t, (rows, cols) = self.geo.transform, self.size
        return np.array([(t.c + t.a * col + t.b * row, t.f + t.d * col + t.e * row) for row in (0, rows) for col in (0, cols)])


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
    back = ~ground.geo.transform
    x, y = corners[near, :, 0], corners[near, :, 1]
    places = np.stack([back.d * x + back.e * y + back.f, back.a * x + back.b * y + back.c], axis=-1)
    both = np.minimum(places.max(axis=1), ground.size) - np.maximum(places.min(axis=1), 0)
    return near[(both > _MARGIN_PX).all(axis=1)]
