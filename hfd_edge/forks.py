"""A fork waits until no thread of ours is inside a library that holds locks of its own (GDAL; ONNX Runtime while it makes a session).

A forked process inherits a lock that another thread held as held for ever, and waits for ever at its first call. GDAL does not
see to it, so each thread that calls it holds a lock meanwhile, and a fork takes all of these first: it waits for a strip to be
read or written, or for a map to be joined.
"""

from __future__ import annotations

import _thread
import ctypes
import os
import threading
import weakref
from typing import Any

_here = threading.local()
_growing = threading.RLock()
_all: weakref.WeakSet = weakref.WeakSet()
_taken: list = []                           # by the fork that is under way, `_growing` first
_SOON_S = 0.02
_interrupts: list = []                      # that came while it waited
_kept: weakref.WeakSet = weakref.WeakSet()


def no_fork() -> threading.RLock:
    """This thread's lock, to be held around calls into such a library: `with no_fork(): ...`. A thread may hold it twice, and may
    fork while it does, unless another thread forks too."""
    lock = getattr(_here, "lock", None)
    if lock is None:
        lock = threading.RLock()
        with _growing:
            _all.add(lock)
        _here.lock = lock
    return lock


def _take_all() -> None:
    """Ctrl-C meanwhile does not end the waiting: Python would go on with the fork. It is raised after it."""
    while True:
        try:
            _take(_growing)
            for lock in list(_all):
                if lock is not getattr(_here, "lock", None):
                    _take(lock)
            return
        except BaseException as error:  # noqa: BLE001 - whatever a signal's handler raises
            _interrupts.append(error)


def _take(lock: threading.RLock) -> None:
    if not lock._is_owned():
        lock.acquire()
    if lock not in _taken:
        _taken.append(lock)


def _give_back() -> None:
    taken, _taken[:] = _taken[:], []                # another thread that forks adds its own as soon as `_growing` is free
    interrupted, _interrupts[:] = bool(_interrupts), []
    for lock in reversed(taken):
        lock.release()
    if interrupted:                                 # by a thread: what is raised in here Python only prints
        threading.Timer(_SOON_S, _thread.interrupt_main).start()


def keep_in_children(thing: Any) -> None:
    """Never free `thing` in a forked process: its destructor would wait for threads that are not there, or write into a file of the
    process that opened it."""
    _kept.add(thing)


def _in_child() -> None:
    _interrupts.clear()                             # the parent's
    _give_back()
    for thing in _kept:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))         # never given back, not even when the interpreter ends
    _kept.clear()


os.register_at_fork(before=_take_all, after_in_parent=_give_back, after_in_child=_in_child)
