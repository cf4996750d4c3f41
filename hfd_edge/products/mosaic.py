"""Files that are one scene because they lie side by side, as a caller names them: `hfd_edge.Mosaic`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hfd_edge.errors import RasterError
from hfd_edge.products import alos, rtc
from hfd_edge.raster.mosaic_grid import mosaic_name

_SUFFIXES = (".tif", ".tiff")       # of a folder: pictures of it lie there as .png and .jpg


@dataclass(frozen=True, slots=True, init=False)
class Mosaic:
    """Tiles of one scene, on one grid, to be given wherever a raster is: `seg.run_raster(hfd_edge.Mosaic("tiles"), "map.tif")`.

    Files of one place and size hold the bands of one tile. Where tiles overlap, the first one that has a valid pixel counts.
    Iterates over its files.
    """

    files: tuple[Path, ...]

    def __init__(self, files: str | Path | Iterable[str | Path]) -> None:
        """Name the files; none is opened yet.

        Args:
            files: rasters, and folders, which stand for the .tif and .tiff files in them, by name, without hidden ones, the masks and angles of HyP3
                and ALOS products and the masks of OPERA RTC-S1.
        Raises:
            RasterError: no file is named, one is named twice, or a folder holds none.
        """
        given = list(files) if isinstance(files, Iterable) and not isinstance(files, str) else [files]
        for each in given:
            if not isinstance(each, (str, os.PathLike)):
                raise RasterError(f"Mosaic({str(given)[:100]}): {each!r} is no path; give a folder, or a list of files")
            if not os.fspath(each):
                raise RasterError("Mosaic(''): an empty name would be the folder that you are in; name the folder, or '.' for this one")
        found = tuple(path for each in given for path in _of(Path(each)))
        if not found:
            raise RasterError("a mosaic of no files: name its tiles, or a folder of them")
        there: dict[Path, Path] = {}
        for path in found:
            if there.setdefault(path.resolve(), path) is not path:
                also = there[path.resolve()]
                raise RasterError(f"{path} is given twice{'' if also == path else f', also as {also}'}: a mosaic has each file once; leave one out")
        object.__setattr__(self, "files", found)

    @property
    def name(self) -> str:
        """What reports call it."""
        return mosaic_name(self.files)

    def __iter__(self) -> Iterator[Path]:
        return iter(self.files)


def _of(path: Path) -> list[Path]:
    try:
        if not path.is_dir():
            return [path]
        found = sorted(each for each in path.iterdir() if each.suffix.lower() in _SUFFIXES and not each.name.startswith("."))
    except OSError as error:
        raise RasterError(f"{path} cannot be read: {error.strerror}; check its permissions, and those of the folders above") from error
    tiles = [each for each in found if not alos.is_beside(each) and not rtc.is_beside(each)]
    if not tiles:
        raise RasterError(f"{path} holds no tiles: a folder stands for the {' and '.join(_SUFFIXES)} files right in it; name the files, or the folder they are in")
    return tiles
