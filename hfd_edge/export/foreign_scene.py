"""The second input of a foreign network: what it is told of the whole scene, as an input that is zeros unless it is given.

So every check of the exporter that knows of one input runs the network at zeros, the mean of the training; nothing folds the input
away, for whoever runs the graph may give another.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from hfd_edge.engine.graph_scan import GraphScan, TensorInfo
from hfd_edge.errors import ExportError
from hfd_edge.spec import SCENE_INPUT


def take_scene_input(found: GraphScan, numbers: int) -> TensorInfo:
    """The one input beside the image: (batch or 1, numbers) float32.

    Raises:
        ExportError: there is none, or it has another type or shape.
    """
    others = [info for info in found.inputs if info.shape is None or len(info.shape) != 4]
    if len(found.inputs) != 2 or len(others) != 1:
        names = ", ".join(ascii(info.name[:40]) for info in found.inputs[:6])
        raise ExportError(f"{found.name} has inputs {names} and the spec names scene_percentiles: it must have two, an image (batch, "
                          f"bands, rows, cols) and a vector (batch, {numbers}); leave scene_percentiles out for a network of one input")
    vector = others[0]
    shape = vector.shape or ()
    good = len(shape) == 2 and shape[1] == numbers and (shape[0] == 1 or not isinstance(shape[0], int))
    if not good or vector.element_type != onnx.TensorProto.FLOAT:
        raise ExportError(f"{found.name}: input {vector.name[:40]!a} is {vector.shape}: one number per band and percentile of the "
                          f"spec is given, (batch, {numbers}) float32; make percentiles and input agree")
    return vector


def give_default(model: onnx.ModelProto, name: str, numbers: int, where: str) -> None:
    """Rename an input of a model, put it behind the image, and give it zeros as its default.

    Raises:
        ExportError: no node reads it, or the name that it gets is taken.
    """
    if not any(name in node.input for node in model.graph.node):
        raise ExportError(f"{where}: nothing reads input {name[:40]!a}: leave it and scene_percentiles out")
    if name != SCENE_INPUT and any(SCENE_INPUT in (*node.input, *node.output) for node in model.graph.node):
        raise ExportError(f"{where} has a tensor {SCENE_INPUT!r}, the name of the second input {name[:40]!a}: rename the tensor")
    for node in model.graph.node:
        node.input[:] = [SCENE_INPUT if tensor == name else tensor for tensor in node.input]
    image = next(value for value in model.graph.input if value.name != name)
    vector = onnx.helper.make_tensor_value_info(SCENE_INPUT, onnx.TensorProto.FLOAT, (1, numbers))
    kept = [onnx.ValueInfoProto.FromString(image.SerializeToString()), vector]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((1, numbers), np.float32), SCENE_INPUT))
    model.ir_version = max(model.ir_version, 4)             # before, every input with a default was a constant


def noise_for(session: onnxruntime.InferenceSession, seed: int) -> dict[str, np.ndarray]:
    """Another vector than the default, for proofs; {} for a network of one input."""
    rng = np.random.default_rng(seed)
    return {value.name: rng.standard_normal(value.shape).astype(np.float32)
            for value in session.get_overridable_initializers() if value.name == SCENE_INPUT}
