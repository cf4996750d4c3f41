"""One place seen by both sensors, and what a set of such pairs says of itself. Readers: training/layouts, a file each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hfd_edge.errors import HfdError
from hfd_edge.spec import MAX_CLASSES, NODATA_LABEL, Unit

SPLITS = ("train", "select", "test")
FLIPS = ("rows", "cols", "transpose")


class DataError(HfdError, ValueError):
    """A data set is not what its layout says, or a file of it cannot be used."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One place seen by both sensors. All planes have the same rows and cols; nothing is normalised."""

    name: str                            # stable within its set
    sar: np.ndarray                      # (bands, rows, cols) float32 in the set's sar_unit; finite, 0 where not valid
    eo: np.ndarray | None                # (eo bands, rows, cols) float32, reflectance or DN, finite; None = no optical image
    labels: np.ndarray                   # (rows, cols) uint8, 255 = ignored
    valid: np.ndarray                    # (rows, cols) bool, a SAR measurement exists
    eo_seen: np.ndarray | None = None    # (rows, cols) bool, an optical one exists; None = everywhere where there is an `eo`

    def __post_init__(self) -> None:
        planes = {"sar": (self.sar, np.float32, 3), "labels": (self.labels, np.uint8, 2), "valid": (self.valid, np.bool_, 2)}
        if self.eo is not None:
            planes["eo"] = (self.eo, np.float32, 3)
        if self.eo_seen is not None:
            planes["eo_seen"] = (self.eo_seen, np.bool_, 2)
        for name, (plane, dtype, axes) in planes.items():
            if plane.dtype != dtype or plane.ndim != axes or plane.shape[-2:] != self.labels.shape:
                raise DataError(f"pair {self.name}: {name} is {plane.dtype} of shape {plane.shape}; it must be "
                                f"{np.dtype(dtype)} with {axes} axes and the labels' size {self.labels.shape}; repair the reader of this layout")

    @property
    def eo_labels(self) -> np.ndarray:
        """(rows, cols) uint8: what a network that needs EO may be taught and asked; 255 where there is no optical image."""
        seen = self.eo is not None if self.eo_seen is None else self.eo_seen
        return np.where(seen, self.labels, np.uint8(NODATA_LABEL))

    @property
    def nbytes(self) -> int:
        return sum(plane.nbytes for plane in (self.sar, self.eo, self.labels, self.valid, self.eo_seen) if plane is not None)


@dataclass(frozen=True, slots=True)
class SetInfo:
    """What is the same for all pairs of a set."""

    name: str
    bands: tuple[str, ...]
    eo_bands: tuple[str, ...]
    classes: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    sar_unit: Unit                       # INTENSITY, AMPLITUDE, DB or DN
    quantity: str                        # sigma0, gamma0, beta0 or dn
    looks: float | None                  # equivalent number of looks; None = not known
    pixel_spacing_m: float | None
    flips: tuple[str, ...]               # allowed of FLIPS; () where the look direction forbids all

    def __post_init__(self) -> None:
        object.__setattr__(self, "sar_unit", Unit(self.sar_unit))
        if self.sar_unit is Unit.COMPLEX:
            raise DataError(f"set {self.name}: sar_unit=complex; a pair holds real numbers, its reader makes |z|^2 of them")
        if not self.bands or not 2 <= len(self.classes) <= MAX_CLASSES or len(self.colors) != len(self.classes):
            raise DataError(f"set {self.name}: {len(self.bands)} SAR bands, {len(self.classes)} classes, {len(self.colors)} "
                            f"colors; at least one band, 2 to {MAX_CLASSES} classes and one color per class are needed")
        unknown = [flip for flip in self.flips if flip not in FLIPS]
        if unknown:
            raise DataError(f"set {self.name}: flips {unknown} are not known; use some of {', '.join(FLIPS)}, or none")


class PairSet(Protocol):
    """A data set: names by split and a reader. `read` may be called by several threads at once."""

    info: SetInfo

    def names(self, split: str) -> tuple[str, ...]:
        """The pairs of "train", "select" or "test"; splits are blocks of ground, never random.

        Raises:
            DataError: the split has another name.
        """
        ...

    def read(self, name: str, eo: bool = True) -> Pair:
        """One pair; `eo=False` spares the optical image, everything else is the same.

        Raises:
            DataError: a file is missing or damaged, with its name and the rule it breaks.
        """
        ...


def check_split(split: str) -> str:
    """`split`, if it is one."""
    if split not in SPLITS:
        raise DataError(f"split={split!r} is not known; use one of {', '.join(SPLITS)}")
    return split


def pair_of(name: str, sar: np.ndarray, eo: np.ndarray | None, labels: np.ndarray, valid: np.ndarray,
            eo_seen: np.ndarray | None = None) -> Pair:
    """A pair of planes as read: what is not finite in SAR becomes invalid, in EO not seen; invalid SAR is 0 and its label ignored.

    An optical image that is seen nowhere is none. Where it is not seen it holds its band's mean, which says least of all numbers.

    Args:
        sar: (bands, rows, cols) of any real type. valid, eo_seen: (rows, cols) bool, what the layout itself knows of nodata.
    """
    sar = np.array(sar, np.float32)
    valid = valid & np.isfinite(sar).all(axis=0)
    sar[:, ~valid] = 0
    labels = np.where(valid, labels, NODATA_LABEL).astype(np.uint8)
    eo, eo_seen = (None, None) if eo is None else _seen(np.asarray(eo, np.float32), eo_seen)
    return Pair(name, sar, eo, labels, valid, eo_seen)


def _seen(eo: np.ndarray, seen: np.ndarray | None) -> tuple[np.ndarray | None, np.ndarray | None]:
    """(eo, None) if every pixel is seen, (None, None) if none is, else (eo with means where it is not seen, the plane)."""
    finite = np.isfinite(eo).all(axis=0)
    seen = finite if seen is None else finite & seen
    if seen.all() or not seen.any():
        return (eo if seen.any() else None), None
    mean = eo[:, seen].mean(axis=1, dtype=np.float64).astype(np.float32)
    return np.where(seen, eo, mean[:, None, None]), seen
