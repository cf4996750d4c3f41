"""A graph that must be told of the whole scene: the same network without the zeros that stand in for it.

In a package the vector is an input that has a default of the same name. TensorRT's parser takes such an input for a constant, so the default
goes before TensorRT sees the graph. Source of the field numbers: onnx/onnx.proto of ONNX 1.18.
"""

from __future__ import annotations

from hfd_edge.engine.protobuf_wire import BYTES, fields_of, values_of, write_fields
from hfd_edge.spec import SCENE_INPUT

_GRAPH, _INITIALIZER, _INPUT = 7, 5, 11         # of a ModelProto, and of its GraphProto
_TENSOR_NAME, _INPUT_NAME = 8, 1                # of a TensorProto and of a ValueInfoProto


def with_scene_input(model: bytes) -> bytes:
    """The same network, its input SCENE_INPUT without a default.

    Args:
        model: serialised ONNX, checked (graph_scan).
    Returns:
        serialised ONNX; `model` itself where it has no such input, or no default for it.
    """
    outer = fields_of(model)
    at = next(i for i, field in enumerate(outer) if field[:2] == (_GRAPH, BYTES))
    graph = fields_of(outer[at][2])
    kept = [field for field in graph if not _named(field, _INITIALIZER, _TENSOR_NAME)]
    if len(kept) == len(graph) or not any(_named(field, _INPUT, _INPUT_NAME) for field in graph):
        return model
    outer[at] = (_GRAPH, BYTES, write_fields(kept))
    return write_fields(outer)


def _named(field: tuple[int, int, int | bytes], number: int, name: int) -> bool:
    """Whether a field of a graph is of this kind, and is called SCENE_INPUT."""
    return field[:2] == (number, BYTES) and SCENE_INPUT.encode() in values_of(fields_of(field[2]), name)
