"""Packages and Segmenters on the stand-in of TensorRT: which plan runs, and what comes out."""

from __future__ import annotations

import shutil
import sys

import numpy as np
import pytest

from hfd_edge.device.pool import DevicePool
from hfd_edge.engine.choose import Way, open_way, ways_here
from hfd_edge.engine.tensorrt_cache import PlanCache
from hfd_edge.engine.tensorrt_find import PlanPolicy
from hfd_edge.errors import DeviceError, EngineError
from hfd_edge.package import Package
from hfd_edge.package.again import embed_plans
from hfd_edge.segmenter import Segmenter
from tests import emulated_cuda
from tests.command import INPUT, power
from tests.engines import random_engine
from tests.test_tensorrt_engine import GRAPH, SIDE, engine_file, machine, opened, own_cache, package  # noqa: F401 - fixtures

pytestmark = pytest.mark.skipif(emulated_cuda.why_not() is not None, reason=str(emulated_cuda.why_not()))


def test_plans_in_a_package_run_only_when_trusted(machine, tmp_path):
    machine()
    path = random_engine(tmp_path / "own.engine", input=INPUT)
    with Package.open(path) as package:
        opened(package).close()
        cached = PlanCache().plans()[0]
        embed_plans(package, {cached.key: cached.path.read_bytes()})
    shutil.rmtree(PlanCache().folder)
    with Package.open(path) as package:
        with pytest.raises(EngineError, match="the package holds one that fits, which is native code.*--trust-plans"):
            opened(package, policy=PlanPolicy("never", cache=PlanCache()))
        engine = opened(package, policy=PlanPolicy("never", True, cache=PlanCache()))
        assert "from package" in engine.notes[0]
        engine.close()


def test_a_segmenter_on_the_device_gives_the_cpus_map(machine, engine_file):
    machine()
    with Segmenter(engine_file, tile=SIDE, halo="exact") as cpu:
        wanted = cpu.run(power(300, 200), unit="intensity")
        assert any("device='cuda:0' runs this package here too" in note for note in wanted.report.notes)
    for precision in ("auto", "fp32"):
        with Segmenter(engine_file, device="cuda:0", tile=SIDE, halo="exact", batch=3, precision=precision) as seg:
            result = seg.run(power(300, 200), unit="intensity")
            np.testing.assert_array_equal(result.labels, wanted.labels)
            np.testing.assert_array_equal(result.confidence, wanted.confidence)
            assert seg.engine == "tensorrt 10.16.1.11 graph-fp32.onnx" and any("plan of fp32" in note for note in result.report.notes)
    with pytest.raises(EngineError, match="build='never'.*or use device='cpu'"):
        Segmenter(engine_file, device="cuda:0", tile=80, build="never")
    with pytest.raises(DeviceError, match="missing: a graph .*--target cpu,tensorrt.*does not fall back in silence"):
        Segmenter(engine_file, device="cuda:0", precision="int8")


def test_graphs_are_captured_before_the_run_begins_and_only_replayed_in_it(machine, engine_file, monkeypatch):
    _, calls = machine()
    ready = []

    def slots(pool, *shape, original=DevicePool.slots):
        made = original(pool, *shape)
        ready.append(len(calls))
        return made

    monkeypatch.setattr(DevicePool, "slots", slots)
    with Segmenter(engine_file, device="cuda:0", tile=SIDE, halo="exact", batch=3) as seg:
        seg.run(power(300, 200), unit="intensity")
        assert ready and not [name for name, _ in calls[ready[0]:] if name == "execute_async_v3"]


@pytest.mark.slow
def test_large_scenes_take_a_wide_plan_where_there_is_one_or_one_may_be_built(machine, engine_file):
    machine()
    large, sides = power(900, 700), []
    with Segmenter(engine_file, halo="exact") as cpu:
        wanted = cpu.run(large, unit="intensity").labels
    with Segmenter(engine_file, device="cuda:0", halo="exact") as seg:
        assert seg.run(power(50, 60), unit="intensity").report.tile_px == (120, 120)
    for build in ("never", "auto", "never"):                    # the usual plan alone is there, then both
        with Segmenter(engine_file, device="cuda:0", halo="exact", build=build) as seg:
            result = seg.run(large, unit="intensity")
            np.testing.assert_array_equal(result.labels, wanted)
            sides.append(result.report.tile_px)
    assert sides == [(120, 120), (336, 336), (336, 336)]


def test_the_registry_offers_what_is_here_and_opens_it(machine, package, monkeypatch):
    machine(library="tensorrt_rtx")
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "tensorrt_rtx", None)
        assert [way.library for way in ways_here(package)] == ["onnxruntime"]
    ways = ways_here(package)
    assert ways[1:] == (Way("tensorrt_rtx", "cuda:0", GRAPH, "fp32"),)
    for way in ways:
        engine = open_way(package, way, 1)
        assert (engine.name, engine.device, engine.graph) == (way.library, way.device, way.graph)
        engine.close()
