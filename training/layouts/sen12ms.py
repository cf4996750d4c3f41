"""SEN12MS: Sentinel-1, Sentinel-2 and MODIS land cover, patches of 256 x 256 at 10 m, four seasons (Schmitt et al. 2019)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from hfd_edge.spec import NODATA_LABEL, Unit
from training.layouts.files import FileSet, Plane, find_files, partner, read_lists, read_planes, recode, split_in_fives
from training.pairs import FLIPS, DataError, Pair, SetInfo, pair_of

S2_BANDS = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")
CLASSES = ("forest", "shrubland", "savanna", "grassland", "wetland", "cropland", "urban", "snow and ice", "barren", "water")
COLORS = ((0, 110, 40), (198, 176, 68), (251, 255, 19), (182, 255, 5), (39, 255, 135), (194, 79, 68), (165, 165, 165),
          (105, 255, 248), (249, 255, 164), (28, 13, 255))
DAMAGED = frozenset({"ROIs1868_summer_s1_146_p202"})           # NaN throughout its SAR
_SEASONS = ("ROIs1158_spring", "ROIs1868_summer", "ROIs1970_fall", "ROIs2017_winter")
_NAME = re.compile(r"(ROIs\d+_[a-z]+)_(?:s1|s2|lc)_(\d+)_p(\d+)")
_SIMPLER = ((1, 5, 0), (6, 7, 1), (8, 9, 2), (10, 10, 3), (11, 11, 4), (12, 12, 5), (13, 13, 6), (14, 14, 5), (15, 15, 7),
            (16, 16, 8), (17, 17, 9))                          # first and last IGBP code, class
IGBP_CODES = {0: NODATA_LABEL, 255: NODATA_LABEL, **{code: c for first, last, c in _SIMPLER for code in range(first, last + 1)}}


class Sen12msPairs(FileSet):
    """`SEASON/{s1,s2,lc}_SCENE/SEASON_{s1,s2,lc}_SCENE_pNUMBER.tif`; the label is IGBP (band 1 of lc) in ten classes."""

    def __init__(self, root: Path, split: str | None = None) -> None:
        """
        Args:
            split: "lists" (test_list.txt is the test, the published hold-out scenes; of the scenes of train_list.txt every
                fifth is for selection) or "scenes" (whole scenes go to train, select or test). None: lists where they are, else scenes.
        """
        seasons = [season for season in _SEASONS if (root / season).is_dir()]
        if not seasons:
            find_files("sen12ms", root, f"{_SEASONS[0]}/s1_*/*.tif")             # says what is there instead
        self._files = {path.stem: path for season in seasons for path in find_files("sen12ms", root / season, "s1_*/*_s1_*.tif")
                       if path.stem not in DAMAGED}
        rule = split or ("lists" if (root / "test_list.txt").is_file() else "scenes")
        if rule not in ("lists", "scenes"):
            raise DataError(f"layout sen12ms: split={split!r}; use lists, scenes, or leave it out")
        info = SetInfo("sen12ms", ("VV", "VH"), S2_BANDS, CLASSES, COLORS, Unit.DB, "sigma0", None, 10.0, FLIPS)
        super().__init__(info, self._by_list(root) if rule == "lists" else self._by_scene(self._files))

    @staticmethod
    def _by_scene(names) -> dict[str, str]:
        scenes = split_in_fives(_scene(name) for name in names)
        return {name: scenes[_scene(name)] for name in names}

    def _by_list(self, root: Path) -> dict[str, str]:
        lists = read_lists({split: partner(root / f"{split}_list.txt", "lists") for split in ("train", "test")})
        named = {split: {_s1_name(line) for line in lines} & self._files.keys() for split, lines in lists.items()}
        scenes = sorted({_scene(name) for name in named["train"]})
        chosen = set(scenes[2::5])
        return {name: "test" if name in named["test"] else "" if name not in named["train"] else
                "select" if _scene(name) in chosen else "train" for name in self._files}

    def _load(self, name: str, eo: bool) -> Pair:
        path = self._files[name]
        planes = [Plane("s1", (path,), 2), Plane("lc", (sibling(path, "lc"),), 4), Plane("s2", (sibling(path, "s2"),), len(S2_BANDS)) if eo else None]
        sar, cover, optical = read_planes(name, planes)
        return pair_of(name, sar, optical, recode(name, cover[0], IGBP_CODES), np.isfinite(sar).all(axis=0))


def sibling(path: Path, part: str) -> Path:
    """The file of another part beside an s1 file; folder and file name differ in the part only."""
    folder = path.parent.parent / path.parent.name.replace("s1_", f"{part}_", 1)
    return folder / path.name.replace("_s1_", f"_{part}_", 1)


def _scene(name: str) -> tuple[str, int]:
    found = _NAME.fullmatch(name)
    if not found:
        raise DataError(f"layout sen12ms: {name} is no patch name; expected e.g. ROIs1158_spring_s1_1_p30")
    return found.group(1), int(found.group(2))


def _s1_name(line: str) -> str:
    return re.sub(r"_(?:s2|lc)_", "_s1_", line.removesuffix(".tif"), count=1)
