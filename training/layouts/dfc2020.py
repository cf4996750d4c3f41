"""DFC2020: Sentinel-1 and -2 with land cover at 10 m, chips of 256 x 256 in the names of SEN12MS (Yokoya et al. 2020)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hfd_edge.spec import NODATA_LABEL, Unit
from training.layouts.files import FileSet, Plane, find_files, read_planes, recode
from training.layouts.ground import Ground, apart
from training.layouts.sen12ms import CLASSES, COLORS, S2_BANDS, sibling
from training.pairs import FLIPS, DataError, Pair, SetInfo, pair_of

_ABSENT = ("savanna", "snow and ice")                     # in the scheme of SEN12MS, not in these labels
_KEPT = tuple(i for i, name in enumerate(CLASSES) if name not in _ABSENT)
_CODES = {0: NODATA_LABEL, 255: NODATA_LABEL,
          **{i + 1: _KEPT.index(i) if i in _KEPT else NODATA_LABEL for i in range(len(CLASSES))}}


class Dfc2020Pairs(FileSet):
    """`ROIs0000_PART/{s1,s2,dfc}_SCENE/ROIs0000_PART_{s1,s2,dfc}_SCENE_pN.tif`, PART validation or test."""

    def __init__(self, root: Path, block_m: float = 10_240.0) -> None:
        """The part "test" is the test; of "validation" every fifth square of `block_m` m is for select, the rest for train.

        Chips of one split that lie on ground of another which judges are left out.
        """
        self._files = {path.stem: path for path in find_files("dfc2020", root, "ROIs0000_*/s1_*/*_s1_*.tif")}
        if not block_m > 0:
            raise DataError(f"layout dfc2020: block_m={block_m}; a block is wider than 0 m")
        grounds = {name: Ground.of_file(path) for name, path in self._files.items()}
        places = {name: _place(self._files[name], ground, block_m) for name, ground in grounds.items() if "_validation_" in name}
        blocks = sorted(set(places.values()))
        chosen = set(blocks[2::5])
        classes, colors = (tuple(of[i] for i in _KEPT) for of in (CLASSES, COLORS))
        info = SetInfo("dfc2020", ("VV", "VH"), S2_BANDS, classes, colors, Unit.DB, "sigma0", None, 10.0, FLIPS)
        splits = {name: "test" if name not in places else "select" if places[name] in chosen else "train" for name in self._files}
        splits, self.notes = apart("dfc2020: split by place", grounds, splits)
        super().__init__(info, splits)

    def _load(self, name: str, eo: bool) -> Pair:
        path = self._files[name]
        planes = [Plane("s1", (path,), 2), Plane("dfc", (sibling(path, "dfc"),), 1), Plane("s2", (sibling(path, "s2"),), len(S2_BANDS)) if eo else None]
        sar, stored, optical = read_planes(name, planes)
        return pair_of(name, sar, optical, recode(name, stored[0], _CODES), np.isfinite(sar).all(axis=0))


def _place(path: Path, ground: Ground, block_m: float) -> tuple[str, int, int]:
    """CRS and square in which the chip's north-west corner lies."""
    if ground.system is None:
        raise DataError(f"{path} has no georeference; chips are split by place: take the files as they were published")
    return ground.system, int(ground.transform.c // block_m), int(ground.transform.f // block_m)
