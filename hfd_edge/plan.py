"""How large the tiles are: the fewest, largest tiles that a memory budget allows, for halos cost less in larger tiles."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from hfd_edge.device import available_memory_bytes, is_whole
from hfd_edge.errors import DeviceError, GridError
from hfd_edge.spec import ModelSpec
from hfd_edge.tiles import TileGrid, equal_core, round_up

DEFAULT_MEMORY_BYTES = 1 << 30
UNKNOWN_ACTIVATION_BYTES_PER_PX = 512
STRIP_ROWS = 1024                       # kept rows of a strip where a scene has more than twice as many: reading and writing overlap
LARGEST_INPUT_PX = 1 << 23              # progress is told once a tile; a halo of 112 px still costs 1.17 there
ENGINE_SLACK = 1.25                     # measured peak over the live activations that a package names: 93 bytes against 80
BOUNDED_WHERE_EXACT_COSTS = 1.5         # the bounded halo is the default where the exact one costs more than this


@dataclass(frozen=True, slots=True)
class SceneShape:
    """What a plan must know of a scene: its size, and the bytes its stored pixels take (all bands together)."""

    rows: int
    cols: int
    bytes_per_px: int
    windows_held: int = 2           # strips of stored pixels in memory at once: 2 when reading ahead, 0 for an array at hand


@dataclass(frozen=True, slots=True)
class TilePlan:
    """A grid, how its halo was chosen, and what it is expected to cost."""

    grid: TileGrid
    batch: int
    halo: str                       # "exact", "bounded" or "custom" (given by hand and smaller than the reach)
    compute_ratio: float            # input pixels of all tiles over the scene's pixels
    memory_bytes: int               # expected peak of engine and strips together


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What the caller asked for; "auto" leaves it to the plan."""

    tile: int | tuple[int, int] | str = "auto"      # input size with halo, in pixels
    halo: int | str = "auto"                        # "exact", "bounded" or pixels
    batch: int | str = "auto"
    memory: int | None = None                       # budget in bytes; None = a quarter of what is free, 1 GiB at most
    offset: tuple[int, int] = (0, 0)


def plan_tiles(spec: ModelSpec, scene: SceneShape, request: PlanRequest) -> TilePlan:
    """Choose the grid for a scene.

    Raises:
        GridError: the tile leaves no core, or tile, halo or batch are not what they can be.
        DeviceError: not even the smallest tile fits the memory budget.
    """
    if request.batch != "auto" and (not is_whole(request.batch) or request.batch < 1):
        raise GridError(f"batch={request.batch!r}: it must be 'auto' or a whole number of tiles from 1 on")
    batch = 1 if request.batch == "auto" else int(request.batch)
    if request.halo == "auto":
        exact = _plan_with_halo(spec, scene, request, batch, spec.halo_px)
        if spec.halo_bounded_px is None or exact.compute_ratio <= BOUNDED_WHERE_EXACT_COSTS:
            return exact
        return _plan_with_halo(spec, scene, request, batch, spec.halo_bounded_px)
    return _plan_with_halo(spec, scene, request, batch, _halo_px(spec, request.halo))


def memory_budget_bytes(memory: int | None) -> int:
    """`memory`, or a quarter of what is free but at most 1 GiB."""
    if memory is None:
        return min(DEFAULT_MEMORY_BYTES, available_memory_bytes() // 4)
    if not is_whole(memory) or memory < 1:
        raise DeviceError(f"memory={memory!r}: it must be a whole number of bytes above 0; leave it out for the default")
    return int(memory)


def _halo_px(spec: ModelSpec, halo: int | str) -> int:
    if halo == "exact":
        return spec.halo_px
    if halo == "bounded":
        if spec.halo_bounded_px is None:
            raise GridError("halo='bounded' but this engine holds no measured bounded halo: use 'exact', or give the pixels "
                            "yourself")
        return spec.halo_bounded_px
    if not is_whole(halo) or halo < 0 or halo % spec.stride_px:
        raise GridError(f"halo={halo!r}: it must be 'auto', 'exact', 'bounded' or a multiple of the network's stride "
                        f"{spec.stride_px} px, "
                        "or tiles leave the network's grid")
    return int(halo)


def _plan_with_halo(spec: ModelSpec, scene: SceneShape, request: PlanRequest, batch: int, halo: int) -> TilePlan:
    if request.tile == "auto":
        core = _auto_core(spec, scene, request, batch, halo)
    else:
        core = _given_core(spec, request.tile, halo)
        core = tuple(min(c, round_up(n, spec.stride_px)) for c, n in zip(core, (scene.rows, scene.cols)))
    offset = tuple(o % c for o, c in zip(request.offset, core))
    grid = TileGrid(scene.rows, scene.cols, *core, halo, spec.stride_px, offset)
    kind = "exact" if halo >= spec.halo_px else "bounded" if halo == spec.halo_bounded_px else "custom"
    return TilePlan(grid, batch, kind, grid.input_px / (scene.rows * scene.cols),
                    _tile_bytes(spec, batch, halo, *core) + _strip_bytes_per_row(scene) * (core[0] + 2 * halo))


def _given_core(spec: ModelSpec, tile: int | tuple[int, int] | str, halo: int) -> tuple[int, int]:
    sides = (tile, tile) if is_whole(tile) else tile
    if not isinstance(sides, (tuple, list)) or len(sides) != 2 or not all(map(is_whole, sides)):
        raise GridError(f"tile={tile!r}: it must be 'auto', the input side in pixels, or (rows, cols)")
    for side in sides:
        if side % spec.stride_px or side - 2 * halo < spec.stride_px:
            raise GridError(f"tile={tile!r} with a halo of {halo} px: each side must be a multiple of the network's stride "
                            f"{spec.stride_px} px "
                            f"and leave a core, so at least {2 * halo + spec.stride_px}")
    return int(sides[0]) - 2 * halo, int(sides[1]) - 2 * halo


def _auto_core(spec: ModelSpec, scene: SceneShape, request: PlanRequest, batch: int, halo: int) -> tuple[int, int]:
    """The core with the least halo overhead; columns in equal pieces, rows as many as the memory allows."""
    budget = memory_budget_bytes(request.memory)
    stride, best = spec.stride_px, None
    most_rows = scene.rows if scene.rows <= 2 * STRIP_ROWS else STRIP_ROWS
    for pieces in range(1, ceil(scene.cols / stride) + 1):
        cols = equal_core(scene.cols, round_up(ceil(scene.cols / pieces), stride), stride)
        per_row = _tile_bytes(spec, batch, halo, 1 - 2 * halo, cols) + _strip_bytes_per_row(scene)
        rows = min(budget // per_row, LARGEST_INPUT_PX // (cols + 2 * halo)) - 2 * halo
        rows = min(rows // stride * stride, round_up(most_rows, stride))
        if rows < stride:
            continue
        overhead = (1 + 2 * halo / rows) * (1 + 2 * halo / cols)
        if best is None or overhead < best[0]:
            best = (overhead, rows, cols)
        elif cols < halo and overhead > best[0]:
            break
    if best is None:
        least = _tile_bytes(spec, batch, halo, stride, stride) + _strip_bytes_per_row(scene) * (stride + 2 * halo)
        raise DeviceError(f"memory={budget} bytes is not enough for one tile with a halo of {halo} px over a scene {scene.cols} "
                          f"px wide: "
                          f"give at least {least} bytes (--memory), or a smaller batch")
    return best[1], best[2]


def _tile_bytes(spec: ModelSpec, batch: int, halo: int, core_rows: int, core_cols: int) -> int:
    """Engine memory and tile buffers of one batch."""
    live = spec.activation_bytes_per_px or UNKNOWN_ACTIVATION_BYTES_PER_PX
    per_px = ceil(ENGINE_SLACK * live) + 4 * len(spec.bands) + 1
    return batch * per_px * (core_rows + 2 * halo) * (core_cols + 2 * halo)


def _strip_bytes_per_row(scene: SceneShape) -> int:
    """Stored pixels with their mask, and three strips of labels and confidence (made, waiting, written)."""
    return scene.cols * (scene.windows_held * (scene.bytes_per_px + 1) + 3 * 2)
