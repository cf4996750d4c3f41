"""WHU-OPT-SAR: GF-3 and GF-1 over Hubei, 100 scenes of 5556 x 3704 at 5 m, land use (Li et al. 2022), read in chips."""

from __future__ import annotations

from pathlib import Path

from hfd_edge.spec import NODATA_LABEL, Unit
from training.layouts.files import (FileSet, Plane, Window, find_files, image_frame, one_folder, read_planes, recode,
                                    split_in_fives)
from training.pairs import FLIPS, DataError, Pair, SetInfo, pair_of

_CLASSES = ("farmland", "city", "village", "water", "forest", "road", "others")
_COLORS = ((204, 102, 0), (255, 0, 0), (255, 255, 0), (0, 0, 255), (85, 167, 0), (93, 255, 255), (152, 102, 153))
_CODES = {0: NODATA_LABEL, **{10 * (i + 1): i for i in range(len(_CLASSES))}}


class WhuOptSarPairs(FileSet):
    """`{sar,optical,lbl}/SHEET.tif` (opt for optical will do); whole map sheets go to train, select or test.

    Labels are multiples of ten, 0 = background, ignored; where SAR is 0 too, nothing was measured.
    """

    def __init__(self, root: Path, chip_px: int = 512) -> None:
        """`chip_px`: scenes are read in squares of this side; those at the last edges may be smaller."""
        if chip_px < 32:
            raise DataError(f"layout whu-opt-sar: chip_px={chip_px}; a chip has at least 32 px a side")
        self._sar, self._lbl = one_folder("whu-opt-sar", root, ("sar",)), one_folder("whu-opt-sar", root, ("lbl",))
        self._opt = one_folder("whu-opt-sar", root, ("optical", "opt"))
        sheets = find_files("whu-opt-sar", self._sar, "*.tif")
        parts, self._chips = split_in_fives(path.stem for path in sheets), {}
        for path in sheets:
            rows, cols = image_frame(path)[0]
            for row in range(0, rows, chip_px):
                for col in range(0, cols, chip_px):
                    window = Window(row, col, min(chip_px, rows - row), min(chip_px, cols - col))
                    self._chips[f"{path.stem}/{row}-{col}"] = path, window
        info = SetInfo("whu-opt-sar", ("SAR",), ("R", "G", "B", "NIR"), _CLASSES, _COLORS, Unit.DN, "dn", None, 5.0, FLIPS)
        super().__init__(info, {name: parts[path.stem] for name, (path, _) in self._chips.items()})

    def _load(self, name: str, eo: bool) -> Pair:
        path, window = self._chips[name]
        planes = [Plane("sar", (path,), 1), Plane("lbl", (self._lbl / path.name,), 1), Plane("optical", (self._opt / path.name,), 4) if eo else None]
        sar, stored, optical = read_planes(name, planes, window)
        return pair_of(name, sar, optical, recode(name, stored[0], _CODES), (sar[0] != 0) | (stored[0] != 0))
