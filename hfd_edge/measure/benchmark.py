"""One benchmark of one engine on one machine, as a list of records: JSON lines for machines, a table and a page for people."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfd_edge.engine.choose import open_engine
from hfd_edge.errors import ArrayError
from hfd_edge.measure.benchmark_engine import engine_records
from hfd_edge.measure.benchmark_machine import machine
from hfd_edge.measure.benchmark_scene import BenchScene, part_shape, scene_records
from hfd_edge.measure.benchmark_sweep import Setting, costly_tiles, sweep, tile_plans
from hfd_edge.measure.benchmark_timetable import ENGINE, PRECISIONS, SCENE, TILES, Timetable
from hfd_edge.package import Package
from hfd_edge.products import Mosaic
from hfd_edge.results import json_line
from hfd_edge.segmenter import Segmenter
from hfd_edge.spec import ModelSpec
from hfd_edge.tiles import round_up

FORMAT = 1
PRECISIONS_ASKED = ("fp32", "fp16", "int8")
Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class BenchmarkRequest:
    """What is measured, and how thoroughly."""

    engine: Path
    device: str = "auto"
    threads: int | None = None
    rows: int = 4096
    cols: int = 4096
    raster: Path | Mosaic | None = None
    options: Any = None                         # RasterOptions of `raster`
    batches: tuple[int, ...] = (1, 2, 4)
    tiles: tuple[int, ...] = (256, 512, 1024, 2048)     # sides with halo; "auto" comes on top
    calls: int = 30                             # of the engine alone, per batch size, at most: as many as its seconds allow
    rounds: int = 5                             # of everything that takes a scene, at most

    def __post_init__(self) -> None:
        for name, least in (("rows", 1), ("cols", 1), ("calls", 1), ("rounds", 1)):
            if getattr(self, name) < least:
                raise ArrayError(f"{name}={getattr(self, name)}: a benchmark needs at least {least}")
        if not self.batches or min(self.batches) < 1:
            raise ArrayError(f"batches={self.batches}: give batch sizes from 1 on")


def run_benchmark(request: BenchmarkRequest, say: Callable[[str], None] = lambda step: None) -> list[Record]:
    """Measure an engine: alone, with every stage, end to end, over tile sizes and precisions; in about two minutes where two rounds fit.

    Args:
        say: told what is measured now, which part of how many it is, and about how many seconds are left.
    Returns:
        JSON-ready records; "kind" is benchmark (first), engine, stage, end_to_end, memory, energy, tile or precision. What could
        not be measured is there with "not_available": why; a tile size that is mostly halo is there with "not_measured": its price.
    Raises:
        HfdError: the engine or the scene cannot be used at all.
    """
    timetable = Timetable(say=say)
    with Segmenter(request.engine, device=request.device, threads=request.threads) as segmenter:
        scene, spec = _scene(request, segmenter), segmenter.spec
        first = {"kind": "benchmark", "format": FORMAT, "name": spec.name, "engine": segmenter.engine,
                 "engine_hash": segmenter.engine_hash, "device": segmenter.device, "threads": segmenter.threads,
                 "scene": scene.what, "calls": request.calls, "rounds": request.rounds, "machine": machine()}
        timetable.begin(ENGINE)
        alone = _engine_alone(request, segmenter, timetable)
        if request.raster is None and (found := of_kind(alone, "engine")):
            s_per_px = 1 / 1e6 / max(record["input_mpx_per_s"] for record in found)
            _expect(timetable, request, spec, (request.rows, request.cols), s_per_px)
        timetable.begin(SCENE)
        whole = list(scene_records(segmenter, scene, request.rounds, timetable))
    run = next(record for record in whole if record["kind"] == "end_to_end")
    shape = run["rows"], run["cols"]
    _expect(timetable, request, spec, shape, run["p50_ms"] / 1e3 * (1 - run["halo_share"]) / (shape[0] * shape[1]))
    part = scene.part(*shape)
    timetable.begin(TILES)
    tiles = _tile_sizes(request, spec, (part, shape), timetable)
    timetable.begin(PRECISIONS)
    settings = [Setting(name, {"device": request.device, "threads": request.threads, "precision": name}) for name in PRECISIONS_ASKED]
    precisions = sweep("precision", request.engine, part, settings, request.rounds, timetable)
    return [{**first, "sweeps_on": part.what}, *alone, *whole, *tiles, *precisions]


def _tile_settings(request: BenchmarkRequest) -> list[Setting]:
    common = {"device": request.device, "threads": request.threads}
    return [Setting("auto", common), *(Setting(str(side), {**common, "tile": side}) for side in request.tiles)]


def _expect(timetable: Timetable, request: BenchmarkRequest, spec: ModelSpec, shape: tuple[int, int], s_per_px: float) -> None:
    """Tell the timetable what is left, from the seconds that a pixel of the engine's input takes."""
    settings = _tile_settings(request)
    whole, part = (tile_plans(spec, each, settings) for each in (shape, part_shape(*shape)))
    if "auto" not in whole or "auto" not in part:
        return                                                          # the run itself says why
    costly = costly_tiles(part)
    run_s, once_s = (s_per_px * plans["auto"].grid.input_px for plans in (whole, part))
    turn_s = s_per_px * sum(plan.grid.input_px for name, plan in part.items() if name not in costly)
    timetable.expect(SCENE, run_s, 2 * run_s, request.rounds)
    timetable.expect(TILES, turn_s, turn_s, request.rounds)
    timetable.expect(PRECISIONS, once_s, once_s, request.rounds)         # most engines hold one precision that runs here


def _tile_sizes(request: BenchmarkRequest, spec: ModelSpec, scene: tuple[BenchScene, tuple[int, int]], timetable: Timetable) -> list[Record]:
    """Every size, in the order of the request; those that cost many times the best one's pixels are not run and say so.

    Args:
        scene: the part that is measured, and the shape of the whole.
    """
    settings = _tile_settings(request)
    costly = costly_tiles(tile_plans(spec, part_shape(*scene[1]), settings))
    run = [setting for setting in settings if setting.name not in costly]
    found = {record["setting"]: record for record in sweep("tile", request.engine, scene[0], run, request.rounds, timetable)}
    return [found.get(setting.name) or {"kind": "tile", "setting": setting.name, **costly[setting.name]} for setting in settings]


def _engine_alone(request: BenchmarkRequest, segmenter: Segmenter, timetable: Timetable) -> list[Record]:
    """On tiles as large as in training; an engine of its own, as the Segmenter opens it."""
    side = round_up(segmenter.spec.tile_px, segmenter.spec.stride_px)
    timetable.tell(f"first calls on tiles of {side} px")
    with Package.open(request.engine) as package, \
            closing(open_engine(package, segmenter.device, segmenter.threads)) as engine:
        return list(engine_records(engine, len(segmenter.spec.bands), (side, side), request.batches, request.calls, timetable))


def _scene(request: BenchmarkRequest, segmenter: Segmenter) -> BenchScene:
    if request.raster is None:
        return BenchScene.simulated(segmenter.spec, request.rows, request.cols)
    return BenchScene(f"raster {request.raster.name}", path=request.raster, options=request.options)


def of_kind(records: list[Record], kind: str) -> list[Record]:
    """The records of one kind that were measured."""
    return [record for record in records if record["kind"] == kind and not {"not_available", "not_measured"} & set(record)]


def winner(records: list[Record]) -> tuple[str, dict[str, float]]:
    """The fastest precision, and how many times as fast as each other one it is; ("", {}) where none was measured."""
    found = {record["setting"]: record["p50_ms"] for record in of_kind(records, "precision")}
    if not found:
        return "", {}
    best = min(found, key=found.get)
    return best, {name: ms / found[best] for name, ms in found.items() if name != best}


def to_lines(records: list[Record]) -> str:
    """JSON lines, a record each, as `json_line`."""
    return "".join(json_line(record) + "\n" for record in records)


def read_lines(path: Path) -> list[Record]:
    """Records of a file that `to_lines` filled.

    Raises:
        ArrayError: the file cannot be read, or is not such a file.
    """
    try:
        records = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
        first = records[0]
        known = first["kind"] == "benchmark" and all("kind" in record for record in records)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ArrayError(f"{path} is not a benchmark's JSON ({' '.join(str(error).split()) or type(error).__name__}): give what "
                         "hfd-edge benchmark --json wrote") from error
    if not known or first["format"] != FORMAT:
        raise ArrayError(f"{path} holds {first.get('kind')} of format {first.get('format')}: this version reads benchmarks of format "
                         f"{FORMAT}; measure again")
    return records
