"""An INT8 graph that takes its pixels as bytes: the same network without its first two nodes, when it is loaded.

`hfd-edge export` begins the INT8 graph with SpaceToDepth and QuantizeLinear, so that the file takes float32 as every other graph does. Both
walk through all pixels once more, which `gather` has in its hands anyway: it writes the cells' bytes, and the graph begins behind them.
Source of the field numbers: onnx/onnx.proto of ONNX 1.18.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from hfd_edge.engine.base import PixelBytes
from hfd_edge.engine.protobuf_wire import BYTES, VARINT, read_fields, write_field

MOST_BANDS = 4              # csrc/ops/gather_bytes.h
_UINT8, _FLOAT = 2, 1       # TensorProto.DataType
_INTS = 7                   # AttributeProto.AttributeType
_NCHW = (0, 3, 1, 2)        # of (batch, rows, cols, channels)

Fields = list[tuple[int, int, "int | bytes"]]


@dataclass(frozen=True, slots=True)
class _Node:
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operator: str
    fields: Fields


def with_byte_input(model: bytes, image: str, bands: int) -> tuple[bytes, PixelBytes] | None:
    """The same network as one that takes `image` as PixelBytes, (batch, rows / 2, cols / 2, 4 * bands) uint8.

    Args:
        model: serialised ONNX, checked (graph_scan).
        image: name of its input of pixels.
    Returns:
        serialised ONNX, and how bytes are made; None where the graph does not begin so.
    """
    outer = _fields(model)
    at = next(i for i, (number, wire, _) in enumerate(outer) if number == 7 and wire == BYTES)
    graph = _fields(outer[at][2])
    nodes = [_node(value) for number, _, value in graph if number == 1]
    cells = _only(nodes, image, "SpaceToDepth")
    to_bytes = None if cells is None or _ints(cells).get("blocksize") != [2] else _only(nodes, cells.outputs[0], "QuantizeLinear")
    made = None if to_bytes is None or bands > MOST_BANDS else _pixel_bytes(to_bytes, [value for number, _, value in graph if number == 5])
    if made is None:
        return None
    first = _message([(1, BYTES, image.encode()), (2, BYTES, to_bytes.outputs[0].encode()), (3, BYTES, b"pixels/cells"), (4, BYTES, b"Transpose"),
                      (5, BYTES, _message([(1, BYTES, b"perm"), *((8, VARINT, axis) for axis in _NCHW), (20, VARINT, _INTS)]))])
    gone, kept = (cells.fields, to_bytes.fields), [(1, BYTES, first)]
    for number, wire, value in graph:
        if number == 1 and _fields(value) in gone:
            continue
        if number == 11 and _name(value) == image:
            value = _input(image, bands)
        kept.append((number, wire, value))
    outer[at] = (7, BYTES, _message(kept))
    return _message(outer), made


def _only(nodes: list[_Node], tensor: str, operator: str) -> _Node | None:
    """The one node that reads a tensor, if it is this operator."""
    readers = [node for node in nodes if tensor in node.inputs]
    return readers[0] if len(readers) == 1 and readers[0].operator == operator and readers[0].inputs[0] == tensor else None


def _pixel_bytes(node: _Node, initializers: list[bytes]) -> PixelBytes | None:
    """Scale and zero point of a QuantizeLinear to uint8; None where they are not one number each, in the file."""
    constants = {_text(fields, 8): fields for fields in map(_fields, initializers)}
    if len(node.inputs) != 3 or not {*node.inputs[1:]} <= {*constants}:
        return None
    scale, zero = (constants[name] for name in node.inputs[1:])
    raw_scale, raw_zero = _raw(scale, _FLOAT, 4), _raw(zero, _UINT8, 1)
    return None if raw_scale is None or raw_zero is None else PixelBytes(struct.unpack("<f", raw_scale)[0], raw_zero[0])


def _raw(tensor: Fields, kind: int, size: int) -> bytes | None:
    """The bytes of a tensor of one number of this type, None where it is another or is written in another way."""
    kinds, raw = [value for number, _, value in tensor if number == 2], [value for number, _, value in tensor if number == 9]
    return bytes(raw[0]) if kinds == [kind] and len(raw) == 1 and len(raw[0]) == size else None


def _input(name: str, bands: int) -> bytes:
    """ValueInfoProto of (batch, rows, cols, 4 * bands) uint8."""
    sizes = [_message([(2, BYTES, word)]) for word in (b"batch", b"cell_rows", b"cell_cols")] + [_message([(1, VARINT, 4 * bands)])]
    tensor = _message([(1, VARINT, _UINT8), (2, BYTES, _message([(1, BYTES, size) for size in sizes]))])
    return _message([(1, BYTES, name.encode()), (2, BYTES, _message([(1, BYTES, tensor)]))])


def _node(data: bytes) -> _Node:
    fields = _fields(data)
    names = [tuple(bytes(value).decode() for number, _, value in fields if number == wanted) for wanted in (1, 2)]
    return _Node(*names, _text(fields, 4), fields)


def _ints(node: _Node) -> dict[str, list[int]]:
    """Whole-number attributes of a node by name."""
    attributes = [_fields(value) for number, _, value in node.fields if number == 5]
    return {_text(fields, 1): [value for number, _, value in fields if number == 3] for fields in attributes}


def _name(value_info: bytes) -> str:
    return _text(_fields(value_info), 1)


def _text(fields: Fields, wanted: int) -> str:
    return next((bytes(value).decode() for number, _, value in fields if number == wanted), "")


def _fields(data: bytes) -> Fields:
    return [(number, wire, value if wire == VARINT else bytes(value)) for number, wire, value in read_fields(memoryview(data))]


def _message(fields: Fields) -> bytes:
    return b"".join(write_field(*field) for field in fields)
