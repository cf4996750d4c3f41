"""What cannot be found from a foreign graph: bands, unit, statistics, classes. YAML (or JSON) by hand, read strictly."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hfd_edge.errors import SpecError
from hfd_edge.export import strict_yaml
from hfd_edge.spec import ModelInput, Unit
from hfd_edge.speckle import BORDERS, FILTERS

MAX_SPEC_BYTES = 1 << 18
MAX_DEPTH = 8
EXAMPLE = """\
# What hfd-edge package cannot find from the graph. Lines marked "optional" may be left out.
name: harbour-unet
bands: [VV, VH]                 # channel order of the network's input
input:                          # a valid pixel x enters as (clip(max(x, floor)) - mean) / std, an invalid one as 0
  unit: db                      # db, intensity, amplitude or dn: the scale of the numbers below
  mean: [-12.5, -19.3]          # per band
  std: [4.1, 4.6]               # per band, above 0
  floor: -35                    # where zero power lands; required for db, optional else
  clip: [[-30, 5], [-35, 0]]    # optional, [low, high] per band
  quantity: sigma0              # optional: sigma0, gamma0, beta0 or dn
  looks: 4.4                    # optional: equivalent number of looks of the training scenes
  speckle_filter: none          # optional: filter of linear intensity before everything else; with it, all optional: filter_looks
                                # (else looks), filter_radius, filter_border, filter_damping, filter_sigma, filter_bright
classes: [water, land, ship]    # index = value in the map, 255 = nodata; a network with one logit (sigmoid) has two classes
colors: ["#1f6fb4", "#8a9a5b", "#d62728"]      # "#rrggbb" or [r, g, b], one per class
pixel_spacing_m: 10             # optional: ground pixel spacing of the training scenes
tile_px: 512                    # optional: side of the tile the network was trained on
filter_halo_px: 0               # optional: pixels to add to the exact halo; a filter above needs none
# scene_percentiles: [2, 50, 98]  # optional: only for a network with a second input, see docs/foreign-networks.md
"""
_TOP = {"name": True, "bands": True, "input": True, "classes": True, "colors": True, "pixel_spacing_m": False, "tile_px": False,
        "filter_halo_px": False, "scene_percentiles": False}                                # key: whether it must be there
_INPUT = {"unit": True, "mean": True, "std": True, "floor": False, "clip": False, "quantity": False, "looks": False,
          "speckle_filter": False, "filter_looks": False, "filter_radius": False, "filter_border": False,
          "filter_damping": False, "filter_sigma": False, "filter_bright": False}
_QUANTITIES = ("sigma0", "gamma0", "beta0", "dn")


@dataclass(frozen=True, slots=True)
class ForeignSpec:
    """The part of a ModelSpec that its author knows and the graph does not."""

    name: str
    bands: tuple[str, ...]
    input: ModelInput
    classes: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    pixel_spacing_m: float | None = None
    tile_px: int | None = None
    filter_halo_px: int = 0
    scene_percentiles: tuple[float, ...] | None = None


def read_spec(path: str | Path) -> ForeignSpec:
    """Read spec.yaml.

    Raises:
        SpecError: the file cannot be read, is no YAML mapping, or a key is missing, unknown, of the wrong kind or contradicts another.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_SPEC_BYTES + 1)
    except OSError as error:
        raise SpecError(f"{path} cannot be read ({error.strerror}): give the YAML file that describes the network; "
                        "hfd-edge package --example-spec prints one") from error
    try:
        return parse_spec(data)
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from error


def parse_spec(data: bytes | str) -> ForeignSpec:
    """The same from the file's content."""
    record = _checked_keys(_load(data), _TOP, "")
    inner = _checked_keys(record["input"], _INPUT, "input.")
    classes, bands = _names(record["classes"], "classes"), _names(record["bands"], "bands")
    colors = record["colors"]
    if not isinstance(colors, list) or len(colors) != len(classes):
        raise SpecError(f"colors={_short(colors)}: it must be a list of {len(classes)} colours, one per class")
    return ForeignSpec(
        name=_text(record["name"], "name"), bands=bands, input=_model_input(inner, len(bands)), classes=classes,
        colors=tuple(_color(value, f"colors[{i}]") for i, value in enumerate(colors)),
        pixel_spacing_m=_number(record.get("pixel_spacing_m"), "pixel_spacing_m", above=0),
        tile_px=_whole(record.get("tile_px"), "tile_px", 1),
        filter_halo_px=_whole(record.get("filter_halo_px"), "filter_halo_px", 0) or 0,
        scene_percentiles=_percentiles(record.get("scene_percentiles")))


def _percentiles(value: Any) -> tuple[float, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not value:
        raise SpecError(f"scene_percentiles={_short(value)}: it must be a list of rising numbers of 0 to 100, such as [2, 50, 98]")
    return _numbers(value, "scene_percentiles", len(value))


def _model_input(inner: Mapping[str, Any], bands: int) -> ModelInput:
    clip = inner.get("clip")
    if clip is not None:
        if not isinstance(clip, list) or len(clip) != bands:
            raise SpecError(f"input.clip={_short(clip)}: it must be a list of {bands} pairs [low, high], one per band")
        clip = tuple(_numbers(pair, f"input.clip[{i}]", 2) for i, pair in enumerate(clip))
    stated = inner["unit"]
    unit = _choice(stated.lower() if isinstance(stated, str) else stated, "input.unit", tuple(u.value for u in Unit if u is not Unit.COMPLEX))
    return ModelInput(
        unit=Unit(unit), mean=_numbers(inner["mean"], "input.mean", bands), std=_numbers(inner["std"], "input.std", bands),
        clip=clip,
        floor=_number(inner.get("floor"), "input.floor"),
        quantity=_choice(inner.get("quantity", "dn" if unit == "dn" else "sigma0"), "input.quantity", _QUANTITIES),
        looks=_number(inner.get("looks"), "input.looks", above=0),
        speckle_filter=_choice(inner.get("speckle_filter", "none"), "input.speckle_filter", ("none", *FILTERS)),
        **_filter_numbers(inner, bands))


def _filter_numbers(inner: Mapping[str, Any], bands: int) -> dict[str, Any]:
    """The filter's numbers that are given; the others keep ModelInput's defaults."""
    made = {key: _number(inner[key], f"input.{key}", above=0)
            for key in ("filter_looks", "filter_damping", "filter_sigma") if inner.get(key) is not None}
    if "filter_radius" in inner:
        made["filter_radius"] = _whole(inner["filter_radius"], "input.filter_radius", 1)
    if "filter_border" in inner:
        made["filter_border"] = _choice(inner["filter_border"], "input.filter_border", BORDERS)
    if "filter_bright" in inner:
        made["filter_bright"] = _numbers(inner["filter_bright"], "input.filter_bright", bands)
    return made


def _load(data: bytes | str) -> Any:
    if len(data) > MAX_SPEC_BYTES:
        raise SpecError(f"it has more than {MAX_SPEC_BYTES} bytes: a spec is a page of YAML; give the spec, not the graph")
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        _check_events(text)
        record = strict_yaml.load(text)
    except (UnicodeDecodeError, yaml.YAMLError, RecursionError, ValueError) as error:
        if isinstance(error, SpecError):
            raise
        raise SpecError(f"it is no YAML ({' '.join(str(error).split())[:200]}): compare it with hfd-edge package --example-spec") from error
    return record


def _check_events(text: str) -> None:
    """Refuse what makes YAML grow or take long before a value is made of it."""
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise SpecError("it uses YAML aliases (*name): write the values out")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise SpecError(f"its values are nested more than {MAX_DEPTH} deep: no spec is; compare it with --example-spec")


def _checked_keys(record: Any, keys: Mapping[str, bool], where: str) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise SpecError(f"{where.rstrip('.') or 'the file'} is {_short(record)}: it must be keys and values; compare it with "
                        "hfd-edge package --example-spec")
    for key in record:
        if key not in keys:
            near = difflib.get_close_matches(str(key), keys, 2)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(keys)}"
            raise SpecError(f"key {where}{str(key)[:40]} is not known: {hint}")
    missing = [f"{where}{key}" for key, required in keys.items() if required and record.get(key) is None]
    if missing:
        raise SpecError(f"{', '.join(missing)} missing: the graph does not tell; compare with hfd-edge package --example-spec")
    return record


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value or not value.isprintable() or len(value) > 200:
        hint = "; YAML reads yes, no, on and off as true and false: put it in quotes" if isinstance(value, bool) else ""
        raise SpecError(f"{where}={_short(value)}: it must be a printable text of 1 to 200 characters{hint}")
    return value


def _names(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise SpecError(f"{where}={_short(value)}: it must be a list of names, such as [water, land]")
    names = tuple(_text(item, f"{where}[{i}]") for i, item in enumerate(value))
    if len(set(names)) != len(names):
        raise SpecError(f"{where}={_short(value)}: the names must differ from each other")
    return names


def _number(value: Any, where: str, above: float | None = None) -> float | None:
    if value is None:
        return None
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300 and math.isfinite(value)
    if not good or (above is not None and not value > above):
        raise SpecError(f"{where}={_short(value)}: it must be a number{'' if above is None else f' above {above:g}'}")
    return float(value)


def _numbers(value: Any, where: str, count: int) -> tuple[float, ...]:
    if not isinstance(value, list) or len(value) != count:
        raise SpecError(f"{where}={_short(value)}: it must be a list of {count} numbers")
    if None in value:
        raise SpecError(f"{where}[{value.index(None)}] is empty: it must be a number")
    return tuple(_number(item, f"{where}[{i}]") for i, item in enumerate(value))


def _whole(value: Any, where: str, least: int) -> int | None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not least <= value <= 1 << 20):
        raise SpecError(f"{where}={_short(value)}: it must be a whole number of pixels, at least {least}")
    return value


def _choice(value: Any, where: str, known: tuple[str, ...]) -> str:
    if value not in known:
        near = difflib.get_close_matches(str(value).lower(), known, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise SpecError(f"{where}={_short(value)}: it must be one of {', '.join(known)}{hint}")
    return value


def _color(value: Any, where: str) -> tuple[int, int, int]:
    if isinstance(value, str) and len(value) == 7 and value[0] == "#":
        try:
            return tuple(bytes.fromhex(value[1:]))
        except ValueError:
            pass
    if isinstance(value, list) and len(value) == 3 and all(type(v) is int and 0 <= v <= 255 for v in value):
        return tuple(value)
    raise SpecError(f'{where}={_short(value)}: a colour is "#rrggbb" (in quotes) or [r, g, b] with 0 to 255')


def _short(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
