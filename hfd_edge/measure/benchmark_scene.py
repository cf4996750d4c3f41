"""A scene through the whole chain: every stage alone, stages overlapped, end to end, and sweeps of tile sizes and precisions."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from hfd_edge.errors import HfdError
from hfd_edge.measure.benchmark_device import DevicePeak
from hfd_edge.measure.benchmark_energy import open_meter
from hfd_edge.measure.benchmark_machine import peak_bytes, reset_peak, resident_bytes
from hfd_edge.measure.benchmark_times import Spread, in_turns
from hfd_edge.raster import MapWriter
from hfd_edge.raster_run import RasterOptions, declared_radiometry
from hfd_edge.results import RunReport
from hfd_edge.segmenter import Segmenter
from hfd_edge.simulate import Scene, SceneConfig
from hfd_edge.source import ArraySource
from hfd_edge.spec import ModelSpec, Unit

_BLOCK_PX = 1024                # of simulated pixels, repeated: what a scene shows does not change what it costs
_POWER_UNITS = (Unit.INTENSITY, Unit.DB, Unit.AMPLITUDE)


@dataclass(frozen=True, slots=True)
class BenchScene:
    """What is segmented: an array in memory, or a raster on a disk."""

    what: str
    array: np.ndarray | None = None     # (bands, rows, cols)
    unit: Unit | None = None
    path: Path | None = None
    options: RasterOptions = RasterOptions()

    @classmethod
    def simulated(cls, spec: ModelSpec, rows: int, cols: int) -> BenchScene:
        """A Sentinel-1-like scene as intensity; in a unit without conversion, noise with the mean and spread of the training data."""
        bands, side = len(spec.bands), (min(rows, _BLOCK_PX), min(cols, _BLOCK_PX))
        if spec.unit in _POWER_UNITS:
            block, unit = Scene(SceneConfig(*side, seed=7)).window(0, 0, *side, eo=False).sar, Unit.INTENSITY
            block, what = block[np.arange(bands) % len(block)], "simulated Sentinel-1-like intensity"
        else:
            noise = np.random.default_rng(7).standard_normal((bands, *side), np.float32)
            mean, std = (np.array(values, np.float32)[:, None, None] for values in (spec.input.mean, spec.input.std))
            block, unit, what = np.abs(noise * std + mean), spec.unit, f"noise of the training data's mean and spread, {spec.unit}"
        repeats = (1, -(-rows // side[0]), -(-cols // side[1]))
        return cls(f"{what}, {bands} x {rows} x {cols}", np.ascontiguousarray(np.tile(block, repeats)[:, :rows, :cols]), unit)

    def run(self, segmenter: Segmenter, target: Path) -> RunReport:
        """End to end: array to map in memory, or raster to a map at `target`."""
        if self.array is not None:
            return segmenter.run(self.array, self.unit, confidence=False).report
        return segmenter.run_raster(self.path, target, self.options)

    def alone(self, segmenter: Segmenter, target: Path) -> dict[str, float]:
        """Seconds of every stage with nothing beside it: one strip after another, one stage after another, in one thread."""
        if self.array is not None:
            return self._in_sequence(segmenter, ArraySource(self.array, len(segmenter.spec.bands)),
                                     segmenter.declared(self.unit, self.array.dtype), None)
        from hfd_edge.products import SceneRequest, open_scene

        spec, options = segmenter.spec, self.options
        request = SceneRequest(options.bands, spec.bands, options.limits, spec.input.quantity, options.unit, {"threads": segmenter.threads})
        with open_scene(self.path, request) as source, MapWriter(target, source.rows, source.cols, source.geo, spec, {}, True) as writer:
            return self._in_sequence(segmenter, source, declared_radiometry(source, options), writer)

    @staticmethod
    def _in_sequence(segmenter: Segmenter, source: Any, radiometry: Any, writer: MapWriter | None) -> dict[str, float]:
        run = segmenter.prepare(source, radiometry, windows_held=0 if writer is None else 2)
        for strip, finished in segmenter.finished_strips(run, segmenter.windows(run)):
            if writer is not None:
                with run.watch("write"):
                    writer.write(strip.row, finished.labels)
        return dict(run.watch.seconds)


def scene_records(segmenter: Segmenter, scene: BenchScene, rounds: int) -> Iterator[dict[str, Any]]:
    """Stages alone and overlapped, then end to end with memory and energy; medians over the rounds."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "map.tif"
        scene.run(segmenter, target)                                    # warm
        target.unlink(missing_ok=True)
        reset, before = reset_peak(), resident_bytes()
        alone, reports, wall, cpu = [], [], [], []
        meter, why = open_meter(segmenter.device)
        joules: list[dict[str, Any]] = []
        for _ in range(rounds):
            alone.append(scene.alone(segmenter, target))
            target.unlink(missing_ok=True)
            if meter is not None:
                meter.start()
            start, start_cpu = time.perf_counter(), time.process_time()
            reports.append(scene.run(segmenter, target))
            wall.append(time.perf_counter() - start)
            cpu.append(time.process_time() - start_cpu)
            if meter is not None:
                joules.append(meter.stop())
            target.unlink(missing_ok=True)
        yield from _stages(alone, reports)
        yield _end_to_end(scene, reports[-1], Spread.of(wall, cpu), reports)
        yield {"kind": "memory", "peak_host_bytes": peak_bytes(), "resident_before_bytes": before, "peak_since_start": not reset,
               **_device_memory(segmenter, scene, target)}
        pixels = reports[-1].rows * reports[-1].cols / 1e6
        yield {"kind": "energy", **({"not_available": why} if meter is None else _energy(meter.source, joules, wall, pixels))}


def _device_memory(segmenter: Segmenter, scene: BenchScene, target: Path) -> dict[str, Any]:
    """Of one run more, which nothing times: asking the driver would disturb it."""
    with DevicePeak(segmenter.device) as device:
        if segmenter.device != "cpu":
            scene.run(segmenter, target)
            target.unlink(missing_ok=True)
    return device.record


def _energy(source: str, spans: list[dict[str, Any]], wall: list[float], mpx: float) -> dict[str, Any]:
    joules = median(span["joules"] for span in spans)
    heat = [span["temperature_c"] for span in spans if span["temperature_c"] is not None]
    known = [span["throttled"] for span in spans if span["throttled"] is not None]
    return {"source": source, "joules_per_mpx": joules / mpx, "mean_watts": joules / median(wall),
            "temperature_c": max(heat, default=None), "throttled": any(known) if known else None}


def _stages(alone: list[dict[str, float]], reports: list[RunReport]) -> Iterator[dict[str, Any]]:
    pixels = reports[-1].rows * reports[-1].cols
    for stage in dict.fromkeys([*alone[-1], *(name for name in reports[-1].timings if name != "total")]):
        single = median(seconds.get(stage, 0.0) for seconds in alone)
        beside = median(report.timings.get(stage, 0.0) for report in reports)
        yield {"kind": "stage", "stage": stage, "alone_s": single, "overlapped_s": beside, "alone_ns_per_px": 1e9 * single / pixels,
               "overlapped_ns_per_px": 1e9 * beside / pixels}


def _end_to_end(scene: BenchScene, report: RunReport, spread: Spread, reports: list[RunReport]) -> dict[str, Any]:
    pixels = report.rows * report.cols
    around = median((each.timings["total"] - each.timings["engine"]) / each.timings["engine"] for each in reports)
    return {"kind": "end_to_end", "scene": scene.what, "rows": report.rows, "cols": report.cols, **spread.to_dict(),
            "mpx_per_s": pixels / 1e3 / spread.p50_ms, "ns_per_px": 1e6 * spread.p50_ms / pixels,
            "around_engine_over_engine": around, "around_engine_share_of_total": around / (1 + around), **_grid(report)}


def _grid(report: RunReport) -> dict[str, Any]:
    return {"engine": report.engine, "tile_px": list(report.tile_px), "halo": report.halo, "halo_px": report.halo_px,
            "halo_share": report.halo_share, "tiles": report.tiles_run}


@dataclass(frozen=True, slots=True)
class Setting:
    """How a Segmenter is opened for a sweep, and what the sweep calls it."""

    name: str
    named: dict[str, Any]


def sweep(kind: str, engine: Path, scene: BenchScene, settings: Sequence[Setting], rounds: int) -> list[dict[str, Any]]:
    """Several settings on one scene, in turns: median, spread, Mpx/s and halo share of each; a refused one says why.

    Labels that differ from the first setting's that works are counted where the scene is in memory.
    """
    opened: dict[str, Segmenter] = {}
    refused: dict[str, str] = {}
    for setting in settings:
        try:
            opened[setting.name] = Segmenter(engine, **setting.named)
        except HfdError as error:
            refused[setting.name] = str(error)
    try:
        with tempfile.TemporaryDirectory() as folder:
            measured = _in_turns(opened, scene, Path(folder) / "map.tif", rounds, refused)
    finally:
        for segmenter in opened.values():
            segmenter.close()
    return [{"kind": kind, "setting": setting.name,
             **({"not_available": refused[setting.name]} if setting.name in refused else measured[setting.name])}
            for setting in settings]


def _in_turns(opened: dict[str, Segmenter], scene: BenchScene, target: Path, rounds: int,
              refused: dict[str, str]) -> dict[str, dict[str, Any]]:
    reports: dict[str, RunReport] = {}
    labels: dict[str, np.ndarray] = {}

    def job(name: str) -> None:
        reports[name] = scene.run(opened[name], target)
        target.unlink(missing_ok=True)

    for name, segmenter in opened.items():
        try:
            if scene.array is not None:
                labels[name] = segmenter.run(scene.array, scene.unit, confidence=False).labels
            else:
                job(name)
        except HfdError as error:
            refused[name] = str(error)
    jobs = {name: (lambda name=name: job(name)) for name in opened if name not in refused}
    spreads = in_turns(jobs, rounds) if jobs else {}
    first = next(iter(labels.values()), None)
    found = {}
    for name, spread in spreads.items():
        pixels = reports[name].rows * reports[name].cols
        found[name] = {**spread.to_dict(), "mpx_per_s": pixels / 1e3 / spread.p50_ms, "ns_per_px": 1e6 * spread.p50_ms / pixels,
                       **_grid(reports[name])}
        if name in labels:
            found[name]["labels_unlike_first"] = float((labels[name] != first).mean())
    return found
