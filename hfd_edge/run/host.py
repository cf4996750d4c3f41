"""The stages of a run in main memory: every call does its work at once, but for the engine where the plan has it answer two tiles at once."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from hfd_edge.engine.base import Engine, PixelBytes, RunMemory
from hfd_edge.errors import EngineError
from hfd_edge.pipeline import Answers, Stopwatch
from hfd_edge.run import Run, Window
from hfd_edge.run.pace import Pace
from hfd_edge.spec import ModelSpec
from hfd_edge.stitch import STATUS_NODATA, CropFrame, CropStitch
from hfd_edge.stitch.blend import BlendFrame, BlendStitch
from hfd_edge.tiles import Tile

_WORK = "tiles"
LOOK_ROWS = 16          # of a tile at a time, for a pixel with a value: mostly the first ones have one


@dataclass(frozen=True, slots=True)
class _Begun:
    """Gathered tiles: those to ask the engine for, its input and their validity, and those without a valid pixel where they are used."""

    part: Any
    kept: list[Tile]
    statuses: np.ndarray            # (kept, rows, cols) uint8
    empty: list[Tile]
    asked: Callable[[], tuple[np.ndarray, float]] | None        # the engine's answer to `kept`, and its seconds over the calls at once


class HostStages:
    """Gather, engine and stitching on the CPU; see run.stages.Stages."""

    stages_ahead = False

    def __init__(self, run: Run, engine: Engine, spec: ModelSpec, threads: int) -> None:
        """Raises EngineError where the engine does not take what the network is told of the scene."""
        if run.vector is not None and not getattr(engine, "takes_scene", False):
            raise EngineError(f"{engine.name} runs {engine.graph} without its second input, and this network is told of the whole "
                              "scene (scene_percentiles): run it with device='cpu'")
        self._run, self._engine, self._threads = run, engine, threads
        most, self.ahead = run.plan.at_once, 0
        self._tiles = tiles = Stopwatch()           # not self in what is kept: a circle would hold the buffers until Python looks for it
        self._pace = Pace(engine.two_at_once, run.plan.calls, lambda: tiles.seconds[_WORK]) if most > 1 else None
        if hasattr(engine, "make_room"):
            engine.make_room(RunMemory((run.plan.batch, *run.plan.grid.tile_px), run.plan.tiles_bytes, run.plan.spare_bytes, most))
        self._answers, self._for_two = Answers(most), engine.for_two() if most > 1 else None
        self._told = () if run.vector is None else (run.vector,)
        self._by: PixelBytes | None = getattr(engine, "pixel_bytes", None)
        self._stitch = _stitch(run, spec, threads)
        self._window: Window | None = None
        self._held = deque([(np.empty(0, np.float32 if self._by is None else np.uint8), np.empty(0, np.uint8))] * (2 * most - 1))

    def stage(self, window: Window) -> Window:
        return window

    def open(self, window: Window) -> Any:
        self._window = window
        return self._stitch.open(window.strip)

    def begin(self, part: Any, tiles: list[Tile]) -> _Begun:
        with self._tiles(_WORK):
            return self._gathered(part, tiles)

    def _gathered(self, part: Any, tiles: list[Tile]) -> _Begun:
        batch, statuses = self._buffers(len(tiles), tiles[0].in_rows, tiles[0].in_cols)
        kept, empty = [], []
        with self._run.watch("gather"):
            for tile in tiles:
                slot = len(kept)
                self._gather(tile, batch[slot], statuses[slot])
                (kept if _has_valid_pixel(tile, statuses[slot]) else empty).append(tile)
        return _Begun(part, kept, statuses[:len(kept)], empty, self._asked(kept, batch[:len(kept)]) if kept else None)

    def answer(self, begun: _Begun) -> None:
        with self._tiles(_WORK):
            logits = self.infer(begun) if begun.kept else ()
            with self._run.watch("finish"):
                for tile, scores, status in zip(begun.kept, logits, begun.statuses):
                    begun.part.put(tile, scores, status)
                for tile in begun.empty:
                    begun.part.put_empty(tile)
        if begun.kept and self._pace is not None:
            self._pace.answered(begun.statuses.size)

    def infer(self, begun: _Begun) -> np.ndarray:
        """Logits (kept, classes, rows / s, cols / s) of the tiles that the engine is asked for."""
        logits, seconds = begun.asked()
        self._run.watch.add("engine", seconds)
        return logits

    def _asked(self, tiles: list[Tile], batch: np.ndarray) -> Callable[[], tuple[np.ndarray, float]]:
        """What gives the engine's answer: when it is called, or a thread is at it by now."""
        at_once = 1 if self._pace is None else self._pace.at_once()
        self.ahead, self._run.at_once = 0 if at_once == 1 else at_once, at_once
        ask = partial(self._ask, self._engine if at_once == 1 else self._for_two, tiles, batch, at_once)
        return ask if at_once == 1 else self._answers.of(ask)

    def _ask(self, engine: Engine, tiles: list[Tile], batch: np.ndarray, at_once: int) -> tuple[np.ndarray, float]:
        start = time.perf_counter()
        try:
            return engine.infer(batch, *self._told), (time.perf_counter() - start) / at_once
        except EngineError as error:
            first = tiles[0]
            raise EngineError(f"tile at row {first.row}, column {first.col} ({first.in_rows} x {first.in_cols} with halo): "
                              f"{error}") from error

    def close(self, part: Any) -> list[Any]:
        with self._run.watch("finish"):
            return self._stitch.close(part)

    def end(self) -> list[Any]:
        with self._run.watch("finish"):
            return self._stitch.end()

    def release(self) -> None:
        """Wait for what the engine still answers: it reads from this run's memory."""
        self._answers.end()

    def _buffers(self, tiles: int, rows: int, cols: int) -> tuple[np.ndarray, np.ndarray]:
        """Network input, (tiles, bands, rows, cols) float32 or PixelBytes, and validity (tiles, rows, cols) uint8: of one batch, and of as
        many as are begun."""
        pixels, bands = tiles * rows * cols, self._run.source.count
        batch, statuses = self._held.popleft()
        if statuses.size < pixels:
            batch, statuses = np.empty(pixels * bands, batch.dtype), np.empty(pixels, np.uint8)
        self._held.append((batch, statuses))
        shape = (tiles, bands, rows, cols) if self._by is None else (tiles, rows // 2, cols // 2, 4 * bands)
        return batch[:pixels * bands].reshape(shape), statuses[:pixels].reshape(tiles, rows, cols)

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
