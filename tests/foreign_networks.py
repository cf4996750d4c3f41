"""Networks as strangers export them: U-Net, a DeepLab-like, others that must be refused; made with onnx alone, random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.engines import Graph

BANDS, CLASSES = 2, 3
SPEC = """\
name: foreign
bands: [VV, VH]
input: {unit: dn, mean: [0, 0], std: [1, 1]}
classes: [water, land, ship]
colors: ["#1f6fb4", [1, 2, 3], [200, 100, 50]]
tile_px: 128
"""
TWO_CLASSES = SPEC.replace("[water, land, ship]", "[land, water]").replace(", [200, 100, 50]]", "]")


def kernel(rng, out: int, into: int, size: int = 3) -> np.ndarray:
    return rng.normal(0, (2 / (into * size * size)) ** 0.5, (out, into, size, size))


class Foreign(Graph):
    """`Graph` with the habits of exporters: foreign names, declared sizes, sizes that are computed while running."""

    def size_of(self, tensor: str, channels: str) -> str:
        """Names a tensor with the sizes (n, channels of `channels`, rows and cols of `tensor`), computed from shapes."""
        first = self.op("Slice", self.op("Shape", channels), *(self.weight(np.array([v])) for v in (0, 2)))
        last = self.op("Slice", self.op("Shape", tensor), *(self.weight(np.array([v])) for v in (2, 4)))
        return self.op("Concat", first, last, axis=0)

    def resize_like(self, x: str, other: str, **how) -> str:
        sizes = self.size_of(other, x)
        return self.op("Resize", x, "", "", sizes, **(how or {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}))

    def model(self, image=("n", BANDS, "h", "w"), output=TensorProto.FLOAT, **fields) -> onnx.ModelProto:
        ends = [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, image), helper.make_tensor_value_info(self.x, output, [None] * 4)]
        graph = helper.make_graph(self.nodes, "main_graph", ends[:1], ends[1:], self.weights, doc_string="made by a stranger")
        model = helper.make_model(graph, **{"opset_imports": [helper.make_opsetid("", 18)], "ir_version": 10, **fields})
        onnx.checker.check_model(model)
        return model


def unet(head: str = "", classes: int = CLASSES, **fields) -> onnx.ModelProto:
    """Stride 4, logits at stride 1; skips, sizes taken from the skip, batch norm behind a convolution, shared Identity."""
    rng, g = np.random.default_rng(3), Foreign(BANDS)
    g.conv(kernel(rng, 8, BANDS))
    norm = [g.weight(v.astype(np.float32)) for v in (rng.uniform(0.5, 2, 8), rng.normal(size=8), rng.normal(size=8), rng.uniform(1, 2, 8))]
    g.op("BatchNormalization", g.x, *norm)
    top = g.op("Relu", g.x)
    g.op("MaxPool", top, kernel_shape=[2, 2], strides=[2, 2])
    g.conv(kernel(rng, 12, 8))
    middle = g.op("Relu", g.x)
    g.conv(kernel(rng, 16, 12), stride=2)
    g.op("Relu", g.x)
    up = g.resize_like(g.x, middle, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    g.op("Concat", up, middle, axis=1)
    g.conv(kernel(rng, 12, 28))
    g.op("Relu", g.x)
    up = g.resize_like(g.x, top)
    g.op("Concat", up, top, axis=1)
    g.conv(kernel(rng, classes, 20) * 3)
    if head:
        g.op(head, g.x, **({"axis": 1} if head == "Softmax" else {}))
    return g.model(**fields)


def deeplab(pooling: bool = False, full_size: bool = False, **fields) -> onnx.ModelProto:
    """Stride 4, dilated branches; logits at stride 4, or up-sampled to the image as torchvision's does it."""
    rng, g = np.random.default_rng(5), Foreign(BANDS)
    g.conv(kernel(rng, 8, BANDS), stride=2)
    g.op("Relu", g.x)
    g.conv(kernel(rng, 12, 8), stride=2)
    deep, branches = g.op("Relu", g.x), []
    for dilation in (1, 2, 4):
        weight = g.weight(kernel(rng, 8, 12).astype(np.float32))
        branches.append(g.op("Relu", g.op("Conv", deep, weight, kernel_shape=[3, 3], dilations=[dilation] * 2, pads=[dilation] * 4)))
    if pooling:
        pooled = g.conv(kernel(rng, 8, 12, 1), x=g.op("GlobalAveragePool", deep))
        branches.append(g.resize_like(pooled, deep))
    g.op("Concat", *branches, axis=1)
    g.conv(kernel(rng, CLASSES, 8 * len(branches), 1) * 3)
    if full_size:
        g.resize_like(g.x, "pixels", mode="linear", coordinate_transformation_mode="pytorch_half_pixel")
    return g.model(**fields)


def keras(where: str = "SAME_UPPER") -> onnx.ModelProto:
    """Stride 4, every padding left to the engine; uneven at even kernels and strides, and behind a transposed convolution."""
    rng, g = np.random.default_rng(9), Foreign(BANDS)
    weights = [g.weight(kernel(rng, *shape).astype(np.float32)) for shape in ((8, BANDS, 3), (8, 8, 4), (8, 8, 3), (CLASSES, 8, 3))]
    g.op("Relu", g.op("Conv", "pixels", weights[0], auto_pad=where, strides=[2, 2]))
    top = g.op("Relu", g.op("Conv", g.x, weights[1], auto_pad=where))
    g.op("MaxPool", top, kernel_shape=[3, 3], strides=[2, 2], auto_pad=where)
    up = g.op("ConvTranspose", g.x, weights[2], auto_pad=where, strides=[2, 2])
    g.op("Conv", g.op("Add", up, top), weights[3], auto_pad=where)
    return g.model()


def by_three() -> onnx.ModelProto:
    """Stride 3: a bilinear resizing whose positions are no binary fractions."""
    rng, g = np.random.default_rng(10), Foreign(BANDS)
    g.conv(kernel(rng, 8, BANDS), stride=3)
    g.op("Resize", g.x, "", g.weight(np.array([1, 1, 3, 3], np.float32)), mode="linear", coordinate_transformation_mode="half_pixel")
    g.conv(kernel(rng, CLASSES, 8))
    return g.model()


def pyramid(side: int = 192) -> onnx.ModelProto:
    """Stride 4 and a mean of each quarter of a fixed image, as pyramid pooling leaves it."""
    rng, g = np.random.default_rng(8), Foreign(BANDS)
    g.conv(kernel(rng, 8, BANDS), stride=4)
    cells = g.op("Relu", g.x)
    g.op("AveragePool", cells, kernel_shape=[side // 8] * 2, strides=[side // 8] * 2)
    pooled = g.resize_like(g.conv(kernel(rng, 4, 8, 1)), cells)
    g.conv(kernel(rng, CLASSES, 12, 1), x=g.op("Concat", cells, pooled, axis=1))
    return g.model(image=(1, BANDS, side, side))


def attention(fixed: int | None = None) -> onnx.ModelProto:
    """A layer norm and a product over all positions, at stride 4 and back."""
    rng, g = np.random.default_rng(6), Foreign(BANDS)
    g.conv(kernel(rng, 8, BANDS, 3), stride=4)
    cells = g.x
    shape = g.op("Shape", cells)
    flat = g.op("Reshape", cells, g.weight(np.array([0, 8, -1])))
    tokens = g.op("LayerNormalization", g.op("Transpose", flat, perm=[0, 2, 1]), g.weight(np.ones(8, np.float32)), axis=-1)
    scores = g.op("Softmax", g.op("MatMul", tokens, g.op("Transpose", tokens, perm=[0, 2, 1])), axis=-1)
    mixed = g.op("Transpose", g.op("MatMul", scores, tokens), perm=[0, 2, 1])
    g.op("Reshape", mixed, g.weight(np.array([1, 8, fixed // 4, fixed // 4])) if fixed else shape)
    g.op("Add", g.x, cells)
    g.conv(kernel(rng, CLASSES, 8, 1) * 3)
    return g.model(image=(1, BANDS, fixed, fixed) if fixed else ("n", BANDS, "h", "w"))


def save(folder: Path, model: onnx.ModelProto, spec: str = SPEC, name: str = "net") -> tuple[Path, Path]:
    """(net.onnx, spec.yaml) on the disk."""
    paths = folder / f"{name}.onnx", folder / f"{name}.yaml"
    paths[0].write_bytes(model.SerializeToString())
    paths[1].write_text(spec)
    return paths
