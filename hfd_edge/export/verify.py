"""The parity gate over real data: the network in PyTorch against every graph of an engine that can run on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hfd_edge.engine.base import Engine
from hfd_edge.engine.graph_scan import check_graph, scan
from hfd_edge.errors import ExportError
from hfd_edge.export.calibration_data import DataScene, Tile, open_scenes, tiles_of
from hfd_edge.export.parity import GateResult, Infer, Thresholds, compare, open_session
from hfd_edge.network.checkpoint import load_checkpoint
from hfd_edge.network.hfdnet import HFDNet
from hfd_edge.package import Package
from hfd_edge.raster_run import RasterOptions
from hfd_edge.results import RunReport
from hfd_edge.segmenter import Segmenter
from hfd_edge.spec import NODATA_LABEL, ModelSpec
from hfd_edge.tiles import round_up

GATE_TILE_PX = 1024
SCENE_CORE_PX = 256                     # of the tiles that a whole scene is run with
MOST_TILES = 64                         # 40 million pixels; more tell nothing new about a graph
FP32, INT8_CPU, FP16_TRT, INT8_TRT = "graph-fp32.onnx", "graph-int8-cpu.onnx", "graph-fp16-trt.onnx", "graph-int8-trt.onnx"
FP32_FLIPS = 1e-4                       # a float graph does the same sums in another order
PRECISION_OF = {FP32: "fp32", INT8_CPU: "int8"}


@dataclass(frozen=True, slots=True)
class SceneResult:
    """One scene through the whole pipeline, once with the network and once with a graph of the package."""

    scene: str
    graph: str
    pixels: int
    flips: int
    tiles: int
    halo: str

    @property
    def flip_rate(self) -> float:
        return self.flips / max(1, self.pixels)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready record."""
        return {**{name: getattr(self, name) for name in self.__dataclass_fields__}, "flip_rate": self.flip_rate}


@dataclass(frozen=True, slots=True)
class GateReport:
    """Every graph's judgement, and what could not be judged here."""

    graphs: dict[str, GateResult]
    scenes: tuple[SceneResult, ...]
    not_verified: tuple[str, ...]
    data: tuple[str, ...]                   # names of the scenes
    notes: tuple[str, ...] = ()

    @property
    def failures(self) -> tuple[str, ...]:
        own = [f"{graph}: {failure}" for graph, result in self.graphs.items() for failure in result.failures]
        for scene in self.scenes:
            most = self.graphs[scene.graph].thresholds.flips
            if scene.flip_rate > most:
                own.append(f"{scene.graph}: {scene.flip_rate:.3%} of the labels of the tiled scene {scene.scene} flip, at most "
                           f"{most:.3%} are allowed")
        return tuple(own)

    @property
    def passed(self) -> bool:
        return not self.failures

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready record."""
        return {"passed": self.passed, "failures": list(self.failures), "data": list(self.data), "notes": list(self.notes),
                "graphs": {name: result.to_dict() for name, result in self.graphs.items()},
                "scenes": [scene.to_dict() for scene in self.scenes], "not_verified_here": list(self.not_verified)}

    def __str__(self) -> str:
        lines = [f"{'gate':20}{'flips':>9}{'bound':>9}{'IoU change':>12}{'bound':>8}{'logits':>9}{'confidence':>12}  verdict"]
        lines += [_line(name, result) for name, result in self.graphs.items()]
        lines += [f"tiled scene {s.scene}, {s.graph}: {s.flip_rate:.3%} of {s.pixels} labels flip, {s.tiles} tiles, {s.halo}"
                  for s in self.scenes]
        return "\n".join([*lines, *(f"not verified here: {what}" for what in self.not_verified), *self.notes])


def gate_graphs(reference: Infer, graphs: Mapping[str, bytes], tiles: list[Tile],
                thresholds: Thresholds | None = None) -> dict[str, GateResult]:
    """Each graph, run by ONNX Runtime, against the reference on the same tiles.

    Raises:
        GateError: a graph gives other shapes or numbers that are not finite; EngineError: it asks for what engines do not run.
    """
    remembered = remembering(reference, tiles)
    return {name: judge(remembered, name, graph, tiles, thresholds) for name, graph in graphs.items()}


def judge(reference: Infer, name: str, graph: bytes, tiles: list[Tile], thresholds: Thresholds | None = None) -> GateResult:
    """One graph against the reference; the FP32 graph under a stricter threshold of its own."""
    check_graph(scan(graph, name))
    limits = thresholds or Thresholds()
    limits = replace(limits, flips=min(limits.flips, FP32_FLIPS)) if name == FP32 else limits
    labels = [tile.labels for tile in tiles] if any(tile.labels is not None for tile in tiles) else None
    return compare(reference, runner(graph), [tile.pixels for tile in tiles], labels, limits, [tile.status for tile in tiles])


def runner(graph: bytes) -> Infer:
    """A graph as a function from a batch to its logits."""
    session = open_session(graph)
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch})[0]


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

    def run(batch: np.ndarray) -> np.ndarray:
        key = keys.get(batch.__array_interface__["data"][0])
        if key is None:
            return reference(batch)
        if key not in known:
            known[key] = reference(batch)
        return known[key]
    return run


class _NetworkEngine:
    """The network in PyTorch behind the engines' protocol."""

    name, device, graph, version = "pytorch", "cpu", "network", torch.__version__

    def __init__(self, net: HFDNet) -> None:
        self._run: Callable[[np.ndarray], np.ndarray] = network_runner(net)

    def infer(self, batch: np.ndarray) -> np.ndarray:
        return self._run(batch)

    def close(self) -> None:
        return None


class _NetworkSegmenter(Segmenter):
    """A Segmenter that runs the network itself instead of a graph of the package."""

    def __init__(self, path: Path, net: HFDNet) -> None:
        self._net = net
        super().__init__(path, tile=_tile_px(path))

    def _open_engine(self, precision: str) -> Engine:
        return _NetworkEngine(self._net)


def largest(scenes: list[DataScene]) -> DataScene:
    """The scene with the most pixels."""
    return max(scenes, key=lambda scene: scene.source.rows * scene.source.cols)


def tiled_scene(engine: Path, net: HFDNet, scene: DataScene) -> tuple[SceneResult, ...]:
    """A scene through the pipeline with the network and with every graph of the package that runs on a CPU here."""
    with _NetworkSegmenter(engine, net) as segmenter:
        expected, _ = _labels(segmenter, scene)
        present = [graph for graph in PRECISION_OF if graph in segmenter.graphs]
    results = []
    for graph in present:
        with Segmenter(engine, tile=_tile_px(engine), precision=PRECISION_OF[graph]) as segmenter:
            found, report = _labels(segmenter, scene)
        seen = expected != NODATA_LABEL
        flips = int((seen & (expected != found)).sum())
        results.append(SceneResult(scene.name, graph, int(seen.sum()), flips, report.tiles_run, report.halo))
    return tuple(results)


def _tile_px(engine: Path) -> int:
    """Small tiles, so that a scene has many."""
    with Package.open(engine) as package:
        return 2 * package.spec.halo_px + round_up(SCENE_CORE_PX, package.spec.stride_px)


def _labels(segmenter: Segmenter, scene: DataScene) -> tuple[np.ndarray, RunReport]:
    labels = np.empty((scene.source.rows, scene.source.cols), np.uint8)

    def write(row: int, strip: np.ndarray, _: np.ndarray | None) -> None:
        labels[row:row + len(strip)] = strip
    report = segmenter.run_source(scene.source, scene.radiometry, write)
    return labels, report


def unverified(graphs: Mapping[str, bytes] | tuple[str, ...]) -> tuple[str, ...]:
    """What no run on this machine can show of these graphs."""
    return tuple(f"{name} as TensorRT builds it (its numbers were checked with ONNX Runtime on the CPU)"
                 for name in graphs if name.endswith("-trt.onnx"))


def verify_package(engine: str | Path, checkpoint: str | Path, data: list[str | Path], options: RasterOptions | None = None,
                   thresholds: Thresholds | None = None) -> tuple[GateReport, ModelSpec]:
    """Judge a package against the checkpoint it was made from, on real scenes.

    Raises:
        PackageError, CheckpointError: one of the two cannot be read.
        ExportError: they are not of one network, or there is no data.
    """
    net, part, _ = load_checkpoint(checkpoint)
    with Package.open(engine) as package, ExitStack() as stack:
        spec = package.spec
        if (tuple(part.get("bands", ())), tuple(part.get("classes", ()))) != (spec.bands, spec.classes):
            raise ExportError(f"{engine} has bands {', '.join(spec.bands)} and classes {', '.join(spec.classes)}, {checkpoint} "
                              f"has others: verify an engine against the checkpoint it was exported from")
        scenes = open_scenes(data, spec, stack, options)
        tiles = list(tiles_of(scenes, spec, GATE_TILE_PX, MOST_TILES))
        graphs = {name: bytes(package.read(name)) for name in package.graph_names}
        plans = tuple(f"{name}: plans are run by their own GPU alone" for name in package.names if name.startswith("plans/"))
        results = gate_graphs(network_runner(net), graphs, tiles, thresholds)
        report = GateReport(results, tiled_scene(Path(engine), net, largest(scenes)), (*unverified(graphs), *plans),
                            tuple(scene.name for scene in scenes))
    return report, spec


def _line(name: str, result: GateResult) -> str:
    change, bound = "-", "-"
    if result.iou_reference is not None:
        change = f"{100 * max((b - a for a, b in zip(result.iou_reference, result.iou_candidate)), key=abs):+.2f}"
        bound = f"{100 * max((value for value in result.iou_bound if value is not None), default=float('nan')):.2f}"
    return (f"{name:20}{result.flip_rate:>9.3%}{result.flip_bound:>9.3%}{change:>12}{bound:>8}"
            f"{result.logit_error['0.99']:>9.2g}"
            f"{result.confidence_error:>12.4f}  {'passed' if result.passed else 'FAILED: ' + '; '.join(result.failures)}")
