"""Your own pairs: `sar/ eo/ label/` with files of the same stem, and a `set.yaml` that says what they are (docs/data.md)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.layouts.files import FileSet, image_frame, one_folder, partner, read_lists, recode, split_in_fives
from training.layouts.folder_files import SUFFIXES, files_by_stem, stem_key
from training.layouts.folder_images import Image, opened, read_eo, read_sar
from training.layouts.folder_set import read_set
from training.pairs import SPLITS, DataError, Pair, pair_of


class FolderPairs(FileSet):
    """GeoTIFF, PNG, JPEG or .npy in `sar/`, `label/` and, where there is an optical image, `eo/`."""

    def __init__(self, root: Path) -> None:
        self._set = read_set(root)
        parts = ("sar", "label", "eo") if self._set.eo_bands else ("sar", "label")
        self._folder = {part: one_folder("folder", root, (part,)) for part in parts}
        self._found = {part: files_by_stem(folder) for part, folder in self._folder.items()}
        self._files = {path.stem: path for path in self._found["sar"].values()}
        self._codes = self._set.codes
        super().__init__(self._set.info, _splits(root, self._files, self._set.split))

    def _load(self, name: str, eo: bool) -> Pair:
        with opened(self._files[name], self.info.bands) as image:
            sar, valid = read_sar(_counted(name, "sar", image, self.info.bands), self._set)
        with opened(self._label(name)) as image:
            stored, _ = _counted(name, "label", image, ("label",)).read()
        optical = self._optical(name) if eo else (None, None)
        return pair_of(name, sar, optical[0], recode(name, stored[0], self._codes), valid, optical[1])

    def _optical(self, name: str) -> tuple[np.ndarray | None, np.ndarray | None]:
        path = self._found["eo"].get(stem_key(name)) if self.info.eo_bands else None
        if path is None:
            return None, None
        with opened(path, self.info.eo_bands, alpha_is_data=True) as image:
            return read_eo(_counted(name, "eo", image, self.info.eo_bands))

    def _label(self, name: str) -> Path:
        path = self._found["label"].get(stem_key(name))
        if path is None:
            raise DataError(f"pair {name}: {self._folder['label']} has no file {name} with one of the endings {', '.join(SUFFIXES)}: "
                            "every pair needs its label; add it, or remove the others")
        return path


def _counted(name: str, what: str, image: Image, bands: Sequence[str]) -> Image:
    """The image, if it has as many bands as are declared."""
    if image.count != len(bands):
        raise DataError(f"pair {name}: {what} has {image.count} bands, {len(bands)} are declared ({image.path}; a band that it calls "
                        "alpha is none); correct the set")
    return image


def _splits(root: Path, files: dict[str, Path], rule: dict[str, Any]) -> dict[str, str]:
    """By lists (FOLDER/train.txt, select.txt, test.txt), by place (squares of size_m) or by names (blocks of neighbours)."""
    by = rule["by"]
    if by == "lists":
        folder = root / rule.get("folder", ".")
        return _listed(files, read_lists({split: partner(folder / f"{split}.txt", "lists") for split in SPLITS}))
    if by == "place":
        groups = {name: _square(path, rule["size_m"]) for name, path in files.items()}
    else:
        size = rule.get("size") or max(1, -(-len(files) // 20))
        groups = {name: number // size for number, name in enumerate(files)}
    blocks = split_in_fives(groups.values())
    if len(blocks) < 5:
        raise DataError(f"set.yaml: split by {by} makes {len(blocks)} blocks of {len(files)} pairs; at least 5 are needed, so "
                        "that train, select and test are all there; make the blocks smaller or give lists")
    return {name: blocks[groups[name]] for name in files}


def _listed(files: dict[str, Path], lists: dict[str, list[str]]) -> dict[str, str]:
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


def _square(path: Path, size_m: float) -> tuple[str, int, int]:
    _, transform, crs, _ = image_frame(path)
    if crs is None:
        raise DataError(f"{path} has no georeference; split by names or lists instead of place")
    return crs, int(transform[0] // size_m), int(transform[3] // size_m)
