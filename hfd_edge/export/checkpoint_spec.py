"""What a checkpoint's sidecar says of its network, checked before anything is exported or judged: a sidecar is a text that people edit."""

from __future__ import annotations

import json
import os
from dataclasses import fields
from typing import Any

from hfd_edge.errors import ExportError, PackageError, RadiometryError, SpecError
from hfd_edge.network.hfdnet import HFDNet
from hfd_edge.package import manifest
from hfd_edge.source.filter import check_filter
from hfd_edge.spec import ModelInput, ModelSpec

_NEEDED = ("name", "bands", "input", "classes", "colors")
_TAKEN = (*_NEEDED, "pixel_spacing_m", "tile_px")
_NO_GEOMETRY = {"stride_px": 1, "logit_stride_px": 1, "reach_px": 0, "halo_px": 0}


def student_spec(checkpoint: str | os.PathLike, net: HFDNet, part: dict[str, Any], training: dict[str, Any]) -> ModelSpec:
    """The spec of a student, without the geometry that its graph will tell.

    Args:
        part, training: "spec" and "provenance" of its sidecar.
    Raises:
        ExportError: a teacher; a key is missing, not known or of the wrong kind, or contradicts another or the network.
    """
    kind = training.get("kind")
    if isinstance(kind, str) and "eo" in kind:
        raise ExportError(f"{checkpoint} is a teacher (kind={kind}: it sees optical images): an engine sees SAR alone; export the student that it taught, "
                          "WORK/student, made by python -m training student CONFIG")
    name = f"{checkpoint}: the checkpoint's spec"
    _check_keys(name, part, net)
    try:
        spec = ModelSpec.from_dict({**{key: part[key] for key in _TAKEN if key in part}, **_NO_GEOMETRY})
        manifest.read_spec(json.loads(json.dumps({"spec": spec.to_dict()})))      # what the package's reader would refuse
        check_filter(spec.input)
    except (SpecError, PackageError, RadiometryError) as error:
        raise ExportError(f"{name} is refused: {str(error).removeprefix(manifest.MANIFEST).lstrip(': ')}") from error
    return spec


def _check_keys(name: str, part: dict[str, Any], net: HFDNet) -> None:
    if missing := [key for key in _NEEDED if key not in part]:
        raise ExportError(f"{name} lacks {', '.join(missing)}: {', '.join(_NEEDED)} are needed; save the checkpoint again")
    for key, kind, what in (("bands", list, "a list of names"), ("classes", list, "a list of names"), ("input", dict, "an object")):
        if not isinstance(part[key], kind):
            raise ExportError(f"{name} has {key}={str(part[key])[:40]!r}: it must be {what}; save the checkpoint again")
    if unknown := sorted({*part["input"]} - {field.name for field in fields(ModelInput)}):
        raise ExportError(f"{name} has input.{unknown[0]}, which is not known and would change nothing: correct it, or take it out")
    config = net.config
    if (len(part["bands"]), len(part["classes"])) != (config.in_bands, config.classes):
        raise ExportError(f"{name} names {len(part['bands'])} bands and {len(part['classes'])} classes, its "
                          f"network has {config.in_bands} and {config.classes}: they must agree; save the checkpoint again")
