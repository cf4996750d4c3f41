"""The stages of a run in main memory: every call does its work at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hfd_edge.engine.base import Engine, PixelBytes
from hfd_edge.errors import EngineError
from hfd_edge.run import Run, Window
from hfd_edge.spec import ModelSpec
from hfd_edge.stitch import STATUS_NODATA, CropFrame, CropStitch
from hfd_edge.stitch.blend import BlendFrame, BlendStitch
from hfd_edge.tiles import Tile

LOOK_ROWS = 16          # of a tile at a time, for a pixel with a value: mostly the first ones have one


@dataclass(frozen=True, slots=True)
class _Begun:
    """Gathered tiles: those to ask the engine for, its input and their validity, and those without a valid pixel where they are used."""

    part: Any
    kept: list[Tile]
    batch: np.ndarray               # (kept, bands, rows, cols) float32, or the engine's PixelBytes
    statuses: np.ndarray            # (kept, rows, cols) uint8
    empty: list[Tile]


class HostStages:
    """Gather, engine and stitching on the CPU; see run.stages.Stages."""

    ahead, stages_ahead = 0, False

    def __init__(self, run: Run, engine: Engine, spec: ModelSpec, threads: int) -> None:
        """Raises EngineError where the engine does not take what the network is told of the scene."""
        if run.vector is not None and not getattr(engine, "takes_scene", False):
            raise EngineError(f"{engine.name} runs {engine.graph} without its second input, and this network is told of the whole "
                              "scene (scene_percentiles): run it with device='cpu'")
        self._run, self._engine, self._threads = run, engine, threads
        self._told = () if run.vector is None else (run.vector,)
        self._by: PixelBytes | None = getattr(engine, "pixel_bytes", None)
        self._stitch = _stitch(run, spec, threads)
        self._window: Window | None = None
        self._batch, self._statuses = np.empty(0, np.float32 if self._by is None else np.uint8), np.empty(0, np.uint8)

    def stage(self, window: Window) -> Window:
        return window

    def open(self, window: Window) -> Any:
        self._window = window
        return self._stitch.open(window.strip)

    def begin(self, part: Any, tiles: list[Tile]) -> _Begun:
        batch, statuses = self._buffers(len(tiles), tiles[0].in_rows, tiles[0].in_cols)
        kept, empty = [], []
        with self._run.watch("gather"):
            for tile in tiles:
                slot = len(kept)
                self._gather(tile, batch[slot], statuses[slot])
                (kept if _has_valid_pixel(tile, statuses[slot]) else empty).append(tile)
        return _Begun(part, kept, batch[:len(kept)], statuses[:len(kept)], empty)

    def answer(self, begun: _Begun) -> None:
        logits = self.infer(begun) if begun.kept else ()
        with self._run.watch("finish"):
            for tile, scores, status in zip(begun.kept, logits, begun.statuses):
                begun.part.put(tile, scores, status)
            for tile in begun.empty:
                begun.part.put_empty(tile)

    def infer(self, begun: _Begun) -> np.ndarray:
        """Logits (kept, classes, rows / s, cols / s) of the tiles that the engine is asked for."""
        try:
            with self._run.watch("engine"):
                return self._engine.infer(begun.batch, *self._told)
        except EngineError as error:
            first = begun.kept[0]
            raise EngineError(f"tile at row {first.row}, column {first.col} ({first.in_rows} x {first.in_cols} with halo): "
                              f"{error}") from error

    def close(self, part: Any) -> list[Any]:
        self._window = None
        with self._run.watch("finish"):
            return self._stitch.close(part)

    def end(self) -> list[Any]:
        with self._run.watch("finish"):
            return self._stitch.end()

    def release(self) -> None:
        """Nothing is held."""

    def _buffers(self, tiles: int, rows: int, cols: int) -> tuple[np.ndarray, np.ndarray]:
        """Network input, (tiles, bands, rows, cols) float32 or PixelBytes, and validity (tiles, rows, cols) uint8: one batch at a time."""
        pixels, bands = tiles * rows * cols, self._run.source.count
        if self._statuses.size < pixels:
            self._batch, self._statuses = np.empty(pixels * bands, self._batch.dtype), np.empty(pixels, np.uint8)
        shape = (tiles, bands, rows, cols) if self._by is None else (tiles, rows // 2, cols // 2, 4 * bands)
        return self._batch[:pixels * bands].reshape(shape), self._statuses[:pixels].reshape(tiles, rows, cols)

    def _gather(self, tile: Tile, made: np.ndarray, status: np.ndarray) -> None:
        """One tile of the window that is open to its places in the buffers."""
        run, window, by = self._run, self._window, self._by
        given = window.values, (window.row, window.col), (run.source.rows, run.source.cols), (tile.in_row, tile.in_col), made, status, window.valid
        if by is None:
            run.gather.run(*given, self._threads)
        else:
            run.gather.run_bytes(*given, by.scale, by.zero_point, self._threads)


def _stitch(run: Run, spec: ModelSpec, threads: int) -> CropStitch | BlendStitch:
    """What makes finished strips of a run's tiles."""
    grid, blend = run.plan.grid, run.plan.blend
    if blend is None:
        return CropStitch(CropFrame(grid.kept[1], run.rows(), spec.logit_stride_px, threads), run.counts)
    return BlendStitch(BlendFrame(grid, blend, len(spec.classes), spec.logit_stride_px, run.rows(), threads), run.counts)


def _has_valid_pixel(tile: Tile, status: np.ndarray) -> bool:
    """Whether a pixel has a value where the tile is looked at."""
    row, col, rows, cols = tile.look
    part = status[row:row + rows, col:col + cols]
    return any((part[first:first + LOOK_ROWS] != STATUS_NODATA).any() for first in range(0, rows, LOOK_ROWS))
