"""The stages of a run on one device, and the one order in which every device takes them.

A device may begin with tiles before earlier ones are answered (`ahead`), and give strips back later than they were closed: so a GPU
is never waited for while it has nothing to do. On a CPU `ahead` is 0, and every call does its work at once, or 2 where the engine answers two.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from hfd_edge.exits import leave_at_end
from hfd_edge.pipeline import prefetch
from hfd_edge.run import Window, equal_shapes
from hfd_edge.tiles import Strip, Tile


class FinishedStrip(Protocol):
    """A strip with every pixel labelled."""

    strip: Strip
    labels: np.ndarray                  # (rows, cols) uint8
    score: np.ndarray | None


class Stages(Protocol):
    """What a device does with a strip: open, then begin and answer for all its tiles in order, then close."""

    ahead: int                          # batches that may be begun and not answered; may change with each that is begun
    stages_ahead: bool                  # whether strips are made ready in a thread of its own

    def stage(self, window: Window) -> Any:
        """Make a strip's stored pixels ready for `open`, which takes what this gives; its `strip` is the window's."""

    def open(self, window: Any) -> Any:
        """Take a strip's stored pixels; gives what stands for the strip until it is closed."""

    def begin(self, part: Any, tiles: list[Tile]) -> Any:
        """Gather tiles of one input shape, at most a batch; gives what `answer` takes."""

    def answer(self, begun: Any) -> None:
        """The engine's answer and its labels, for tiles that were begun."""

    def close(self, part: Any) -> list[FinishedStrip]:
        """Take a strip all of whose tiles were answered; gives the strips that are finished by now."""

    def end(self) -> list[FinishedStrip]:
        """The strips that are left."""

    def release(self) -> None:
        """Give back what the run held; after an error too, whatever still works on it."""


@dataclass(frozen=True, slots=True)
class _Closing:
    part: Any


def finished_strips(stages: Stages, windows: Iterable[Window], batch: int) -> Iterator[FinishedStrip]:
    """Strips from top to bottom, finished."""
    waiting: deque = deque()                            # what was begun, and strips to close, in order
    begun = 0

    def go_on(allowed: int) -> Iterator[FinishedStrip]:
        nonlocal begun
        while waiting and (begun > allowed or isinstance(waiting[0], _Closing)):
            first = waiting.popleft()
            if isinstance(first, _Closing):
                yield from stages.close(first.part)
                continue
            begun -= 1
            stages.answer(first)

    staged = map(stages.stage, windows)
    try:
        with closing(prefetch(staged)) if stages.stages_ahead else nullcontext(staged) as ready:
            for window in ready:
                part = stages.open(window)
                for tiles in equal_shapes(window.strip.tiles, batch):
                    leave_at_end()
                    waiting.append(stages.begin(part, tiles))
                    begun += 1
                    yield from go_on(stages.ahead)
                waiting.append(_Closing(part))
                yield from go_on(stages.ahead)
        yield from go_on(0)
        yield from stages.end()
    finally:
        stages.release()
