"""How wrong a network's logits are near the end of a tile: measured by cutting context off, one side at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hfd_edge.device import resolve_device, thread_budget
from hfd_edge.engine.base import Engine
from hfd_edge.engine.choose import open_engine
from hfd_edge.errors import GridError
from hfd_edge.package import Package
from hfd_edge.radiometry import SourceRadiometry, make_gather
from hfd_edge.source import Source, check_count
from hfd_edge.source.checked import checked
from hfd_edge.source.filter import filtered_input
from hfd_edge.source.vector import scene_vector
from hfd_edge.spec import ModelSpec
from hfd_edge.stitch import STATUS_NODATA
from hfd_edge.tiles import round_up

Infer = Callable[[np.ndarray], np.ndarray]      # (1, bands, rows, cols) float32 -> logits (1, classes, rows / s, cols / s)
Patch = tuple[np.ndarray, np.ndarray]           # network input (bands, rows, cols) float32, status (rows, cols) uint8
MOST_PATCHES = 16
ROUNDING = 1e-10                # of the logits' mean square: what an engine adds up in another order at another size


@dataclass(frozen=True, slots=True)
class EdgeError:
    """The profile of one network on one set of scenes."""

    values: tuple[float, ...]   # as ModelSpec.edge_error
    mean_square: float          # of the logits themselves, their mean over the classes taken off
    cells: int                  # logits positions compared at the distance that has the fewest
    patches: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready record, without the values, which the spec holds."""
        return {"mean_square": self.mean_square, "cells": self.cells, "patches": self.patches}


def edge_error(run: Infer, patches: Iterable[Patch], spec: ModelSpec) -> EdgeError:
    """Compare each patch with itself, its outer rows or columns cut off as the end of a tile cuts them off.

    Each side is cut by the exact halo, one at a time; what is then compared has the exact halo on the three other sides, so the
    difference is the work of that one end. All four sides count alike.

    Args:
        run: the graph, float32.
        patches: of network input with at least 3 exact halos a side; fixed-size graphs: one exact halo above tile_px.
    Raises:
        GridError: the network has no halo, or no patch holds three.
    """
    halo, s = spec.halo_px, spec.logit_stride_px
    if halo == 0:
        raise GridError("edge error of a network whose exact halo is 0 px: no pixel beyond its own tells it anything, there is "
                        "nothing to measure; crop is exact")
    sums, counts = np.zeros(halo // s), np.zeros(halo // s, np.int64)
    power, used = np.zeros(2), 0
    for pixels, status in patches:
        side = (spec.tile_px,) * 2 if spec.fixed_tile else pixels.shape[1:]
        if min(side) < 3 * halo:
            continue
        used += 1
        for axis, last in ((0, False), (0, True), (1, False), (1, True)):
            squares, valid = _one_side(run, (pixels, status), spec, (axis, last))
            sums += (squares[0] * valid).sum(axis=1)
            counts += valid.sum(axis=1)
            power += (squares[1] * valid).sum(), valid.sum()
    if not counts.all():
        raise GridError(f"edge error from {used} patches of {3 * halo} px and more: at least one with valid pixels is needed for "
                        f"a halo of {halo} px; give a larger scene or crop (--side)")
    mean_square = power[0] / power[1]
    values = np.where(sums / counts > ROUNDING * mean_square, sums / counts, 0.0)
    last = np.flatnonzero(values)
    kept = values[:last[-1] + 1] if last.size else values[:1]
    return EdgeError(tuple(float(f"{v:.6g}") for v in kept), float(f"{mean_square:.6g}"), int(counts.min()), used)


def _one_side(run: Infer, patch: Patch, spec: ModelSpec, cut: tuple[int, bool]) -> tuple[np.ndarray, np.ndarray]:
    """((2, halo / s, cells) squared error and squared logit from the cut inwards, (halo / s, cells) whether they count)."""
    (axis, last), halo, s = cut, spec.halo_px, spec.logit_stride_px
    pixels, status = (np.moveaxis(part, axis - 2, -2) for part in patch)            # the axis that is cut comes first
    if last:
        pixels, status = pixels[:, ::-1], status[::-1]
    rows, cols = (spec.tile_px,) * 2 if spec.fixed_tile else pixels.shape[1:]
    short = slice(halo, halo + rows if spec.fixed_tile else rows)
    whole, cut_off = (_logits(run, pixels[:, part, :cols], axis, last) for part in (slice(0, rows), short))
    there = slice(halo // s, (cols - halo) // s)
    depth = halo // s
    wanted, found = whole[:, depth:2 * depth, there], cut_off[:, :depth, there]
    cells = (status[halo:2 * halo, halo:cols - halo] != STATUS_NODATA).reshape(depth, s, -1, s)
    wanted, error = _centred(wanted), _centred(found - wanted)
    return np.stack([(error ** 2).mean(axis=0), (wanted ** 2).mean(axis=0)]), cells.all(axis=(1, 3))


def _logits(run: Infer, pixels: np.ndarray, axis: int, last: bool) -> np.ndarray:
    """(classes, rows, cols) float64 of pixels whose cut axis comes first, from the cut inwards; the network sees them as they are."""
    pixels = np.moveaxis(pixels[:, ::-1] if last else pixels, -2, axis - 2)
    logits = np.moveaxis(run(np.ascontiguousarray(pixels)[np.newaxis])[0].astype(np.float64), axis - 2, -2)
    return logits[:, ::-1] if last else logits


def _centred(logits: np.ndarray) -> np.ndarray:
    """What all classes share changes no label."""
    return logits - logits.mean(axis=0) if len(logits) > 1 else logits


def edge_error_of_scene(engine: str | Path, source: Source, radiometry: SourceRadiometry | None) -> EdgeError:
    """The profile of a package's FP32 graph on patches spread over a scene in memory.

    Raises:
        EngineError: the package holds no FP32 graph.
        GridError: see edge_error.
    """
    with Package.open(engine) as package:
        runner = open_engine(package, resolve_device("cpu"), thread_budget(None), "fp32")
        try:
            return edge_error(_told(runner, source, radiometry, package.spec), _patches(source, radiometry, package.spec),
                              package.spec)
        finally:
            runner.close()


def _told(engine: Engine, source: Source, radiometry: SourceRadiometry | None, spec: ModelSpec) -> Infer:
    """The engine, with what a network that takes it is told of the scene."""
    if spec.scene_percentiles is None:
        return engine.infer
    vector = scene_vector(source, checked(source, radiometry)[0], spec, thread_budget(None))
    return lambda batch: engine.infer(batch, vector)


def _patches(source: Source, radiometry: SourceRadiometry | None, spec: ModelSpec) -> Iterator[Patch]:
    check_count(source, spec.bands)
    source, radiometry = filtered_input(source, checked(source, radiometry)[0], spec.input, thread_budget(None))
    gather = make_gather(radiometry, spec.input)
    side = spec.tile_px + spec.halo_px if spec.fixed_tile else round_up(max(spec.tile_px, 3 * spec.halo_px), spec.stride_px)
    values, valid = source.read(0, source.rows)
    for row, col in _origins(source.rows, source.cols, side):
        pixels, status = np.empty((source.count, side, side), np.float32), np.empty((side, side), np.uint8)
        gather.run(values, (0, 0), (source.rows, source.cols), (row, col), pixels, status, valid,
                   thread_budget(None))
        yield pixels, status


def _origins(rows: int, cols: int, side: int) -> list[tuple[int, int]]:
    """First pixels of at most MOST_PATCHES patches, spread evenly; a scene that is smaller than a patch is reflected."""
    along = [np.linspace(0, max(0, size - side), max(1, min(4, size // side))).astype(int) for size in (rows, cols)]
    return [(int(row), int(col)) for row in along[0] for col in along[1]][:MOST_PATCHES]
