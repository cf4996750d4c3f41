"""Your own pairs: `sar/ eo/ label/` with files of the same stem, and a `set.yaml` that says what they are (docs/data.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from training.layouts.files import FileSet, Plane, image_frame, one_folder, partner, read_lists, read_planes, recode, split_in_fives
from training.layouts.folder_files import SUFFIXES, files_by_stem, stem_key
from training.layouts.folder_set import read_set
from training.pairs import SPLITS, DataError, Pair, pair_of

_COMPLEX = "complex"


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
        path = self._files[name]
        planes = [Plane("sar", (path,), len(self.info.bands)), Plane("label", (self._label(name),), 1)]
        optical_file = self._found["eo"].get(stem_key(name)) if eo and self.info.eo_bands else None
        if optical_file is not None:
            planes.append(Plane("eo", (optical_file,), len(self.info.eo_bands)))
        sar, stored, *optical = read_planes(name, planes)
        valid = np.isfinite(sar).all(axis=0)
        for nodata in (*self._set.nodata, image_frame(path)[3]):
            if nodata is not None and np.isfinite(nodata):
                valid &= (sar != nodata).all(axis=0)
        labels = recode(name, stored[0], self._codes)
        return pair_of(name, self._detected(name, np.where(valid, sar, 0)), *(optical or [None]), labels, valid)

    def _label(self, name: str) -> Path:
        path = self._found["label"].get(stem_key(name))
        if path is None:
            raise DataError(f"pair {name}: {self._folder['label']} has no file {name} with one of the endings {', '.join(SUFFIXES)}: "
                            "every pair needs its label; add it, or remove the others")
        return path

    def _detected(self, name: str, sar: np.ndarray) -> np.ndarray:
        """Stored pixels in the set's unit, complex ones as intensity; refuse what the declared unit cannot be."""
        unit, scale = self._set.unit, np.float32(self._set.scale or 1)
        if np.iscomplexobj(sar) != (unit == _COMPLEX):
            raise DataError(f"pair {name}: sar is {sar.dtype} and set.yaml says unit: {unit}; complex pixels are unit complex, "
                            "others are not")
        if unit == _COMPLEX:
            return (sar.real * scale) ** 2 + (sar.imag * scale) ** 2
        if unit in ("intensity", "amplitude") and sar.min() < 0:
            raise DataError(f"pair {name}: sar holds {sar.min():.4g} and set.yaml says unit: {unit}, which is never "
                            "negative; if these are decibel say unit: db; if it means nodata say nodata: VALUE")
        if unit == "db" and sar.dtype == np.uint8:
            raise DataError(f"pair {name}: sar is 8-bit and set.yaml says unit: db; display pixels are no decibel; say dn")
        return sar * scale


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
