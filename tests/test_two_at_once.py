"""Two tiles at once on the CPU: the same map, an error at its tile, and nothing left over."""

import itertools
import threading
import time
import weakref
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hfd_edge.plan
from hfd_edge.engine import onnxruntime
from hfd_edge.engine.base import RunMemory, TwoAtOnce
from hfd_edge.engine.onnxruntime import OnnxRuntimeEngine
from hfd_edge.errors import DeviceError, EngineError
from hfd_edge.run import pace
from hfd_edge.run.host import HostStages
from hfd_edge.segmenter import Segmenter
from hfd_edge.source import ArraySource
from tests.engines import random_engine


@pytest.fixture
def small(monkeypatch):
    """Scenes of a test are small: two at once from two tiles on, tried in a run of 24."""
    monkeypatch.setattr(hfd_edge.plan, "TWO_FROM", (2, 0))


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return random_engine(tmp_path_factory.mktemp("two") / "random.engine", halo_bounded_px=16)


def scene(rows, cols, seed=0):
    """Noise with holes and an empty middle: tiles without a pixel are not sent to the engine."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(2, rows, cols)).astype(np.float32)
    values[:, rng.random((rows, cols)) < 0.1] = np.nan
    values[:, rows // 3:2 * rows // 3, cols // 4:3 * cols // 4] = np.nan
    return values


def needed(seg, values):
    """Bytes that a run of these takes."""
    return seg.prepare(ArraySource(values, 2), seg.declared(None, values.dtype)).plan.memory_bytes


def both(engine, values, monkeypatch, **named):
    """The map of one at a time and that of two, and which engines answered the latter."""
    asked, infer = [], OnnxRuntimeEngine.infer
    with Segmenter(engine, threads=2, **named) as seg:
        with monkeypatch.context() as only:
            only.setattr(seg, "_own_request", lambda: seg._request)
            wanted = seg.run(values, confidence=True)
        with monkeypatch.context() as watched:
            watched.setattr(OnnxRuntimeEngine, "infer", lambda self, *given: asked.append(self._threads) or infer(self, *given))
            got = seg.run(values, confidence=True)
        return wanted, got, asked


@pytest.mark.parametrize("named", [{}, {"tile": 128}, {"tile": (96, 160), "batch": 3}, {"tile": 96, "halo": "bounded"}, {"tile": 96, "halo": 16},
                                   {"tile": 128, "halo": 16, "stitch": "hann"}, {"tile": 136, "halo": 24, "stitch": "gaussian", "batch": 2}])
def test_the_map_is_that_of_one_tile_at_a_time(engine, small, monkeypatch, named):
    monkeypatch.setattr(pace, "CLEARLY", float("inf"))      # two at once pay, whatever the clock says
    wanted, got, asked = both(engine, scene(400, 520), monkeypatch, **named)
    np.testing.assert_array_equal(got.labels, wanted.labels)
    np.testing.assert_array_equal(got.confidence, wanted.confidence)
    assert (got.report.tiles_run, got.report.tiles_empty, got.report.halo) == (wanted.report.tiles_run, wanted.report.tiles_empty, wanted.report.halo)
    assert (1 in asked) == ("tile" in named), "a scene of one tile has all threads"
    assert (wanted.report.at_once, got.report.at_once) == (1, 2 if "tile" in named else 1)
    assert {"gather", "engine", "finish"} <= set(got.report.timings)


@settings(deadline=None, max_examples=25)
@given(rows=st.integers(1, 330), cols=st.integers(1, 330), tile=st.sampled_from([88, 104, 160]), seed=st.integers(0, 99),
       window=st.booleans())
def test_any_scene_and_any_window_of_it(engine, rows, cols, tile, seed, window):
    values = scene(rows, cols, seed)
    with pytest.MonkeyPatch.context() as patch, Segmenter(engine, threads=2, tile=tile) as seg:
        patch.setattr(hfd_edge.plan, "TWO_FROM", (2, 0))
        maps = []
        for request in (seg._request, seg._own_request()):
            where = (rows // 3, cols // 3, rows - rows // 3, cols - cols // 3) if window else None
            run = seg.prepare(ArraySource(values, 2), seg.declared(None, values.dtype), request=replace(request, window=where),
                              allow_empty=True)
            maps.append([part.labels.copy() for part in seg.finished_strips(run)])
            run.ended()
    for wanted, got in zip(*maps, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_one_buffer_too_few_is_seen(engine, small, monkeypatch):
    """The negative control: a tile gathered where an earlier one is still being answered."""
    slow, infer = threading.Event(), OnnxRuntimeEngine.infer
    monkeypatch.setattr(OnnxRuntimeEngine, "infer", lambda self, *given: slow.wait(0.02) or infer(self, *given))
    made = HostStages.__init__

    def with_one_buffer(self, *given):
        made(self, *given)
        while len(self._held) > 1:
            self._held.pop()

    monkeypatch.setattr(HostStages, "__init__", with_one_buffer)
    wanted, got, _ = both(engine, scene(400, 520), monkeypatch, tile=128)
    assert (got.labels != wanted.labels).any()


def test_an_error_is_that_of_its_tile_and_no_thread_is_left(engine, small, monkeypatch):
    values, infer, calls = scene(400, 520), OnnxRuntimeEngine.infer, []

    def fails(self, *given):
        calls.append(1)
        if len(calls) > 6:
            raise EngineError("the fan has stopped")
        return infer(self, *given)

    with Segmenter(engine, threads=2, tile=128) as seg:
        seg.run(values)
        monkeypatch.setattr(OnnxRuntimeEngine, "infer", fails)
        with pytest.raises(EngineError, match=r"tile at row \d+, column \d+ .128 x 1\d\d with halo.: the fan has stopped"):
            seg.run(values)
        assert not [thread for thread in threading.enumerate() if thread.name == "hfd-answers"]
        monkeypatch.undo()
        seg.run(values)
    with pytest.raises(EngineError, match="the engine of graph-fp32.onnx is closed"):
        seg._engine.for_two()


def test_what_is_slower_is_not_done_again(engine, monkeypatch, small):
    values, times = scene(640, 640), itertools.accumulate([1.0] * (pace.ONE[1] + 1) + [2.0] * 99)
    monkeypatch.setattr(pace.Pace, "__init__", slow_clock(pace.Pace.__init__, lambda: next(times)))
    with Segmenter(engine, threads=2, tile=160, halo="exact") as seg:
        two: TwoAtOnce = seg._engine.two_at_once
        wanted, report = (found := seg.run(values)).labels, found.report
        assert report.at_once == 1 and "two at once" not in str(report), "what the run came to, not what it began with"
        assert two.pays is False and seg._own_request() == seg._request
        np.testing.assert_array_equal(seg.run(values).labels, wanted)
    with Segmenter(engine, threads=1) as seg:
        assert seg._engine.two_at_once is None and seg._own_request() == seg._request


def test_what_strips_wait_for_is_not_counted_against_either_way(engine, monkeypatch, small):
    """The second strip comes late, between the answers that time two at once; an engine that sleeps is twice as fast with two."""
    infer = OnnxRuntimeEngine.infer
    values = scene(400, 800)
    with Segmenter(engine, threads=2, tile=160, halo="exact") as seg:
        run = seg.prepare(ArraySource(values, 2), seg.declared(None, values.dtype))
        monkeypatch.setattr(OnnxRuntimeEngine, "infer", lambda self, *given: time.sleep(0.02) or infer(self, *given))
        late = (time.sleep(0.2 * (number > 0)) or window for number, window in enumerate(seg.windows(run)))
        for _ in seg.finished_strips(run, late):
            continue
        assert seg._engine.two_at_once.pays is True


def test_what_is_held_for_two_stays_for_runs_for_one_where_memory_has_room(engine, small):
    with Segmenter(engine, threads=2, tile=128) as seg:
        seg._engine.two_at_once.pays = True                 # whatever the clock says
        wanted, one = seg.run(scene(400, 520)).labels, seg._engine._session
        second = seg._engine._second
        assert seg.run(scene(70, 90)).report.at_once == 1
        np.testing.assert_array_equal(seg.run(scene(400, 520)).labels, wanted)
        assert seg._engine._session is one and seg._engine._second is second


def test_what_is_held_for_two_is_given_back_where_a_run_for_one_has_no_room_beside_it(engine, small):
    with Segmenter(engine, threads=2, tile=128, halo="exact") as seg:
        seg._engine.two_at_once.pays = True
        wanted, one = seg.run(scene(400, 520)).labels, weakref.ref(seg._engine._session)
        second = weakref.ref(seg._engine._second._session)
        seg._request = replace(seg._request, memory=needed(seg, scene(40, 40)))
        assert seg.run(scene(40, 40)).report.at_once == 1 and one() is None and second() is None
        seg._request = replace(seg._request, memory=None)
        np.testing.assert_array_equal(seg.run(scene(400, 520)).labels, wanted)


def test_what_is_held_for_two_is_given_back_where_two_do_not_pay(engine, small):
    with Segmenter(engine, threads=2, tile=128) as seg:
        seg._engine.two_at_once.pays = True
        seg.run(scene(400, 520))
        second, seg._engine.two_at_once.pays = weakref.ref(seg._engine._second._session), False
        seg.run(scene(400, 520))
        assert second() is None


@pytest.mark.parametrize("threads", [1, 2])
def test_sizes_that_do_not_fit_together_are_run_in_memory_of_their_own(engine, threads):
    values = [scene(rows, 600, rows) for rows in (600, 250, 610, 250)]
    with Segmenter(engine, threads=threads, halo="exact") as alone:
        wanted = [alone.run(each).labels for each in values]
        sessions, budget = [], max(needed(alone, each) for each in values)
    with Segmenter(engine, threads=threads, halo="exact", memory=budget) as seg:
        for each, labels in zip(values, wanted):
            np.testing.assert_array_equal(seg.run(each).labels, labels)
            sessions.append(seg._engine._session)
    assert len({*map(id, sessions)}) > 1


def test_a_close_ends_a_run_for_two_although_another_one_is_for_one(engine, small):
    with Segmenter(engine, threads=2, tile=128) as seg:
        strips = seg.finished_strips(seg.prepare(hfd_edge.segmenter.ArraySource(scene(4000, 520), 2), seg.declared(None, np.float32)))
        next(strips)
        seg.run(scene(70, 90))
        seg.close()
        with pytest.raises(EngineError, match="is closed"):
            list(strips)


def test_what_a_session_holds_is_bounded_and_so_is_what_is_remembered_of_it(engine):
    with Segmenter(engine, threads=1) as seg:
        before, held = seg._engine._session, []
        for number in range(1, 300):
            seg._engine.make_room(RunMemory((1, 8 * number, 8), 1000, 10**6))
            held.append(sum(seg._engine._held.values()))
        assert held[0] == 1000 and set(held[1:]) == {int(1000 * onnxruntime.MIXED_HOLD)} and len(seg._engine._held) <= 3
        seg._engine.make_room(RunMemory((1, 8, 8), 1000, 500))
        assert seg._engine._session is before, "just within the budget"
        seg._engine.make_room(RunMemory((1, 8, 8), 1000, 499))
        assert seg._engine._session is not before and seg._engine._held == {(1, 8, 8): 1000}
        before = seg._engine._session
        seg._engine.make_room(RunMemory((1, 8, 8), 1000, 0))
        assert seg._engine._session is before, "of one size there is nothing to give back"


@pytest.mark.parametrize("size", [None, 5000])
def test_a_package_that_is_written_over_leaves_its_segmenter_as_it_was(tmp_path, small, size):
    """Copied onto (cp, scp): another network of the same size would answer in silence, and a shorter file is a bus error."""
    path, other = random_engine(tmp_path / "a.engine"), random_engine(tmp_path / "b.engine", seed=2)
    assert path.stat().st_size == other.stat().st_size
    with Segmenter(path, threads=1, tile=128) as alone:
        wanted = alone.run(scene(400, 520)).labels
    with Segmenter(path, threads=2, tile=128) as seg:
        before = seg._engine._session
        path.write_bytes(other.read_bytes()[:size])
        np.testing.assert_array_equal(seg.run(scene(400, 520)).labels, wanted)              # an engine for two is made
        seg._engine.make_room(RunMemory((1, 64, 64), 1, 0))
        assert seg._engine._session is not before
        np.testing.assert_array_equal(seg.run(scene(400, 520)).labels, wanted)


def slow_clock(made, clock):
    return lambda self, two, calls, _: made(self, two, calls, clock)


def test_two_threads_with_two_tiles_each(engine, small):
    values = [scene(400, 520, seed) for seed in (1, 2)]
    with Segmenter(engine, threads=2, tile=128) as seg, Segmenter(engine, threads=1, tile=128) as alone:
        wanted, got = [alone.run(each).labels for each in values], [None, None]

        def run(i):
            got[i] = [seg.run(values[i]).labels for _ in range(5)]

        threads = [threading.Thread(target=run, args=(i,)) for i in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for i in range(2):
        for labels in got[i]:
            np.testing.assert_array_equal(labels, wanted[i])


def test_threads_that_the_system_refuses_are_an_error_before_a_session_waits_for_them(engine, monkeypatch):
    start, begun = threading.Thread.start, []

    def refused(self):
        begun.append(self)
        if len(begun) == 2:
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", refused)
    with pytest.raises(DeviceError, match="the engine's 2 threads beside its caller cannot be started .can't start new thread after 1.*ulimit -u"):
        Segmenter(engine, threads=3)
    assert len(begun) == 2 and not begun[0].is_alive()
