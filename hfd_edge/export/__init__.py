"""Networks to packages: graph, reach, gate, assembly. A checkpoint needs torch and onnx, a foreign ONNX file onnx alone."""

from __future__ import annotations

from typing import Any

__all__ = ["ExportOptions", "ExportReport", "GraphPlan", "export_package"]


def __getattr__(name: str) -> Any:
    """The exporter of checkpoints, imported when it is asked for: it needs torch, its neighbours do not."""
    if name in __all__:
        from hfd_edge.export import build
        return getattr(build, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
