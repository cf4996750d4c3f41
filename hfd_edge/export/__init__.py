"""From a checkpoint to a package: ONNX graph, reach, parity gate, assembly. Needs torch and onnx; running an engine does not."""

from hfd_edge.export.build import ExportOptions, ExportReport, export_package

__all__ = ["ExportOptions", "ExportReport", "export_package"]
