"""Tiles for an engine on a GPU: all of one size, a batch at a time, for an engine there is built for its shapes.

Two sizes serve every scene, so that two built engines do: the usual one, and a wide one for scenes where its smaller share of halo saves more
than it reads in vain beyond the scene. A batch of either has about the same pixels.
"""

from __future__ import annotations

from dataclasses import replace
from math import isqrt
from typing import Any

from hfd_edge.device import available_memory_bytes
from hfd_edge.plan import PlanRequest, SceneShape, TilePlan, plan_tiles
from hfd_edge.plan_blend import blended, fused_bytes_per_px, is_exact
from hfd_edge.spec import ModelSpec

MOST_TILES = 8              # of a batch that the plan chooses: more gains nothing once the GPU is full
WIDE_SAVES = 1.1            # times as many pixels in usual tiles, from which on wide ones are taken: their engine must be built too
STRIPS_HELD = 5             # of stored pixels in pinned memory: staged, sent, being worked on, coming down, and one between


def usual_tile_px(spec: ModelSpec, halo_px: int | None = None) -> int:
    """The side that a run on a GPU takes by itself: the one trained on, or the smallest whose core is as wide as its halo."""
    halo = spec.halo_px if halo_px is None else halo_px
    return spec.tile_px if spec.fixed_tile else max(spec.tile_px, 2 * halo + max(halo, spec.stride_px))


def wide_tile_px(spec: ModelSpec) -> int | None:
    """The side of the tile that has the pixels of MOST_TILES usual ones; None where the network takes one size."""
    return None if spec.fixed_tile else isqrt(MOST_TILES * usual_tile_px(spec) ** 2) // spec.stride_px * spec.stride_px


def usual_batch(spec: ModelSpec, rows: int, cols: int) -> int:
    """Tiles of a batch that a run takes by itself: MOST_TILES, but one of the wide size."""
    return 1 if (rows, cols) == (wide_tile_px(spec),) * 2 else MOST_TILES


def plan_on_device(spec: ModelSpec, scene: SceneShape, request: PlanRequest, engine: Any) -> TilePlan:
    """The plan of plan.plan_tiles with inputs of one size.

    The size is the engine's (`engine.tile`), else the one asked for, else the usual or the wide one, whichever makes the engine read fewer
    pixels. Wide ones are left out where the engine says that it does not take them (`engine.takes`), where a batch was asked for,
    and where their strips would need more than `request.memory`, or a quarter of the free main memory.

    Raises:
        GridError, DeviceError: as plan_tiles.
    """
    given = getattr(engine, "tile", None) or (request.tile if request.tile != "auto" else None)
    planned = plan_tiles(spec, scene, replace(request, tile=given or "auto", batch=1))
    if given is not None or spec.fixed_tile:
        rows, cols = (spec.tile_px,) * 2 if given is None else (given, given) if isinstance(given, int) else given
        return _with_tiles(spec, request, planned, (rows, cols), engine)
    side, wide = usual_tile_px(spec, planned.grid.halo_px), wide_tile_px(spec)
    usual = _with_tiles(spec, request, planned, (side, side), engine)
    if wide <= side or request.batch != "auto" or not _fits(spec, scene, request) or not getattr(engine, "takes", lambda *_: True)(wide, wide):
        return usual
    other = _with_tiles(spec, request, planned, (wide, wide), engine)
    return other if usual.grid.input_px > WIDE_SAVES * other.grid.input_px else usual


def _fits(spec: ModelSpec, scene: SceneShape, request: PlanRequest) -> bool:
    """Whether strips of wide tiles are within the memory, those that are fused included."""
    most = available_memory_bytes() // 4 if request.memory is None else request.memory
    per_px = STRIPS_HELD * (scene.bytes_per_px + 2) + fused_bytes_per_px(spec, request.stitch)
    return per_px * wide_tile_px(spec) * scene.cols <= most


def _with_tiles(spec: ModelSpec, request: PlanRequest, planned: TilePlan, tile: tuple[int, int], engine: Any) -> TilePlan:
    """The plan with tiles of this size."""
    halo = planned.grid.halo_px
    core = tile[0] - 2 * halo, tile[1] - 2 * halo
    grid = replace(planned.grid, core_rows=core[0], core_cols=core[1], fixed_shape=True, spread_px=0,
                   offset=tuple(o % c for o, c in zip(request.offset, core)))
    blend, kind = None, planned.halo
    if request.stitch != "crop":
        grid, blend = blended(spec, grid, request.stitch, request.overlap)
        kind = "exact" if is_exact(spec, halo, blend) else "custom"
    kept = grid.kept[2] * grid.kept[3]
    return replace(planned, grid=grid, batch=_batch(spec, request, grid, engine), halo=kind, blend=blend, compute_ratio=grid.input_px / kept)


def _batch(spec: ModelSpec, request: PlanRequest, grid: Any, engine: Any) -> int:
    """As many as the engine was built for; else batches of one size along a strip, as many as are asked for at most."""
    size = grid.core_rows + 2 * grid.halo_px, grid.core_cols + 2 * grid.halo_px
    if hasattr(engine, "batch_of"):
        return engine.batch_of(*size)
    across = max(len(strip.tiles) for strip in grid.strips())
    most = usual_batch(spec, *size) if request.batch == "auto" else int(request.batch)
    return -(-across // -(-across // most))
