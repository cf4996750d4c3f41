"""A scene through the whole chain: every stage alone, stages overlapped, end to end."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from hfd_edge.measure.benchmark_device import DevicePeak
from hfd_edge.measure.benchmark_energy import open_meter
from hfd_edge.measure.benchmark_machine import peak_bytes, reset_peak, resident_bytes
from hfd_edge.measure.benchmark_times import Spread
from hfd_edge.measure.benchmark_timetable import Timetable
from hfd_edge.products import Mosaic
from hfd_edge.raster import MapWriter
from hfd_edge.raster_run import RasterOptions, declared_radiometry, open_as_declared
from hfd_edge.results import RunReport
from hfd_edge.segmenter import Segmenter
from hfd_edge.simulate import Scene, SceneConfig
from hfd_edge.source import ArraySource
from hfd_edge.spec import ModelSpec, Unit

_BLOCK_PX = 1024                # of simulated pixels, repeated: what a scene shows does not change what it costs
PART_PX = 2048                  # side of the part of a scene that sweeps run on: every setting runs several times
_POWER_UNITS = (Unit.INTENSITY, Unit.DB, Unit.AMPLITUDE)


@dataclass(frozen=True, slots=True)
class BenchScene:
    """What is segmented: an array in memory, or a raster on a disk."""

    what: str
    array: np.ndarray | None = None     # (bands, rows, cols)
    unit: Unit | None = None
    path: Path | Mosaic | None = None
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

    def part(self, rows: int, cols: int) -> BenchScene:
        """The middle of it, PART_PX a side at most, for sweeps; the scene itself where it is not larger.

        Args:
            rows, cols: of the scene, or of the window of it that `options` name.
        """
        kept = part_shape(rows, cols)
        if kept == (rows, cols):
            return self
        row, col = (rows - kept[0]) // 2, (cols - kept[1]) // 2
        what = f"its middle, {kept[0]} x {kept[1]}"
        if self.array is not None:
            return BenchScene(what, np.ascontiguousarray(self.array[:, row:row + kept[0], col:col + kept[1]]), self.unit)
        first = (0, 0) if self.options.window is None else self.options.window[:2]
        return BenchScene(what, path=self.path, options=replace(self.options, window=(first[0] + row, first[1] + col, *kept)))

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
        with (open_as_declared(self.path, self.options, segmenter.spec, threads=segmenter.threads) as source,
              MapWriter(target, source.rows, source.cols, source.geo, segmenter.spec, {}, True) as writer):
            return self._in_sequence(segmenter, source, declared_radiometry(source, self.options), writer)

    @staticmethod
    def _in_sequence(segmenter: Segmenter, source: Any, radiometry: Any, writer: MapWriter | None) -> dict[str, float]:
        run = segmenter.prepare(source, radiometry, windows_held=0 if writer is None else 2)
        run.plan = replace(run.plan, at_once=1)
        for part in segmenter.finished_strips(run):
            if writer is not None:
                with run.watch("write"):
                    writer.write(part.strip.row, part.labels)
        return dict(run.watch.seconds)


def part_shape(rows: int, cols: int) -> tuple[int, int]:
    """Rows and columns of BenchScene.part."""
    return min(rows, PART_PX), min(cols, PART_PX)


def scene_records(segmenter: Segmenter, scene: BenchScene, rounds: int, timetable: Timetable | None = None) -> Iterator[dict[str, Any]]:
    """Stages alone and overlapped, then end to end with memory and energy; medians over the rounds.

    Args:
        rounds: at most; as many as the timetable's seconds allow.
    """
    timetable = timetable or Timetable()
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "map.tif"
        run_s = _warm_up(segmenter, scene, target, timetable)
        rounds = timetable.rounds(2 * run_s, rounds)
        reset, before = reset_peak(), resident_bytes()
        alone, reports, wall, cpu = [], [], [], []
        meter, why = open_meter(segmenter.device)
        joules: list[dict[str, Any]] = []
        for number in range(rounds):
            timetable.tell(f"round {number + 1} of {rounds}", 2 * run_s * (rounds - number))
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


def _warm_up(segmenter: Segmenter, scene: BenchScene, target: Path, timetable: Timetable) -> float:
    """One run that is not recorded; its seconds."""
    timetable.tell("once to warm up")
    start = time.perf_counter()
    scene.run(segmenter, target)
    target.unlink(missing_ok=True)
    return time.perf_counter() - start


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
            "around_engine_over_engine": around, "around_engine_share_of_total": around / (1 + around), **grid_of(report)}


def grid_of(report: RunReport) -> dict[str, Any]:
    """The tiles that ran, as a record tells them."""
    return {"engine": report.engine, "tile_px": list(report.tile_px), "halo": report.halo, "halo_px": report.halo_px,
            "halo_share": report.halo_share, "tiles": report.tiles_run, "at_once": report.at_once}
