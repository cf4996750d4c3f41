"""How large the tiles are: halos cost less in larger tiles, and a network more, where they leave the caches; a memory budget bounds both."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

from hfd_edge.device import available_memory_bytes, is_whole
from hfd_edge.errors import DeviceError, GridError
from hfd_edge.plan.blend import STRIPS_HELD, blended, check_stitch, fused_bytes_per_px, is_exact
from hfd_edge.spec import ModelSpec
from hfd_edge.tiles import TileGrid, equal_core, round_up
from hfd_edge.tiles.shares import Blend

DEFAULT_MEMORY_BYTES = 1 << 30
UNKNOWN_ACTIVATION_BYTES_PER_PX = 512
STRIP_ROWS = 1024                       # kept rows of a strip where a scene has more than twice as many: reading and writing overlap
LARGEST_INPUT_PX = 1 << 23              # progress is told once a tile; a halo of 112 px still costs 1.17 there
CACHED_INPUT_PX = 1 << 20               # up to here a pixel of input costs the engine the same
UNCACHED_COSTS = 1.15                   # times that beyond it (docs/performance.md)
TWO_COST = 0.87                         # two batches at once over one after the other, a core or more for each
OTHER_GRID_WORTH = 1.05                 # with two at once: where they do not pay, more halo is computed for nothing
TWO_HOLD = 4.25                         # batches' memory: two, one made meanwhile, one of the trial, and gaps (measured: 3.5, after ten runs 4.1)
TWO_FROM = 8, 1 << 24                   # calls and input pixels: the last ones wait for each other, and the engine for two must be made
ENGINE_SLACK = 1.25                     # measured peak over the live activations that a package names: 93 bytes against 80
WAITING_WORTH = 1.05                    # decoding blocks twice costs 5 to 10 % of the engine's time
BOUNDED_WHERE_EXACT_COSTS = 1.5         # the bounded halo is the default where the exact one costs more than this


@dataclass(frozen=True, slots=True)
class SceneShape:
    """What a plan must know of a scene: its size, and the bytes its stored pixels take (all bands together)."""

    rows: int
    cols: int
    bytes_per_px: int
    windows_held: int = 2           # strips of stored pixels in memory at once: 2 when reading ahead, 0 for an array at hand
    rows_below: int = 0             # rows that a strip may hold below its own, for blocks are decoded whole
    cols_beside: int = 0            # columns that a strip of a window holds for its halo
    fused_bytes_per_px: int = 0     # of strips that wait to be fused with the next one; 0 with crop


@dataclass(frozen=True, slots=True)
class TilePlan:
    """A grid, how its halo was chosen, and what it is expected to cost."""

    grid: TileGrid
    batch: int
    halo: str                       # "exact", "bounded" or "custom" (given by hand: tiles may differ from whole)
    compute_ratio: float            # input pixels of all tiles over the pixels that are kept
    memory_bytes: int               # expected peak of engine and strips together
    tiles_bytes: int = 0            # the engine's share of it
    spare_bytes: int = 0            # what the budget has besides
    rows_below: int = 0             # rows that a window may hold below its own until the next one; 0 = blocks are not awaited
    blend: Blend | None = None      # how overlapping tiles are fused; None = crop
    at_once: int = 1                # most batches that the engine answers beside each other

    @property
    def stitch(self) -> str:
        return "crop" if self.blend is None else self.blend.mode

    @property
    def calls(self) -> int:
        """Of the engine, about: a strip's last batch may be smaller, and tiles without a valid pixel need none."""
        return ceil(self.grid.tile_count / self.batch)


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What the caller asked for; "auto" leaves it to the plan."""

    tile: int | tuple[int, int] | str = "auto"      # input size with halo, in pixels
    halo: int | str = "auto"                        # "exact", "bounded" or pixels
    batch: int | str = "auto"
    memory: int | None = None                       # budget in bytes; None = a quarter of what is free, 1 GiB at most
    offset: tuple[int, int] = (0, 0)
    window: tuple[int, int, int, int] | None = None     # row, column, rows, columns that are kept; None = the scene
    stitch: str = "crop"                            # or "precision", "hann", "gaussian", "constant": overlapping tiles are fused
    overlap: int | str = "auto"                     # pixels in which two neighbours are fused; "auto" = all that both computed
    second_bytes: int | None = None                 # what the engine holds to answer two batches at once, without them; None = it does not
    budget: int | None = None                       # what `memory` comes to: the plan finds it out, once


def plan_tiles(spec: ModelSpec, scene: SceneShape, request: PlanRequest) -> TilePlan:
    """Choose the grid for a scene, or for a window of it whose map equals the crop of the scene's map.

    Raises:
        GridError: the tile leaves no core, tile, halo or batch are not what they can be, or the window is not in the scene.
        DeviceError: not even the smallest tile fits the memory budget.
    """
    if request.batch != "auto" and (not is_whole(request.batch) or request.batch < 1):
        raise GridError(f"batch={request.batch!r}: it must be 'auto' or a whole number of tiles from 1 on")
    check_stitch(request.stitch, spec)
    if request.stitch == "crop" and request.overlap != "auto":
        raise GridError(f"overlap={request.overlap!r} with stitch='crop': crop fuses nothing; give stitch='precision', 'hann', "
                        "'gaussian' or 'constant', or leave the overlap out")
    request = replace(request, batch=1 if request.batch == "auto" else int(request.batch), budget=memory_budget_bytes(request.memory))
    scene = replace(scene, fused_bytes_per_px=fused_bytes_per_px(spec, request.stitch))
    alone = replace(request, second_bytes=None)
    scene = _waiting_where_worth(spec, scene, alone)
    halo = _chosen_halo(spec, scene, alone)
    plan = _planned(spec, scene, alone, halo)
    long = plan.grid.input_px >= TWO_FROM[1]
    return _two_at_once_where_worth(spec, scene, request, plan) if long and request.second_bytes is not None else plan


def _planned(spec: ModelSpec, scene: SceneShape, request: PlanRequest, halo: int) -> TilePlan:
    return (_plan_with_halo if request.window is None else _plan_window)(spec, scene, request, halo)


def _two_at_once_where_worth(spec: ModelSpec, scene: SceneShape, request: PlanRequest, plan: TilePlan) -> TilePlan:
    """The plan, or one with two batches at once where that costs less and memory has room; with other tiles only where any make the same map."""
    halo, plans = plan.grid.halo_px, [plan]
    request = replace(request, memory=request.budget)
    others = ("auto",) if request.tile == "auto" and not spec.fixed_tile and _any_grid(spec, request, halo) else ()
    for tile in (plan.grid.tile_px, *others):
        try:
            two = _planned(spec, scene, replace(request, tile=tile), halo)
        except DeviceError:
            continue                                        # no room for two of the smallest
        worth = two.grid == plan.grid or OTHER_GRID_WORTH * _expected(two) <= _expected(plan)
        if worth and two.calls >= TWO_FROM[0]:
            plans.append(two)
    return min(plans, key=_expected)


def _expected(plan: TilePlan) -> float:
    """Expected time over that of the kept pixels in cached tiles without a halo, one after the other."""
    rows, cols = plan.grid.tile_px
    uncached = UNCACHED_COSTS if rows * cols > CACHED_INPUT_PX else 1.0
    return plan.compute_ratio * uncached * (1.0 if plan.at_once == 1 else TWO_COST * 2 * ceil(plan.calls / 2) / plan.calls)


def _waiting_where_worth(spec: ModelSpec, scene: SceneShape, request: PlanRequest) -> SceneShape:
    """The scene, without rows that wait where their memory would cost more halo than decoding blocks twice does."""
    if scene.rows_below == 0:
        return scene
    apart = replace(scene, rows_below=0)
    try:
        plans = [_plan_with_halo(spec, each, request, _chosen_halo(spec, each, request))
                 for each in (scene, apart)]
    except DeviceError:
        return apart
    worth = plans[0].compute_ratio <= WAITING_WORTH * plans[1].compute_ratio and plans[0].halo == plans[1].halo
    return scene if worth else apart


def check_window(window: object) -> tuple[int, int, int, int]:
    """`window` as four whole numbers. Raises GridError where it is something else; whether it is in the scene is the grid's."""
    if not isinstance(window, (tuple, list)) or len(window) != 4 or not all(map(is_whole, window)):
        raise GridError(f"window={window!r}: it must be (row, col, rows, cols) in whole pixels, the first pixel is 0,0 (--window ROW,COL,ROWS,COLS)")
    return tuple(map(int, window))


def _chosen_halo(spec: ModelSpec, scene: SceneShape, request: PlanRequest) -> int:
    if request.halo != "auto":
        return _halo_px(spec, request.halo)
    if spec.halo_bounded_px is None:
        return spec.halo_px
    try:
        exact = _plan_with_halo(spec, scene, request, spec.halo_px)
    except (DeviceError, GridError):                        # no tile, or no memory, for it: the bounded one says so where it has neither
        return spec.halo_bounded_px
    return spec.halo_px if exact.compute_ratio <= BOUNDED_WHERE_EXACT_COSTS else spec.halo_bounded_px


def _plan_window(spec: ModelSpec, scene: SceneShape, request: PlanRequest, halo: int) -> TilePlan:
    """With the exact halo any grid gives the same answer, so the window has its own; otherwise it takes the scene's tiles."""
    window, own = check_window(request.window), _any_grid(spec, request, halo)
    TileGrid(scene.rows, scene.cols, spec.stride_px, spec.stride_px, halo, spec.stride_px, window=window)   # is it in the scene
    if own:
        rows, cols = (first % spec.stride_px + count for first, count in zip(window, window[2:]))
        scene_of_window = replace(scene, rows=rows, cols=cols, cols_beside=min(2 * halo, scene.cols - cols))
        plan = _plan_with_halo(spec, scene_of_window, replace(request, offset=(0, 0)), halo)
        grid = replace(plan.grid, scene_rows=scene.rows, scene_cols=scene.cols, window=window, own_cores=True)
    else:
        plan = _plan_with_halo(spec, scene, request, halo)
        grid = replace(plan.grid, window=window)
    return replace(plan, grid=grid, compute_ratio=grid.input_px / (window[2] * window[3]))


def _any_grid(spec: ModelSpec, request: PlanRequest, halo: int) -> bool:
    return halo >= spec.halo_px and spec.reach_bounded and not spec.fixed_tile and request.stitch == "crop"


def memory_budget_bytes(memory: int | None) -> int:
    """`memory`, or a quarter of what is free but at most 1 GiB."""
    if memory is None:
        return min(DEFAULT_MEMORY_BYTES, available_memory_bytes() // 4)
    if not is_whole(memory) or memory < 1:
        raise DeviceError(f"memory={memory!r}: it must be a whole number of bytes above 0; leave it out for the default")
    return int(memory)


def _halo_px(spec: ModelSpec, halo: int | str) -> int:
    if halo == "exact":
        if not spec.reach_bounded:
            raise GridError("halo='exact' but the reach of this network has no bound: no halo makes tiles equal to the whole "
                            "scene; use 'auto' or give the pixels yourself")
        return spec.halo_px
    if halo == "bounded":
        if spec.halo_bounded_px is None:
            raise GridError("halo='bounded' but this engine holds no measured bounded halo: use 'exact', or give the pixels yourself")
        return spec.halo_bounded_px
    if not is_whole(halo) or halo < 0 or halo % spec.stride_px:
        raise GridError(f"halo={halo!r}: it must be 'auto', 'exact', 'bounded' or a multiple of the network's stride {spec.stride_px} px, "
                        "or tiles leave the network's grid")
    return int(halo)


def _plan_with_halo(spec: ModelSpec, scene: SceneShape, request: PlanRequest, halo: int) -> TilePlan:
    if spec.fixed_tile:
        core = _fixed_core(spec, request.tile, halo)
    elif request.tile == "auto":
        core = _auto_core(spec, scene, request, halo)
    else:
        core = _given_core(spec, request.tile, halo)
        core = tuple(min(c, round_up(n, spec.stride_px)) for c, n in zip(core, (scene.rows, scene.cols)))
    tiles = _tiles_bytes(spec, request, halo, *core)
    memory = tiles + _strip_bytes(scene, request, core[0] + 2 * halo)
    if request.memory is not None and memory > request.budget:
        raise DeviceError(f"tile={request.tile!r} takes about {memory} bytes over a scene {scene.cols} px wide and "
                          f"memory={request.memory}: make the tile smaller, the memory larger, or leave one of them out")
    offset = tuple(o % c for o, c in zip(request.offset, core))
    grid = TileGrid(scene.rows, scene.cols, *core, halo, spec.stride_px, offset, spec.fixed_tile)
    grid, blend = (grid, None) if request.stitch == "crop" else blended(spec, grid, request.stitch, request.overlap)
    bounded = halo == spec.halo_bounded_px and blend is None            # it was measured with crop
    kind = "exact" if is_exact(spec, halo, blend) else "bounded" if bounded else "custom"
    return TilePlan(grid, request.batch, kind, grid.input_px / (scene.rows * scene.cols), memory, tiles, max(0, request.budget - memory),
                    scene.rows_below, blend, _at_once(request))


def _fixed_core(spec: ModelSpec, tile: int | tuple[int, int] | str, halo: int) -> tuple[int, int]:
    side = spec.tile_px
    if tile not in ("auto", side, (side, side), [side, side]):
        raise GridError(f"tile={tile!r}: the graph of this engine takes {side} x {side} pixels and no other size; use 'auto', "
                        "or export the network with sizes left open")
    return _given_core(spec, side, halo)


def _given_core(spec: ModelSpec, tile: int | tuple[int, int] | str, halo: int) -> tuple[int, int]:
    sides = (tile, tile) if is_whole(tile) else tile
    if not isinstance(sides, (tuple, list)) or len(sides) != 2 or not all(map(is_whole, sides)):
        raise GridError(f"tile={tile!r}: it must be 'auto', the input side in pixels, or (rows, cols)")
    for side in sides:
        if side % spec.stride_px or side - 2 * halo < spec.stride_px:
            raise GridError(f"tile={tile!r} with a halo of {halo} px: each side must be a multiple of the network's stride {spec.stride_px} px "
                            f"and leave a core, so at least {2 * halo + spec.stride_px}")
    return int(sides[0]) - 2 * halo, int(sides[1]) - 2 * halo


def _auto_core(spec: ModelSpec, scene: SceneShape, request: PlanRequest, halo: int) -> tuple[int, int]:
    """The core that is expected to cost least: columns in equal pieces, rows as many as memory or the caches allow."""
    budget, stride, best = request.budget, spec.stride_px, None
    most_rows = round_up(scene.rows if scene.rows <= 2 * STRIP_ROWS else STRIP_ROWS, stride)
    below, largest = _strip_bytes(scene, request, 0), LARGEST_INPUT_PX // _at_once(request)
    for pieces in range(1, ceil(scene.cols / stride) + 1):
        cols = equal_core(scene.cols, round_up(ceil(scene.cols / pieces), stride), stride)
        per_row = _tiles_bytes(spec, request, halo, 1 - 2 * halo, cols) + _strip_bytes(scene, request, 1) - below
        fitting = (budget - below) // per_row
        for most_px in (largest, CACHED_INPUT_PX):
            rows = min(fitting, most_px // (cols + 2 * halo)) - 2 * halo
            rows = min(rows // stride * stride, most_rows)
            if rows >= stride:
                best = min(filter(None, (best, (_cost(scene, halo, rows, cols), -cols, rows))))
        if best is not None and 1 + 2 * halo * pieces / scene.cols > best[0]:
            break                                       # narrower pieces cost more whatever their rows
    if best is None:
        least = _tiles_bytes(spec, request, halo, stride, stride) + _strip_bytes(scene, request, stride + 2 * halo)
        raise DeviceError(f"memory={budget} bytes is not enough for one tile with a halo of {halo} px over a scene {scene.cols} px wide: "
                          f"give at least {least} bytes (--memory), or a smaller batch")
    return best[2], -best[1]


def _cost(scene: SceneShape, halo: int, rows: int, cols: int) -> float:
    """Expected time of the scene over that of its own pixels in cached tiles without a halo."""
    tile_px = (rows + 2 * halo) * (cols + 2 * halo)
    overhead = (1 + 2 * halo * ceil(scene.rows / rows) / scene.rows) * (1 + 2 * halo * ceil(scene.cols / cols) / scene.cols)
    return overhead * (UNCACHED_COSTS if tile_px > CACHED_INPUT_PX else 1.0)


def _at_once(request: PlanRequest) -> int:
    return 1 if request.second_bytes is None else 2


def _tiles_bytes(spec: ModelSpec, request: PlanRequest, halo: int, core_rows: int, core_cols: int) -> int:
    """Engine memory and tile buffers of a batch, or of what two at once come to."""
    live = spec.activation_bytes_per_px or UNKNOWN_ACTIVATION_BYTES_PER_PX
    per_px = ceil(ENGINE_SLACK * live) + 4 * len(spec.bands) + 1
    held = 1.0 if request.second_bytes is None else TWO_HOLD
    return ceil(held * request.batch * per_px) * (core_rows + 2 * halo) * (core_cols + 2 * halo)


def _strip_bytes(scene: SceneShape, request: PlanRequest, rows: int) -> int:
    """Stored pixels with their mask, and three strips of labels and scores (made, waiting, written); with two batches at once a strip more is
    open, and the engine that answers them lies beside the other one."""
    stored, more = scene.windows_held * (scene.bytes_per_px + 1), _at_once(request) - 1
    made = 2 * (3 + more) + scene.fused_bytes_per_px * (STRIPS_HELD + more) // STRIPS_HELD
    return (scene.cols + scene.cols_beside) * ((stored + made) * rows + stored * scene.rows_below) + (request.second_bytes or 0)
