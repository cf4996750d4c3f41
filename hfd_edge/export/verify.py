"""The first half of the parity gate: the network in PyTorch against every graph, run by ONNX Runtime, on tiles of real scenes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from hfd_edge.engine.graph_scan import check_graph, scan
from hfd_edge.export.calibration_data import Tile
from hfd_edge.export.parity import GateResult, Infer, Thresholds, compare, open_session
from hfd_edge.network.hfdnet import HFDNet
from hfd_edge.package.manifest import FP32, INT8_CPU, INT8_TRT
from hfd_edge.spec import SCENE_INPUT

GATE_TILE_PX = 1024
MOST_TILES = 64                         # 40 million pixels; more tell nothing new about a graph
FP32_FLIPS = 1e-4                       # a float graph does the same sums in another order
INT8_GRAPHS = (INT8_CPU, INT8_TRT)


def gate_graphs(reference: Infer, graphs: Mapping[str, bytes], tiles: list[Tile],
                thresholds: Thresholds | None = None) -> dict[str, GateResult]:
    """Each graph, run by ONNX Runtime, against the reference on the same tiles.

    Raises:
        GateError: a graph gives other shapes or numbers that are not finite; EngineError: it asks for what engines do not run.
    """
    remembered = remembering(reference, tiles)
    return {name: judge(remembered, name, graph, tiles, thresholds) for name, graph in graphs.items()}


def judge(reference: Infer, name: str, graph: bytes, tiles: list[Tile], thresholds: Thresholds | None = None) -> GateResult:
    """One graph, run by ONNX Runtime, against the reference; the FP32 graph under a stricter threshold of its own."""
    check_graph(scan(graph, name))
    return judge_runs(reference, name, runner(graph), tiles, thresholds)


def judge_runs(reference: Infer, name: str, run: Infer, tiles: list[Tile], thresholds: Thresholds | None = None) -> GateResult:
    """Whatever runs the graph of this name against the reference."""
    limits = thresholds or Thresholds()
    limits = replace(limits, flips=min(limits.flips, FP32_FLIPS)) if name == FP32 else limits
    return compare(reference, run, tiles, limits)


def runner(graph: bytes) -> Infer:
    """A graph as a function from a batch, and what it is told of the scene, to its logits."""
    session = open_session(graph)
    name = session.get_inputs()[0].name
    return lambda batch, *told: session.run(None, {name: batch, **dict(zip((SCENE_INPUT,), told))})[0]


def network_runner(net: HFDNet) -> Infer:
    """The network in PyTorch as such a function."""
    def run(batch: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return net(torch.from_numpy(batch)).numpy()
    return run


def remembering(reference: Infer, tiles: list[Tile]) -> Infer:
    """The reference, asked once per tile: several graphs are judged on the same ones."""
    known: dict[int, np.ndarray] = {}
    keys = {tile.pixels.__array_interface__["data"][0]: i for i, tile in enumerate(tiles)}

    def run(batch: np.ndarray, *told: np.ndarray) -> np.ndarray:
        key = keys.get(batch.__array_interface__["data"][0])
        if key is None:
            return reference(batch, *told)
        if key not in known:
            known[key] = reference(batch, *told)
        return known[key]
    return run


def unverified(graphs: Mapping[str, bytes] | tuple[str, ...]) -> tuple[str, ...]:
    """What no run on this machine can show of these graphs."""
    return tuple(f"{name} as TensorRT builds it (its numbers were checked with ONNX Runtime on the CPU)"
                 for name in graphs if name.endswith("-trt.onnx"))
