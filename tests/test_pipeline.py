"""Read-ahead and write-behind: same order, every error, no thread left over."""

import gc
import subprocess
import sys
import threading
import time
import weakref

import pytest

from hfd_edge.errors import DeviceError
from hfd_edge.pipeline import WriteBehind, prefetch


def numbers(upto, fail_at=None):
    for i in range(upto):
        if i == fail_at:
            raise OSError(f"row {i} cannot be read")
        yield i


def test_prefetch_keeps_the_order_and_ends():
    assert list(prefetch(numbers(100))) == list(range(100))


def test_prefetch_raises_the_error_where_it_happened():
    got = []
    with pytest.raises(OSError, match="row 5 cannot be read"):
        for item in prefetch(numbers(10, fail_at=5)):
            got.append(item)
    assert got == [0, 1, 2, 3, 4]


def test_prefetch_runs_one_ahead_and_not_further():
    made = []

    def items():
        for i in range(10):
            made.append(i)
            yield i

    ahead = prefetch(items())
    assert next(ahead) == 0
    time.sleep(0.3)
    assert made == [0, 1]               # taken, and the next one
    ahead.close()


def test_a_thread_that_the_system_does_not_give_is_named_with_the_limit(monkeypatch):
    def start(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(DeviceError, match="hfd-read-ahead cannot be started .can't start new thread.*ulimit -u"):
        next(prefetch(numbers(3)))
    with pytest.raises(DeviceError, match="hfd-write-behind cannot be started"), WriteBehind(print):
        pass


def test_leaving_the_loop_early_stops_the_thread():
    for item in prefetch(numbers(10**9)):
        if item == 3:
            break
    assert not [t for t in threading.enumerate() if t.name == "hfd-read-ahead" and t.is_alive()] or _gone("hfd-read-ahead")


def _gone(name):
    deadline = time.time() + 5
    while time.time() < deadline:
        if not any(t.name == name for t in threading.enumerate()):
            return True
        time.sleep(0.05)
    return False


def test_write_behind_writes_everything_in_order():
    written = []
    with WriteBehind(lambda a, b: written.append((a, b))) as behind:
        for i in range(50):
            behind.put(i, -i)
    assert written == [(i, -i) for i in range(50)]


def test_write_behind_hands_over_the_first_error_and_writes_nothing_after_it():
    written = []

    def write(i):
        if i == 3:
            raise OSError("disk full")
        written.append(i)

    with pytest.raises(OSError, match="disk full"):
        with WriteBehind(write) as behind:
            for i in range(50):
                behind.put(i)
    assert written == [0, 1, 2]
    assert _gone("hfd-write-behind")


def test_an_error_in_the_block_wins_and_ends_the_thread():
    with pytest.raises(KeyError):
        with WriteBehind(lambda i: None) as behind:
            behind.put(1)
            raise KeyError("engine failed")
    assert _gone("hfd-write-behind")


class Buffer:
    """Stands for an array: what can be referred to weakly."""


def reads(fail):
    def items():
        yield 1
        raise OSError("truncated")

    for _ in prefetch(items()):
        fail.append(None)


def puts(fail):
    with WriteBehind(lambda: fail[99]) as behind:
        while True:
            behind.put()


def puts_last(fail):
    with WriteBehind(lambda: fail[99]) as behind:
        behind.put()


@pytest.mark.parametrize("use", [reads, puts, puts_last])
def test_what_a_failed_run_had_is_freed_with_its_error_not_when_python_looks_for_circles(use):
    """A run's buffers, 1 GiB of them, stayed until then: a scene that cannot be read to its end makes few new objects."""
    def run():
        buffer = Buffer()
        held.append(weakref.ref(buffer))
        use([])

    held = []
    gc.disable()
    try:
        with pytest.raises((OSError, IndexError)) as caught:
            run()
        assert held[0]() is not None, "the traceback holds it"
        del caught
        assert held[0]() is None
    finally:
        gc.enable()


def interrupted_at(line: int, use) -> str:
    """Run `use` in a thread that is interrupted, as by Ctrl-C, at its nth line of Python, our own or a library's."""
    seen, outcome = 0, ["stuck"]

    def tracer(frame, event, arg):
        nonlocal seen
        seen += event == "line"
        if seen == line and event == "line":
            sys.settrace(None)
            raise KeyboardInterrupt
        return tracer

    def run():
        try:
            use(lambda: sys.settrace(tracer), lambda: sys.settrace(None))
            outcome[0] = "whole"
        except KeyboardInterrupt:
            outcome[0] = "interrupted"

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(5)
    return outcome[0]


def writes(begin, end):
    with WriteBehind(lambda item: time.sleep(0.002)) as behind:
        time.sleep(0.005)                   # the writer waits for work
        begin()
        for item in range(3):
            behind.put(item)
        end()


def reads(begin, end):
    items = prefetch(iter(range(6)))
    try:
        next(items)
        time.sleep(0.005)
        begin()
        for _ in range(3):
            next(items)
        end()
    finally:
        sys.settrace(None)
        items.close()


@pytest.mark.parametrize("use", [writes, reads])
def test_an_interrupt_anywhere_ends_the_threads(use):
    line, outcome, found = 1, "", {}
    while outcome != "whole" and line < 600:
        outcome = interrupted_at(line, use)
        found.setdefault(outcome, []).append(line)
        line += 1
    assert "stuck" not in found and outcome == "whole" and len(found["interrupted"]) > 5
    assert _gone("hfd-write-behind") and _gone("hfd-read-ahead")


@pytest.fixture(params=["before the thread runs", "when it runs"])
def interrupted_start(request, monkeypatch):
    """Ctrl-C in Thread.start; the threads that it was called for."""
    begun, start = [], threading.Thread.start

    def stopped(thread):
        begun.append(thread)
        if request.param == "when it runs":
            start(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", stopped)
    return begun


def _ended(threads):
    for thread in threads:
        if thread.ident is not None:
            thread.join(5)
    return threads and not any(thread.is_alive() for thread in threads)


def test_a_writer_whose_start_is_interrupted_ends(interrupted_start):
    with pytest.raises(KeyboardInterrupt), WriteBehind(lambda item: None):
        pass
    assert _ended(interrupted_start)


def test_a_reader_whose_start_is_interrupted_reads_nothing_and_ends(interrupted_start):
    made = []

    def items():
        made.append(True)
        yield 1

    with pytest.raises(KeyboardInterrupt):
        next(prefetch(items()))
    assert _ended(interrupted_start) and not made, "what it would read may be closed by now"


INTERRUPTED = """
import os, signal, sys, threading, time
import numpy as np
from hfd_edge.pipeline import WriteBehind, prefetch
from hfd_edge.raster import RasterProfile, RasterWriter
class Stop(BaseException): pass
def stop(*_): raise Stop
signal.signal(signal.SIGALRM, stop)
said = []
def slow(item):
    said.append("begun"); time.sleep(1); said.append("ended")
"""


@pytest.mark.parametrize("work", [
    "with WriteBehind(slow) as behind:\n        behind.put(1)\n        signal.setitimer(signal.ITIMER_REAL, 0.3)",
    "ahead = prefetch(slow(each) for each in range(9)); next(ahead)\n    while said[-1] == 'ended': pass\n"
    "    signal.setitimer(signal.ITIMER_REAL, 0.3); ahead.close()"])
def test_a_signal_while_the_thread_is_waited_for_does_not_leave_it_running(work):
    done = subprocess.run([sys.executable, "-c", f"{INTERRUPTED}try:\n    {work}\nexcept Stop:\n    print(*said)"], capture_output=True, text=True, check=False)
    words = done.stdout.split()
    assert words and words.count("begun") == words.count("ended"), (done.stdout, done.stderr)


def test_no_file_is_closed_under_the_thread_that_writes_it(tmp_path):
    work = """
values = np.random.default_rng(0).normal(size=(1, 6000, 6000)).astype(np.float32)
try:
    with RasterWriter(sys.argv[1], RasterProfile(6000, 6000, 1, "float32")) as writer, WriteBehind(writer.write) as behind:
        behind.put(0, values)
        signal.setitimer(signal.ITIMER_REAL, float(sys.argv[2]))
except Stop:
    print(os.listdir(os.path.dirname(sys.argv[1])))
"""
    for seconds in (0.2, 0.35, 0.5):
        done = subprocess.run([sys.executable, "-c", INTERRUPTED + work, str(tmp_path / "x.tif"), str(seconds)], capture_output=True, text=True, check=False)
        assert done.returncode == 0 and done.stdout in ("[]\n", ""), (seconds, done.returncode, done.stdout, done.stderr)
        (tmp_path / "x.tif").unlink(missing_ok=True)
