"""Makes the golden packages beside this file again: python tests/golden/make_golden.py

v1_0.engine  written by write_package; must keep opening for ever, byte for byte what is written today
v1_7.engine  a newer minor version: unknown keys and an unknown golden member; must open
v2_0.engine  a newer major version; must be refused with the way out

The network averages 2x2 pixels and takes the larger of band VV and band VH, or a constant: class 0, 1 or 2. All its numbers
are exact in float32, so the golden labels are computed here without running it.
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from hfd_edge.package import golden as package_golden
from hfd_edge.package import Golden, write_package
from hfd_edge.package.zip import write_container
from hfd_edge.spec import ModelInput, ModelSpec, Unit

HERE = Path(__file__).parent
GRAPH = "graph-fp32.onnx"
THRESHOLD = 0.125        # logit of class 2
PROVENANCE = {"run": "golden", "tools": {"hfd_edge": "0"}, "parity": {"label_flip_rate": 0.0}}

SPEC = ModelSpec(
    name="golden-larger-band", bands=("VV", "VH"),
    input=ModelInput(unit=Unit.DB, mean=(-10.0, -17.0), std=(4.0, 4.5), clip=((-30.0, 10.0), (-35.0, 5.0)), floor=-35.0,
                     looks=4.4),
    classes=("VV larger", "VH larger", "neither"), colors=((200, 30, 30), (30, 200, 30), (30, 30, 200)),
    stride_px=2, logit_stride_px=2, reach_px=3, halo_px=4, tile_px=16, activation_bytes_per_px=24, pixel_spacing_m=10.0)


def graph() -> bytes:
    """The network as ONNX: (n, 2, h, w) float32 -> (n, 3, h / 2, w / 2) float32."""
    weight = helper.make_tensor("weight", TensorProto.FLOAT, (3, 2, 1, 1), [1.0, 0.0, 0.0, 1.0, 0.0, 0.0])
    bias = helper.make_tensor("bias", TensorProto.FLOAT, (3,), [0.0, 0.0, THRESHOLD])
    nodes = [helper.make_node("AveragePool", ["input"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]),
             helper.make_node("Conv", ["pooled", "weight", "bias"], ["logits"], kernel_shape=[1, 1])]
    ends = [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 2, "h", "w"]),
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3, "h2", "w2"])]
    body = helper.make_graph(nodes, "larger_band", ends[:1], ends[1:], [weight, bias])
    model = helper.make_model(body, producer_name="hfd_edge", ir_version=8, opset_imports=[helper.make_opsetid("", 18)])
    return model.SerializeToString(deterministic=True)


def golden() -> Golden:
    """A tile of eighths, and the labels that the network gives it."""
    row, col = np.mgrid[0:16, 0:16]
    tile = np.stack([row * 5 + col * 3, row * 2 + col * 7]).astype(np.float32) % 17 / 8 - 1
    pooled = tile.reshape(2, 8, 2, 8, 2).mean(axis=(2, 4))
    logits = np.concatenate([pooled, np.full((1, 8, 8), THRESHOLD, np.float32)])
    best = np.sort(logits, axis=0)
    labels = np.where(best[-1] - best[-2] < 1e-2, package_golden.UNDECIDED, logits.argmax(axis=0)).astype(np.uint8)
    return Golden(tile, {GRAPH: labels})


def v1_0() -> bytes:
    """The package as the writer of today makes it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "v1_0.engine"
        write_package(path, SPEC, {GRAPH: graph()}, golden(), PROVENANCE)
        return path.read_bytes()


def container(manifest: dict, members: dict[str, bytes]) -> bytes:
    """Any manifest and members in a sound container, hashes made to fit."""
    listed = {name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in members.items()}
    text = json.dumps({"members": listed, **manifest}, indent=1, sort_keys=True).encode("ascii")
    file = io.BytesIO()
    write_container(file, [(name, memoryview(data)) for name, data in {"manifest.json": text, **members}.items()])
    return file.getvalue()


def members() -> dict[str, bytes]:
    """The members of v1.0 but the manifest."""
    return {GRAPH: graph(), **package_golden.encode(golden())}


def manifest(version: list[int]) -> dict:
    """A manifest of any version, but for its members."""
    return {"format": "hfd_edge.engine", "format_version": version, "spec": SPEC.to_dict(), "provenance": PROVENANCE}


def altered(content: dict[str, bytes] | None = None, **keys) -> bytes:
    """v1.0 in a sound container with other members or other manifest keys; a key of None is left out."""
    record = {**manifest([1, 0]), **keys}
    return container({key: value for key, value in record.items() if value is not None}, content or members())


def v1_7() -> bytes:
    """What a later minor version may add."""
    later = manifest([1, 7])
    later["signature"] = {"kind": "not invented yet"}
    later["spec"]["ensemble"] = 3
    later["spec"]["input"]["look_direction"] = "right"
    return container(later, {**members(), "golden/second-input.npy": b"of a kind that 1.0 does not know"})


def v2_0() -> bytes:
    """What a later major version may be: nothing of it can be relied on but format and format_version."""
    later = {"format": "hfd_edge.engine", "format_version": [2, 0], "content": "elsewhere"}
    return container(later, {"graphs/student.bin": b"\0" * 64})


PACKAGES = {"v1_0.engine": v1_0, "v1_7.engine": v1_7, "v2_0.engine": v2_0}

if __name__ == "__main__":
    for name, make in PACKAGES.items():
        (HERE / name).write_bytes(make())
        print(HERE / name)
