"""Whether an engine is faster with two tiles at once: processors differ, so the first long run of an engine tries both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from hfd_edge.engine.base import TwoAtOnce

TRIED_FROM = 16             # calls of a run; a shorter one takes two at once untried
ONE, TWO = (1, 4), (7, 13)  # the first and last answers between which each way is timed: the ones before warm up
CLEARLY = 1.1               # two at once are left where one after the other is this much faster: a busy machine slows either


@dataclass(slots=True)
class Pace:
    """How many batches at once a run should begin, and what became of it: `at_once` before each call, `answered` after each."""

    two: TwoAtOnce                                  # what is known of the engine, and learns it
    calls: int                                      # that the run is going to make, about
    clock: Callable[[], float]                      # seconds of the run's work on tiles, without what it waits for between strips
    _begun: int = 0
    _answered: list[tuple[float, int]] = field(default_factory=list)        # seconds, and pixels until then

    def at_once(self) -> int:
        """Batches at once from the next call on."""
        self._begun += 1
        tried = self.two.pays is None and self.calls >= TRIED_FROM
        return 1 if self.two.pays is False or tried and self._begun <= ONE[1] + 1 else 2

    def answered(self, pixels: int) -> None:
        """One call more is answered, in the order in which they were begun."""
        if self.two.pays is not None or self.calls < TRIED_FROM:
            return
        before = self._answered[-1][1] if self._answered else 0
        self._answered.append((self.clock(), before + pixels))
        if len(self._answered) > TWO[1]:
            self.two.pays = self._seconds_per_px(TWO) <= CLEARLY * self._seconds_per_px(ONE)

    def _seconds_per_px(self, between: tuple[int, int]) -> float:
        (start, before), (end, after) = (self._answered[at] for at in between)
        return (end - start) / (after - before)
