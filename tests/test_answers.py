"""Answers of several threads: in the order taken, every error, nothing dropped in the middle, no thread left over."""

import gc
import os
import queue
import signal
import sys
import threading
import time
import weakref

import pytest

from hfd_edge.errors import DeviceError
from hfd_edge.pipeline import Answers
from tests.test_pipeline import _gone, interrupted_at

LIMIT_S = 10


def ends(answers):
    """Whether the end comes, and no thread is left; not in this thread, which may not wait for ever."""
    ending = threading.Thread(target=answers.end, daemon=True)
    ending.start()
    ending.join(LIMIT_S)
    return not ending.is_alive() and _gone("hfd-answers")


@pytest.fixture
def answers():
    made = Answers(2)
    yield made
    assert ends(made)


class Gate:
    """A call that says when it is being made, and returns once it is opened."""

    def __init__(self):
        self._entered, self._open = queue.SimpleQueue(), threading.Event()
        self.left = 0

    def __call__(self):
        self._entered.put(None)
        assert self._open.wait(LIMIT_S)
        self.left += 1

    def wait(self, calls=1):
        for _ in range(calls):
            self._entered.get(timeout=LIMIT_S)

    def open(self):
        self._open.set()


def test_each_answer_is_that_of_its_call_in_whatever_order_they_are_taken(answers):
    taken = [answers.of(lambda number=number: number) for number in range(50)]
    assert [take() for take in taken[:25]] == list(range(25))
    assert [take() for take in reversed(taken[25:])] == list(range(49, 24, -1))


def test_the_earlier_answer_comes_first_although_the_later_call_is_done_before_it(answers):
    done = threading.Event()
    first, second = answers.of(lambda: done.wait(LIMIT_S) and "first"), answers.of(lambda: done.set() or "second")
    assert (first(), second()) == ("first", "second")


def test_two_calls_are_made_at_once(answers):
    meeting = threading.Barrier(2, timeout=LIMIT_S)
    taken = [answers.of(meeting.wait) for _ in range(2)]
    assert sorted(take() for take in taken) == [0, 1]


def test_calls_begin_in_order_and_no_more_at_once_than_there_are_threads(answers):
    held, begun = Gate(), []
    answers.of(held)
    held.wait()                             # one thread is busy, the other one takes what follows
    taken = [answers.of(lambda number=number: begun.append((number, threading.get_ident()))) for number in range(50)]
    for take in taken:
        take()
    held.open()
    assert [number for number, _ in begun] == list(range(50)) and len({thread for _, thread in begun}) == 1


def test_an_error_is_raised_where_its_answer_is_taken_and_later_calls_still_answer(answers):
    def fail():
        raise OSError("tile 1 cannot be read")

    taken = [answers.of(call) for call in (lambda: 0, fail, fail, lambda: 3, lambda: 4)]
    assert taken[0]() == 0
    for take in taken[1:3]:
        with pytest.raises(OSError, match="tile 1 cannot be read"):
            take()
    assert [take() for take in taken[3:]] == [3, 4]


def test_the_end_waits_for_calls_being_made_and_drops_those_that_wait():
    answers, gate, dropped = Answers(2), Gate(), []
    _, _, *waiting = [answers.of(call) for call in (gate, gate, *(lambda: dropped.append(True),) * 3)]
    gate.wait(calls=2)
    ending = threading.Thread(target=answers.end, daemon=True)
    ending.start()
    ending.join(0.5)
    waited = ending.is_alive()
    gate.open()
    ending.join(LIMIT_S)
    assert waited and not ending.is_alive() and gate.left == 2 and not dropped
    for late in (*waiting, lambda: answers.of(gate)):
        with pytest.raises(DeviceError, match="the threads that answer have ended"):
            late()
    assert _gone("hfd-answers")


def test_the_end_may_come_without_a_call_and_twice():
    before, answers = threading.active_count(), Answers(2)
    assert threading.active_count() == before, "threads start with the first call"
    answers.end()
    answers.end()
    assert threading.active_count() == before


@pytest.fixture(params=[RuntimeError("can't start new thread"), KeyboardInterrupt()], ids=["refused", "interrupted"])
def nth_start_fails(request, monkeypatch):
    """Let the nth Thread.start from now on raise an error of the system, or Ctrl-C once the thread runs."""
    start, begun = threading.Thread.start, []

    def fail_at(number):
        def stopped(thread):
            begun.append(thread)
            if len(begun) != number or isinstance(request.param, KeyboardInterrupt):
                start(thread)
            if len(begun) == number:
                raise request.param

        monkeypatch.setattr(threading.Thread, "start", stopped)
        return KeyboardInterrupt if isinstance(request.param, KeyboardInterrupt) else DeviceError

    return fail_at


@pytest.mark.parametrize("number", [1, 2])
def test_threads_that_did_start_end_although_one_could_not(nth_start_fails, number):
    answers, made = Answers(2), []
    with pytest.raises(nth_start_fails(number)) as raised:
        answers.of(lambda: made.append(True))
    with pytest.raises(DeviceError, match="could not all be started: start another run"):
        answers.of(lambda: made.append(True))
    if raised.type is DeviceError:
        assert raised.match("hfd-answers cannot be started .can't start new thread.*ulimit -u")
        assert number == 2 or _gone("hfd-answers"), "the first one did not start"
    assert ends(answers) and not made


def test_an_answer_taken_in_a_forked_process_is_refused(answers):
    gate = Gate()
    taken = answers.of(gate)
    gate.wait()
    if (pid := os.fork()) == 0:
        signal.alarm(LIMIT_S)               # rather dead than waiting for a thread that is not here
        try:
            taken()
        except DeviceError as error:
            answers.end()
            os._exit(f"started in process {os.getppid()} " not in str(error) or str(os.getpid()) not in str(error))
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    gate.open()
    assert taken() is None and gate.left == 1, "the parent's run goes on"


def test_what_a_call_needed_is_freed_while_the_threads_wait(answers):
    class Batch:
        """Stands for an array: what can be referred to weakly."""

        def __call__(self):
            return 1

    taken = [answers.of(Batch()) for _ in range(2)]
    assert [take() for take in taken] == [1, 1]
    batch = Batch()
    needed, take = weakref.ref(batch), answers.of(batch)
    del batch
    assert take() == 1
    deadline = time.monotonic() + LIMIT_S
    while needed() is not None and time.monotonic() < deadline:
        time.sleep(0.01)                    # the thread that answered still has to come back to waiting
    assert needed() is None


def test_an_interrupt_while_an_answer_is_waited_for_comes_out_and_the_threads_end(answers):
    interrupted = threading.Event()

    def call():
        time.sleep(0.2)                     # for the main thread to wait
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        interrupted.wait(LIMIT_S)
        return "whole"

    take = answers.of(call)
    with pytest.raises(KeyboardInterrupt):
        take()
    interrupted.set()
    assert take() == "whole"


def test_an_interrupt_while_the_end_waits_comes_out_after_every_call_is_made():
    answers, left = Answers(2), []

    def call(seconds):
        begun.wait()
        time.sleep(seconds)
        left.append(seconds)

    begun = threading.Barrier(3, timeout=LIMIT_S)
    for seconds in (0.4, 0.8):
        answers.of(lambda seconds=seconds: call(seconds))
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        begun.wait()
        with pytest.raises(KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, 0.15)
            answers.end()
        assert left == [0.4, 0.8]
    finally:
        signal.signal(signal.SIGALRM, before)
    assert _gone("hfd-answers")


def asks(begin, end):
    answers = Answers(2)
    try:
        answers.of(lambda: None)()
        begin()
        taken = [answers.of(lambda number=number: number) for number in range(3)]
        assert [take() for take in taken] == [0, 1, 2]
        end()
    finally:
        sys.settrace(None)
        answers.end()


def asks_and_ends(begin, end):
    answers = Answers(2)
    try:
        assert answers.of(lambda: "answered")() == "answered"
    finally:
        begin()
        answers.end()
        end()


@pytest.mark.parametrize("use", [asks, asks_and_ends])
def test_an_interrupt_anywhere_ends_the_threads(use):
    line, outcome, found = 1, "", {}
    while outcome != "whole" and line < 600:
        outcome = interrupted_at(line, use)
        found.setdefault(outcome, []).append(line)
        line += 1
    assert "stuck" not in found and outcome == "whole" and len(found["interrupted"]) > 5
    gc.collect()                            # the interrupt's traceback holds what was interrupted
    assert _gone("hfd-answers")
