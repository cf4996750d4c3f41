"""At the interpreter's end a run in a daemon thread ends first.

Until 3.14 Python ends a daemon thread where it next wants the interpreter's lock; inside a C++ library that ends the whole process ("terminate
called without an active exception", SIGABRT). Threads that are no daemons, and what they do at the end, Python itself waits for.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar

Call = TypeVar("Call", bound=Callable[..., Any])
LIMIT_S = 10.0                  # a thread that waits for what only the caller could give it must not keep the process for ever
_LOOK_S = 0.005
_at_work: set[object] = set()
_afterwards: list[Callable[[], None]] = []
_over = False


def ends_first(call: Call) -> Call:
    """A call whose end the interpreter's end waits for; it looks for that by `leave_at_end`."""
    @wraps(call)
    def awaited(*given: Any, **named: Any) -> Any:
        with _work():
            return call(*given, **named)

    return awaited          # type: ignore[return-value]


def leave_at_end() -> None:
    """In a daemon thread of an interpreter that ends: raise SystemExit, of which threading says nothing."""
    if _over and threading.current_thread().daemon:
        raise SystemExit


def after_runs(call: Callable[[], None]) -> Callable[[], None]:
    """To be called at the end, once no run is under way."""
    _afterwards.append(call)
    return call


@contextmanager
def _work() -> Iterator[None]:
    if not threading.current_thread().daemon:
        yield
        return
    mark = object()
    _at_work.add(mark)                          # before it looks: the end looks for marks after it said that it is there
    try:
        leave_at_end()
        yield
    finally:
        _at_work.discard(mark)


@atexit.register
def _end() -> None:
    global _over
    try:
        _over = True
        deadline = time.monotonic() + LIMIT_S
        while _at_work and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
    finally:                                    # Ctrl-C ends the waiting, not the tidying up
        for call in _afterwards:
            call()


os.register_at_fork(after_in_child=_at_work.clear)          # those threads are not there
