"""What all readers of files share: finding files, reading pixels, and saying what was looked for and what was found."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hfd_edge.errors import HfdError
from hfd_edge.raster.guard import RasterLimits, open_raster
from hfd_edge.spec import NODATA_LABEL
from training.pairs import SPLITS, DataError, Pair, SetInfo, check_split

OPENING = threading.Lock()              # opening silences a warning, which Python does for all threads at once
LIMITS = RasterLimits()
_SHOWN = 5
_FIVE = ("train", "train", "select", "train", "test")     # of five neighbouring blocks


@dataclass(frozen=True, slots=True)
class Window:
    """A part of an image, in pixels."""

    row: int
    col: int
    rows: int
    cols: int


class FileSet(ABC):
    """A set whose names and splits are known when it is opened; a reader adds `_load`."""

    info: SetInfo
    notes: tuple[str, ...] = ()          # what whoever trains on it should know
    _files: Mapping[str, Path] = {}      # by name: on whose grid the pixels of a pair lie, of a set whose pairs are neither cut nor turned

    def __init__(self, info: SetInfo, splits: Mapping[str, str]) -> None:
        """`splits`: split of each name, in the order in which names are given out; "" = in none."""
        self.info, self._known = info, dict(splits)
        self._names = {split: tuple(name for name, own in splits.items() if own == split) for split in SPLITS}

    def names(self, split: str) -> tuple[str, ...]:
        return self._names[check_split(split)]

    def read(self, name: str, eo: bool = True) -> Pair:
        if name not in self._known:
            raise DataError(f"set {self.info.name}: pair {name!r} does not exist; names(split) gives those there are")
        return self._load(name, eo)

    def placed_file(self, name: str) -> Path | None:
        """The file on whose grid the pixels of a pair of a known name lie, from corner to corner; None where a pair is cut or turned, or no file says."""
        return self._files.get(name)

    @abstractmethod
    def _load(self, name: str, eo: bool) -> Pair:
        """One pair of a known name."""


def read_image(path: Path, window: Window | None = None) -> np.ndarray:
    """(bands, rows, cols) as stored: GeoTIFF, PNG, JPEG, JPEG 2000 or .npy (one band: (rows, cols) will do).

    Raises:
        DataError: missing, damaged, or not an image, with the file's name.
    """
    if path.suffix.lower() == ".npy":
        return _read_array(path, window)
    part = None if window is None else ((window.row, window.row + window.rows), (window.col, window.col + window.cols))
    try:
        with _opened(path) as dataset:
            return dataset.read(window=part)
    except (HfdError, OSError, ValueError) as error:
        raise DataError(f"{path}: {' '.join(str(error).split())}") from error


def image_frame(path: Path) -> tuple[tuple[int, int], tuple[float, ...], str | None, float | None]:
    """(rows, cols), geotransform (west edge first), CRS and nodata value of an image file, without its pixels."""
    if path.suffix.lower() == ".npy":
        return mapped_array(path).shape[-2:], (0.0, 1.0, 0.0, 0.0, 0.0, 1.0), None, None
    try:
        with _opened(path) as dataset:
            crs = dataset.crs.to_string() if dataset.crs else None
            return (dataset.height, dataset.width), dataset.transform.to_gdal(), crs, dataset.nodata
    except (HfdError, OSError, ValueError) as error:
        raise DataError(f"{path}: {' '.join(str(error).split())}") from error


@dataclass(frozen=True, slots=True)
class Plane:
    """One file, or several whose bands follow each other, of a pair, and how many bands they must have."""

    what: str                            # for errors: sar, label, ...
    paths: tuple[Path, ...]
    bands: int


def read_planes(name: str, planes: Sequence[Plane | None], window: Window | None = None) -> list[np.ndarray | None]:
    """(bands, r, c) of each plane of a pair, as stored; None for None, an optical image that is not asked for.

    Raises:
        DataError: a file is missing or damaged, sizes differ, or the bands are not as many as declared.
    """
    asked = [plane for plane in planes if plane is not None]
    images = [np.concatenate([read_image(partner(path, name), window) for path in plane.paths]) for plane in asked]
    if len({image.shape[-2:] for image in images}) > 1:
        sizes = ", ".join(f"{plane.what} {image.shape[-2]} x {image.shape[-1]}" for plane, image in zip(asked, images))
        raise DataError(f"pair {name}: sizes differ ({sizes}); all must lie on one grid; resample them to it first")
    for plane, image in zip(asked, images):
        if len(image) != plane.bands:
            raise DataError(f"pair {name}: {plane.what} has {len(image)} bands, {plane.bands} are declared; correct the set")
    rest = iter(images)
    return [None if plane is None else next(rest) for plane in planes]


def recode(name: str, stored: np.ndarray, codes: Mapping[int, int], known: np.ndarray | None = None) -> np.ndarray:
    """(r, c) integer codes as stored to uint8 classes; `codes` names every code there may be, 255 = ignored.

    Args:
        known: (r, c) bool, False where the file itself says that its code means nothing; None = everywhere.
    Raises:
        DataError: a code that is not named: a silent class would spoil every number afterwards.
    """
    if known is not None:
        labels = np.full(stored.shape, NODATA_LABEL, np.uint8)
        labels[known] = recode(name, stored[known], codes)
        return labels
    if not np.issubdtype(stored.dtype, np.integer):
        whole = np.rint(stored)
        if not np.array_equal(whole, stored):
            found = "NaN" if np.isnan(stored).any() else f"fractions, e.g. {stored[whole != stored][0]:g}"
            raise DataError(f"pair {name}: labels are {stored.dtype} with {found}; labels are whole codes: write integers, with a code to be ignored where "
                            "nothing is known; resample them with -r near")
        stored = whole.astype(np.int64)
    low, high = min(codes), max(codes)
    table = np.full(high - low + 2, -1, np.int16)                # the last entry is every code outside low..high
    for code, target in codes.items():
        table[code - low] = target
    inside = (stored >= low) & (stored <= high)
    found = table[np.where(inside, stored.astype(np.int64) - low, high - low + 1)]
    if found.min(initial=0) < 0:
        unknown = np.unique(stored[found < 0])[:_SHOWN].tolist()
        raise DataError(f"pair {name}: label codes {unknown} are not known; known are {sorted(codes)}; add them to the codes "
                        "or ignore them; where JPEG or an interpolation made them, write PNG or TIFF, and resample labels with -r near")
    return found.astype(np.uint8)


def find_files(layout: str, folder: Path, pattern: str) -> list[Path]:
    """The files below `folder` that fit `pattern`, sorted by name.

    Raises:
        DataError: the folder is missing or nothing fits; it says what was looked for and what is there.
    """
    if not folder.is_dir():
        raise DataError(f"layout {layout}: looked for the folder {folder}, which is not there; {_what_is_in(folder.parent)}")
    found = sorted(path for path in folder.glob(pattern) if path.is_file())
    if not found:
        raise DataError(f"layout {layout}: looked for {pattern} in {folder} and found none; {_what_is_in(folder)}")
    return found


def one_folder(layout: str, root: Path, names: Sequence[str]) -> Path:
    """The first of some folders that is there."""
    for name in names:
        if (root / name).is_dir():
            return root / name
    raise DataError(f"layout {layout}: looked for a folder {' or '.join(names)} in {root} and found none; {_what_is_in(root)}")


def partner(path: Path, name: str) -> Path:
    """`path`, if it is a file: the part of pair `name` that belongs to the parts found before."""
    if not path.is_file():
        raise DataError(f"pair {name}: {path} is missing; every pair needs all of its files: restore it, or remove the others")
    return path


def split_in_fives(groups: Iterable) -> dict:
    """Every fifth block of neighbours to test, every fifth to select, the others to train; in the groups' sorted order."""
    return {group: _FIVE[i % 5] for i, group in enumerate(sorted(set(groups)))}


def read_lists(files: Mapping[str, Path]) -> dict[str, list[str]]:
    """The first column of one text or CSV file per split."""
    lists = {}
    for split, path in files.items():
        lines = [line.split(",")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
        lists[split] = [line for line in lines if line]
    return lists


def _opened(path: Path) -> Any:
    with OPENING:
        return open_raster(path, LIMITS)


def mapped_array(path: Path) -> np.ndarray:
    """(bands, rows, cols) of a .npy file without reading its pixels."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a numpy array that can be read ({error}); save it with numpy.save") from error
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3:
        raise DataError(f"{path}: array of shape {array.shape}; an image is (bands, rows, cols) or (rows, cols)")
    return array


def _read_array(path: Path, window: Window | None) -> np.ndarray:
    array = mapped_array(path)
    if window is not None:
        array = array[:, window.row:window.row + window.rows, window.col:window.col + window.cols]
    return np.array(array)


def _what_is_in(folder: Path) -> str:
    """The first few names of a folder, for an error."""
    if not folder.is_dir():
        return f"{folder} is not a folder"
    names = sorted(path.name + ("/" if path.is_dir() else "") for path in folder.iterdir())
    if not names:
        return f"{folder} is empty"
    return f"{folder} holds {', '.join(names[:_SHOWN])}{f' and {len(names) - _SHOWN} more' if len(names) > _SHOWN else ''}"
