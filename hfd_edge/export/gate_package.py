"""The second half of the gate, on a written package: every way to run it on this machine, in tiles, on a scene, and how fast.

Graphs that ONNX Runtime runs on the CPU were judged before as bytes. Any other engine that `ways_here` knows (a TensorRT plan on a
GPU) is opened like a user would open it, judged on the same tiles under the same thresholds, and stands in the report as a row of
its own. So an engine joins the gate by being there.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from hfd_edge.device import thread_budget
from hfd_edge.engine import choose
from hfd_edge.engine.base import Engine
from hfd_edge.engine.onnx_bytes import as_taken
from hfd_edge.engine.choose import Way
from hfd_edge.errors import EngineError, GateError, PackageError
from hfd_edge.export.calibration_data import DataScene, some_rows, tiles_of
from hfd_edge.export.gate_report import GateReport, SceneResult, Speed
from hfd_edge.export.judged_scenes import offsets_of
from hfd_edge.export.parity import Infer, Thresholds
from hfd_edge.export.verify import GATE_TILE_PX, MOST_TILES, judge_runs, remembering, runner
from hfd_edge.export.yardstick import beside_nodata, brighter_flips
from hfd_edge.package import Package
from hfd_edge.package.manifest import FP32
from hfd_edge.results import RunReport
from hfd_edge.segmenter import Segmenter
from hfd_edge.spec import NODATA_LABEL
from hfd_edge.tiles import round_up

SCENE_CORE_PX = 256                     # of the tiles that a whole scene is run with
SCENE_PX = 1 << 24                      # of it at most: a whole product would take PyTorch an hour, and tell nothing more of the tiles' borders
_ROUNDS, _YARDSTICK_TILES = 5, 8


def judge_package(path: Path, reference: Infer, judged: list[DataScene], known: GateReport,
                  thresholds: Thresholds | None = None) -> GateReport:
    """Judge a written package and add what was found to a report.

    Args:
        path: the package.
        reference: the network in PyTorch, or the float graph of a foreign one.
        judged: scenes that were not calibrated on.
        known: with the judgement of every graph that ONNX Runtime runs.
        thresholds: None = the defaults.
    Returns:
        the report with a tiled scene and the speed of every way, rows for other engines, and without "not verified here" for
        what was verified here after all.
    """
    with Package.open(path) as package:
        ways = choose.ways_here(package)
        scene = some_rows(largest(judged), package.spec, SCENE_PX)
        few = list(tiles_of(judged, package.spec, GATE_TILE_PX, _YARDSTICK_TILES))
        network = remembering(runner(bytes(package.read(FP32))), few)      # judged above: the reference's labels, in half its time
        offsets = offsets_of(judged, package.spec)
        brighter, beside = brighter_flips(network, few, package.spec), beside_nodata(network, few)
    results, refused = _others(path, reference, judged, ways, thresholds)
    graphs = {**known.graphs, **results}
    running = [way for way in ways if row(way) in graphs]
    ran = {way.graph for way in running if way.library != "onnxruntime"}
    return replace(known, graphs=graphs, refused=refused, scenes=tiled_scene(path, reference, scene, running),
                   speeds=_speeds(path, judged, running),
                   brighter_flips=brighter, beside_nodata=beside, offsets=offsets,
                   not_verified=tuple(text for text in known.not_verified if text.split()[0] not in ran))


def row(way: Way) -> str:
    """What a way is called in the report."""
    return way.graph if way.library == "onnxruntime" else f"{way.graph} ({way.library}, {way.device})"


def largest(scenes: list[DataScene]) -> DataScene:
    """The scene with the most pixels."""
    return max(scenes, key=lambda scene: scene.source.rows * scene.source.cols)


def tiled_scene(path: Path, reference: Infer, scene: DataScene, ways: list[Way]) -> tuple[SceneResult, ...]:
    """A scene through the pipeline with the reference and in every given way."""
    with _InferSegmenter(path, reference) as segmenter:
        expected, _ = _labels(segmenter, scene)
    results = []
    for way in ways:
        with _WaySegmenter(path, way) as segmenter:
            found, report = _labels(segmenter, scene)
        seen = expected != NODATA_LABEL
        flips = int((seen & (expected != found)).sum())
        results.append(SceneResult(scene.name, row(way), int(seen.sum()), flips, report.tiles_run, report.halo))
    return tuple(results)


def _others(path: Path, reference: Infer, judged: list[DataScene], ways: tuple[Way, ...],
            thresholds: Thresholds | None) -> tuple[dict, dict[str, str]]:
    """Judgements by row of what is not ONNX Runtime, and why an engine that is here refused."""
    results, refused = {}, {}
    if not (others := [way for way in ways if way.library != "onnxruntime"]):
        return results, refused
    with Package.open(path) as package:
        tiles = list(tiles_of(judged, package.spec, GATE_TILE_PX, MOST_TILES))
        known = remembering(reference, tiles)
        for way in others:
            try:
                with _opened(package, way) as engine:
                    results[row(way)] = judge_runs(known, way.graph, engine.infer, tiles, thresholds)
            except (EngineError, PackageError, GateError) as error:
                refused[row(way)] = str(error)
    return results, refused


def _speeds(path: Path, judged: list[DataScene], ways: list[Way]) -> dict[str, Speed]:
    """All engines in turns on the same tile, so that a busy machine slows all alike."""
    taken: dict[str, list[float]] = {row(way): [] for way in ways}
    with Package.open(path) as package, ExitStack() as stack:
        pixels = next(tiles_of(judged, package.spec, package.spec.tile_px, 1)).pixels[None]
        engines = {row(way): stack.enter_context(_opened(package, way)) for way in ways}
        given = {name: as_taken(pixels, engine) for name, engine in engines.items()}
        for number in range(_ROUNDS + 1):
            for name, engine in engines.items():
                start = time.perf_counter()
                engine.infer(given[name])
                if number:                              # the first round makes buffers
                    taken[name].append(1e3 * (time.perf_counter() - start))
    base = taken.get(FP32)
    return {name: Speed(statistics.median(own), statistics.median(b / a for a, b in zip(own, base)) if base else None,
                        pixels.shape[2:]) for name, own in taken.items()}


@contextmanager
def _opened(package: Package, way: Way) -> Iterator[Engine]:
    engine = choose.open_way(package, way, thread_budget(None))
    try:
        yield engine
    finally:
        engine.close()


class _InferEngine:
    """A function from batches to logits behind the engines' protocol."""

    name, device, graph, version = "reference", "cpu", "network", ""
    takes_scene = True

    def __init__(self, infer: Infer) -> None:
        self._run = infer

    def infer(self, batch: np.ndarray, *told: np.ndarray) -> np.ndarray:
        return self._run(batch, *told)

    def close(self) -> None:
        return None


class _InferSegmenter(Segmenter):
    """A Segmenter that runs the reference instead of a graph of the package."""

    def __init__(self, path: Path, infer: Infer) -> None:
        self._infer = infer
        super().__init__(path, tile=_tile_px(path))

    def _open_engine(self, precision: str) -> Engine:
        return _InferEngine(self._infer)


class _WaySegmenter(Segmenter):
    """A Segmenter that runs a package in one way and no other."""

    def __init__(self, path: Path, way: Way) -> None:
        self._way = way
        super().__init__(path, device=way.device, tile=_tile_px(path))

    def _open_engine(self, precision: str) -> Engine:
        return choose.open_way(self._package, self._way, self.threads)


def _tile_px(engine: Path) -> int:
    """Small tiles, so that a scene has many."""
    with Package.open(engine) as package:
        return 2 * package.spec.halo_px + round_up(SCENE_CORE_PX, package.spec.stride_px)


def _labels(segmenter: Segmenter, scene: DataScene) -> tuple[np.ndarray, RunReport]:
    labels = np.empty((scene.source.rows, scene.source.cols), np.uint8)

    def write(first: int, strip: np.ndarray, _: np.ndarray | None) -> None:
        labels[first:first + len(strip)] = strip
    report = segmenter.run_source(scene.source, scene.radiometry, write)
    return labels, report
