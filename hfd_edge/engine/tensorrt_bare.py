"""A bare plan for tools of others (trtexec, Triton, DeepStream), with a record beside it and, if wanted, Triton's configuration."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from hfd_edge.durable import write_whole
from hfd_edge.engine.graph_scan import scan
from hfd_edge.errors import EngineError
from hfd_edge.package import Package
from hfd_edge.package.plans import PlanKey
from hfd_edge.spec import SCENE_INPUT


def write_bare(path: Path, package: Package, key: PlanKey, plan: bytes | memoryview, overwrite: bool = False) -> list[Path]:
    """Write PATH and PATH.json: the plan as TensorRT made it, and what must be known to use it.

    Returns:
        the two files.
    Raises:
        EngineError: one exists and overwrite is off, or cannot be written.
    """
    record = path.with_name(path.name + ".json")
    text = json.dumps({"format": "hfd_edge.plan", "key": key.to_dict(), "sha256": hashlib.sha256(plan).hexdigest(),
                       "engine_hash": package.engine_hash, "profiles": _profiles(package, key), **_told(package), "spec": package.spec.to_dict()}, indent=1)
    return _write({path: bytes(plan), record: text.encode() + b"\n"}, overwrite)


def check_free(path: Path, triton: Path | None, overwrite: bool, engine: Path) -> None:
    """Refuse before anything is built what could not be written afterwards.

    Raises:
        EngineError: an output exists and overwrite is off, or is a folder, lies in a file, or is the engine itself, whatever overwrite says.
    """
    wanted = [path, path.with_name(path.name + ".json"), *([triton / "config.pbtxt", triton / "1" / "model.plan"] if triton else [])]
    _refuse_taken(wanted, overwrite)
    for file in wanted:
        there = next(place for place in (file, *file.absolute().parents) if place.exists())
        if there.is_file() and there.samefile(engine):
            raise EngineError(f"{there} is the engine that the plan is made from: an input is never replaced; choose another name")
        if there.is_dir() == (there is file):
            raise EngineError(f"{file} cannot be written: {there} is a {'folder' if there.is_dir() else 'file'}; choose another name")


def write_triton(folder: Path, package: Package, key: PlanKey, plan: bytes | memoryview, overwrite: bool = False) -> list[Path]:
    """Write a model of a Triton repository: FOLDER/config.pbtxt and FOLDER/1/model.plan.

    It takes whole batches of key.batch tiles of network input (and the scene's vector, where the network is told of it) and gives logits;
    cutting, normalising and stitching are the client's.

    Raises:
        EngineError: a file exists and overwrite is off, or cannot be written.
    """
    if key.library != "tensorrt":
        raise EngineError(f"a Triton model from {key.library}: Triton runs plans of the full TensorRT alone; the plan is written, leave "
                          "--triton out, or build with the full TensorRT on the server's GPU")
    source, target = _ends(package, key)
    spec, s = package.spec, package.spec.logit_stride_px
    profile = key.profiles.index((key.batch, key.rows, key.cols))
    ends = [("input", source, (key.batch, len(spec.bands), key.rows, key.cols)),
            *([("input", SCENE_INPUT, (1, spec.scene_numbers))] if spec.scene_numbers else []),
            ("output", target, (key.batch, len(spec.classes), key.rows // s, key.cols // s))]
    lines = [f'name: "{folder.name}"', 'platform: "tensorrt_plan"', "max_batch_size: 0"]
    lines += [f'{what} [{{ name: "{name}" data_type: TYPE_FP32 dims: [ {", ".join(map(str, dims))} ] }}]' for what, name, dims in ends]
    lines += [f'instance_group [{{ kind: KIND_GPU profile: [ "{profile}" ] }}]']
    return _write({folder / "config.pbtxt": "\n".join(lines).encode() + b"\n", folder / "1" / "model.plan": bytes(plan)}, overwrite)


def trtexec_command(path: Path, package: Package, key: PlanKey) -> str:
    """What times the plan with NVIDIA's tool."""
    shape = f"{key.batch}x{len(package.spec.bands)}x{key.rows}x{key.cols}"
    profile = key.profiles.index((key.batch, key.rows, key.cols))
    tool = "trtexec" if key.library == "tensorrt" else "tensorrt_rtx"
    return f"{tool} --loadEngine={path} --useProfile={profile} --shapes={_ends(package, key)[0]}:{shape}"


def _ends(package: Package, key: PlanKey) -> tuple[str, str]:
    graph = scan(package.read(key.graph), key.graph)
    return graph.inputs[0].name, graph.outputs[0].name


def _told(package: Package) -> dict[str, dict[str, list[int] | str]]:
    """The second input, the same in every profile; empty where the network has none."""
    numbers = package.spec.scene_numbers
    return {"scene": {"input": SCENE_INPUT, "shape": [1, numbers]}} if numbers else {}


def _profiles(package: Package, key: PlanKey) -> list[dict[str, list[int] | str]]:
    name, bands = _ends(package, key)[0], len(package.spec.bands)
    return [{"input": name, "shape": [tiles, bands, rows, cols]} for tiles, rows, cols in key.profiles]


def _write(files: dict[Path, bytes], overwrite: bool) -> list[Path]:
    _refuse_taken(list(files), overwrite)
    for path, data in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, data)
        except OSError as error:
            raise EngineError(f"{path} cannot be written ({error}): check the folder and the free space") from error
    return list(files)


def _refuse_taken(paths: list[Path], overwrite: bool) -> None:
    taken = [path for path in paths if os.path.lexists(path)]
    if taken and not overwrite:
        raise EngineError(f"{taken[0]} exists: nothing is replaced unasked; choose another name or give --overwrite")
