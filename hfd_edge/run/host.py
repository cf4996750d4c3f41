"""The stages of a run in main memory: every call does its work at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hfd_edge.engine.base import Engine
from hfd_edge.errors import EngineError
from hfd_edge.run import Run, Window, has_valid_pixel
from hfd_edge.spec import ModelSpec
from hfd_edge.tiles import Tile


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
        self._run, self._engine, self._threads = run, engine, threads
        self._stitch = run.stitch(spec, threads)
        self._window: Window | None = None

    def stage(self, window: Window) -> Window:
        return window

    def open(self, window: Window) -> Any:
        self._window = window
        return self._stitch.open(window.strip)

    def begin(self, part: Any, tiles: list[Tile]) -> _Begun:
        run, window = self._run, self._window
        by = getattr(self._engine, "pixel_bytes", None)
        batch, statuses = run.buffers(len(tiles), tiles[0].in_rows, tiles[0].in_cols, by)
        kept, empty = [], []
        with run.watch("gather"):
            for tile in tiles:
                slot = len(kept)
                run.gather_tile(window, tile, (batch[slot], statuses[slot]), by, self._threads)
                (kept if has_valid_pixel(tile, statuses[slot]) else empty).append(tile)
        return _Begun(part, kept, batch[:len(kept)], statuses[:len(kept)], empty)

    def answer(self, begun: _Begun) -> None:
        run = self._run
        logits = self.infer(begun) if begun.kept else ()
        with run.watch("finish"):
            for tile, scores, status in zip(begun.kept, logits, begun.statuses):
                begun.part.put(tile, scores, status)
            for tile in begun.empty:
                begun.part.put_empty(tile)

    def infer(self, begun: _Begun) -> np.ndarray:
        """Logits (kept, classes, rows / s, cols / s) of the tiles that the engine is asked for."""
        try:
            with self._run.watch("engine"):
                return self._run.answer(self._engine, begun.batch)
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
