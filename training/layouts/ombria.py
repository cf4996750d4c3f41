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
                 eo_bands: tuple[str, ...] | list[str] | str = ("after",), hold_out: str | None = None) -> None:
        """
        Args:
            bands, eo_bands: times of the SAR and of the optical image, some of "after" and "before", in this order.
            hold_out: chips whose name begins so are the test and nothing else (another event, the published test part); the
                test blocks of the others are trained on.
        """
        self._times, self._eo_times = _times("bands", bands), _times("eo_bands", eo_bands)
        self._chips = _flat(root) if any(root.glob("*_mask.png")) or not (root / "OmbriaS1").is_dir() else _published(root)
        eo_names = tuple(f"{name} {time}" for time in self._eo_times for name in ("false red", "false green", "false blue"))
        info = SetInfo("ombria", tuple(f"SAR {time}" for time in self._times), eo_names, ("dry", "flooded"),
                       ((196, 156, 104), (38, 102, 178)), Unit.DN, "dn", None, 10.0, FLIPS)
        super().__init__(info, _splits(self._chips, hold_out))

    def _load(self, name: str, eo: bool) -> Pair:
        chip = self._chips[name]
        planes = [Plane("SAR", tuple(chip.sar[time] for time in self._times), len(self._times)), Plane("mask", (chip.mask,), 1),
                  Plane("optical", tuple(chip.eo[time] for time in self._eo_times), 3 * len(self._eo_times)) if eo else None]
        sar, mask, optical = read_planes(name, planes)
        return pair_of(name, sar, optical, recode(name, mask[0], _CODES), np.ones(mask.shape[1:], bool))


@dataclass(frozen=True, slots=True)
class _Chip:
    number: int
    sar: dict[str, Path]
    eo: dict[str, Path]
    mask: Path


def _splits(chips: dict[str, _Chip], hold_out: str | None) -> dict[str, str]:
    """Blocks count from number 0, so a chip's split does not depend on which chips are there."""
    blocks = split_in_fives(range(max(chip.number for chip in chips.values()) // BLOCK_CHIPS + 1))
    splits = {name: blocks[chip.number // BLOCK_CHIPS] for name, chip in chips.items()}
    if hold_out is None:
        return splits
    held = [name for name in chips if name.startswith(hold_out)]
    if not held or len(held) == len(chips):
        raise DataError(f"layout ombria: hold_out={hold_out!r} fits {len(held)} of {len(chips)} chips; name the beginning of "
                        f"some, not all of them; the first is {next(iter(chips))}")
    return {name: "test" if name in held else "train" if split == "test" else split for name, split in splits.items()}


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
