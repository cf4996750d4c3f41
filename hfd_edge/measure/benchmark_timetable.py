"""How long a benchmark takes: seconds of each part, rounds that fit into them, and a word of what is measured and how long it will be."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

ENGINE, SCENE, TILES, PRECISIONS = "the engine alone", "every stage, and end to end", "tile sizes", "precisions"
SECONDS = {ENGINE: 15.0, SCENE: 45.0, TILES: 45.0, PRECISIONS: 15.0}      # two minutes in all
LEAST_ROUNDS = 2                        # a spread needs two; a slow machine takes longer than its seconds rather than fewer


class Timetable:
    """The parts of a benchmark in order; says where it stands. A part has as many rounds as its seconds allow."""

    def __init__(self, seconds: Mapping[str, float] = SECONDS, say: Callable[[str], None] = lambda text: None,
                 clock: Callable[[], float] = time.perf_counter) -> None:
        """
        Args:
            seconds: of every part; more only where LEAST_ROUNDS take more.
            say: told what is measured now, such as "3 of 4, tile sizes: round 2 of 5, about 40 s left".
        """
        self._seconds, self._say, self._clock = dict(seconds), say, clock
        self._expected: dict[str, float] = {}
        self._part, self._began = next(iter(self._seconds)), clock()

    def begin(self, part: str) -> None:
        """What is measured from now on."""
        self._part, self._began = part, self._clock()

    def rounds(self, round_s: float, most: int) -> int:
        """Rounds that the rest of this part's seconds allow: `most` at most, LEAST_ROUNDS at least."""
        return _fitting(self._seconds[self._part] - (self._clock() - self._began), round_s, most)

    def expect(self, part: str, warm_s: float, round_s: float, most: int) -> None:
        """That part runs so many seconds to warm up, then so many in each of up to `most` rounds."""
        self._expected[part] = warm_s + round_s * _fitting(self._seconds[part] - warm_s, round_s, most)

    def tell(self, what: str, here_s: float | None = None) -> None:
        """Say what runs now, and what is left: `here_s` seconds of this part (None = not measured yet), and the later parts.

        "up to" are the seconds of parts that nothing was expected of yet.
        """
        parts = list(self._seconds)
        number = parts.index(self._part)
        seconds = {**self._seconds, **self._expected}
        counted = parts[number + (here_s is not None):]
        left = sum(seconds[part] for part in counted) + (-(self._clock() - self._began) if here_s is None else here_s)
        word = "about" if set(counted) <= set(self._expected) else "up to"
        self._say(f"{number + 1} of {len(parts)}, {self._part}: {what}, {word} {max(1, round(left))} s left")


def _fitting(seconds: float, round_s: float, most: int) -> int:
    return min(most, max(LEAST_ROUNDS, int(seconds // max(round_s, 1e-6))))
