"""One node of an ONNX graph with what is known of its inputs: fields, constants, and what is made from the image's size."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NoReturn

import numpy as np
import onnx

from hfd_edge.errors import ReachError
from hfd_edge.export.reach_axis import IMAGE_LAYOUT, Axis, Field, linear_cells

ROUNDING_CELLS = Fraction(1, 1024)          # float32 may carry a sampling position over a cell's centre
SIZE_OF = frozenset(("Shape", "Size"))
# Operators whose given inputs are sizes or positions: those must not be computed from pixel values.
SIZE_INPUTS = {"Reshape": (1,), "Expand": (1,), "Tile": (1,), "ConstantOfShape": (0,), "Range": (0, 1, 2), "Resize": (2, 3),
               "Slice": (1, 2, 3, 4), "Pad": (1,), "Squeeze": (1,), "Unsqueeze": (1,), "Split": (1,)}
_THE_SAME_EVERYWHERE = frozenset(("ConstantOfShape", "Expand"))      # of any size, in every place


@dataclass(frozen=True, slots=True)
class Node:
    """One node with what is known of its inputs."""

    op_type: str
    name: str
    attributes: dict[str, Any]
    inputs: tuple[str, ...]
    fields: dict[str, Field | None]
    constants: dict[str, np.ndarray]

    @classmethod
    def of(cls, proto: onnx.NodeProto, fields: dict[str, Field | None], constants: dict[str, np.ndarray]) -> Node:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}
        return cls(proto.op_type, proto.name, attributes, tuple(proto.input), fields, constants)

    @property
    def dynamic(self) -> list[Field]:
        """Fields of the inputs that depend on the pixels."""
        return [field for name in self.inputs if (field := self.fields.get(name)) is not None]

    @property
    def only(self) -> Field:
        """The field of the first input; no other may depend on the pixels."""
        if len(self.dynamic) != 1:
            self.refuse("its weights are computed while running")
        return self.field_of(self.inputs[0])

    def made_from(self, sizes: set[str]) -> str:
        """The input through which the numbers of the result depend on the size of the image; "" = they do not.

        Args:
            sizes: tensors whose numbers do.
        """
        if self.op_type in SIZE_OF:
            return next((name for name in self.inputs if name in sizes or self.fields.get(name) is not None), "")
        as_size = SIZE_INPUTS.get(self.op_type, ()) if self.dynamic or self.op_type in _THE_SAME_EVERYWHERE else ()
        grid = (1,) if self.op_type == "GridSample" else ()         # its flow's clip is what bounds it
        return next((name for i, name in enumerate(self.inputs) if name in sizes and i not in (*as_size, *grid)), "")

    def field_of(self, tensor: str) -> Field:
        field = self.fields.get(tensor)
        return field if field is not None else self.refuse(f"{tensor} does not depend on the pixels")

    def as_image(self, field: Field) -> Field:
        """The field of a tensor that must be (batch, channels, rows, cols)."""
        return field if field.layout == IMAGE_LAYOUT else self.refuse("what it reads is not (batch, channels, rows, cols)")

    def constant(self, index: int) -> np.ndarray | None:
        """The constant at an input, or None where there is no input; an input that is computed is refused."""
        name = self.inputs[index] if index < len(self.inputs) else ""
        if not name:
            return None
        return self.constants[name] if name in self.constants else self.refuse(f"its input {name} is computed while running")

    def ints(self, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(self.attributes.get(name, default)) or default

    def refuse(self, why: str) -> NoReturn:
        raise ReachError(f"reach is unbounded or unknown at {self.op_type} {self.name!r}: {why}; "
                         "use a network of convolutions, local pooling and half-pixel resizing")

    def sampled(self, flow: Field, limit_cells: Fraction) -> Field:
        """GridSample around the half-pixel position, moved by a flow of at most `limit_cells` source cells."""
        mode, padding = self.attributes.get("mode", b"bilinear"), self.attributes.get("padding_mode", b"zeros")
        corners = self.attributes.get("align_corners", 0)
        if mode not in (b"bilinear", b"linear") or corners:
            self.refuse(f"mode {mode.decode()} with align_corners={corners} is not half-pixel bilinear")
        if padding != b"border":
            self.refuse(f"padding_mode {padding.decode()} is not border")
        source, margin = self.as_image(self.field_of(self.inputs[0])), limit_cells + ROUNDING_CELLS

        def axis(a: Axis, f: Axis) -> Axis:
            return a.read(f.stride, lambda i: linear_cells(i, a.stride / f.stride, margin)).joined(f)
        return Field(axis(source.rows, flow.rows), axis(source.cols, flow.cols))
