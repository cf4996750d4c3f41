"""What an export says while it works: minutes without a word look like a hang."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Tell = Callable[[str], None]
_EVERY_S = 10.0


def _silent(line: str) -> None:
    """For whom nobody listens."""


_tell: ContextVar[Tell] = ContextVar("tell", default=_silent)


@contextmanager
def telling(tell: Tell | None) -> Iterator[None]:
    """In the block `say` tells this one; None = nobody."""
    token = _tell.set(tell or _silent)
    try:
        yield
    finally:
        _tell.reset(token)


def say(line: str) -> None:
    """What is being done from now on."""
    _tell.get()(line)


class Counted:
    """Steps of one thing that takes long: every ten seconds how many are done."""

    def __init__(self, total: int) -> None:
        self._total, self._done, self._said = total, 0, time.monotonic()

    def step(self) -> None:
        """One more is done."""
        self._done += 1
        if time.monotonic() - self._said >= _EVERY_S and self._done < self._total:
            self._said = time.monotonic()
            say(f"  {self._done} of {self._total}")
