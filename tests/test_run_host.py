"""Gather and finish beside the engine: the same map as one stage after another, buffers left alone while they are read, errors told."""

import threading

import numpy as np
import pytest

from hfd_edge import run_host
from hfd_edge.errors import EngineError
from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.run_stages import finished_strips
from hfd_edge.segmenter import Segmenter
from hfd_edge.source import ArraySource
from hfd_edge.spec import Unit
from tests.engines import random_engine

SCENE = np.random.default_rng(3).normal(size=(2, 300, 410)).astype(np.float32)
SCENE[:, 40:200, 60:330] = np.nan                                   # whole tiles without a valid pixel
BESIDE = "hfd-beside-the-engine"


@pytest.fixture(scope="module")
def engine_path(tmp_path_factory):
    return random_engine(tmp_path_factory.mktemp("engine") / "random.engine")


def strips_of(seg, overlap):
    run = seg.prepare(ArraySource(SCENE, 2), SourceRadiometry(Unit.DN), confidence=True)
    return [(strip.row, part.labels.copy(), part.confidence.copy()) for strip, part in
            seg.finished_strips(run, seg.windows(run), overlap=overlap)], run.counts


def no_thread_is_left():
    return not [thread.name for thread in threading.enumerate() if thread.name.startswith(BESIDE)]


@pytest.mark.parametrize(("tile", "batch", "threads"), [(96, 1, 2), (104, 3, 2), (96, 2, 5), ((304, 416), 1, 2), (96, 1, 1)])
def test_the_map_is_the_same_beside_the_engine_as_after_it(engine_path, tile, batch, threads):
    with Segmenter(engine_path, tile=tile, batch=batch, threads=threads) as seg:
        (beside, counts), (after, expected) = strips_of(seg, True), strips_of(seg, False)
    assert counts == expected and (counts.tiles_empty > 0 or tile == (304, 416))
    for one, other in zip(beside, after, strict=True):
        assert one[0] == other[0]
        np.testing.assert_array_equal(one[1], other[1])
        np.testing.assert_array_equal(one[2], other[2])
    assert no_thread_is_left()


class _Watching:
    """Stands before the engine: waits for the gather after its own to have ended, then tells whether its own input has changed."""

    name, graph, takes_scene = "watching", "g", False

    def __init__(self, engine, wait_s):
        self._engine, self._wait_s, self._gathered, self._own = engine, wait_s, threading.Condition(), []
        self.gathers, self.changed, self.beside = 0, 0, 0

    def after(self, gathered):
        with self._gathered:
            self.gathers += 1
            if gathered.kept:
                self._own.append(self.gathers)
            self._gathered.notify()

    def infer(self, batch):
        before, logits = batch.copy(), self._engine.infer(batch)
        with self._gathered:
            own = self._own.pop(0)
            self.beside += self._gathered.wait_for(lambda: self.gathers > own, self._wait_s)
        self.changed += not np.array_equal(batch, before)
        return logits


def watched(seg, overlap, wait_s, one_slot=False):
    run = seg.prepare(ArraySource(SCENE, 2), SourceRadiometry(Unit.DN))
    stages = seg.stages(run, overlap)
    stages._engine, gather = _Watching(stages._engine, wait_s), stages.gather

    def telling(window, tiles, slot, threads):
        done = gather(window, tiles, 0 if one_slot else slot, threads)
        stages._engine.after(done)
        return done
    stages.gather = telling
    list(finished_strips(stages, seg.windows(run), run.plan.batch))
    return stages._engine


def test_the_next_tile_is_gathered_while_the_engine_works_and_its_input_stays(engine_path):
    with Segmenter(engine_path, tile=136, threads=2) as seg:
        calls = watched(seg, True, 2)
        assert calls.beside >= 5 and calls.changed == 0
        assert watched(seg, False, 0.01).beside == 0                # one after another: nothing is gathered meanwhile


def test_one_buffer_for_both_would_be_seen(engine_path):
    with Segmenter(engine_path, tile=136, threads=2) as seg:
        assert watched(seg, True, 2, one_slot=True).changed > 0


@pytest.mark.parametrize("broken", ["gather", "_finish", "infer"])
def test_an_error_beside_the_engine_is_raised_and_the_thread_ends(engine_path, monkeypatch, broken):
    calls = []

    def failing(self, *given, **named):
        calls.append(1)
        if len(calls) == 3:
            raise EngineError("the third one fails")
        return whole(self, *given, **named)
    whole = getattr(run_host.HostStages, broken)
    monkeypatch.setattr(run_host.HostStages, broken, failing)
    with Segmenter(engine_path, tile=96, threads=2) as seg, pytest.raises(EngineError, match="third one fails"):
        strips_of(seg, True)
    assert no_thread_is_left()
