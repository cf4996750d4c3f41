"""Sen1Floods11: Sentinel-1 and -2 chips of 512 x 512 at 10 m over eleven floods, labelled by hand (Bonafilia et al. 2020)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hfd_edge.spec import NODATA_LABEL, Unit
from training.layouts.files import FileSet, Plane, find_files, partner, read_lists, read_planes, recode, split_in_fives
from training.layouts.ground import Ground, apart
from training.pairs import FLIPS, DataError, Pair, SetInfo, pair_of

_S2 = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")
_CODES = {-1: NODATA_LABEL, 0: 0, 1: 1}
_LISTS = {"train": "flood_train_data.csv", "select": "flood_valid_data.csv", "test": "flood_test_data.csv"}
_UNSEEN_EVENT = "flood_bolivia_data.csv"          # an event of its own, in none of the other lists


class Sen1Floods11Pairs(FileSet):
    """`EVENT_CHIP_{S1Hand,S2Hand,LabelHand}.tif`, in one folder or in folders of these names, anywhere below the root."""

    def __init__(self, root: Path, split: str | None = None) -> None:
        """
        Args:
            split: "lists" (the published CSV lists, which put chips of one event into several splits), "bolivia" (the same, but
                the test is the event that no other list knows) or "events" (whole events go to train, select or test). None:
                lists where they are, else events.
        """
        labels = find_files("sen1floods11", root, "**/*_LabelHand.tif")
        self._files = {path.name.removesuffix("_LabelHand.tif"): path for path in labels}
        found = sorted(root.glob(f"**/{_LISTS['train']}"))
        rule = split or ("lists" if found else "events")
        if rule not in ("lists", "bolivia", "events"):
            raise DataError(f"layout sen1floods11: split={split!r}; use lists, bolivia, events, or leave it out")
        if rule != "events" and not found:
            raise DataError(f"layout sen1floods11: split={rule}, but {_LISTS['train']} is not below {root}; use split=events")
        splits = self._by_event() if rule == "events" else self._by_list(found[0].parent, rule)
        info = SetInfo("sen1floods11", ("VV", "VH"), _S2, ("dry", "water"), ((196, 156, 104), (38, 102, 178)), Unit.DB,
                       "sigma0", None, 10.0, FLIPS)
        grounds = {name: Ground.of_file(self._files[name]) for name, own in splits.items() if own}
        splits, self.notes = apart(f"sen1floods11: split={rule}", grounds, splits, as_given=rule != "events")
        super().__init__(info, splits)

    def _by_event(self) -> dict[str, str]:
        events = split_in_fives(name.split("_")[0] for name in self._files)
        return {name: events[name.split("_")[0]] for name in self._files}

    def _by_list(self, folder: Path, rule: str) -> dict[str, str]:
        files = {**_LISTS, "test": _UNSEEN_EVENT} if rule == "bolivia" else _LISTS
        splits = {name: "" for name in self._files}
        for split, lines in read_lists({split: partner(folder / file, file) for split, file in files.items()}).items():
            for line in lines:
                name = line.removesuffix(".tif").rsplit("_", 1)[0]
                if name not in self._files:
                    raise DataError(f"{folder / files[split]} names {line}, whose label is not there; add the missing chips")
                splits[name] = split
        return splits

    def _load(self, name: str, eo: bool) -> Pair:
        planes = [Plane("S1Hand", (self._part(name, "S1Hand"),), 2), Plane("LabelHand", (self._files[name],), 1),
                  Plane("S2Hand", (self._part(name, "S2Hand"),), len(_S2)) if eo else None]
        sar, stored, optical = read_planes(name, planes)
        return pair_of(name, sar, optical, recode(name, stored[0], _CODES), np.isfinite(sar).all(axis=0))

    def _part(self, name: str, part: str) -> Path:
        label = self._files[name]
        folder = label.parent.parent / part if label.parent.name == "LabelHand" else label.parent
        return folder / f"{name}_{part}.tif"
