"""The part of a plan that blending adds: how far neighbours overlap, and their shares there."""

from __future__ import annotations

from dataclasses import replace

from hfd_edge.device import is_whole
from hfd_edge.errors import GridError
from hfd_edge.spec import ModelSpec
from hfd_edge.text import Note
from hfd_edge.tiles import TileGrid
from hfd_edge.tiles.shares import MODES, Band, Blend, shares

LOGIT_BYTES, STATUS_BYTES = 4, 1
STRIPS_HELD = 2                         # one whose lower rows wait for the next one's


def check_stitch(stitch: object, spec: ModelSpec) -> None:
    """Raise GridError where there is no such mode, or the package lacks what it needs."""
    if stitch not in MODES:
        raise GridError(f"stitch={stitch!r}: it must be one of {', '.join(MODES)}")
    if stitch == "precision" and spec.edge_error is None:
        raise GridError("stitch='precision' weighs tiles by the network's measured error at their edges, and this package holds "
                        "no such measurement: add one with hfd-edge seams SCENE MODEL.engine --profile NEW.engine, export the "
                        "network again, or use stitch='crop'")


def fused_bytes_per_px(spec: ModelSpec, stitch: str) -> int:
    """Memory of the strips that wait to be fused, per scene pixel of a strip, rounded up; 0 with crop."""
    if stitch == "crop":
        return 0
    logits = -(-LOGIT_BYTES * len(spec.classes) // spec.logit_stride_px ** 2)
    return STRIPS_HELD * (logits + STATUS_BYTES)


def blended(spec: ModelSpec, grid: TileGrid, stitch: str, overlap: int | str) -> tuple[TileGrid, Blend]:
    """The grid whose tiles overlap, and how they are fused.

    Args:
        stitch: a mode but "crop".
        overlap: width in pixels of the band in which two neighbours are fused; "auto" = all that both computed.
    Raises:
        GridError: the overlap is no multiple of two strides, wider than two halos, or wider than a core.
    """
    unit, most = 2 * spec.stride_px, _widest(grid)
    if most < unit:
        raise GridError(f"stitch={stitch!r} with a halo of {grid.halo_px} px around cores of {grid.core_rows} x "
                        f"{grid.core_cols}: tiles overlap by less than two strides, {unit} px, so there is nothing to fuse; use "
                        f"a halo of {spec.stride_px} px or more, larger tiles, or stitch='crop'")
    if overlap == "auto":
        overlap = most // unit * unit
    if not is_whole(overlap) or overlap % unit or not unit <= overlap <= most:
        raise GridError(f"overlap={overlap!r}: it must be 'auto' or a multiple of twice the network's stride, {unit} px, and at "
                        f"most {most // unit * unit} here: two halos of {grid.halo_px} px, and no wider than a core")
    overlap = int(overlap)
    cells, margin = overlap // spec.logit_stride_px, (grid.halo_px - overlap // 2) // spec.logit_stride_px
    rows, cols = (shares(stitch, Band(cells, margin, core // spec.logit_stride_px), spec.edge_error)
                  for core in (grid.core_rows, grid.core_cols))
    return replace(grid, spread_px=overlap // 2), Blend(stitch, overlap, rows, cols)


def is_exact(spec: ModelSpec, halo_px: int, blend: Blend | None) -> bool:
    """Whether the map equals that of one tile over the scene: no pixel is used that saw the end of its tile.

    The measured error is 0 where the halo covers the reach, and there "precision" leaves the other tile out.
    """
    margin = halo_px if blend is None or blend.mode == "precision" else halo_px - blend.overlap_px // 2
    return spec.reach_bounded and margin >= spec.halo_px


def no_gain(spec: ModelSpec, halo_px: int, blend: Blend | None) -> tuple[str, ...]:
    """A sentence for the report where weighing tiles cannot change what crop says; () elsewhere."""
    if blend is None or blend.mode != "precision" or not is_exact(spec, halo_px, blend):
        return ()
    return (Note("stitch_is_crop", f"the halo of {halo_px} px covers the network's reach, so precision is crop, to the bit: it is meant for a smaller, "
                                   "cheaper --halo"),)


def _widest(grid: TileGrid) -> int:
    """The widest overlap that the halo computes and a core holds, in pixels."""
    cores = [core for core, scene in ((grid.core_rows, grid.scene_rows), (grid.core_cols, grid.scene_cols)) if core < scene]
    return min(2 * grid.halo_px, *cores) if cores else 2 * grid.halo_px
