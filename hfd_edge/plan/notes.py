"""What a report says of a plan."""

from __future__ import annotations

from hfd_edge.plan import TilePlan
from hfd_edge.plan.blend import no_gain
from hfd_edge.spec import ModelSpec
from hfd_edge.text import Note

NOTED_FROM = 2.0                        # times the scene's pixels: half of the work is halo, and more memory would help


def plan_notes(plan: TilePlan, spec: ModelSpec) -> tuple[str, ...]:
    """Sentences for the report: tiles that are mostly halo, a way to fuse them that changes nothing."""
    return (*costly(plan), *no_gain(spec, plan.grid.halo_px, plan.blend))


def costly(plan: TilePlan) -> tuple[str, ...]:
    """A sentence for the report where tiles are so small that halos cost more than the scene itself; () where they are not."""
    grid = plan.grid
    whole = grid.core_rows >= grid.kept[2] and grid.core_cols >= grid.kept[3]           # one tile: none is larger
    if whole or plan.compute_ratio <= NOTED_FROM or min(grid.kept[2:]) < 2 * grid.halo_px:
        return ()
    return (Note("small_tiles", f"tiles keep {grid.core_rows} x {grid.core_cols} px inside a halo of {grid.halo_px}, so the network computes "
                                f"{plan.compute_ratio:.1f} times the scene's pixels: a larger --memory or --tile makes this run faster"),)
