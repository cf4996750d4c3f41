"""`set.yaml` of the layout `folder`: read strictly when a set is opened, by the rules of the spec that a student will carry."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from itertools import count
from pathlib import Path
from typing import Any, Literal

import yaml

from hfd_edge.errors import HfdError, SpecError
from hfd_edge.export import strict_yaml
from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.spec import NODATA_LABEL, ModelInput, ModelSpec, Unit
from training.layouts.files import find_files
from training.pairs import DataError, SetInfo
from training.schema import build

_MAY_BE_EMPTY = ("nodata", "scale", "looks", "pixel_spacing_m")     # an empty key says "not known"
_SPLIT_KEYS = {"names": ("size",), "place": ("size_m",), "lists": ("folder",)}


@dataclass(frozen=True, slots=True)
class SetFile:
    """The keys of set.yaml. Those without a default must be there."""

    name: str
    bands: tuple[str, ...]               # of the SAR files, in order
    unit: Literal["intensity", "amplitude", "db", "complex", "dn"]
    classes: dict[str, Any]              # name: code, or name: [codes]
    eo_bands: tuple[str, ...] = ()
    colors: dict[str, Any] = field(default_factory=dict)            # name: [red, green, blue]
    ignore: tuple[int, ...] = ()         # codes without a class
    nodata: tuple[float, ...] = ()       # SAR values without a measurement, beside NaN and what the file itself declares
    scale: float | None = None           # stored value x scale = value in `unit`; None = what the file's tags say, else 1
    quantity: Literal["sigma0", "gamma0", "beta0", "dn"] = "sigma0"
    looks: float | None = None
    pixel_spacing_m: float | None = None
    flips: tuple[str, ...] = ()          # rows, cols, transpose; none if the look matters
    split: dict[str, Any] = field(default_factory=lambda: {"by": "names"})

    @property
    def pixel_unit(self) -> Unit:
        """What the pixels of a pair are: complex ones become intensity."""
        return Unit.INTENSITY if self.unit == "complex" else Unit(self.unit)

    @property
    def codes(self) -> dict[int, int]:
        """Stored code to class or 255."""
        found = {code: NODATA_LABEL for code in self.ignore}
        for index, own in enumerate(self.classes.values()):
            found |= {code: index for code in (own if isinstance(own, list) else [own])}
        return found

    @property
    def info(self) -> SetInfo:
        colors = _colors(self.classes, self.colors)
        return SetInfo(self.name, self.bands, self.eo_bands, tuple(self.classes), colors, self.pixel_unit, self.quantity,
                       self.looks, self.pixel_spacing_m, self.flips)


def read_set(root: Path) -> SetFile:
    """set.yaml of a folder.

    Raises:
        DataError: it is missing or not YAML, or a key is missing, unknown, of the wrong kind or contradicts another.
    """
    path = root / "set.yaml"
    if not path.is_file():
        find_files("folder", root, "set.yaml")                   # says what is there instead
    try:
        record = strict_yaml.load(path.read_text(encoding="utf-8"))
    except SpecError as error:
        raise DataError(f"{path}: {error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    try:
        made = build(SetFile, _plain(record))
        made = replace(made, nodata=tuple(value for value in made.nodata if not math.isnan(value)))      # it counts, named or not
        _check_names(made)
        _check_codes(made)
        _check_colors(made)
        _check_split(made.split)
        _check_as_spec(made)
    except HfdError as error:
        raise DataError(f"{path}: {error}") from error
    return made


def _plain(record: Any) -> dict[str, Any]:
    """The mapping as `build` takes it: words that stand for a list are one, and no key is empty that must not be."""
    if not isinstance(record, dict) or not {"name", "bands", "unit", "classes"} <= record.keys():
        raise DataError("it must be a mapping with at least name, bands, unit and classes; docs/data.md shows one")
    record = {key: value for key, value in record.items() if value is not None or key not in _MAY_BE_EMPTY}
    if isinstance(record["unit"], str):
        record["unit"] = record["unit"].lower()                 # dB, as the command line takes it
    for key in fields(SetFile):
        if key.name in record and record[key.name] is None:
            required = key.default is MISSING and key.default_factory is MISSING
            raise DataError(f"{key.name} is empty: give it a value{'' if required else ', or leave the key out'}; docs/data.md shows one")
    if not isinstance(record["bands"], list) or not isinstance(record["classes"], dict):
        raise DataError(f"bands={record['bands']!r}, classes={record['classes']!r}: bands is a list of names, classes a mapping "
                        "of name to code or codes; docs/data.md shows one")
    if isinstance(record.get("eo_bands"), str):
        raise DataError(f"eo_bands={record['eo_bands']!r}: it is a list of names, one per band, such as [R, G, B]")
    if not isinstance(record.get("split", {}), dict):
        raise DataError(f"split={record['split']!r}: it is a mapping; write {{by: names}}, {{by: place, size_m: 5000}} or "
                        "{by: lists, folder: lists}")
    if record.get("flips") == "none":
        record["flips"] = []
    if "nodata" in record and not isinstance(record["nodata"], list):
        record["nodata"] = [record["nodata"]]
    return record


def _check_names(record: SetFile) -> None:
    named = {"name": [record.name], "bands": record.bands, "eo_bands": record.eo_bands, "classes": record.classes}
    for key, values in named.items():
        for value in values:
            if not value.isprintable() or not 0 < len(value) <= 200:
                raise DataError(f"{key}: {value!r} is no name: it must be a printable text of 1 to 200 characters")
    if len(set(record.eo_bands)) < len(record.eo_bands):
        raise DataError(f"eo_bands={list(record.eo_bands)}: the names must differ from each other")
    if not all(math.isfinite(value) for value in record.nodata):
        raise DataError(f"nodata={list(record.nodata)}: it must be finite; infinity always counts as nodata: leave it out")
    if record.pixel_spacing_m is not None and not 0 < record.pixel_spacing_m < math.inf:
        raise DataError(f"pixel_spacing_m={record.pixel_spacing_m}: it must be a number of metres above 0; leave it out if it is not known")


def _check_codes(record: SetFile) -> None:
    """A code may have one meaning only."""
    seen = set(record.ignore)
    for name, own in record.classes.items():
        for code in own if isinstance(own, list) else [own]:
            if not isinstance(code, int) or isinstance(code, bool) or code in seen:
                raise DataError(f"class {name!r} has code {code!r}; a code is a whole number with one meaning, and the codes of ignore are no class")
            seen.add(code)
        if own == []:
            raise DataError(f"class {name!r} has no code: give it one, or leave the class out")


def _check_colors(record: SetFile) -> None:
    for name, color in record.colors.items():
        if name not in record.classes:
            near = difflib.get_close_matches(str(name), record.classes, 1)
            raise DataError(f"colors: {name!r} is no class; {f'did you mean {near[0]}?' if near else 'the classes are '}"
                            f"{'' if near else ', '.join(record.classes)}")
        if not isinstance(color, list) or len(color) != 3 or not all(type(v) is int and 0 <= v <= 255 for v in color):
            raise DataError(f"colors: {name}={color!r}: a colour is [red, green, blue], whole numbers of 0 to 255")


def _check_split(split: Mapping[str, Any]) -> None:
    by = split.get("by")
    if not isinstance(by, str) or by not in _SPLIT_KEYS:
        raise DataError(f"split by {by!r} is not known; use lists, place or names")
    unknown = [key for key in split if key not in ("by", *_SPLIT_KEYS[by])]
    if unknown:
        raise DataError(f"split: key {unknown[0]!r} is not known of a split by {by}; use {', '.join(_SPLIT_KEYS[by])}")
    size, size_m, folder = split.get("size", 1), split.get("size_m"), split.get("folder", ".")
    if type(size) is not int or size < 1:
        raise DataError(f"split: size={size!r}: it must be a whole number of pairs, at least 1; leave it out for a twentieth of them")
    if by == "place" and (type(size_m) not in (int, float) or not 0 < size_m < math.inf):
        raise DataError(f"split by place needs size_m above 0, the side of a square as a number of metres; it is {size_m!r}")
    if not isinstance(folder, str):
        raise DataError(f"split: folder={folder!r}: it must be the name of a folder, such as lists")


def _check_as_spec(record: SetFile) -> None:
    """What an engine's spec and the reading of a scene would refuse after the training is refused before it."""
    info, count = record.info, len(record.bands)
    unit = Unit.DN if record.unit == "dn" else Unit.DB
    pixels = ModelInput(unit, (0.0,) * count, (1.0,) * count, None, 0.0, record.quantity, record.looks)
    ModelSpec(record.name, record.bands, pixels, info.classes, info.colors, 1, 1, 0, 0, tile_px=1,
              pixel_spacing_m=record.pixel_spacing_m)
    SourceRadiometry(Unit(record.unit), 1.0 if record.scale is None else record.scale, 0.0, record.nodata, record.quantity,
                     record.bands, record.looks)


_WHEEL = ((38, 102, 178), (200, 58, 52), (34, 110, 60), (232, 214, 92), (148, 103, 189), (23, 190, 207), (140, 86, 75), (127, 127, 127))
_USUAL = {0: ("water", "flood", "flooded", "sea", "ocean", "lake", "river"), 1: ("built", "urban", "building", "buildings", "city", "settlement"),
          2: ("forest", "tree", "trees", "wood"), 3: ("crop", "crops", "cropland", "agriculture", "field", "fields"),
          5: ("ice", "snow"), 6: ("bare", "soil", "land", "dry"), 7: ("background", "other", "road", "roads")}      # place in the wheel: words
_UNUSUAL = (4, 1, 3, 6, 5, 7, 2, 0)      # places for other classes: what says least of land cover first, water's blue last


def _colors(classes: Iterable[str], given: Mapping[str, Any]) -> tuple[tuple[int, int, int], ...]:
    """Of each class what is given, else what maps usually show it in, else a colour that no other class has; far from each other."""
    found, names = {name: tuple(color) for name, color in given.items()}, list(classes)
    for name in names:
        words = set(re.split(r"[^a-z]+", name.lower()))
        usual = next((_WHEEL[place] for place, known in _USUAL.items() if words & {*known}), None)
        if name not in found and usual is not None and usual not in found.values():
            found[name] = usual
    more = (tuple((v + 40 * turn) % 256 for v in _WHEEL[place]) for turn in count() for place in _UNUSUAL)
    for name in names:
        if name not in found:
            found[name] = next(color for color in more if color not in found.values())
    return tuple(found[name] for name in names)
