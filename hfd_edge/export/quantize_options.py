"""How an INT8 graph for the CPU is made, and which convolutions of a graph may stay in float."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from hfd_edge.errors import ExportError
from hfd_edge.export.quantize_head import head_of


@dataclass(frozen=True, slots=True)
class Int8Options:
    """What may differ from one INT8 graph for the CPU to the next."""

    keep_float: tuple[str, ...] = ()        # names of nodes of the float graph that are not quantised; the head's weights are as good as float
    only: str = ""                          # quantise this one convolution and nothing else: to learn what it costs
    weight_bits: int = 7                    # 7: right on processors without VNNI too, where unsigned by signed saturates
    fast_layout: bool = True                # reshape the first and the grouped convolutions into forms with fast int8 kernels; False: the head stays float


def quantisable(graph: bytes) -> list[str]:
    """Names of the convolutions that may be kept in float one by one; the head, whose weights are as good as float, is not among them."""
    model = onnx.load_from_string(graph)
    return [node.name for node in model.graph.node if node.op_type == "Conv" and node.name != head_of(model)]


def check_kept(graph: bytes, names: Sequence[str]) -> None:
    """Raise ExportError where one of the names is no node of the graph."""
    known = {node.name for node in onnx.load_from_string(graph).graph.node}
    if strange := sorted({*names} - known):
        raise ExportError(f"keep_float names {strange[0]!r}, which is no node of the graph: use names such as {quantisable(graph)[0]!r}")
