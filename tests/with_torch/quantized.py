"""A trained network to quantise: the graph of the shipped demo engine, and simulated scenes to do it on."""

from functools import lru_cache
from pathlib import Path

import hfd_edge
from hfd_edge.export import ExportOptions, calibration_data
from hfd_edge.export.build_graphs import GraphPlan
from hfd_edge.export.calibration import calibrate
from hfd_edge.export.calibration_data import simulated_scene, tiles_of
from hfd_edge.export.parity import Thresholds
from hfd_edge.export.verify import runner
from hfd_edge.package import Package

DEMO = Path(hfd_edge.__file__).parent / "data" / "demo.engine"
FEW = Thresholds(min_pixels=100_000)
LOOSE = Thresholds(flips=0.9, iou=0.9, logits=9.0, min_pixels=10_000)      # for networks that were never trained


def options(**plan):
    """Of an export that calibrates and judges on simulated scenes."""
    return ExportOptions(measure=False, plan=GraphPlan(**{"data": ("simulated",), "thresholds": LOOSE, **plan}))


def make_small(patch):
    """--calibration simulated is two scenes of 416 x 416 pixels."""
    patch.setattr(calibration_data, "_SIMULATED_PX", 416)
    patch.setattr(calibration_data, "_SIMULATED_SCENES", 2)


@lru_cache(maxsize=None)
def demo():
    """(FP32 graph, spec) of the demo engine."""
    with Package.open(DEMO) as package:
        return bytes(package.read("graph-fp32.onnx")), package.spec


@lru_cache(maxsize=None)
def scene(number, side=384):
    """A simulated scene with nodata wedges and truth, of a seed that exports do not use."""
    return simulated_scene(100 + number, demo()[1], side)


@lru_cache(maxsize=None)
def gate_tiles():
    """Tiles to judge on: another scene than the calibration's."""
    return list(tiles_of([scene(1)], demo()[1], 512))


@lru_cache(maxsize=None)
def ranges(method="minmax"):
    return calibrate(demo()[0], [tile.pixels for tile in tiles_of([scene(0)], demo()[1], 512, 3)], method)


@lru_cache(maxsize=None)
def reference():
    return runner(demo()[0])
