"""ONNX Runtime as the exporter uses it: one kind of session for every check, without torch."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

import onnx
import onnxruntime

from hfd_edge.build import __version__


def open_session(graph: bytes, threads: int = 2, optimised: bool = True) -> onnxruntime.InferenceSession:
    """A CPU session of ONNX Runtime whose threads sleep when they wait."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4                 # what goes wrong is raised; the log would repeat it
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def telling(model: onnx.ModelProto, tensors: Iterable[str]) -> bytes:
    """The same graph with these of its tensors as its outputs."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.output[:]
    made.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)
    return made.SerializeToString()


def tool_versions(*tools: str) -> dict[str, str]:
    """Versions of installed distributions, for a package's provenance."""
    found = {}
    for tool in tools:
        try:
            found[tool] = version(tool)
        except PackageNotFoundError:
            found[tool] = f"{__version__}, run from a checkout" if tool == "hfd_edge" else "not installed"
    return found
