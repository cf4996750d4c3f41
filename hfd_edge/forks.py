"""A fork waits until no thread of ours is inside a library that holds locks of its own (GDAL; ONNX Runtime while it makes a session).

A forked process inherits a lock that another thread held as held for ever, and waits for ever at its first call. GDAL does not
see to it, so each thread that calls it holds a lock meanwhile, and a fork takes all of these first: it waits for a strip to be
read or written, or for a map to be joined.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any

_here = threading.local()
_growing = threading.RLock()
_all: weakref.WeakSet = weakref.WeakSet()
_taken: list = []                           # by the fork that is under way, `_growing` first
_kept: weakref.WeakSet = weakref.WeakSet()
_left: list = []                            # of the process this one was forked from


def no_fork() -> threading.RLock:
    """This thread's lock, to be held around calls into such a library: `with no_fork(): ...`. A thread may hold it twice, and may
    itself fork while it does."""
    lock = getattr(_here, "lock", None)
    if lock is None:
        lock = threading.RLock()
        with _growing:
            _all.add(lock)
        _here.lock = lock
    return lock


def _take_all() -> None:
    _take(_growing)
    for lock in list(_all):
        _take(lock)


def _take(lock: threading.RLock) -> None:
    lock.acquire()
    _taken.append(lock)


def _give_back() -> None:
    taken, _taken[:] = _taken[:], []                # another thread that forks adds its own as soon as `_growing` is free
    for lock in reversed(taken):
        lock.release()


def keep_in_children(thing: Any) -> None:
    """Never free `thing` in a forked process: its destructor would wait for threads that are not there, or write into a file of the
    process that opened it."""
    _kept.add(thing)


def _in_child() -> None:
    _give_back()
    _left.extend(_kept)
    _kept.clear()


os.register_at_fork(before=_take_all, after_in_parent=_give_back, after_in_child=_in_child)
