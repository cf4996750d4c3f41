"""hfd_edge: from a trained SAR segmentation student to a sealed engine to a seam-free map.

    seg = hfd_edge.Segmenter("model.engine")
    result = seg.run(array, unit="intensity")            # result.labels uint8 (rows, cols), 255 = nodata
    seg.run_raster("scene.tif", "map.tif")

Names are looked up when they are first used (PEP 562): importing the package loads nothing.
"""

from __future__ import annotations

import os
from importlib import import_module

# ONNX Runtime's own wheels report to Microsoft what they run and where, and keep an identifier in ~/.cache, unless they find this
# when they are imported. A value that the user set stays.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

TYPE_CHECKING = False                               # as typing's, whose import takes longer than this file's
if TYPE_CHECKING:
    from typing import Any

    from hfd_edge import errors
    from hfd_edge.build import build_info
    from hfd_edge.errors import (
        ArrayError, CheckpointError, DeviceError, EmptySceneError, EngineError, ExportError, GateError, GridError, HfdError, PackageError,
        RadiometryError, RasterError, ReachError, SpecError)
    from hfd_edge.package import Package
    from hfd_edge.products import Mosaic
    from hfd_edge.radiometry import SourceRadiometry
    from hfd_edge.raster_run import RasterOptions
    from hfd_edge.results import Result, RunReport
    from hfd_edge.segmenter import Segmenter
    from hfd_edge.spec import ModelInput, ModelSpec, Unit

    __version__: str

# Spelled out, for type checkers take nothing else as what a typed package offers.
__all__ = [
    "Segmenter", "Result", "RunReport", "ModelSpec", "ModelInput", "Unit", "Package", "SourceRadiometry", "RasterOptions", "Mosaic", "build_info",
    "HfdError", "SpecError", "PackageError", "ArrayError", "GridError", "RadiometryError", "EmptySceneError", "RasterError",
    "EngineError", "DeviceError", "ReachError", "ExportError", "CheckpointError", "GateError", "errors"]
_HOME = {
    "Segmenter": "segmenter", "Result": "results", "RunReport": "results",
    "ModelSpec": "spec", "ModelInput": "spec", "Unit": "spec",
    "Package": "package",
    "SourceRadiometry": "radiometry", "RasterOptions": "raster_run", "Mosaic": "products",
    "build_info": "build", "__version__": "build",
    **dict.fromkeys((name for name in __all__ if name.endswith("Error")), "errors"),
}
_ROOMS = ("build", "engine", "errors", "export", "measure", "network", "package", "radiometry", "raster", "scene", "segmenter",
          "simulate", "spec", "speckle", "stitch", "tiles")


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(f"hfd_edge.{_HOME[name]}"), name)
        globals()[name] = value                      # found once
        return value
    if name in _ROOMS:
        return import_module(f"hfd_edge.{name}")
    raise AttributeError(f"module 'hfd_edge' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Without `network`: help() and whatever else looks at each of them would import torch, or end where it is not installed."""
    return sorted({*globals(), *_HOME, *_ROOMS} - {"network"})
