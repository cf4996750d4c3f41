"""Your own pairs: `sar/ eo/ label/` with files of the same stem, and a `set.yaml` that says what they are (docs/data.md)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from training.layouts.files import FileSet, one_folder, partner, read_lists, recode, split_in_fives
from training.layouts.folder_files import SUFFIXES, files_by_stem, stem_key
from training.layouts.folder_images import Image, check_label, check_partner, opened, radiometry, read_eo, read_sar, square_of
from training.layouts.folder_set import read_set
from training.layouts.ground import Ground, apart
from training.pairs import SPLITS, DataError, Pair, pair_of

_LARGE_PX = 4 << 20                      # of a pair
_JUDGED_BYTES = 200                      # of memory a pixel, as measured with 3072 x 3072 pixels


class FolderPairs(FileSet):
    """GeoTIFF, PNG, JPEG or .npy in `sar/`, `label/` and, where there is an optical image, `eo/`."""

    def __init__(self, root: Path) -> None:
        self._set = read_set(root)
        parts = ("sar", "label", "eo") if self._set.eo_bands else ("sar", "label")
        self._folder = {part: one_folder("folder", root, (part,)) for part in parts}
        self._found = {part: files_by_stem(folder) for part, folder in self._folder.items()}
        self._files = {path.stem: path for path in self._found["sar"].values()}
        self._codes = self._set.codes
        self._headers: dict[str, Image] = {}
        by, splits = self._set.split["by"], _splits(root, list(self._files), self._set.split, self._square)
        grounds = {name: self._ground(name) for name, split in splits.items() if split}
        splits, self.notes = apart(f"set.yaml: split by {by}", grounds, splits, as_given=by == "lists")
        super().__init__(self._set.info, splits)
        names = [name for split in SPLITS for name in self.names(split)]
        self._check_files(names)
        self.notes += self._spacings(names) + self._scenes(names)
        self._headers.clear()

    def _header(self, name: str) -> Image:
        """Of the SAR file, read once while the set is opened."""
        if name not in self._headers:
            with self._opened_sar(name) as image:
                radiometry(_counted(name, "sar", image, self._set.bands), self._set)
            self._headers[name] = replace(image, source=None)
        return self._headers[name]

    def _opened_sar(self, name: str) -> AbstractContextManager[Image]:
        """An alpha band is data where the set's bands are as many as all of the file's, of digital numbers alone: no measured power is stored so."""
        return opened(self._files[name], self._set.bands, alpha_is_data=self._set.unit == "dn")

    def _check_files(self, names: list[str]) -> None:
        """Every pair has its files, and their headers fit each other; pixels are looked at when they are read."""
        labels = {name: self._label(name) for name in names}
        for name, label in labels.items():
            sar = self._header(name)
            with opened(label) as image:
                check_partner(name, "label", sar, _counted(name, "label", image, ("label",)))
                check_label(name, image, self._set)
            optical = self._optical_file(name)
            if optical is not None:
                with opened(optical, self._set.eo_bands, alpha_is_data=True) as image:
                    check_partner(name, "eo", sar, _counted(name, "eo", image, self._set.eo_bands))
        if self._set.eo_bands and names and not any(map(self._optical_file, names)):
            raise DataError(f"layout folder: none of {len(names)} pairs has an optical image in {self._folder['eo']} (the first is "
                            f"{names[0]}): files of one place share their stem; rename them, or leave eo_bands out of set.yaml")

    def _ground(self, name: str) -> Ground:
        header = self._header(name)
        return Ground(header.geo.crs and header.geo.crs.to_string(), header.geo.transform, header.size)

    def _spacings(self, names: list[str]) -> tuple[str, ...]:
        """A warning where pixels are of another size than declared, by as much as a run tells of a scene."""
        declared, found = self._set.pixel_spacing_m, {}
        for name in names if declared is not None else ():
            spacing = self._header(name).geo.spacing_m(*self._header(name).size)
            if spacing is not None and any(abs(value / declared - 1) > 0.2 for value in spacing):
                found[name] = spacing
        if not found:
            return ()
        name, (rows_m, cols_m) = next(iter(found.items()))
        return (f"warning: set.yaml says pixel_spacing_m: {declared:g}, and {len(found)} of {len(names)} pairs have other pixels (e.g. {name}: {rows_m:.2g} x "
                f"{cols_m:.2g} m by its georeference): an engine warns of scenes by that number; correct it, or resample the files",)

    def _scenes(self, names: list[str]) -> tuple[str, ...]:
        """A warning where pairs are whole scenes."""
        large = [name for name in names if np.prod(self._header(name).size) > _LARGE_PX]
        if not large:
            return ()
        name = max(large, key=lambda each: np.prod(self._header(each).size))
        rows, cols = self._header(name).size
        return (f"warning: {len(large)} of {len(names)} pairs have more than {_LARGE_PX / 1e6:.0f} million pixels ({name}: {rows} x {cols}): a pair is read whole for every "
                f"crop that is not kept in memory, and judged whole, which takes about {rows * cols * _JUDGED_BYTES / 1e9:.1f} GB here; cut scenes into tiles of 512 to "
                "1024 pixels (docs/data.md: From scenes to pairs)",)

    def _square(self, name: str) -> tuple[str, int, int]:
        return square_of(self._header(name), self._set.split["size_m"])

    def _load(self, name: str, eo: bool) -> Pair:
        with self._opened_sar(name) as image:
            sar, valid = read_sar(_counted(name, "sar", image, self.info.bands), self._set)
        with opened(self._label(name)) as image:
            stored, known = _counted(name, "label", image, ("label",)).stored()
        optical = self._optical(name) if eo else (None, None)
        return pair_of(name, sar, optical[0], recode(name, stored[0], self._codes, known), valid, optical[1])

    def _optical(self, name: str) -> tuple[np.ndarray | None, np.ndarray | None]:
        path = self._optical_file(name)
        if path is None:
            return None, None
        with opened(path, self.info.eo_bands, alpha_is_data=True) as image:
            return read_eo(_counted(name, "eo", image, self.info.eo_bands))

    def _optical_file(self, name: str) -> Path | None:
        return self._found["eo"].get(stem_key(name)) if self._set.eo_bands else None

    def _label(self, name: str) -> Path:
        path = self._found["label"].get(stem_key(name))
        if path is None:
            raise DataError(f"pair {name}: {self._folder['label']} has no file {name} with one of the endings {', '.join(SUFFIXES)}: "
                            "every pair needs its label; add it, or remove the others")
        return path


def _counted(name: str, what: str, image: Image, bands: Sequence[str]) -> Image:
    """The image, if it has as many bands as are declared."""
    if image.count != len(bands):
        raise DataError(f"pair {name}: {what} has {image.count} bands, {len(bands)} are declared ({image.path}): correct the set; alpha is "
                        "no band, and .npy is (bands, rows, cols)")
    return image


def _splits(root: Path, names: list[str], rule: dict[str, Any], square: Callable[[str], tuple]) -> dict[str, str]:
    """By lists (FOLDER/train.txt, select.txt, test.txt), by place (squares of size_m) or by names (blocks of neighbours)."""
    by = rule["by"]
    if by == "lists":
        folder = root / rule.get("folder", ".")
        return _listed(names, read_lists({split: partner(folder / f"{split}.txt", "lists") for split in SPLITS}))
    if by == "place":
        groups = {name: square(name) for name in names}
    else:
        size = rule.get("size") or max(1, -(-len(names) // 20))
        groups = {name: number // size for number, name in enumerate(names)}
    blocks = split_in_fives(groups.values())
    if len(blocks) < 5:
        raise DataError(f"set.yaml: split by {by} makes {len(blocks)} blocks of {len(names)} pairs; at least 5 are needed, so "
                        "that train, select and test are all there; make the blocks smaller or give lists")
    return {name: blocks[groups[name]] for name in names}


def _listed(files: list[str], lists: dict[str, list[str]]) -> dict[str, str]:
    splits, known = {name: "" for name in files}, {stem_key(name): name for name in files}
    for split, names in lists.items():
        for line in names:
            name = known.get(stem_key(Path(line).stem if Path(line).suffix.lower() in SUFFIXES else line))
            if name is None:
                raise DataError(f"{split}.txt names {line!r}, which is not in sar/; correct the list")
            if splits[name]:
                raise DataError(f"{name} is in {splits[name]}.txt and in {split}.txt; a pair has one split")
            splits[name] = split
    return splits
