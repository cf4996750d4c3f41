"""An INT8 graph that takes its pixels as bytes: the same network without its first two nodes, when it is loaded.

`hfd-edge export` begins the INT8 graph with SpaceToDepth and QuantizeLinear, so that the file takes float32 as every other graph does. Both
walk through all pixels once more, which `gather` has in its hands anyway: it writes the cells' bytes, and the graph begins behind them.
Source of the field numbers: onnx/onnx.proto of ONNX 1.18.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

import numpy as np

from hfd_edge._native import Gather
from hfd_edge.engine.base import Engine, PixelBytes
from hfd_edge.engine.protobuf_wire import BYTES, VARINT, Fields, fields_of, values_of, write_fields

MOST_BANDS = 4              # csrc/ops/gather_bytes.h
_UINT8, _FLOAT = 2, 1       # TensorProto.DataType
_LEAST_SCALE = 2.0**-126    # csrc/ops/gather.cpp: no denormal one
_INTS = 7                   # AttributeProto.AttributeType
_NCHW = (0, 3, 1, 2)        # of (batch, rows, cols, channels)


@dataclass(frozen=True, slots=True)
class _Node:
    inputs: list[bytes]
    outputs: list[bytes]
    operator: bytes
    fields: Fields


def with_byte_input(model: bytes, image: str, bands: int) -> tuple[bytes, PixelBytes] | None:
    """The same network as one that takes `image` as PixelBytes, (batch, rows / 2, cols / 2, 4 * bands) uint8.

    Args:
        model: serialised ONNX, checked (graph_scan).
        image: name of its input of pixels.
    Returns:
        serialised ONNX, and how bytes are made; None where the graph does not begin so.
    """
    outer, name = fields_of(model), image.encode()
    at = next(i for i, (number, wire, _) in enumerate(outer) if (number, wire) == (7, BYTES))
    graph = fields_of(outer[at][2])
    nodes = [_node(value) for value in values_of(graph, 1)]
    results = {part for value in values_of(graph, 12) for part in values_of(fields_of(value), 1)}
    images = [value for value in values_of(graph, 11) if values_of(fields_of(value), 1) == [name]]
    cells = _only(nodes, name, b"SpaceToDepth")
    to_bytes = None if cells is None or _ints(cells).get(b"blocksize") != [2] else _only(nodes, cells.outputs[0], b"QuantizeLinear")
    made = None if to_bytes is None or bands > MOST_BANDS else _pixel_bytes(to_bytes, values_of(graph, 5))
    if made is None or not results.isdisjoint((name, cells.outputs[0])) or len(images) != 1 or _has_fixed_size(images[0]):
        return None
    first = write_fields([(1, BYTES, name), (2, BYTES, to_bytes.outputs[0]), (4, BYTES, b"Transpose"),
                          (5, BYTES, write_fields([(1, BYTES, b"perm"), *((8, VARINT, axis) for axis in _NCHW), (20, VARINT, _INTS)]))])
    gone, kept = (cells.fields, to_bytes.fields), [(1, BYTES, first)]
    for number, wire, value in graph:
        if number == 1 and fields_of(value) in gone:
            continue
        is_image = (number, wire) == (11, BYTES) and value == images[0]
        kept.append((number, wire, _input(name, bands) if is_image else value))
    outer[at] = (7, BYTES, write_fields(kept))
    return write_fields(outer), made


def as_bytes(batch: np.ndarray, by: PixelBytes, threads: int) -> np.ndarray:
    """A batch (n, bands, rows, cols) of float32 of network input as PixelBytes; a pixel that is not finite becomes 0. Raises ArrayError
    where its sides are not even."""
    bands, rows, cols = batch.shape[1:]
    plain = Gather("dn", "dn", 1.0, 0.0, [], math.nan, [], [], [0.0] * bands, [1.0] * bands)
    cells, status = np.empty((len(batch), rows // 2, cols // 2, 4 * bands), np.uint8), np.empty((rows, cols), np.uint8)
    for tile, made in zip(batch, cells):
        plain.run_bytes(tile, (0, 0), (rows, cols), (0, 0), made, status, None, by.scale, by.zero_point, threads)
    return cells


def as_taken(batch: np.ndarray, engine: Engine) -> np.ndarray:
    """A batch of network input as a run hands it to this engine: for timing one alone. Raises ArrayError as `as_bytes`."""
    by = getattr(engine, "pixel_bytes", None)
    return batch if by is None else as_bytes(batch, by, 1)


def _only(nodes: list[_Node], tensor: bytes, operator: bytes) -> _Node | None:
    """The one node that reads a tensor, if it is this operator and gives one result."""
    readers = [node for node in nodes if tensor in node.inputs]
    fits = len(readers) == 1 and readers[0].operator == operator and readers[0].inputs[0] == tensor and len(readers[0].outputs) == 1
    return readers[0] if fits else None


def _pixel_bytes(node: _Node, initializers: list[bytes]) -> PixelBytes | None:
    """Scale and zero point of a QuantizeLinear to uint8; None where they are not one number each, in the file."""
    constants = {b"".join(values_of(fields, 8)): fields for fields in map(fields_of, initializers)}
    if len(node.inputs) != 3 or not {*node.inputs[1:]} <= {*constants}:
        return None
    scale, zero = (constants[name] for name in node.inputs[1:])
    raw_scale, raw_zero = _raw(scale, _FLOAT, 4), _raw(zero, _UINT8, 1)
    if raw_scale is None or raw_zero is None:
        return None
    step = struct.unpack("<f", raw_scale)[0]
    return PixelBytes(step, raw_zero[0]) if _LEAST_SCALE <= step < math.inf else None


def _raw(tensor: Fields, kind: int, size: int) -> bytes | None:
    """The bytes of a tensor of one number of this type, None where it is another or is written in another way."""
    raw = values_of(tensor, 9)
    return raw[0] if values_of(tensor, 2, VARINT) == [kind] and len(raw) == 1 and len(raw[0]) == size else None


def _has_fixed_size(value_info: bytes) -> bool:
    """Whether an input declares a number for its batch, rows or columns: what it takes would be lost."""
    inner = fields_of(value_info)
    for number in (2, 1, 2):                                # TypeProto, its tensor, the shape
        inner = fields_of(b"".join(values_of(inner, number)))
    sizes = [fields_of(size) for size in values_of(inner, 1)]
    return any(values_of(size, 1, VARINT) for axis, size in enumerate(sizes) if axis != 1)


def _input(name: bytes, bands: int) -> bytes:
    """ValueInfoProto of (batch, rows, cols, 4 * bands) uint8."""
    sizes = [write_fields([(2, BYTES, word)]) for word in (b"batch", b"cell_rows", b"cell_cols")] + [write_fields([(1, VARINT, 4 * bands)])]
    tensor = write_fields([(1, VARINT, _UINT8), (2, BYTES, write_fields([(1, BYTES, size) for size in sizes]))])
    return write_fields([(1, BYTES, name), (2, BYTES, write_fields([(1, BYTES, tensor)]))])


def _node(data: bytes) -> _Node:
    fields = fields_of(data)
    return _Node(values_of(fields, 1), values_of(fields, 2), b"".join(values_of(fields, 4)), fields)


def _ints(node: _Node) -> dict[bytes, list[int]]:
    """Whole-number attributes of a node by name."""
    attributes = [fields_of(value) for value in values_of(node.fields, 5)]
    return {b"".join(values_of(fields, 1)): values_of(fields, 3, VARINT) for fields in attributes}
