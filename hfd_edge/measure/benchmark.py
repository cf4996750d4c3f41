"""One benchmark of one engine on one machine, as a list of records: JSON lines for machines, a table and a page for people."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfd_edge.engine.choose import open_engine
from hfd_edge.errors import ArrayError
from hfd_edge.measure.benchmark_engine import engine_records
from hfd_edge.measure.benchmark_machine import machine
from hfd_edge.measure.benchmark_scene import BenchScene, Setting, scene_records, sweep
from hfd_edge.package import Package
from hfd_edge.segmenter import Segmenter
from hfd_edge.tiles import round_up

FORMAT = 1
PRECISIONS = ("fp32", "fp16", "int8")
Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class BenchmarkRequest:
    """What is measured, and how thoroughly."""

    engine: Path
    device: str = "auto"
    threads: int | None = None
    rows: int = 4096
    cols: int = 4096
    raster: Path | None = None
    options: Any = None                         # RasterOptions of `raster`
    batches: tuple[int, ...] = (1, 2, 4)
    tiles: tuple[int, ...] = (256, 512, 1024, 2048)     # sides with halo; "auto" comes on top
    calls: int = 30                             # of the engine alone, per batch size
    rounds: int = 5                             # of everything that takes a scene

    def __post_init__(self) -> None:
        for name, least in (("rows", 1), ("cols", 1), ("calls", 1), ("rounds", 1)):
            if getattr(self, name) < least:
                raise ArrayError(f"{name}={getattr(self, name)}: a benchmark needs at least {least}")
        if not self.batches or min(self.batches) < 1:
            raise ArrayError(f"batches={self.batches}: give batch sizes from 1 on")


def run_benchmark(request: BenchmarkRequest, say: Callable[[str], None] = lambda step: None) -> list[Record]:
    """Measure an engine: alone, with every stage, end to end, over tile sizes and precisions.

    Args:
        say: told what is measured next.
    Returns:
        JSON-ready records; "kind" is benchmark (first), engine, stage, end_to_end, memory, energy, tile or precision. What could
        not be measured is there with "not_available": why.
    Raises:
        HfdError: the engine or the scene cannot be used at all.
    """
    with Segmenter(request.engine, device=request.device, threads=request.threads) as segmenter:
        scene, spec = _scene(request, segmenter), segmenter.spec
        records = [{"kind": "benchmark", "format": FORMAT, "name": spec.name, "engine": segmenter.engine,
                    "engine_hash": segmenter.engine_hash, "device": segmenter.device, "threads": segmenter.threads,
                    "scene": scene.what, "calls": request.calls, "rounds": request.rounds, "machine": machine()}]
        say("the engine alone")
        records += _engine_alone(request, segmenter)
        say("every stage, and end to end")
        records += scene_records(segmenter, scene, request.rounds)
    common = {"device": request.device, "threads": request.threads}
    say("tile sizes")
    tiles = [Setting("auto", common), *(Setting(str(side), {**common, "tile": side}) for side in request.tiles)]
    records += sweep("tile", request.engine, scene, tiles, request.rounds)
    say("precisions")
    records += sweep("precision", request.engine, scene, [Setting(name, {**common, "precision": name}) for name in PRECISIONS],
                     request.rounds)
    return records


def _engine_alone(request: BenchmarkRequest, segmenter: Segmenter) -> list[Record]:
    """On tiles as large as in training; an engine of its own, as the Segmenter opens it."""
    side = round_up(segmenter.spec.tile_px, segmenter.spec.stride_px)
    with Package.open(request.engine) as package, \
            closing(open_engine(package, segmenter.device, segmenter.threads)) as engine:
        return list(engine_records(engine, len(segmenter.spec.bands), (side, side), request.batches, request.calls))


def _scene(request: BenchmarkRequest, segmenter: Segmenter) -> BenchScene:
    if request.raster is None:
        return BenchScene.simulated(segmenter.spec, request.rows, request.cols)
    return BenchScene(f"raster {request.raster.name}", path=request.raster, options=request.options)


def of_kind(records: list[Record], kind: str) -> list[Record]:
    """The records of one kind that were measured."""
    return [record for record in records if record["kind"] == kind and "not_available" not in record]


def winner(records: list[Record]) -> tuple[str, dict[str, float]]:
    """The fastest precision, and how many times as fast as each other one it is; ("", {}) where none was measured."""
    found = {record["setting"]: record["p50_ms"] for record in of_kind(records, "precision")}
    if not found:
        return "", {}
    best = min(found, key=found.get)
    return best, {name: ms / found[best] for name, ms in found.items() if name != best}


def to_lines(records: list[Record]) -> str:
    """JSON lines, a record each; what is not a number in JSON is null."""
    return "".join(json.dumps(_finite(record), allow_nan=False) + "\n" for record in records)


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


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
