"""HDF5 files from strangers, through h5py (optional extras `nisar` and `cosmo`): only what lies in the file itself, packed by known filters, checked first."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hfd_edge.errors import RasterError
from hfd_edge.forks import no_fork
from hfd_edge.raster.guard import CONVERT_ONE, RasterLimits, local_file
from hfd_edge.raster.opened import OpenScene, printable, refused

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_FILTERS = (1, 2, 3)                # gzip, shuffle, fletcher32: any other could be a plug-in, which is native code from elsewhere
_LONGEST_TEXT = 4096
_LONGEST_AXIS = 1 << 20
_TALLEST_CHUNK, _PIECE_ROWS = 1024, 256
_AGAIN = "copy or download it again"


def is_hdf5(path: str | Path) -> bool:
    """Whether a file begins as HDF5 does (and netCDF-4, which is that)."""
    path = Path(path)
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_SIGNATURE)) == _SIGNATURE


class Hdf5File:
    """An open file whose objects are found by their whole path. Groups and datasets are h5py's own; close() lets go of all of them."""

    def __init__(self, path: str | Path, limits: RasterLimits) -> None:
        """Raises RasterError: h5py is missing or does not load, or the file is damaged."""
        self.path, self._limits = local_file(path), limits
        try:
            import h5py
        except (ImportError, ValueError) as error:              # ValueError: built for another numpy
            raise RasterError(f"{self.path} is HDF5: NISAR GCOV and COSMO-SkyMed are read through h5py, which is not installed or does not load "
                              f"({printable(error)}): pip install -U 'hfd-edge[nisar]' (or 'hfd-edge[cosmo]', which is the same); of other HDF5 and "
                              f"netCDF, {CONVERT_ONE}") from error
        self._h5py = h5py
        with refused(self.path, "HDF5"):
            self._file = h5py.File(self.path, "r")

    def close(self) -> None:
        self._file.close()

    def find(self, where: str) -> Any:
        """The group or dataset at a path such as "/science/LSAR" ("/": the file's own group); None where there is none. Links are refused, never followed."""
        here = self._file
        for name in filter(None, where.split("/")):
            if not isinstance(here, self._h5py.Group) or not here.id.links.exists(name.encode()):
                return None
            if here.id.links.get_info(name.encode()).type != self._h5py.h5l.TYPE_HARD:
                raise RasterError(f"{self.path}: {name} of {where} is a link, which could lead to any other file: products have none; {_AGAIN}, or "
                                  "copy it with h5repack, which puts what is meant in its place")
            here = here[name]
        return here

    def names(self, where: str) -> tuple[str, ...]:
        """What a group holds; () where there is none."""
        group = self.find(where)
        return tuple(map(printable, group)) if isinstance(group, self._h5py.Group) else ()

    def text(self, where: str) -> str | None:
        """A single text, number or flag as printable text in one line; None where there is none."""
        if (item := self._dataset(where)) is None:
            return None
        if item.size != 1 or item.dtype.itemsize > _LONGEST_TEXT:
            raise RasterError(f"{self.path}: {where} has the shape {item.shape} of {printable(item.dtype)}: it must be a single short value; {_AGAIN}")
        value = np.asarray(item[()]).ravel()[0]
        return printable(value.decode("utf-8", "replace") if isinstance(value, bytes) else value)

    def axis(self, where: str) -> np.ndarray:
        """A row of numbers as float64, (n,)."""
        item = self._dataset(where)
        if item is None or item.ndim != 1 or item.dtype.kind not in "fiu" or not 2 <= item.size <= _LONGEST_AXIS:
            shape = "not there" if item is None else f"{item.shape} of {printable(item.dtype)}"
            raise RasterError(f"{self.path}: {where} is {shape}: 2 to {_LONGEST_AXIS} numbers in a row are needed; {_AGAIN}")
        return item[()].astype(np.float64)

    def attribute_text(self, where: str, name: str) -> str | None:
        """An attribute of a group or dataset that is one text, printable and in one line; None where there is none."""
        value = self._attribute(where, name, 1)
        if value is None:
            return None
        text = value[0].decode("utf-8", "replace") if isinstance(value[0], bytes) else value[0]
        if not isinstance(text, str):
            raise RasterError(f"{self.path}: the attribute {name!r} of {where} is {printable(text)} ({printable(value.dtype)}): a text is needed; {_AGAIN}")
        return printable(text)

    def attribute_numbers(self, where: str, name: str, count: int) -> tuple[float, ...] | None:
        """An attribute of `count` numbers, in any shape; NaN and infinity are among them. None where there is none."""
        value = self._attribute(where, name, count)
        if value is not None and value.dtype.kind not in "fiu":
            raise RasterError(f"{self.path}: the attribute {name!r} of {where} holds {printable(value.dtype)}: {count} number(s) are needed; {_AGAIN}")
        return None if value is None else tuple(map(float, value))

    def _attribute(self, where: str, name: str, count: int) -> np.ndarray | None:
        """(count,) as stored; its claims are looked at before it is read."""
        item, key = self.find(where), name.encode()
        if item is None or not self._h5py.h5a.exists(item.id, key):
            return None
        held = self._h5py.h5a.open(item.id, key)
        shape, dtype = held.shape, held.dtype
        if shape is None or int(np.prod(shape, dtype=object)) != count or dtype.itemsize > _LONGEST_TEXT or dtype.kind not in "fiubSO":
            raise RasterError(f"{self.path}: the attribute {name!r} of {where} has the shape {shape} of {printable(dtype)}: {count} text(s) or number(s) "
                              f"are needed; {_AGAIN}")
        return np.asarray(item.attrs[name]).reshape(count)

    def raster(self, where: str, kinds: str) -> Any:
        """An image of two dimensions whose dtype is one of the numpy `kinds`, within the limits; None where there is none."""
        if (item := self._dataset(where)) is None:
            return None
        if item.ndim != 2 or item.dtype.kind not in kinds:
            raise RasterError(f"{self.path}: {where} has the shape {item.shape} of {printable(item.dtype)}: an image of real numbers is needed; {_AGAIN}")
        claim, limits = f"{self.path}: {where} claims {item.shape[0]} x {item.shape[1]} pixels", self._limits
        if item.size > limits.pixels:
            raise RasterError(f"{claim}: more than the limit of {limits.pixels}; raise RasterLimits.pixels (RasterOptions(limits=...)) if it is sound")
        block = int(np.prod(item.chunks or (1, item.shape[1]), dtype=object)) * item.dtype.itemsize
        if block > limits.block_bytes:
            raise RasterError(f"{claim} in chunks of {block} bytes: more than the limit of {limits.block_bytes}, and a chunk is decoded at once; "
                              "rewrite it with h5repack -l CHUNK=512x512, or raise RasterLimits.block_bytes (RasterOptions(limits=...))")
        size, stored = item.size * item.dtype.itemsize, self.path.stat().st_size
        if size > limits.expansion_from and size > limits.expansion * stored:
            raise RasterError(f"{claim}, {size} bytes from a file of {stored}: more than {limits.expansion} to 1 looks like a decompression bomb; if "
                              "it is sound, raise RasterLimits.expansion (RasterOptions(limits=...))")
        return item

    def _dataset(self, where: str) -> Any:
        """Whose bytes lie in this file, packed by filters that every HDF5 library has."""
        item = self.find(where)
        if item is None:
            return None
        if not isinstance(item, self._h5py.Dataset):
            raise RasterError(f"{self.path}: {where} is no dataset: {_AGAIN}")
        if item.external or item.is_virtual:
            raise RasterError(f"{self.path}: {where} is stored in other files, which could be any: products hold their pixels themselves; {_AGAIN}, or "
                              "copy it with h5repack, which brings them in")
        packed = item.id.get_create_plist()
        unknown = [code for code in (packed.get_filter(i)[0] for i in range(packed.get_nfilters())) if code not in _FILTERS]
        if unknown:
            raise RasterError(f"{self.path}: {where} is packed by the HDF5 filter {unknown[0]}: products use gzip and shuffle; rewrite it with h5repack "
                              "-f GZIP=1")
        return item


class Hdf5Scene(OpenScene):
    """Images of one file that lie on one grid; a reader opens it by `_opened`, sets `rows` and `cols`, and gives `_read_piece`."""

    rows: int
    name: str
    _file: Hdf5File

    def _opened(self, path: str | Path, limits: RasterLimits, take: Callable[[Hdf5File], None]) -> None:
        """Open the file for `take`, which sets the rest by what it finds; where that fails nothing is left open. Raises as `Hdf5File` and `take`."""
        with no_fork():
            self._open = self._file = Hdf5File(path, limits)
        self.files, self.name = (self._file.path,), self._file.path.name
        self._lock = threading.Lock()
        try:
            with no_fork(), refused(self._file.path, "HDF5"):
                take(self._file)
        except BaseException:
            self._file.close()
            raise

    def _take_blocks(self, rasters: Sequence[Any]) -> None:
        """Sets how the images are stored, by their chunks."""
        chunks = [raster.chunks or (1, self.cols) for raster in rasters]
        self.stored_block = max(rows for rows, _ in chunks), max(cols for _, cols in chunks)
        self.block_rows = self.stored_block[0] if self.stored_block[0] <= _TALLEST_CHUNK else 1

    def read_into(self, values: np.ndarray, row: int, col: int) -> np.ndarray:
        """Fill values (bands, rows, cols), any strides, with the power from (row, col) on; gives `read`'s validity."""
        _, rows, cols = values.shape
        if not (0 <= row < row + rows <= self.rows and 0 <= col < col + cols <= self.cols):
            raise RasterError(f"{rows} rows from {row} and {cols} columns from {col} on of {self.name}: it has {self.rows} x {self.cols} pixels")
        valid = np.ones((rows, cols), bool)
        height = self.block_rows * -(-_PIECE_ROWS // self.block_rows)
        first = row
        while first < row + rows:                   # pieces end where rows of chunks do, so that none is decoded twice
            last = min((first // height + 1) * height, row + rows)
            part = slice(first - row, last - row)
            with no_fork(), self._lock, refused(self._file.path, "HDF5"):
                self._read_piece(values[:, part], valid[part], (slice(first, last), slice(col, col + cols)))
            first = last
        return valid
