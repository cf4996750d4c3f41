"""Tile sizes and precisions on one scene, in turns; tile sizes that are mostly halo are told, not run."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hfd_edge.errors import HfdError
from hfd_edge.measure.benchmark_scene import BenchScene, grid_of
from hfd_edge.measure.benchmark_timetable import Timetable
from hfd_edge.measure.benchmark_times import in_turns
from hfd_edge.plan import PlanRequest, SceneShape, TilePlan, plan_tiles
from hfd_edge.results import RunReport
from hfd_edge.segmenter import Segmenter
from hfd_edge.spec import ModelSpec

COSTLY = 4.0                    # a tile size that computes more than so many times the pixels of the best one is not run


@dataclass(frozen=True, slots=True)
class Setting:
    """How a Segmenter is opened for a sweep, and what the sweep calls it."""

    name: str
    named: dict[str, Any]


@dataclass(slots=True)
class _Found:
    """What the runs of a sweep gave, by setting."""

    reports: dict[str, RunReport] = field(default_factory=dict)
    labels: dict[str, np.ndarray] = field(default_factory=dict)     # of a scene in memory
    refused: dict[str, str] = field(default_factory=dict)


def tile_plans(spec: ModelSpec, shape: tuple[int, int], settings: Sequence[Setting]) -> dict[str, TilePlan]:
    """The tiles of every setting over a scene of `shape` rows and columns, by name; a tile that is refused is not there."""
    scene, plans = SceneShape(*shape, 4 * len(spec.bands), windows_held=0), {}
    for setting in settings:
        with suppress(HfdError):
            plans[setting.name] = plan_tiles(spec, scene, PlanRequest(tile=setting.named.get("tile", "auto")))
    return plans


def costly_tiles(plans: dict[str, TilePlan]) -> dict[str, dict[str, Any]]:
    """Settings that compute more than COSTLY times the pixels of the best one, and what their records tell instead of a time."""
    found: dict[str, dict[str, Any]] = {}
    best = min(plans, key=lambda name: plans[name].compute_ratio, default="")
    for name, plan in plans.items():
        ratio, grid = plan.compute_ratio, plan.grid
        if ratio > COSTLY * plans[best].compute_ratio:
            found[name] = {
                "not_measured": f"{ratio:.0f} times the scene's pixels, {ratio / plans[best].compute_ratio:.0f} times those of the best ({best})",
                "compute_ratio": ratio, "halo_share": 1 - 1 / ratio, "halo": plan.halo, "halo_px": grid.halo_px,
                "tile_px": list(grid.tile_px)}
    return found


def sweep(kind: str, engine: Path, scene: BenchScene, settings: Sequence[Setting], rounds: int,
          timetable: Timetable | None = None) -> list[dict[str, Any]]:
    """Several settings on one scene, in turns: median, spread, Mpx/s and halo share of each; a refused one says why.

    Labels that differ from the first setting's that works are counted where the scene is in memory.

    Args:
        rounds: at most; as many as the timetable's seconds allow.
    """
    opened: dict[str, Segmenter] = {}
    found = _Found()
    for setting in settings:
        try:
            opened[setting.name] = Segmenter(engine, **setting.named)
        except HfdError as error:
            found.refused[setting.name] = str(error)
    try:
        with tempfile.TemporaryDirectory() as folder:
            measured = _in_turns(opened, scene, Path(folder) / "map.tif", rounds, (found, timetable or Timetable()))
    finally:
        for segmenter in opened.values():
            segmenter.close()
    return [{"kind": kind, "setting": setting.name,
             **({"not_available": found.refused[setting.name]} if setting.name in found.refused else measured[setting.name])}
            for setting in settings]


def _in_turns(opened: dict[str, Segmenter], scene: BenchScene, target: Path, rounds: int,
              told: tuple[_Found, Timetable]) -> dict[str, dict[str, Any]]:
    found, timetable = told
    turn_s = _warm_up(opened, scene, target, found, timetable)

    def job(name: str) -> None:
        found.reports[name] = scene.run(opened[name], target)
        target.unlink(missing_ok=True)

    jobs = {name: (lambda name=name: job(name)) for name in opened if name not in found.refused}
    fitting = timetable.rounds(turn_s, rounds)
    spreads = in_turns(jobs, fitting, warm_up=0, before_round=lambda number: timetable.tell(
        f"round {number + 1} of {fitting} of {', '.join(jobs)}", (fitting - number) * turn_s)) if jobs else {}
    first = next(iter(found.labels.values()), None)
    records = {}
    for name, spread in spreads.items():
        pixels = found.reports[name].rows * found.reports[name].cols
        records[name] = {**spread.to_dict(), "mpx_per_s": pixels / 1e3 / spread.p50_ms, "ns_per_px": 1e6 * spread.p50_ms / pixels,
                         **grid_of(found.reports[name])}
        if name in found.labels:
            records[name]["labels_unlike_first"] = float((found.labels[name] != first).mean())
    return records


def _warm_up(opened: dict[str, Segmenter], scene: BenchScene, target: Path, found: _Found, timetable: Timetable) -> float:
    """Run every setting once, and keep its labels; the seconds of those that work, together."""
    seconds = 0.0
    for number, (name, segmenter) in enumerate(opened.items()):
        timetable.tell(f"{name} ({number + 1} of {len(opened)}), to warm up")
        start = time.perf_counter()
        try:
            if scene.array is not None:
                found.labels[name] = segmenter.run(scene.array, scene.unit, confidence=False).labels
            else:
                scene.run(segmenter, target)
        except HfdError as error:
            found.refused[name] = str(error)
            continue
        finally:
            target.unlink(missing_ok=True)
        seconds += time.perf_counter() - start
    return seconds
