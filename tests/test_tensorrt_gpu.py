"""The TensorRT engine for real: plans built, loaded and run on the GPU that is here. HFD_REQUIRE=tensorrt makes a skip a failure."""

import statistics

import numpy as np
import pytest

from hfd_edge.cli.demo import DEMO_ENGINE
from hfd_edge.engine.onnxruntime import OnnxRuntimeEngine
from hfd_edge.engine.tensorrt import TensorRTEngine, TensorRTOptions
from hfd_edge.engine.tensorrt_cache import PlanCache
from hfd_edge.engine.tensorrt_find import PlanPolicy
from hfd_edge.package import Package
from hfd_edge.segmenter import Segmenter
from tests.command import run
from tests.engines import random_engine

pytestmark = pytest.mark.needs_tensorrt
GRAPH, FLIPS = "graph-fp32.onnx", 1e-4          # float32 in another order of sums; the parity gate's threshold for labels


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return PlanCache(tmp_path_factory.mktemp("plans") / "plans")


@pytest.fixture(scope="module")
def package():
    with Package.open(DEMO_ENGINE) as opened:
        yield opened


@pytest.fixture(scope="module")
def engine(package, cache):
    opened = TensorRTEngine(package, GRAPH, TensorRTOptions(batch=4, policy=PlanPolicy(cache=cache)))
    yield opened
    opened.close()


def batch_of(engine, tiles, side):
    return np.random.default_rng(tiles).normal(size=(tiles, 2, side, side)).astype(np.float32)


@pytest.mark.parametrize("tiles", [1, 4])
def test_labels_are_the_cpus_within_the_gate(engine, package, tiles):
    batch = batch_of(engine, tiles, package.spec.tile_px)
    found, wanted = engine.infer(batch), OnnxRuntimeEngine(package, GRAPH, 2).infer(batch)
    assert found.shape == wanted.shape and np.isfinite(found).all()
    assert (found.argmax(1) != wanted.argmax(1)).mean() <= FLIPS


def test_the_plan_is_found_again_and_not_by_another_driver(engine, package, cache):
    assert len(cache.plans()) == 1
    again = TensorRTEngine(package, GRAPH, TensorRTOptions(batch=4, policy=PlanPolicy("never", cache=cache)))
    assert "from cache" in again.notes[0]
    again.close()


@pytest.mark.parametrize("graphs", [True, False])
def test_slots_give_what_infer_gives_and_graphs_are_captured(package, cache, graphs):
    engine = TensorRTEngine(package, GRAPH, TensorRTOptions(batch=4, cuda_graphs=graphs, policy=PlanPolicy(cache=cache)))
    side, gpu = package.spec.tile_px, engine.gpu
    slots = [engine.slot(4, side, side) for _ in range(3)]
    batch, streams = batch_of(engine, 4, side), [gpu.stream() for _ in slots]
    wanted = engine.infer(batch)
    memory = [(gpu.allocate(batch.nbytes), gpu.allocate(wanted.nbytes)) for _ in slots]
    answers = [gpu.pinned(wanted.shape, np.float32) for _ in slots]
    free = None
    for turn in range(20):
        for slot, stream, (source, target), answer in zip(slots, streams, memory, answers):
            gpu.copy_in(source.ptr, batch, stream.handle)
            slot.enqueue(source.ptr, target.ptr, stream.handle)
            gpu.copy_out(answer, target.ptr, stream.handle)
        for stream in streams:
            gpu.synchronize(stream.handle)
        assert all(np.array_equal(answer, answers[0]) for answer in answers)
        if turn == 2:
            free = gpu.memory_info()[0]
    assert gpu.memory_info()[0] >= free - (1 << 20), "memory grew after warm-up"
    assert (answers[0].argmax(1) != wanted.argmax(1)).mean() <= FLIPS
    assert not [note for note in engine.notes if "without CUDA graphs" in note]
    engine.close()


def test_a_graph_is_no_slower_than_plain_launches(package, cache):
    side, taken = package.spec.tile_px, {True: [], False: []}
    engines = {graphs: TensorRTEngine(package, GRAPH, TensorRTOptions(batch=4, cuda_graphs=graphs, policy=PlanPolicy(cache=cache)))
               for graphs in taken}
    for graphs, engine in engines.items():
        gpu, slot = engine.gpu, engine.slot(1, side, side)
        stream, source, target = gpu.stream(), gpu.allocate(4 * int(np.prod(slot.input_shape))), gpu.allocate(4 * int(np.prod(slot.output_shape)))
        for _ in range(60):
            begin, end = gpu.event(timing=True), gpu.event(timing=True)
            begin.record(stream.handle)
            slot.enqueue(source.ptr, target.ptr, stream.handle)
            end.record(stream.handle)
            end.synchronize()
            taken[graphs].append(end.milliseconds_since(begin))
    assert statistics.median(taken[True][10:]) <= 1.1 * statistics.median(taken[False][10:])
    for engine in engines.values():
        engine.close()


@pytest.mark.parametrize("precision", ["fp32"])
def test_a_map_on_the_gpu_is_the_cpus_within_the_gate(tmp_path, monkeypatch, precision):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    scene = np.random.default_rng(3).gamma(4.4, 0.02, (2, 1500, 1300)).astype(np.float32)
    with Segmenter(DEMO_ENGINE) as cpu, Segmenter(DEMO_ENGINE, device="cuda:0", precision=precision) as gpu:
        wanted, found = cpu.run(scene, unit="intensity"), gpu.run(scene, unit="intensity")
    assert (wanted.labels != found.labels).mean() <= FLIPS and found.report.device == "cuda:0"


def test_build_and_predict_in_a_process_of_their_own(tmp_path):
    import os
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    path = random_engine(tmp_path / "m.engine")
    assert run("build", path, "--max-batch", 2, env=env).returncode == 0
    assert "can run" in run("doctor", path, env=env).stdout
