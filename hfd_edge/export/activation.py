"""How much working memory an engine needs per input pixel, counted over the graph."""

from __future__ import annotations

import math

import numpy as np
import onnx

from hfd_edge.export.session import open_session, telling

_CELLS = 8          # side of the counted image in total strides; enough that an odd extra row does not matter


def activation_bytes_per_px(graph: bytes, bands: int, stride_px: int, side_px: int | None = None) -> int:
    """Peak of the activations alive at once, per input pixel, in the file's order of nodes.

    Counted: every tensor that is computed (input and output too), once, from the node that makes it to the last that reads
    it, with the element size it has. Not counted: weights, work space inside a kernel (layout copies, im2col), an
    allocator's gaps; and no reuse in place is assumed. Sizes are those of one run over a small image.

    Args:
        graph: serialised ONNX with one input (batch, bands, rows, cols) float32.
        bands: of the input.
        stride_px: total stride of the network.
        side_px: of the small image; None = some strides. A graph of one fixed size needs its own.
    """
    model, side_px = onnx.load_from_string(graph), side_px or _CELLS * stride_px
    sizes = _tensor_bytes(model, bands, side_px)
    last_use = {name: i for i, node in enumerate(model.graph.node) for name in (*node.output, *node.input)}
    last_use |= {value.name: len(model.graph.node) for value in model.graph.output}
    alive = {model.graph.input[0].name}
    peak = 0
    for i, node in enumerate(model.graph.node):
        alive.update(node.output)
        peak = max(peak, sum(sizes.get(name, 0) for name in alive))
        alive = {name for name in alive if last_use.get(name, -1) > i}
    return math.ceil(peak / side_px ** 2)


def _tensor_bytes(model: onnx.ModelProto, bands: int, side_px: int) -> dict[str, int]:
    """Bytes of every tensor for one image of side_px x side_px, from running the graph with all of them as outputs."""
    names = [name for node in model.graph.node for name in node.output if name]
    image, source = np.zeros((1, bands, side_px, side_px), np.float32), model.graph.input[0].name
    values = open_session(telling(model, names), optimised=False).run(names, {source: image})
    return {source: image.nbytes, **{name: np.asarray(value).nbytes for name, value in zip(names, values)}}
