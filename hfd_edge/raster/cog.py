"""Cloud-optimised GeoTIFFs of one uint8 band, written row by row: the overviews are made from the rows as they come.

A COG holds its overviews before its pixels, so it cannot be written in one go. The levels are written beside as plain files in
a hidden folder, and GDAL's COG driver joins them at the end: on class maps that takes 0.4 of what it takes GDAL alone, which
has to read everything again to make the overviews.
"""

from __future__ import annotations

import os
import zlib
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rasterio.shutil import copy
from rasterio.windows import Window

from hfd_edge.durable import sync
from hfd_edge.errors import RasterError
from hfd_edge.forks import no_fork
from hfd_edge.raster.guard import gdal_threads, one_line, rasterio_open
from hfd_edge.raster.output import PartialFolder, check_output
from hfd_edge.raster.product import RasterProfile, RasterWriter
from hfd_edge.raster.pyramid import Halving, Reduce, level_sizes

BLOCK_PX = 512
COMPRESSIONS = {                # as the COG driver calls them; what they take and give: RasterWriter
    "none": {"compress": "NONE"}, "deflate": {"compress": "DEFLATE"}, "zstd": {"compress": "ZSTD", "level": 1},
    "lzw": {"compress": "LZW"}}
_RAISED_BY = ("rasterio", "builtins", "hfd_edge")         # what fails while the levels are joined
_PACKED_LEVELS = 2              # of the files on the way; the others, 1/12 of the pixels, would take memory one by one as a tall map grows
_SPACE = 2.7                    # levels (1.33) and the joined file (1.33), uncompressed at worst


@dataclass(frozen=True, slots=True)
class CogForm:
    """How a COG is stored. Above 4 GB it is a BigTIFF by itself."""

    compress: str = "zstd"      # none, deflate, zstd or lzw
    threads: int = 1            # for compressing

    def __post_init__(self) -> None:
        if self.compress not in COMPRESSIONS:
            raise RasterError(f"compress={self.compress!r}: it must be one of {', '.join(COMPRESSIONS)} (--compress)")


class CogWriter:
    """Rows in, a finished COG out. A context manager: the file appears when the block ends without an exception."""

    def __init__(self, path: str | Path, profile: RasterProfile, reduce: Reduce, overwrite: bool = False,
                 form: CogForm = CogForm(), table: bytes | None = None) -> None:
        """Check that the file can be written; `table`: of its classes, for NAME.aux.xml. Raises RasterError as `check_output` does."""
        needed = int(_SPACE * profile.rows * profile.cols) + (1 << 20)
        path = check_output(path, overwrite, needed, profile.geo.files if profile.geo else ())
        if profile.geo is not None:
            profile.geo.check_storable(path)
        self.profile, self._form, self._table = profile, form, table
        self._folder = PartialFolder(path, overwrite)
        self._sizes = [(profile.rows, profile.cols), *level_sizes(profile.rows, profile.cols, BLOCK_PX)]
        self._halvings = [Halving(reduce, rows) for rows, _ in self._sizes[:-1]]
        self._levels: list[RasterWriter] = []
        self._complete = False

    def __enter__(self) -> CogWriter:
        self._process = os.getpid()
        with ExitStack() as stack:
            stack.callback(self._folder.discard)            # left in reverse order: close the levels, join them, tidy up
            stack.push(self._finish)
            self._folder.begin()
            self._rows = stack.enter_context(ExitStack())
            for number, (rows, cols) in enumerate(self._sizes):
                p = self.profile
                profile = p if number == 0 else RasterProfile(rows, cols, 1, p.dtype, p.nodata)
                writer = RasterWriter(self._level(number), profile, scratch=True, packed=number < _PACKED_LEVELS)
                self._levels.append(self._rows.enter_context(writer))
            self._open = stack.pop_all()
        return self

    def __exit__(self, *failure: object) -> None:
        if self._process == os.getpid():                    # in a process forked from it the file is the other one's
            self._open.__exit__(*failure)

    def add_tags(self, tags: dict[str, str]) -> None:
        """Tags of the whole file that are known only at the end."""
        self._levels[0].add_tags(tags)

    def write(self, row: int, values: np.ndarray) -> None:
        """Take the next rows: (rows, cols) of the profile's dtype, in order, from 0. Raises as RasterWriter.write."""
        self._levels[0].write(row, values[np.newaxis])
        for level, halving in zip(self._levels[1:], self._halvings):
            row, values = halving.push(values)
            if len(values) == 0:
                return
            level.write(row, values[np.newaxis])

    def _finish(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.complete()
            self._folder.commit()

    def complete(self) -> None:
        """Make all but the name, which the block's end gives: of files that belong together each is complete before one is named.

        Raises:
            RasterError: the disk refuses, or does not hold what was written.
        """
        if self._complete:
            return
        self._rows.close()
        try:
            with no_fork():
                self._join()
                if self._table is not None:
                    self._folder.put_beside(self._folder.path.with_name(f"{self._folder.path.name}.aux.xml"), self._table)
                sound = all(self._holds(number, level.crc) for number, level in enumerate(self._levels))
                sync(self._folder.partial)
        except Exception as error:  # GDAL's own errors share no public base
            if type(error).__module__.partition(".")[0] not in _RAISED_BY or (isinstance(error, TimeoutError) and error.errno is None):
                raise                                           # the handler of a signal: a deadline of the caller's
            raise RasterError(f"{self._folder.path} cannot be written ({one_line(error)}): make room, or choose another folder; "
                              "nothing was left there") from error
        if not sound:
            raise RasterError(f"{self._folder.path}: the disk does not hold what was written; make room, or choose another disk")
        self._complete = True

    def _join(self) -> None:
        """GDAL takes 0.tif.ovr for the overview of 0.tif, and 0.tif.ovr.ovr for that one's; the COG driver copies them in the order a COG wants."""
        existing = "FORCE_USE_EXISTING" if len(self._levels) > 1 else "NONE"
        with rasterio_open(self._level(0), driver="GTiff") as dataset:
            copy(dataset, self._folder.partial, driver="COG", blocksize=BLOCK_PX, overviews=existing, bigtiff="IF_SAFER",
                 num_threads=gdal_threads(self._form.threads), **COMPRESSIONS[self._form.compress])

    def _level(self, number: int) -> Path:
        return self._folder.file("0.tif" + number * ".ovr")

    def _holds(self, number: int, crc: int) -> bool:
        """Whether the joined file has the pixels of a level, read back from the disk."""
        rows, cols = self._sizes[number]
        level = {} if number == 0 else {"OVERVIEW_LEVEL": number - 1}
        found = 0
        with rasterio_open(self._folder.partial, driver="GTiff", **level) as dataset:
            for row in range(0, rows, BLOCK_PX):
                found = zlib.crc32(dataset.read(1, window=Window(0, row, cols, min(BLOCK_PX, rows - row))), found)
        return found == crc
