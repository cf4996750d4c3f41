"""The files of the layout `folder`: which file belongs to which place."""

from __future__ import annotations

from pathlib import Path

from training.layouts.files import find_files
from training.pairs import DataError

SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".jp2", ".npy")


def stem_key(stem: str) -> str:
    """What two stems of one place share: they differ in upper and lower case at most."""
    return stem.casefold()


def files_by_stem(folder: Path) -> dict[str, Path]:
    """The images of a folder by `stem_key`, in the order of their names; suffixes in any case, dot files are no data.

    Raises:
        DataError: the folder is missing or holds no image, or two files have one stem.
    """
    found: dict[str, Path] = {}
    for path in find_files("folder", folder, "*"):
        if path.name.startswith(".") or path.suffix.lower() not in SUFFIXES:
            continue
        other = found.setdefault(stem_key(path.stem), path)
        if other is not path:
            raise DataError(f"{other} and {path.name} have one stem (upper and lower case count as one): a place has one file in "
                            f"{folder.name}/; remove one")
    if not found:
        raise DataError(f"layout folder: no file of {folder} ends in {', '.join(SUFFIXES)}; convert them")
    return found
