"""A truth to judge maps by, in the class numbers of an engine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hfd_edge.errors import RasterError
from hfd_edge.forks import no_fork
from hfd_edge.raster.georeference import GeoReference
from hfd_edge.raster.guard import RasterLimits
from hfd_edge.raster.source import RasterSource
from hfd_edge.spec import NODATA_LABEL

NAMES_TAG = "HFD_CLASSES"          # of every map that we write
_STRIP_ROWS = 512


class TruthSource(RasterSource):
    """One band of uint8 class numbers, read as the engine's; 255, and what the file marks as nodata, is not known.

    Where the file names its classes (the tag HFD_CLASSES of our maps and of simulated truths), a class is the engine's of that
    name, whatever its number. Else numbers are the engine's.
    """

    def __init__(self, path: str | Path, classes: Sequence[str], limits: RasterLimits = RasterLimits()) -> None:
        """Open it.

        Args:
            classes: of the engine, in the order of its numbers.
        Raises:
            RasterError: it cannot be opened, is not one band of uint8, its tag HFD_CLASSES is no list of names, or its nodata value is the
                number of a class.
        """
        super().__init__(path, limits=limits)
        try:
            self._classes, self._path = tuple(classes), path
            if self.count != 1 or self.dtype != np.uint8:
                raise RasterError(f"{path} has {self.count} band(s) of {self.dtype}: a truth is one band of uint8 class numbers, "
                                  f"{NODATA_LABEL} = not known; {_way_to_bytes(self.count, self.dtype, self.nodata)}")
            with no_fork():
                tag = self._layers[0].dataset.tags().get(NAMES_TAG)
            self.class_names = _names(path, tag)
            self._numbers = _numbers(self.class_names, self._classes)
            self._check_nodata()
        except BaseException:
            self.close()
            raise

    def check_place(self, size: tuple[int, int], geo: GeoReference, scene: str) -> None:
        """Raise RasterError where it is not on the grid of a scene of `size` (rows, cols): of another size, or half a pixel off and more.

        Places are compared where both have a transform, in the scene's coordinate system where both name one.
        """
        if (self.rows, self.cols) != size:
            raise RasterError(f"{self._path} has {self.rows} x {self.cols} pixels and {scene} {size[0]} x {size[1]}: a truth and its scene must "
                              "lie on one grid; resample it with gdalwarp -r near")
        apart = geo.another_place(self.geo, *size)
        if apart is not None:
            ends = f" ({geo.crs} and {self.geo.crs})" if geo.crs != self.geo.crs else ""
            raise RasterError(f"{self._path} and {scene} have one size but lie on different places, {apart} apart by their georeferences{ends}; "
                              "half a pixel and more is another grid: resample it with gdalwarp -r near, or correct the georeference that is wrong")

    def check(self) -> None:
        """Read all of it. Raises RasterError where a label is none of the engine's classes."""
        for row in range(0, self.rows, _STRIP_ROWS):
            self.read(row, min(_STRIP_ROWS, self.rows - row))

    def read_into(self, values: np.ndarray, row: int, col: int) -> np.ndarray | None:
        """As a RasterSource, in the engine's numbers. Raises RasterError where a label is none of its classes."""
        valid = super().read_into(values, row, col)
        if valid is not None:
            values[0][~valid] = NODATA_LABEL
        numbers = self._numbers[values[0]]
        if (numbers < 0).any():
            raise RasterError(self._no_class(int(values[0][numbers < 0].min())))
        values[0] = numbers
        return valid

    def _check_nodata(self) -> None:
        """Without its pixels a class would have no IoU, and what is taken for another class there would not count."""
        for value in self.nodata:
            if value in range(NODATA_LABEL) and self._numbers[int(value)] >= 0:
                name = self._classes[self._numbers[int(value)]]
                raise RasterError(f"{self._path} says that {value:g} is its nodata value, and {value:g} is the number of the engine's class {name}: where "
                                  f"it means {name}, take the tag off (gdal_edit.py -unsetnodata); where nothing is known, write {NODATA_LABEL} there; or "
                                  f"name the file's classes, as a JSON list, in its tag {NAMES_TAG}, and they are matched by name")

    def _no_class(self, label: int) -> str:
        named = self.class_names is not None
        name = "" if not named else f" ({self.class_names[label]})" if label < len(self.class_names) else " (without a name)"
        legend = ", ".join(f"{number} {name}" for number, name in enumerate(self._classes))
        way = (f"; where the numbers do mean the same, take the tag {NAMES_TAG} off the file, whose names count now" if named else
               f"; or name the file's classes, as a JSON list, in its tag {NAMES_TAG}, and they are matched by name")
        return (f"{self._path} holds label {label}{name}, and the engine's classes are {legend}: what the engine does not know cannot be "
                f"judged; translate the labels to these numbers, {NODATA_LABEL} = not known{way}")


def _way_to_bytes(bands: int, dtype: np.dtype, nodata: tuple[float, ...]) -> str:
    """In GDAL's words. Its plain conversion makes NaN and what is below 0 a 0, which is a class: unknown pixels must not come to that."""
    if bands > 1:
        return "take the band of the classes out with gdal_translate -b NUMBER"
    beyond = [value for value in nodata if value not in range(NODATA_LABEL + 1)]
    if not beyond and dtype.kind != "f":
        return f"where all pixels are from 0 to {NODATA_LABEL}, gdal_translate -ot Byte keeps them"
    unknown = f"{beyond[0]:g}" if beyond else "nan"
    return (f"where all pixels but those of nodata ({unknown}) are whole numbers from 0 to {NODATA_LABEL - 1}, gdalwarp -ot Byte -srcnodata {unknown} "
            f"-dstnodata {NODATA_LABEL} keeps them and makes nodata {NODATA_LABEL}")


def _names(path: str | Path, tag: str | None) -> tuple[str, ...] | None:
    if tag is None:
        return None
    try:
        names = json.loads(tag)
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or not 0 < len(names) <= NODATA_LABEL:
        raise RasterError(f"{path}: its tag {NAMES_TAG} is {tag[:60]!r}: it must be a JSON list of the classes' names in the order of their "
                          "numbers; write it so, or take it off")
    return tuple(names)


def _numbers(names: tuple[str, ...] | None, classes: tuple[str, ...]) -> np.ndarray:
    """(256,) int16: the engine's number of each label; -1 = it has none."""
    table = np.full(256, -1, np.int16)
    table[NODATA_LABEL] = NODATA_LABEL
    if names is None:
        table[:len(classes)] = range(len(classes))
        return table
    known = {name: number for number, name in enumerate(classes)}
    table[:len(names)] = [known.get(name, -1) for name in names]
    return table
