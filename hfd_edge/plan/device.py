"""Tiles for an engine on a GPU: all of one size, a batch at a time, for an engine there is built for its shapes.

Two sizes serve every scene, so that two built engines do: the usual one, and a wide one for scenes where its smaller share of halo saves more
than it reads in vain beyond the scene. A batch of either has about the same pixels.
"""

from __future__ import annotations

from dataclasses import replace
from math import isqrt
from typing import Any

from hfd_edge.device import available_memory_bytes, is_whole
from hfd_edge.errors import DeviceError
from hfd_edge.plan import PlanRequest, SceneShape, TilePlan, plan_tiles
from hfd_edge.plan.blend import blended, check_stitch, fused_bytes_per_px, is_exact
from hfd_edge.spec import ModelSpec
from hfd_edge.tiles import TileGrid, round_up

MOST_TILES = 8              # of a batch that the plan chooses: more gains nothing once the GPU is full
WIDE_SAVES = 1.1            # times as many pixels in usual tiles, from which on wide ones are taken: their engine must be built too
STRIPS_HELD = 6             # of stored pixels in pinned memory: staged, sent, being worked on, waiting to be fused, coming down, one between


def usual_tile_px(spec: ModelSpec, halo_px: int | None = None) -> int:
    """The side that a run on a GPU takes by itself: the one trained on, or the smallest whose core is as wide as the exact halo; with another
    halo the same, so that one built engine does, but where that leaves no such core the smallest that has one."""
    usual = spec.tile_px if spec.fixed_tile else max(spec.tile_px, 2 * spec.halo_px + max(spec.halo_px, spec.stride_px))
    least = 0 if halo_px is None or spec.fixed_tile else 2 * halo_px + max(halo_px, spec.stride_px)
    return max(usual, least)


def wide_tile_px(spec: ModelSpec) -> int | None:
    """The side of the tile that has the pixels of MOST_TILES usual ones; None where the network takes one size."""
    return None if spec.fixed_tile else isqrt(MOST_TILES * usual_tile_px(spec) ** 2) // spec.stride_px * spec.stride_px


def usual_batch(spec: ModelSpec, rows: int, cols: int) -> int:
    """Tiles of a batch that a run takes by itself: MOST_TILES, but one of the wide size."""
    return 1 if (rows, cols) == (wide_tile_px(spec),) * 2 else MOST_TILES


def plan_on_device(spec: ModelSpec, scene: SceneShape, request: PlanRequest, engine: Any, device_bytes: int) -> TilePlan:
    """The plan of plan.plan_tiles with inputs of one size.

    The size is the one asked for, else the usual or the wide one, whichever makes the engine compute fewer pixels, tiles that only fill a batch
    included. Wide ones are left out where a batch was asked for, where their strips would need more than `request.memory`, a quarter of the
    free main memory if that is None, or a quarter of the device's, and where the engine says that it does not take them (`engine.takes`).

    Args:
        device_bytes: memory of the device, used and free: what is free now would let the size of tiles hang on the run before.
    Raises:
        GridError: as plan_tiles.
        DeviceError: `request.memory` does not hold the strips that are in pinned main memory.
    """
    planned = plan_tiles(spec, scene, _to_plan(spec, request))
    if request.tile != "auto" or spec.fixed_tile:
        tile = (spec.tile_px,) * 2 if spec.fixed_tile else (request.tile,) * 2 if isinstance(request.tile, int) else request.tile
        return _checked(_with_tiles(spec, scene, request, planned, tile, engine), request)
    side, wide = usual_tile_px(spec, planned.grid.halo_px), wide_tile_px(spec)
    if request.overlap != "auto":
        side = max(side, 2 * planned.grid.halo_px + round_up(int(request.overlap), spec.stride_px))
    usual = _with_tiles(spec, scene, request, planned, (side, side), engine)
    if wide <= side or request.batch != "auto":
        return _checked(usual, request)
    other = _with_tiles(spec, scene, request, planned, (wide, wide), engine)
    most = available_memory_bytes() // 4 if request.memory is None else request.memory
    fits = other.memory_bytes <= most and _device_bytes(spec, scene, request, other) <= device_bytes // 4
    takes = getattr(engine, "takes", lambda *_: True)
    better = fits and usual.compute_ratio > WIDE_SAVES * other.compute_ratio and takes(wide, wide)
    return _checked(other if better else usual, request)


def _to_plan(spec: ModelSpec, request: PlanRequest) -> PlanRequest:
    """What the plan of plan_tiles is asked for: the halo, which is chosen as it costs in wide tiles, whatever the main memory; the window."""
    check_stitch(request.stitch, spec)
    tile = request.tile
    if tile == "auto" and not spec.fixed_tile:
        halo = request.halo if is_whole(request.halo) else 0
        tile = max(wide_tile_px(spec), 2 * halo + max(halo, spec.stride_px))
    crop = {} if request.stitch == "crop" else {"stitch": "crop", "overlap": "auto"}        # what is fused is planned for the tiles chosen
    return replace(request, tile=tile, batch=1, memory=None, **crop)


def _device_bytes(spec: ModelSpec, scene: SceneShape, request: PlanRequest, plan: TilePlan) -> int:
    """Of the strips on the device, those that are fused included."""
    per_px = STRIPS_HELD * (scene.bytes_per_px + 2) + fused_bytes_per_px(spec, request.stitch)
    return per_px * plan.grid.tile_px[0] * plan.grid.read_cols[1]


def _checked(plan: TilePlan, request: PlanRequest) -> TilePlan:
    """The plan. Raises DeviceError where its strips do not fit into the memory that was given."""
    if request.memory is not None and plan.memory_bytes > request.memory:
        raise DeviceError(f"memory={request.memory}, and strips of tiles of {plan.grid.tile_px[0]} rows over {plan.grid.read_cols[1]} columns "
                          f"take {plan.memory_bytes}, which the GPU reads from there: give more memory (--memory), lower tiles (--tile), or run "
                          "the scene in windows (--window)")
    return plan


def _with_tiles(spec: ModelSpec, scene: SceneShape, request: PlanRequest, planned: TilePlan, tile: tuple[int, int], engine: Any) -> TilePlan:
    """The plan with tiles of this size; its memory is that of the strips in pinned main memory, none of a scene that lies on the device."""
    halo = planned.grid.halo_px
    core = tile[0] - 2 * halo, tile[1] - 2 * halo
    grid = replace(planned.grid, core_rows=core[0], core_cols=core[1], fixed_shape=True, spread_px=0,
                   offset=tuple(o % c for o, c in zip(request.offset, core)))
    blend, kind = None, planned.halo
    if request.stitch != "crop":
        grid, blend = blended(spec, replace(grid, own_cores=False), request.stitch, request.overlap)
        kind = "exact" if is_exact(spec, halo, blend) else "custom"
    batch = _batch(spec, request, grid, engine)
    strips = [len(strip.tiles) for strip in grid.strips()]
    computed = sum(-(-tiles // batch) * batch for tiles in strips) * tile[0] * tile[1]
    per_px = min(STRIPS_HELD, len(strips)) * (scene.bytes_per_px + 2) if scene.bytes_per_px else 0
    memory = per_px * min(tile[0], scene.rows) * grid.read_cols[1]
    return replace(planned, grid=grid, batch=batch, halo=kind, blend=blend, memory_bytes=memory,
                   compute_ratio=computed / (grid.kept[2] * grid.kept[3]))


def _batch(spec: ModelSpec, request: PlanRequest, grid: TileGrid, engine: Any) -> int:
    """As many tiles as are asked for, or as the engine was built for, one by one where most of such a batch would only fill it; an engine that
    takes any number has batches of one size along a strip."""
    size, across = grid.tile_px, max(len(strip.tiles) for strip in grid.strips())
    if hasattr(engine, "batch_of"):
        most = engine.batch_of(*size)
        return most if request.batch != "auto" or -(-across // most) * most < 2 * across else 1
    most = usual_batch(spec, *size) if request.batch == "auto" else int(request.batch)
    return -(-across // -(-across // most))
