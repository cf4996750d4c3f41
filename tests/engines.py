"""Small packages with known behaviour, made with onnx alone: no torch, no training, no files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hfd_edge.package import Golden, write_package
from hfd_edge.spec import ModelInput, ModelSpec

GRAPH = "graph-fp32.onnx"


@dataclass
class Graph:
    """An ONNX graph that grows node by node; `x` is the name of the newest tensor."""

    bands: int
    nodes: list = field(default_factory=list)
    weights: list = field(default_factory=list)
    x: str = "pixels"

    def op(self, op_type: str, *inputs: str, **attributes) -> str:
        out = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, list(inputs), [out], **attributes))
        self.x = out
        return out

    def weight(self, values: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def conv(self, kernel: np.ndarray, bias: np.ndarray | None = None, stride: int = 1, x: str | None = None) -> str:
        pad = kernel.shape[-1] // 2
        inputs = [x or self.x, self.weight(kernel.astype(np.float32))]
        if bias is not None:
            inputs.append(self.weight(bias.astype(np.float32)))
        return self.op("Conv", *inputs, kernel_shape=kernel.shape[-2:], strides=[stride] * 2, pads=[pad] * 4)

    def resize(self, factor: int, x: str | None = None) -> str:
        scales = self.weight(np.array([1, 1, factor, factor], np.float32))
        return self.op("Resize", x or self.x, "", scales, mode="linear", coordinate_transformation_mode="half_pixel")

    def serialize(self) -> bytes:
        self.nodes[-1].output[0] = "logits"
        shape = ["batch", self.bands, "rows", "cols"]
        graph = helper.make_graph(
            self.nodes, "test", [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "classes", "logit_rows", "logit_cols"])], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        onnx.checker.check_model(model)
        return model.SerializeToString()


def plain_input(bands: int, **changes) -> ModelInput:
    """The identity: what is stored is what the network sees."""
    return ModelInput(**{"unit": "dn", "mean": (0.0,) * bands, "std": (1.0,) * bands, **changes})


def make_spec(bands: int | tuple[str, ...], classes: int, stride: int, logit_stride: int, reach: int, **changes) -> ModelSpec:
    names = tuple(f"B{i}" for i in range(bands)) if isinstance(bands, int) else bands
    halo = -(-reach // stride) * stride
    tile = -(-max(2 * halo + stride, 64) // stride) * stride
    return ModelSpec(**{
        "name": "test", "bands": names, "input": plain_input(len(names)),
        "classes": tuple(f"class {i}" for i in range(classes)), "colors": tuple((i, 255 - i, 7 * i % 256) for i in range(classes)),
        "stride_px": stride, "logit_stride_px": logit_stride, "reach_px": reach, "halo_px": halo, "tile_px": tile,
        "activation_bytes_per_px": 64, **changes})


def write_engine(path: Path, graph: bytes, spec: ModelSpec, golden: np.ndarray | None = None) -> Path:
    """A package of one graph; the golden tile is answered by ONNX Runtime here and now."""
    import onnxruntime

    if golden is None:
        golden = np.random.default_rng(0).normal(size=(len(spec.bands), spec.tile_px, spec.tile_px)).astype(np.float32)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    logits = session.run(None, {"pixels": golden[np.newaxis]})[0][0]
    labels = logits.argmax(axis=0).astype(np.uint8)
    if len(logits) > 1:
        best = np.sort(logits, axis=0)
        labels[best[-1] - best[-2] < 1e-2] = 255
    write_package(path, spec, {GRAPH: graph}, Golden(golden, {GRAPH: labels}), provenance={"made_by": "tests"}, overwrite=True)
    return path


def levels_engine(path: Path, levels: int = 7, **changes) -> Path:
    """Gives its input back: a pixel of value k (0..levels-1) becomes label k; one band, stride 1, reach 0."""
    graph = Graph(1)
    k = np.arange(levels, dtype=np.float32)
    graph.conv(2 * k.reshape(-1, 1, 1, 1), bias=-k * k)         # -(x - k)^2 up to a term that all classes share
    return write_engine(path, graph.serialize(), make_spec(1, levels, 1, 1, 0, **changes))


def summing_engine(path: Path) -> Path:
    """Every pixel of the receptive field weighs the same and positively, so one missing pixel changes the answer.

    Three convolutions of 3 x 3 ones; the first two have stride 2. Label = nearest of 200 levels of the sum.
    The reach is exact by hand: a layer at input stride t reaches t pixels. The pixel just left of the middle of a cell of
    t pixels is up-sampled from the logit before its own, so it reaches t + t / 2 - 1 pixels further.
    """
    graph, at, reach = Graph(1), 1, 0
    for stride in (2, 2, 1):
        graph.conv(np.full((1, 1, 3, 3), 1 / 9), stride=stride)
        reach += at
        at *= stride
    k = np.linspace(0, 1, 200)
    graph.conv(2 * k.reshape(-1, 1, 1, 1) * 1e4, bias=-k * k * 1e4)
    reach += at + at // 2 - 1
    return write_engine(path, graph.serialize(), make_spec(1, k.size, at, at, reach))


def random_engine(path: Path, bands: int | tuple[str, ...] = 2, classes: int = 5, seed: int = 1, **changes) -> Path:
    """A small encoder-decoder with random weights: stride 8, logits at stride 4, a skip and a bilinear resize. `bands`: how many, or their names."""
    rng, count = np.random.default_rng(seed), bands if isinstance(bands, int) else len(bands)

    def kernel(out: int, into: int, size: int) -> np.ndarray:
        return rng.normal(0, (2 / (into * size * size)) ** 0.5, (out, into, size, size))

    graph = Graph(count)
    graph.conv(kernel(16, count, 3), stride=2)                                  # reach 1
    graph.op("Relu", graph.x)
    graph.conv(kernel(16, 16, 3), stride=2)                                     # + 2 = 3
    skip = graph.op("Relu", graph.x)
    graph.conv(kernel(32, 16, 3), stride=2, x=skip)                             # + 4 = 7
    graph.op("Relu", graph.x)
    graph.conv(kernel(32, 32, 3))                                               # + 8 = 15
    graph.op("Relu", graph.x)
    deep = graph.resize(2)                                                      # + 8 and alignment
    graph.op("Concat", deep, skip, axis=1)
    graph.conv(kernel(24, 48, 3))                                               # + 4
    graph.op("Relu", graph.x)
    graph.conv(kernel(classes, 24, 1) * 4)
    return write_engine(path, graph.serialize(), make_spec(bands, classes, 8, 4, 40, **changes))
