"""Your own pairs: `sar/ eo/ label/` with files of the same stem, and a `set.yaml` that says what they are (docs/data.md)."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from hfd_edge.errors import SpecError
from hfd_edge.spec import NODATA_LABEL, Unit
from training.layouts.files import (FileSet, Plane, find_files, image_frame, one_folder, partner, read_lists, read_planes,
                                    recode, split_in_fives)
from training.pairs import SPLITS, DataError, Pair, SetInfo, pair_of

_SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".jp2", ".npy")
_COMPLEX = "complex"


@dataclass(frozen=True, slots=True)
class SetFile:
    """The keys of set.yaml. Those without a default must be there."""

    name: str
    bands: list[str]                     # of the SAR files, in order
    unit: str                            # intensity, amplitude, db, complex or dn
    classes: dict[str, Any]              # name: code, or name: [codes]
    eo_bands: list[str] = field(default_factory=list)
    colors: dict[str, list[int]] = field(default_factory=dict)      # name: [red, green, blue]
    ignore: list[int] = field(default_factory=list)                 # codes without a class
    nodata: float | None = None          # SAR value without a measurement, beside NaN and what the file itself declares
    scale: float = 1.0                   # stored value x scale = value in `unit`; nodata is meant as stored
    quantity: str = "sigma0"
    looks: float | None = None
    pixel_spacing_m: float | None = None
    flips: list[str] = field(default_factory=list)                  # rows, cols, transpose; none if the look matters
    split: dict[str, Any] = field(default_factory=lambda: {"by": "names"})


class FolderPairs(FileSet):
    """GeoTIFF, PNG, JPEG or .npy in `sar/`, `label/` and, where there is an optical image, `eo/`."""

    def __init__(self, root: Path) -> None:
        self._set = _read_set(root)
        self._folder = {part: one_folder("folder", root, (part,)) for part in ("sar", "label")}
        self._folder["eo"] = one_folder("folder", root, ("eo",)) if self._set.eo_bands else root / "eo"
        found = find_files("folder", self._folder["sar"], "*")
        self._files = {path.stem: path for path in found if path.suffix.lower() in _SUFFIXES}
        if not self._files:
            raise DataError(f"layout folder: no file of {self._folder['sar']} ends in {', '.join(_SUFFIXES)}; convert them")
        self._codes = _codes(self._set)
        unit = Unit.INTENSITY if self._set.unit == _COMPLEX else _unit(self._set.unit)
        names = tuple(self._set.classes)
        colors = tuple(tuple(self._set.colors.get(name, _color(i))) for i, name in enumerate(names))
        info = SetInfo(self._set.name, tuple(self._set.bands), tuple(self._set.eo_bands), names, colors, unit,
                       self._set.quantity, self._set.looks, self._set.pixel_spacing_m, tuple(self._set.flips))
        super().__init__(info, _splits(root, self._files, self._set.split))

    def _load(self, name: str, eo: bool) -> Pair:
        path = self._files[name]
        label = self._find("label", name) or self._folder["label"] / f"{name}{path.suffix}"
        planes = [Plane("sar", (path,), len(self.info.bands)), Plane("label", (label,), 1)]
        optical_file = self._find("eo", name) if eo and self._set.eo_bands else None
        if optical_file is not None:
            planes.append(Plane("eo", (optical_file,), len(self.info.eo_bands)))
        sar, stored, *optical = read_planes(name, planes)
        valid = np.isfinite(sar).all(axis=0)
        for nodata in (self._set.nodata, image_frame(path)[3]):
            if nodata is not None and np.isfinite(nodata):
                valid &= (sar != nodata).all(axis=0)
        labels = recode(name, stored[0], self._codes)
        return pair_of(name, self._detected(name, np.where(valid, sar, 0)), *(optical or [None]), labels, valid)

    def _find(self, part: str, name: str) -> Path | None:
        """The file of this stem, whatever its format."""
        return next((path for suffix in _SUFFIXES if (path := self._folder[part] / f"{name}{suffix}").is_file()), None)

    def _detected(self, name: str, sar: np.ndarray) -> np.ndarray:
        """Stored pixels in the set's unit, complex ones as intensity; refuse what the declared unit cannot be."""
        unit, scale = self._set.unit, np.float32(self._set.scale)
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


def _read_set(root: Path) -> SetFile:
    path = root / "set.yaml"
    if not path.is_file():
        find_files("folder", root, "set.yaml")                   # says what is there instead
    try:
        record = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    known = {f.name for f in fields(SetFile)}
    if not isinstance(record, dict) or not {"name", "bands", "unit", "classes"} <= record.keys():
        raise DataError(f"{path}: it must be a mapping with at least name, bands, unit and classes; docs/data.md shows one")
    unknown = sorted(str(key) for key in record.keys() - known)
    if unknown:
        raise DataError(f"{path}: key {unknown[0]!r} is not known; use {', '.join(sorted(known))}")
    if not isinstance(record["classes"], dict) or not isinstance(record["bands"], list):
        raise DataError(f"{path}: bands is a list of names, classes a mapping of name to code or codes; docs/data.md shows one")
    return SetFile(**record)


def _unit(word: str) -> Unit:
    try:
        return Unit(word)
    except (SpecError, ValueError) as error:
        raise DataError(f"set.yaml: unit: {word!r} is not known; use intensity, amplitude, db, complex or dn") from error


def _codes(record: SetFile) -> dict[int, int]:
    """Stored code to class or 255; a code may have one meaning only."""
    codes = {int(code): NODATA_LABEL for code in record.ignore}
    for index, (name, own) in enumerate(record.classes.items()):
        for code in own if isinstance(own, list) else [own]:
            if not isinstance(code, int) or code in codes:
                raise DataError(f"set.yaml: class {name!r} has code {code!r}; a code is a whole number with one meaning, and "
                                "the codes of ignore are no class")
            codes[code] = index
    return codes


def _splits(root: Path, files: dict[str, Path], rule: dict[str, Any]) -> dict[str, str]:
    """By lists (FOLDER/train.txt, select.txt, test.txt), by place (squares of size_m) or by names (blocks of neighbours)."""
    by = rule.get("by")
    if by == "lists":
        folder = root / rule.get("folder", ".")
        return _listed(files, read_lists({split: partner(folder / f"{split}.txt", "lists") for split in SPLITS}))
    if by == "place":
        size = float(rule.get("size_m", 0))
        if not size > 0:
            raise DataError(f"set.yaml: split by place needs size_m above 0, the side of a square; it is {rule.get('size_m')}")
        groups = {name: _square(path, size) for name, path in files.items()}
    elif by == "names":
        size = int(rule.get("size", 0)) or max(1, -(-len(files) // 20))
        groups = {name: number // size for number, name in enumerate(files)}
    else:
        raise DataError(f"set.yaml: split by {by!r} is not known; use lists, place or names")
    blocks = split_in_fives(groups.values())
    if len(blocks) < 5:
        raise DataError(f"set.yaml: split by {by} makes {len(blocks)} blocks of {len(files)} pairs; at least 5 are needed, so "
                        "that train, select and test are all there; make the blocks smaller or give lists")
    return {name: blocks[groups[name]] for name in files}


def _listed(files: dict[str, Path], lists: dict[str, list[str]]) -> dict[str, str]:
    splits = {name: "" for name in files}
    for split, names in lists.items():
        for line in names:
            name = Path(line).stem if Path(line).suffix.lower() in _SUFFIXES else line
            if name not in files:
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


def _color(index: int) -> tuple[int, int, int]:
    """Colors far from each other, for classes without one."""
    wheel = ((38, 102, 178), (200, 58, 52), (34, 110, 60), (232, 214, 92), (148, 103, 189), (23, 190, 207), (140, 86, 75),
             (127, 127, 127))
    return tuple((v + 40 * (index // len(wheel))) % 256 for v in wheel[index % len(wheel)])
