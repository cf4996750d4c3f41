"""Configuration files: nested frozen dataclasses from YAML and from `key=value` words. A key that is not known is refused with the nearest one.

Every field carries its reason (`key(default, why)`), so that the list of keys in docs/training.md is printed, not written.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
from collections.abc import Iterator
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from hfd_edge.errors import HfdError, SpecError
from hfd_edge.export import strict_yaml


class ConfigError(HfdError, ValueError):
    """A configuration names something that does not exist, or gives it a value it cannot have."""


@dataclass(frozen=True, slots=True)
class Key:
    """One line of the list of keys."""

    name: str                   # dotted
    kind: str
    default: str
    why: str


def key(default: Any = MISSING, why: str = "", *, make: Any = MISSING, within: tuple[float, float] | None = None) -> Any:
    """A field with its reason; `make` builds the default of a section, a list or a dictionary, `within` are the lowest and highest number it may be."""
    return dataclasses.field(default=default, default_factory=make, metadata={"why": why, "within": within})


def read_config(cls: type, path: Path, overrides: tuple[str, ...] = ()) -> Any:
    """The configuration in a YAML file, changed by `a.b=value` words; values are YAML too.

    Raises:
        ConfigError: no such file, not YAML, or a key or value is refused; the text names the key in full.
    """
    try:
        record = strict_yaml.load(path.read_text(encoding="utf-8"))
    except SpecError as error:
        raise ConfigError(f"{path}: {error}") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); give a YAML file such as training/configs/simulated.yaml") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(record, dict):
        raise ConfigError(f"{path} holds a {type(record).__name__}: a configuration is a mapping of keys; see training/configs/simulated.yaml")
    for word in overrides:
        _override(record, word)
    return build(cls, record)


def build(cls: type, record: dict[str, Any], where: str = "") -> Any:
    """A dataclass from nested dictionaries; `where` is the dotted path so far."""
    if not isinstance(record, dict):
        raise ConfigError(f"{where}={record!r}: it is a section; give a mapping of keys")
    hints, known = get_type_hints(cls), {f.name: f for f in dataclasses.fields(cls)}
    for name in record:
        if name not in known:
            raise ConfigError(f"{_join(where, name)}: there is no such key; {_nearest(str(name), sorted(known))}")
    values = {name: _value(hints[name], record[name], _join(where, name)) for name in record}
    for name, value in values.items():
        low, high = known[name].metadata.get("within") or (None, None)
        if low is not None and value is not None and not low <= value <= high:
            raise ConfigError(f"{_join(where, name)}={value}: it must be {low} to {high}")
    if missing := [n for n, f in known.items() if n not in values and f.default is MISSING and f.default_factory is MISSING]:
        raise ConfigError(f"{_join(where, missing[0])} is missing: it has no default; give it in the file or as {_join(where, missing[0])}=VALUE")
    try:
        return cls(**values)
    except HfdError as error:
        raise ConfigError(f"{where or 'configuration'}: {error}") from error


def to_record(config: Any) -> dict[str, Any]:
    """A configuration as JSON-ready dictionaries and lists."""
    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {str(k): plain(v) for k, v in value.items()}
        return [plain(v) for v in value] if isinstance(value, (tuple, list)) else value
    return plain(dataclasses.asdict(config))


def keys(cls: type, where: str = "") -> Iterator[Key]:
    """Every key with its default and its reason, sections flattened, in the order of the file."""
    hints = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        kind, name = hints[field.name], _join(where, field.name)
        if dataclasses.is_dataclass(kind):
            yield from keys(kind, name)
            continue
        default = "required" if field.default is MISSING and field.default_factory is MISSING else _shown(
            field.default if field.default is not MISSING else field.default_factory())
        yield Key(name, _name_of(kind), default, field.metadata.get("why", ""))


def key_table(cls: type) -> str:
    """`keys` as a Markdown table."""
    def cell(text: str) -> str:
        return text.replace("|", "\\|")
    lines = [f"| `{k.name}` | {cell(k.kind)} | `{cell(k.default)}` | {cell(k.why)} |" for k in keys(cls)]
    return "\n".join(["| key | kind | default | why |", "|---|---|---|---|", *lines])


def _override(record: dict[str, Any], word: str) -> None:
    path, sign, text = word.partition("=")
    if not sign or not path:
        raise ConfigError(f"{word!r}: an override is KEY=VALUE with a dotted key, e.g. loop.steps=100")
    try:
        value = strict_yaml.load(text)
    except (yaml.YAMLError, SpecError) as error:
        raise ConfigError(f"{word!r}: the value is not YAML ({' '.join(str(error).split())}); quote it") from error
    *sections, last = path.split(".")
    for name in sections:
        record = record.setdefault(name, {})
        if not isinstance(record, dict):
            raise ConfigError(f"{word!r}: {name} holds {record!r} and no keys; leave the part behind it out")
    record[last] = value


def _value(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return build(kind, {} if value is None else value, where)
    if get_origin(kind) in (Union, types.UnionType):
        inner = [k for k in get_args(kind) if k is not type(None)]
        if value is None and len(inner) < len(get_args(kind)):
            return None
        nearest = _nearest_kind(inner, value)
        if len(inner) > 1 and get_origin(nearest) is Literal and value not in get_args(nearest):
            raise ConfigError(f"{where}={value!r}: it must be {_name_of(kind)}")
        return _value(nearest, value, where)
    if get_origin(kind) is Literal:
        if isinstance(value, int) and not isinstance(value, bool):       # YAML reads 32 as a number
            value = str(value)
        if value in get_args(kind):
            return value
        raise ConfigError(f"{where}={value!r}: use one of {', '.join(map(str, get_args(kind)))}")
    if get_origin(kind) is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{where}={value!r}: it is a list; write [{value}]")
        return tuple(_value(get_args(kind)[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if kind is dict or get_origin(kind) is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{where}={value!r}: it is a mapping of keys")
        return {name: _value(float, number, f"{where}.{name}") for name, number in value.items()} if get_args(kind)[1:] == (float,) else value
    return _scalar(kind, value, where)


def _nearest_kind(kinds: list[Any], value: Any) -> Any:
    """Of several kinds that a key may have the one of this value's shape: a mapping, a list, or else the first."""
    shape = dict if isinstance(value, dict) else tuple if isinstance(value, (list, tuple)) else None
    return next((kind for kind in kinds if get_origin(kind) is shape), kinds[0]) if shape else kinds[0]


def _scalar(kind: type, value: Any, where: str) -> Any:
    if kind is float and isinstance(value, str):        # YAML 1.1 reads 3e-3 as a word
        try:
            value = float(value)
        except ValueError as error:
            raise ConfigError(f"{where}={value!r}: it must be a number") from error
    fits = {bool: isinstance(value, bool), int: isinstance(value, int) and not isinstance(value, bool),
            float: isinstance(value, (int, float)) and not isinstance(value, bool), str: isinstance(value, str)}[kind]
    if not fits:
        quotes = "; YAML reads yes, no, on and off as true and false, and digits as a number: put it in quotes" if isinstance(value, (bool, int, float)) else ""
        raise ConfigError(f"{where}={value!r}: it must be a {_name_of(kind)}, not a {type(value).__name__}{quotes if kind is str else ''}")
    return kind(value)


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1, 0.5)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else str(name)


def _name_of(kind: Any) -> str:
    if get_origin(kind) in (Union, types.UnionType):
        *first, last = ("null" if k is type(None) else _name_of(k) for k in get_args(kind))
        return f"{', '.join(first)} or {last}"
    if get_origin(kind) is Literal:
        return ", ".join(map(str, get_args(kind)))
    if get_origin(kind) is tuple:
        return f"list of {_name_of(get_args(kind)[0])}{'s' * (get_args(kind)[0] in (int, float, str))}"
    if get_origin(kind) is dict and get_args(kind)[1] is float:
        return "mapping of numbers"
    return {int: "whole number", float: "number", str: "word", bool: "true or false"}.get(kind, "mapping")


def _shown(value: Any) -> str:
    return {None: "null", True: "true", False: "false"}.get(value) if value is None or isinstance(value, bool) else (
        str(list(value)) if isinstance(value, tuple) else str(value) if value != "" else '""')
