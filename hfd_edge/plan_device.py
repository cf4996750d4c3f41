"""Tiles for an engine on a GPU: all of one size, a batch at a time, for an engine there is built for its shapes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hfd_edge.plan import PlanRequest, SceneShape, TilePlan, plan_tiles
from hfd_edge.plan_blend import blended, is_exact
from hfd_edge.spec import ModelSpec

MOST_TILES = 8              # of a batch that the plan chooses: more gains nothing once the GPU is full


def plan_on_device(spec: ModelSpec, scene: SceneShape, request: PlanRequest, engine: Any) -> TilePlan:
    """The plan of plan.plan_tiles with inputs of one size.

    The size is the engine's (`engine.tile`), else the one asked for, else the one the network was trained on (spec.tile_px), so that
    every scene takes the same built engine. Where the halo leaves no core of that, it is the smallest that has a core as wide as the halo.

    Raises:
        GridError, DeviceError: as plan_tiles.
    """
    tile = getattr(engine, "tile", None) or (request.tile if request.tile != "auto" else None)
    planned = plan_tiles(spec, scene, replace(request, tile=tile or "auto", batch=1))
    halo = planned.grid.halo_px
    if tile is None and not spec.fixed_tile:
        side = max(spec.tile_px, 2 * halo + max(halo, spec.stride_px))
        tile = (side, side)
    elif tile is None:
        tile = (spec.tile_px, spec.tile_px)
    rows, cols = (tile, tile) if isinstance(tile, int) else tile
    core = rows - 2 * halo, cols - 2 * halo
    grid = replace(planned.grid, core_rows=core[0], core_cols=core[1], fixed_shape=True, spread_px=0,
                   offset=tuple(o % c for o, c in zip(request.offset, core)))
    blend, kind = None, planned.halo
    if request.stitch != "crop":
        grid, blend = blended(spec, grid, request.stitch, request.overlap)
        kind = "exact" if is_exact(spec, halo, blend) else "custom"
    across = max(len(strip.tiles) for strip in grid.strips())
    most = getattr(engine, "batch", None) or (MOST_TILES if request.batch == "auto" else int(request.batch))
    batch = most if getattr(engine, "batch", None) else -(-across // -(-across // most))
    kept = grid.kept[2] * grid.kept[3]
    return replace(planned, grid=grid, batch=batch, halo=kind, blend=blend, compute_ratio=grid.input_px / kept)
