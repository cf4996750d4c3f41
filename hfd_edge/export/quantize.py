"""A float graph and its ranges become the graphs of the other precisions: one calibration, one file for each kind of engine.

No INT8 file is both legal for TensorRT and fast on ONNX Runtime's CPU, so there are two: `int8-cpu` with unsigned activations
and every tensor quantised, `int8-trt` with signed, symmetric ones and the outputs of convolutions left in float.
"""

from __future__ import annotations

from hfd_edge.export.calibration import Ranges
from hfd_edge.export.quantize_options import Int8Options

__all__ = ["Int8Options", "to_fp16_trt", "to_int8_cpu", "to_int8_trt"]


def to_int8_cpu(graph: bytes, ranges: Ranges, options: Int8Options | None = None) -> bytes:
    """The INT8 graph for ONNX Runtime on a CPU."""
    from hfd_edge.export.quantize_cpu import int8_cpu
    return int8_cpu(graph, ranges, options or Int8Options())


def to_int8_trt(graph: bytes, ranges: Ranges, keep_float: tuple[str, ...] = ()) -> bytes:
    """The INT8 graph for TensorRT: signed, symmetric, zero point 0."""
    from hfd_edge.export.quantize_trt import int8_trt
    return int8_trt(graph, ranges, keep_float)


def to_fp16_trt(graph: bytes, ranges: Ranges | None = None) -> bytes:
    """The FP16 graph for TensorRT, with what half precision cannot hold left in float32."""
    from hfd_edge.export.quantize_trt import fp16_trt
    return fp16_trt(graph, ranges)
