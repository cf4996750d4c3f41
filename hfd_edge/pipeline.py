"""Overlap added outside the stages: a thread that reads ahead, one that writes behind, some that answer; all hand errors to the caller.

These threads wait by SimpleQueue alone: Ctrl-C in the middle of a lock of Python's own (Queue, Semaphore, Event) can lose the word
that wakes the other one, and then both wait for ever; in the middle of Thread.join it marks a thread as ended that still runs;
in the middle of Thread.start it may leave one that runs. So a thread takes nothing up before it has a word that start is over.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from hfd_edge.errors import DeviceError

T = TypeVar("T")
_END = object()


@dataclass(slots=True)
class Stopwatch:
    """Seconds per stage; each stage is written by one thread only."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - start)

    def add(self, stage: str, seconds: float) -> None:
        """Seconds that were measured elsewhere."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds


def prefetch(items: Iterable[T]) -> Iterator[T]:
    """Yield `items` in order while a thread of its own already makes the next one.

    An error in `items` is raised here, at the place in the order where it happened. Leaving the loop early stops the thread.
    """
    process, stopped, ended, begun = os.getpid(), [], _Ended(), False
    made: queue.SimpleQueue = queue.SimpleQueue()
    room: queue.SimpleQueue = queue.SimpleQueue()   # a word for each item that may be made; none before the thread is known to run

    def work() -> None:
        try:
            source = iter(items)
            while room.get() is None and not stopped:
                made.put((next(source, _END), None))
        except BaseException as error:  # noqa: BLE001 - handed to the caller, whatever it is
            made.put((_END, error))
        finally:
            ended.say()

    try:
        _start(work, "hfd-read-ahead")
        begun = True
        room.put(None)
        while True:
            _check_process(process, "reads ahead")
            item, error = made.get()
            if error is not None:
                try:
                    raise error
                finally:
                    del error                           # its traceback holds this frame and the caller's, with all that the run has in memory
            if item is _END:
                return
            room.put(None)
            yield item
    finally:
        stopped.append(True)
        room.put(_END)
        if begun and process == os.getpid():        # what it reads is closed next; one that was not begun reads nothing
            ended.wait()


def _start(work: Callable[[], None], name: str) -> None:
    try:
        threading.Thread(target=work, name=name, daemon=True).start()
    except RuntimeError as error:
        raise DeviceError(f"the thread {name} cannot be started ({error}): this process has all the memory or threads that it may take; raise its limit "
                          "(ulimit -v, ulimit -u, a container's memory or pids), or run fewer at once") from error


class _Ended:
    """Whether a thread has ended: it says so itself."""

    def __init__(self) -> None:
        self._over, self._word = False, queue.SimpleQueue()

    def say(self) -> None:
        """The thread's last call."""
        self._over = True
        self._word.put(None)

    def wait(self, interrupted: Callable[[], None] = lambda: None) -> None:
        """Until then, interrupted or not; an interrupt is raised afterwards, and `interrupted` called at once."""
        try:
            self._wait()
        except BaseException:
            interrupted()
            self._wait()
            raise

    def _wait(self) -> None:
        while not self._over:                       # an interrupt may have taken the word
            self._word.get()


def _check_process(made_in: int, what: str) -> None:
    """Raise DeviceError in a process that was forked in the middle of a run: its queues are here, its threads are not."""
    if made_in != os.getpid():
        raise DeviceError(f"the thread that {what} was started in process {made_in} and does not exist in process "
                          f"{os.getpid()}, forked from it in the middle of a run: start a run of its own there, in a worker "
                          "made with multiprocessing.get_context('spawn')")


class WriteBehind:
    """Calls `write(*item)` in a thread of its own, in order, at most one item behind. A context manager.

    An error of `write` is raised by the next `put` or when the block ends; after it nothing more is written. If the block
    itself fails, what still waits is dropped.
    """

    def __init__(self, write: Callable[..., None]) -> None:
        self._write = write
        self._waiting: queue.SimpleQueue = queue.SimpleQueue()
        self._room: queue.SimpleQueue = queue.SimpleQueue()         # a word for each item that may wait
        self._room.put(None)
        self._error: BaseException | None = None
        self._dropped = False
        self._process, self._ended = os.getpid(), _Ended()

    def __enter__(self) -> WriteBehind:
        try:
            _start(self._work, "hfd-write-behind")
            return self
        except BaseException:
            self._waiting.put(_END)                 # it may run all the same, and nobody leaves a block that was not entered
            raise

    def put(self, *item: object) -> None:
        """Queue one item; waits while another is waiting."""
        _check_process(self._process, "writes behind")
        self._raise_error()
        self._room.get()
        self._waiting.put(item)

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is None:
            _check_process(self._process, "writes behind")
        elif self._process != os.getpid():
            return                                  # the thread that would take what waits is not here
        self._dropped = kind is not None
        self._waiting.put(_END)
        self._ended.wait(self._drop)                # nobody closes a file under the writer
        try:
            if kind is None:
                self._raise_error()
        finally:
            self._error = None                      # as in `prefetch`: its traceback holds this

    def _drop(self) -> None:
        self._dropped = True

    def _work(self) -> None:
        try:
            while (item := self._waiting.get()) is not _END:
                self._room.put(None)
                if self._error is None and not self._dropped:
                    try:
                        self._write(*item)
                    except BaseException as error:  # noqa: BLE001 - handed to the caller, whatever it is
                        self._error = error
        finally:
            self._ended.say()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error


def _over() -> DeviceError:
    return DeviceError("an answer was asked for, and the threads that answer have ended, or could not all be started: start another run")


class Answers:
    """Makes calls in `count` threads of its own, which start with the first call; calls are taken up in the order in which they are given."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._calls: queue.SimpleQueue = queue.SimpleQueue()
        self._ended: list[_Ended] = []
        self._dropped: list[bool] = []              # shared with the threads, which do not hold this: it may go before they do
        self._process = os.getpid()

    def __del__(self) -> None:
        self._let_go()                              # an interrupt in the middle of `end` may have left some waiting

    def of(self, call: Callable[[], T]) -> Callable[[], T]:
        """Hand a call in. What is returned waits for its answer and gives it, or raises its error; after the end that is a DeviceError."""
        if self._dropped:
            raise _over()
        if not self._ended:
            self._begin()
        answer: queue.SimpleQueue = queue.SimpleQueue()
        self._calls.put((call, answer))

        def taken() -> T:
            _check_process(self._process, "answers")
            made, error = answer.get()
            if error is None:
                return made
            try:
                raise error
            finally:
                del error                           # its traceback holds this frame, and the call all that it needed

        return taken

    def end(self) -> None:
        """Wait until no call is being made; those that wait are dropped."""
        self._dropped.append(True)
        self._let_go()
        if self._process == os.getpid():
            with ExitStack() as every:
                for ended in self._ended:
                    every.callback(ended.wait)

    def _let_go(self) -> None:
        for _ in range(self._count):                # one whose start was interrupted may run too
            self._calls.put(_END)

    def _begin(self) -> None:
        self._dropped.append(True)                  # until all have started: fewer would answer alike, and slower
        for _ in range(self._count):
            ended = _Ended()
            _start(partial(_answer_calls, self._calls, self._dropped, ended), "hfd-answers")
            self._ended.append(ended)
        self._dropped.clear()


def _answer_calls(calls: queue.SimpleQueue, dropped: list[bool], ended: _Ended) -> None:
    try:
        while (given := calls.get()) is not _END:
            _answer(*given, dropped)
            given = None                            # what it needed is not held while the thread waits
    finally:
        ended.say()


def _answer(call: Callable[[], object], answer: queue.SimpleQueue, dropped: list[bool]) -> None:
    if dropped:
        answer.put((None, _over()))
        return
    try:
        answer.put((call(), None))
    except BaseException as error:  # noqa: BLE001 - handed to the caller, whatever it is
        answer.put((None, error))
