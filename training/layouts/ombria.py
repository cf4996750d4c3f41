"""OMBRIA: floods as 8-bit chips of 256 x 256, SAR and optical before and after, a flood mask (Drakonakis et al. 2022).

Two forms are read. Flat: `PREFIX_NNNN_{s1before,s1after,s2before,s2after,mask}.png` in one folder. As published:
`OmbriaS1/PART/{BEFORE,AFTER,MASK}` and `OmbriaS2/PART/...` of PNGs that end in `_NNNN.png`, PART being train, test or both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hfd_edge.spec import Unit
from training.layouts.files import FileSet, Plane, find_files, read_planes, recode, split_in_fives
from training.pairs import FLIPS, DataError, Pair, SetInfo, pair_of

BLOCK_CHIPS = 25                                  # numbers per block: neighbours in number are neighbours on the ground
_TIMES = ("after", "before")
_CODES = {0: 0, 255: 1}


class OmbriaPairs(FileSet):
    """Chips by number; blocks of 25 numbers go to train, train, select, train, test."""

    def __init__(self, root: Path, bands: tuple[str, ...] | list[str] | str = ("after",),
                 eo_bands: tuple[str, ...] | list[str] | str = ("after",)) -> None:
        """`bands` and `eo_bands`: times of the SAR and of the optical image, some of "after" and "before", in this order."""
        self._times, self._eo_times = _times("bands", bands), _times("eo_bands", eo_bands)
        self._chips = _flat(root) if any(root.glob("*_mask.png")) or not (root / "OmbriaS1").is_dir() else _published(root)
        eo_names = tuple(f"{name} {time}" for time in self._eo_times for name in ("false red", "false green", "false blue"))
        info = SetInfo("ombria", tuple(f"SAR {time}" for time in self._times), eo_names, ("dry", "flooded"),
                       ((196, 156, 104), (38, 102, 178)), Unit.DN, "dn", None, 10.0, FLIPS)
        blocks = split_in_fives_of_numbers(chip.number for chip in self._chips.values())
        super().__init__(info, {name: blocks[chip.number // BLOCK_CHIPS] for name, chip in self._chips.items()})

    def _load(self, name: str, eo: bool) -> Pair:
        chip = self._chips[name]
        planes = [Plane("SAR", tuple(chip.sar[time] for time in self._times), len(self._times)), Plane("mask", (chip.mask,), 1)]
        if eo:
            planes.append(Plane("optical", tuple(chip.eo[time] for time in self._eo_times), 3 * len(self._eo_times)))
        sar, mask, *optical = read_planes(name, planes)
        return pair_of(name, sar, *(optical or [None]), recode(name, mask[0], _CODES), np.ones(mask.shape[1:], bool))


@dataclass(frozen=True, slots=True)
class _Chip:
    number: int
    sar: dict[str, Path]
    eo: dict[str, Path]
    mask: Path


def split_in_fives_of_numbers(numbers) -> dict[int, str]:
    """Block index to split. Blocks count from number 0, so a chip's split does not depend on which chips are there."""
    return split_in_fives(range(max(numbers) // BLOCK_CHIPS + 1))


def _times(option: str, times: tuple[str, ...] | list[str] | str) -> tuple[str, ...]:
    times = (times,) if isinstance(times, str) else tuple(times)
    if not times or len(set(times)) != len(times) or not set(times) <= set(_TIMES):
        raise DataError(f"layout ombria: {option}={times}; use ('after',), ('before',) or ('after', 'before')")
    return times


def _flat(root: Path) -> dict[str, _Chip]:
    chips = {}
    for mask in find_files("ombria", root, "*_mask.png"):
        stem = mask.name.removesuffix("_mask.png")
        parts = {f"s{sensor}": {time: mask.with_name(f"{stem}_s{sensor}{time}.png") for time in _TIMES} for sensor in (1, 2)}
        chips[stem] = _Chip(_number(mask, stem), parts["s1"], parts["s2"], mask)
    return chips


def _published(root: Path) -> dict[str, _Chip]:
    """Files of one chip share their number; parts are told apart by their folder."""
    chips = {}
    for mask in find_files("ombria", root / "OmbriaS1", "*/MASK/*.png"):
        part, number = mask.parent.parent.name, _number(mask, mask.stem)
        sar, eo = ({time: _numbered(root / sensor / part / time.upper(), number) for time in _TIMES}
                   for sensor in ("OmbriaS1", "OmbriaS2"))
        chips[f"{part}_{number:04d}"] = _Chip(number, sar, eo, mask)
    return chips


def _numbered(folder: Path, number: int) -> Path:
    """The file of a folder whose name ends in this number."""
    fitting = (path for path in sorted(folder.glob(f"*{number}.png")) if _number(path, path.stem) == number)
    return next(fitting, folder / f"{number:04d}.png")


def _number(path: Path, stem: str) -> int:
    found = re.search(r"(\d+)$", stem)
    if not found:
        raise DataError(f"{path}: its name has no chip number before the last part; expected e.g. train_0001_mask.png")
    return int(found.group(1))
