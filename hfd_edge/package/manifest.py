"""The manifest of a `.engine` file: what may be in a package, what is in this one, and which versions are read.

JSON, described key by key in docs/engine-format.md. Everything read from it is checked here, before anything is used.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from hfd_edge.errors import PackageError, SpecError
from hfd_edge.package.zip import AGAIN, MAX_NAME_BYTES
from hfd_edge.spec import ModelInput, ModelSpec

FORMAT = "hfd_edge.engine"
VERSION = (1, 0)                        # (major, minor): a reader refuses a newer major and reads any newer minor
VERSION_WITH_PLANS = (1, 1)             # the manifest says what each plan was built for
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 4 * 2**20
FP32, INT8_CPU, FP16_TRT, INT8_TRT = GRAPHS = ("graph-fp32.onnx", "graph-int8-cpu.onnx", "graph-fp16-trt.onnx", "graph-int8-trt.onnx")

_OTHERS = re.compile(r"golden/[a-z0-9.-]+\.npy|plans/[A-Za-z0-9._-]+\.plan")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def allowed(name: str) -> bool:
    """Whether a package may hold a member of this name."""
    return name == MANIFEST or name in GRAPHS or (len(name) <= MAX_NAME_BYTES and _OTHERS.fullmatch(name) is not None)


def encode(spec: ModelSpec, members: Mapping[str, memoryview], provenance: Mapping[str, Any],
           plans: Mapping[str, Any] | None = None) -> bytes:
    """The manifest's bytes: JSON in ASCII with sorted keys, the same for the same content.

    Args:
        spec: of the network.
        members: every other member's data, by name.
        provenance: JSON-ready numbers, strings, lists and objects: where the network came from, and the parity report.
        plans: by member name, what each plan was built for (package.plans.PlanKey as a dict).
    Raises:
        PackageError: `provenance` is no JSON object or holds NaN or infinity, or the manifest grows above its limit.
    """
    version = VERSION_WITH_PLANS if plans else VERSION
    record = {"format": FORMAT, "format_version": list(version), "spec": spec.to_dict(), "provenance": provenance,
              "members": {name: {"size": data.nbytes, "sha256": sha256(data)} for name, data in members.items()}, **({"plans": plans} if plans else {})}
    try:
        text = json.dumps(record, allow_nan=False, ensure_ascii=True, indent=1, sort_keys=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise PackageError(f"provenance cannot be written as JSON: {error}; give finite numbers, strings, lists and dicts") from error
    if len(text) >= MAX_MANIFEST_BYTES:
        raise PackageError(f"the manifest has {len(text)} bytes: at most {MAX_MANIFEST_BYTES} are read; shorten the provenance")
    return text.encode("ascii") + b"\n"


def decode(data: memoryview) -> dict[str, Any]:
    """The manifest as a dict, its format and version checked (nothing else of it: see `check_members` and `read_spec`).

    Raises:
        PackageError: too large, not JSON, a key twice, NaN or infinity, another format, or a version that is not read.
    """
    if data.nbytes > MAX_MANIFEST_BYTES:
        raise PackageError(f"{MANIFEST} has {data.nbytes} bytes: at most {MAX_MANIFEST_BYTES} are read; shorten the provenance")
    try:
        record = json.loads(bytes(data).decode("utf-8"), object_pairs_hook=_unique_keys,
                            parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise PackageError(f"{MANIFEST} cannot be read as JSON: {error}; {AGAIN}") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise PackageError(f"{MANIFEST} does not say format={FORMAT!r}: this zip is no hfd_edge package; export one with hfd-edge export")
    _check_version(record.get("format_version"))
    return record


def read_spec(record: Mapping[str, Any]) -> ModelSpec:
    """The network's spec out of the manifest.

    Raises:
        PackageError: it is missing, contradicts itself, or holds a value of the wrong kind.
    """
    try:
        spec = ModelSpec.from_dict(record.get("spec"))
    except (SpecError, TypeError, KeyError, AttributeError) as error:
        raise PackageError(f"{MANIFEST}: {error}") from error
    _check_kinds(spec)
    understood = json.loads(json.dumps(spec.to_dict()))
    given, inner = record["spec"], record["spec"]["input"]
    differing = [key for key, value in understood.items() if key != "input" and given.get(key, value) != value]
    differing += [f"input.{key}" for key, value in understood["input"].items() if inner.get(key, value) != value]
    if differing:
        raise PackageError(f"{MANIFEST}: spec {', '.join(differing)}: a value is not of the kind that docs/engine-format.md gives; {AGAIN}")
    return spec


def check_members(record: Mapping[str, Any], sizes: Mapping[str, int]) -> dict[str, str]:
    """The SHA-256 that each member must have, by name.

    Args:
        record: the manifest.
        sizes: bytes of every member in the file but the manifest, by name.
    Raises:
        PackageError: names or sizes differ between manifest and file, a name is not allowed, or a hash is malformed.
    """
    if not isinstance(record.get("provenance"), dict):
        raise PackageError(f"{MANIFEST}: provenance is missing or no JSON object; {AGAIN}")
    listed = record.get("members")
    if not isinstance(listed, dict):
        raise PackageError(f"{MANIFEST}: members is missing or no JSON object; {AGAIN}")
    for name in (*sizes, *listed):
        if not allowed(name) or name == MANIFEST:
            raise PackageError(f"member {name[:200]!r} is none of {', '.join(GRAPHS)}, golden/*.npy, plans/*.plan: nothing else "
                               "is read; do not use this file, ask its maker for another")
    for name in sorted({*sizes} ^ {*listed}):
        where = "in the file but not in the manifest" if name in sizes else "in the manifest but not in the file"
        raise PackageError(f"member {name} is {where}: both must name the same members; {AGAIN}")
    return {name: _member_hash(name, listed[name], size) for name, size in sizes.items()}


def sha256(data: memoryview | bytes) -> str:
    """SHA-256 of the bytes as 64 lower-case hexadecimal digits (FIPS 180-4)."""
    return hashlib.sha256(data).hexdigest()


def _member_hash(name: str, entry: Any, size: int) -> str:
    digest = entry.get("sha256") if isinstance(entry, dict) else None
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest) or not _whole(entry.get("size")):
        raise PackageError(f"{MANIFEST}: members[{name!r}] lacks size (a whole number) or sha256 (64 hexadecimal digits); {AGAIN}")
    if entry["size"] != size:
        raise PackageError(f"member {name} has {size} bytes, the manifest says {entry['size']}: {AGAIN}")
    return digest


def _check_version(version: Any) -> None:
    if not isinstance(version, list) or len(version) != 2 or not all(_whole(v) for v in version):
        raise PackageError(f"{MANIFEST}: format_version is not [major, minor] in whole numbers; {AGAIN}")
    major, minor = version
    if major > VERSION[0]:
        raise PackageError(f"format_version {major}.{minor} is newer than {VERSION[0]}.x, the newest read here: "
                           "update hfd_edge, or export the network again with the version installed here")
    if major < VERSION[0]:
        raise PackageError(f"format_version {major}.{minor} is older than 1.0, the oldest read: export the network again")


def _check_filter_kinds(inner: ModelInput) -> None:
    """The numbers of a filter; whether they make one is asked where it is to run."""
    for key in ("filter_looks", "filter_damping", "filter_sigma"):
        value = getattr(inner, key)
        if not (key == "filter_looks" and value is None) and not (isinstance(value, (int, float)) and not isinstance(value, bool)):
            raise PackageError(f"{MANIFEST}: spec input.{key}={str(value)[:40]!a}: it must be a number")
    if not _whole(inner.filter_radius) or not isinstance(inner.filter_border, str):
        raise PackageError(f"{MANIFEST}: spec input.filter_radius={str(inner.filter_radius)[:40]!a}, "
                           f"filter_border={str(inner.filter_border)[:40]!a}: a whole number of pixels and a word are needed")


def _check_kinds(spec: ModelSpec) -> None:
    """What ModelSpec leaves open because Python code gives it; JSON from a stranger must prove it."""
    inner = spec.input
    _check_filter_kinds(inner)
    for value in (spec.name, inner.quantity, inner.speckle_filter, *spec.bands, *spec.classes):
        if not isinstance(value, str) or not value.isprintable() or len(value) > 200:
            raise PackageError(f"{MANIFEST}: spec holds {str(value)[:40]!a} as a name: names are printable, at most 200 characters")
    for where, value in (("halo_bounded_px", spec.halo_bounded_px), ("activation_bytes_per_px", spec.activation_bytes_per_px)):
        if value is not None and (not _whole(value)):
            raise PackageError(f"{MANIFEST}: spec {where}={value!r}: it must be a whole number, at least 0")
    for where, value in (("reach_bounded", spec.reach_bounded), ("fixed_tile", spec.fixed_tile)):
        if not isinstance(value, bool):
            raise PackageError(f"{MANIFEST}: spec {where}={str(value)[:40]!a}: it must be true or false")
    for where, value in (("input.floor", inner.floor), ("input.looks", inner.looks), ("pixel_spacing_m", spec.pixel_spacing_m)):
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value is not None and not (number and (where == "input.floor" or value > 0)):
            raise PackageError(f"{MANIFEST}: spec {where}={str(value)[:40]!a}: it must be a number, above 0 unless it is the floor, or null")


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise ValueError(f"a key stands twice among {[key[:40] for key in sorted(record)[:8]]}")
    return record


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is not a finite number")
    return value
