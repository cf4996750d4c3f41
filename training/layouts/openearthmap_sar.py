"""OpenEarthMap-SAR: 8-bit Umbra amplitude and aerial RGB, tiles of 1024 x 1024 at 0.15 to 0.5 m (Xia et al. 2025)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from hfd_edge.spec import NODATA_LABEL, Unit
from training.layouts.files import FileSet, Plane, find_files, read_planes, recode, split_in_fives
from training.pairs import DataError, Pair, SetInfo, pair_of

_CLASSES = ("bareland", "grass", "pavement", "road", "tree", "water", "cropland", "building")
_COLORS = ((128, 0, 0), (0, 255, 36), (148, 148, 148), (255, 255, 255), (34, 97, 38), (0, 69, 255), (75, 181, 73), (222, 31, 7))
_CODES = {0: NODATA_LABEL, **{i + 1: i for i in range(len(_CLASSES))}}
BLOCK_TILES = 25


class OpenEarthMapSarPairs(FileSet):
    """`{sar_images,rgb_images,labels}/REGION_NUMBER.tif` in the root or in its folder train; label 0 = background, ignored.

    Blocks of 25 tile numbers of a region go to train, train, select, train, test. The look direction is not published, so no flip is allowed.
    """

    def __init__(self, root: Path, eo_folder: str = "rgb_images", nodata: int | None = None) -> None:
        """
        Args:
            eo_folder: where the optical tiles lie.
            nodata: SAR value that means nothing was measured; None = every pixel was (0 is also a dark pixel).
        """
        folder = root if (root / "sar_images").is_dir() or not (root / "train").is_dir() else root / "train"
        self._folder, self._eo, self._nodata = folder, eo_folder, nodata
        files = find_files("openearthmap-sar", folder, "sar_images/*.tif")
        self._files = {path.stem: path for path in files}
        blocks = split_in_fives(_block(name) for name in self._files)
        info = SetInfo("openearthmap-sar", ("SAR",), ("R", "G", "B"), _CLASSES, _COLORS, Unit.DN, "dn", None, None, ())
        super().__init__(info, {name: blocks[_block(name)] for name in self._files})

    def _load(self, name: str, eo: bool) -> Pair:
        path = self._files[name]
        planes = [Plane("sar_images", (path,), 1), Plane("labels", (self._folder / "labels" / path.name,), 1),
                  Plane(self._eo, (self._folder / self._eo / path.name,), 3) if eo else None]
        sar, stored, optical = read_planes(name, planes)
        valid = np.ones(sar.shape[1:], bool) if self._nodata is None else sar[0] != self._nodata
        return pair_of(name, sar, optical, recode(name, stored[0], _CODES), valid)


def _block(name: str) -> tuple[str, int]:
    found = re.fullmatch(r"(.*?)_?(\d+)", name)
    if not found:
        raise DataError(f"layout openearthmap-sar: {name} has no number at its end; expected e.g. Rotterdam_12.tif")
    return found.group(1), int(found.group(2)) // BLOCK_TILES
