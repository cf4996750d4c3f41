"""The stages of a run in main memory: one thread more gathers the next tiles and finishes the last ones beside the engine."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from hfd_edge.engine.base import Engine
from hfd_edge.errors import EngineError
from hfd_edge.run import Run, Window, has_valid_pixel
from hfd_edge.spec import ModelSpec
from hfd_edge.tiles import Tile

_ENGINE_THREADS_A_HELPER = 4            # gather and finish take a twentieth of the engine's time: more threads would stand in its way


@dataclass(frozen=True, slots=True)
class Gathered:
    """Tiles to ask the engine for, its input and their validity, and tiles without a valid pixel where they are used."""

    kept: list[Tile]
    batch: np.ndarray               # (kept, bands, rows, cols) float32
    statuses: np.ndarray            # (kept, rows, cols) uint8
    empty: list[Tile]


@dataclass(frozen=True, slots=True)
class _Begun:
    part: Any                       # the strip that the tiles belong to
    gathered: Future


class HostStages:
    """Gather, engine and stitching on the CPU; see run_stages.Stages.

    With `overlap`, gather and finish run in one more thread, in the order in which they were asked for, and fill the gaps in which the
    engine's threads wait for each other. Without it, with one thread, or where tiles are blended, every call does its work at once.
    """

    def __init__(self, run: Run, engine: Engine, spec: ModelSpec, threads: int, overlap: bool = True) -> None:
        overlap = overlap and threads > 1 and run.plan.blend is None
        self.ahead = 1 if overlap else 0
        self._run, self._engine, self._threads = run, engine, threads
        self._beside = _Beside() if overlap else _AtOnce()
        self._threads_beside = max(1, threads // _ENGINE_THREADS_A_HELPER) if overlap else threads
        self._stitch = run.stitch(spec, self._threads_beside)
        self._window: Window | None = None
        self._begun, self._finishing = 0, deque()

    def open(self, window: Window) -> Any:
        self._window = window
        return self._stitch.open(window.strip)

    def begin(self, part: Any, tiles: list[Tile]) -> _Begun:
        alone = self._begun == 0                        # nobody waits for the engine yet: all threads are free
        slot = self._begun % (1 + self.ahead)
        self._begun += 1
        return _Begun(part, self._beside.submit(self.gather, self._window, tiles, slot, self._threads if alone else self._threads_beside))

    def gather(self, window: Window, tiles: list[Tile], slot: int = 0, threads: int = 1) -> Gathered:
        """Network input of tiles of one input shape, in the run's buffers number `slot`."""
        run = self._run
        batch, statuses = run.buffers(len(tiles), tiles[0].in_rows, tiles[0].in_cols, slot)
        kept, empty = [], []
        with run.watch("gather"):
            for tile in tiles:
                at = len(kept)
                run.gather.run(window.values, (window.strip.read_row, window.col), (run.source.rows, run.source.cols),
                               (tile.in_row, tile.in_col), batch[at], statuses[at], window.valid, threads)
                (kept if has_valid_pixel(tile, statuses[at]) else empty).append(tile)
        return Gathered(kept, batch[:len(kept)], statuses[:len(kept)], empty)

    def answer(self, begun: _Begun) -> None:
        gathered = begun.gathered.result()
        logits = self.infer(gathered) if gathered.kept else ()
        self._finishing.append(self._beside.submit(self._finish, begun.part, gathered, logits))

    def infer(self, gathered: Gathered) -> np.ndarray:
        """Logits (kept, classes, rows / s, cols / s) of the tiles that the engine is asked for."""
        try:
            with self._run.watch("engine"):
                return self._run.answer(self._engine, gathered.batch)
        except EngineError as error:
            first = gathered.kept[0]
            raise EngineError(f"tile at row {first.row}, column {first.col} ({first.in_rows} x {first.in_cols} with halo): "
                              f"{error}") from error

    def _finish(self, part: Any, gathered: Gathered, logits: Any) -> None:
        with self._run.watch("finish"):
            for tile, scores, status in zip(gathered.kept, logits, gathered.statuses):
                part.put(tile, scores, status)
            for tile in gathered.empty:
                part.put_empty(tile)

    def close(self, part: Any) -> list[Any]:
        while self._finishing:                          # all of this strip: the next one's first tile is not answered yet
            self._finishing.popleft().result()
        with self._run.watch("finish"):
            return self._stitch.close(part)

    def end(self) -> list[Any]:
        with self._run.watch("finish"):
            return self._stitch.end()

    def release(self) -> None:
        self._window = None
        self._beside.shutdown(cancel_futures=True)


class _Beside(ThreadPoolExecutor):
    """One thread, which does what it is given in that order."""

    def __init__(self) -> None:
        super().__init__(1, "hfd-beside-the-engine")


class _AtOnce:
    """What `submit` is given is done before it returns."""

    def submit(self, work: Callable[..., Any], *given: Any) -> Future:
        done: Future = Future()
        done.set_result(work(*given))
        return done

    def shutdown(self, cancel_futures: bool) -> None:
        """Nothing is left to do."""
