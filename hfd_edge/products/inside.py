"""Files that a product's XML names: taken from inside the product's folder only."""

from __future__ import annotations

import os
from pathlib import Path

from hfd_edge.errors import RasterError


def named_file(xml: Path, folder: Path, name: str, beside: str = ".") -> Path:
    """The file that `xml` names, in `beside` its own place; one outside the product's folder is refused, whether it exists or not.

    Raises RasterError.
    """
    name = name.strip().replace("\\", "/")
    file = Path(os.path.normpath(xml.parent / beside / name))
    if not name or len(name) > 255 or "\0" in name or ":" in name or Path(name).is_absolute() or not resolved(file).is_relative_to(folder.resolve()):
        raise RasterError(f"{xml} names {name!r}, which is no file in {folder}: a product is read from its own folder only; copy or download the product "
                          "again")
    if not file.is_file():
        raise RasterError(f"{file} is missing: {xml.name} names it; unpack the product again")
    return file


def resolved(file: Path) -> Path:
    """The path without links; the root of the file system, which lies in no folder, where links lead in a circle."""
    try:
        return file.resolve()
    except (OSError, RuntimeError):
        return Path(file.anchor or "/")
