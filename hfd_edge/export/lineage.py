"""Which package replaces which: version numbers, parents, and what differs between two packages."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfd_edge.errors import ExportError
from hfd_edge.package import Package
from hfd_edge.spec import ModelSpec

KEY = "lineage"                     # in the manifest's provenance
MOST_PARENTS = 64
_SHOWN = 400                        # characters of a value
_FEW = 4                            # values of an object that one package has not: each is told


def lineage_of(old: Package | str | Path | None, spec: ModelSpec | None = None) -> dict[str, Any]:
    """The record a new package keeps in its provenance under `KEY`.

    Args:
        old: the package that is replaced; None = the first of its line.
        spec: of the new network; given, it must answer the same question as the old one.
    Returns:
        {"version": number from 1 on, "replaces": engine hash or None, "parents": hashes, the newest first}, JSON-ready.
    Raises:
        PackageError: the old package cannot be read.
        ExportError: the new network takes other bands or answers with other classes.
    """
    if old is None:
        return {"version": 1, "replaces": None, "parents": []}
    if not isinstance(old, Package):
        with Package.open(old) as package:
            return lineage_of(package, spec)
    if spec is not None:
        for what, before, now in (("bands", old.spec.bands, spec.bands), ("classes", old.spec.classes, spec.classes)):
            if before != now:
                raise ExportError(f"{old.path} has {what} {', '.join(before)}, the new network has {', '.join(now)}: a "
                                  "replacement has the same bands and classes; leave out --replaces")
    known = recorded(old)
    return {"version": known["version"] + 1, "replaces": old.engine_hash,
            "parents": [old.engine_hash, *known["parents"]][:MOST_PARENTS]}


def recorded(package: Package) -> dict[str, Any]:
    """The lineage a package says it has; version 1 without parents where it says nothing (or nonsense)."""
    record = package.manifest["provenance"].get(KEY)
    if not isinstance(record, dict):
        return lineage_of(None)
    version, parents = record.get("version"), record.get("parents")
    sound = isinstance(version, int) and version >= 1 and isinstance(parents, list) and all(isinstance(p, str) for p in parents)
    return {"version": version, "replaces": record.get("replaces"), "parents": parents} if sound else lineage_of(None)


def relation(old: Package, new: Package) -> str:
    """How two packages are related, in words."""
    before, now = recorded(old), recorded(new)
    if old.engine_hash == new.engine_hash:
        return "the same package"
    if old.engine_hash in now["parents"]:
        steps = now["parents"].index(old.engine_hash) + 1
        return f"version {now['version']} descends from version {before['version']}, {steps} step{'s' * (steps > 1)} back"
    if new.engine_hash in before["parents"]:
        return f"the second is older: version {now['version']} is an ancestor of version {before['version']}"
    common = next((parent for parent in now["parents"] if parent in before["parents"]), None)
    return f"siblings with the common ancestor {common[:12]}" if common else "no common ancestor is recorded"


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that two packages do not share; None = not there."""

    where: str                      # e.g. "spec.input.mean", "size.graph-fp32.onnx", "provenance.training.epochs"
    old: str | None
    new: str | None


def differences(old: Package, new: Package, counted: bool = False) -> list[Difference]:
    """Everything in which two packages differ: spec, lineage, sizes and hashes of members, provenance.

    Args:
        counted: an object of more than a few values that one of the two has not is one difference, told as their number.
    """
    one, other = ({"spec": p.manifest["spec"], "lineage": recorded(p), "size": _sizes(p), "sha256": _hashes(p),
                   "provenance": {k: v for k, v in p.manifest["provenance"].items() if k != KEY}} for p in (old, new))
    first, second = (_flat(_counted(one, other)), _flat(_counted(other, one))) if counted else (_flat(one), _flat(other))
    return [Difference(where, first.get(where), second.get(where)) for where in dict.fromkeys([*first, *second])
            if first.get(where) != second.get(where)]


def _sizes(package: Package) -> dict[str, int]:
    return {"package": sum(len(package.read(name)) for name in package.names),
            **{name: len(package.read(name)) for name in package.names if name.endswith((".onnx", ".plan"))}}


def _hashes(package: Package) -> dict[str, str]:
    members = package.manifest["members"]
    return {"engine": package.engine_hash, **{name: members[name]["sha256"] for name in package.graph_names}}


class _Count(str):
    """Words in the place of an object."""


def _counted(record: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The record, with words for each object of which the other one has nothing."""
    made = {}
    for key, value in record.items():
        if isinstance(value, dict) and key not in other and len(values := _flat(value)) > _FEW:
            made[key] = _Count(f"{len(values)} values (--all shows them)")
        else:
            made[key] = _counted(value, other[key]) if isinstance(value, dict) and isinstance(other.get(key), dict) else value
    return made


def _flat(record: Any, path: str = "") -> dict[str, str]:
    """Nested objects as "a.b.c": text; lists count as one value."""
    if isinstance(record, dict):
        return {where: value for key, inner in record.items()
                for where, value in _flat(inner, f"{path}.{key}" if path else key).items()}
    text = record if isinstance(record, _Count) else json.dumps(record, sort_keys=True)
    return {path: text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"}
