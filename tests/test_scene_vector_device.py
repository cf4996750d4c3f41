"""A network that is told of the whole scene, on a GPU: the emulated device, and a stand-in of TensorRT (with_torch/test_tensorrt_rtx_scene.py builds plans)."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from hfd_edge.device.memory import CudaDevice
from hfd_edge.device.pool import DeviceSlotMemory
from hfd_edge.engine.graph_scan import scan
from hfd_edge.engine.onnx_scene import with_scene_input
from hfd_edge.engine.onnxruntime import OnnxRuntimeEngine
from hfd_edge.engine.tensorrt import TensorRTEngine, TensorRTOptions
from hfd_edge.engine.tensorrt_bare import trtexec_command, write_bare, write_triton
from hfd_edge.engine.tensorrt_build import plan_key, plan_shapes
from hfd_edge.engine.tensorrt_cache import PlanCache
from hfd_edge.engine.tensorrt_capabilities import Gpu
from hfd_edge.engine.tensorrt_find import PlanPolicy
from hfd_edge.engine.tensorrt_request import trt_graph
from hfd_edge.errors import EngineError
from hfd_edge.package import Package
from hfd_edge.package.again import write_again
from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.segmenter import Segmenter
from hfd_edge.source import ArraySource
from tests import emulated_cuda
from tests.device_engine import emulated_segmenter, floats_at
from tests.foreign_networks import deeplab
from tests.stand_in_tensorrt import installed, make_stand_in
from tests.test_device_array import ArrayInterface
from tests.test_device_run import POLICIES, same, with_holes
from tests.test_scene_vector import engine as engine_file
from tests.test_scene_vector import told_network

emulated = pytest.mark.skipif(emulated_cuda.why_not() is not None, reason=str(emulated_cuda.why_not()))
GRAPH, SIDE = "graph-fp32.onnx", 48


@pytest.fixture
def package(engine_file):
    with Package.open(engine_file) as opened:
        yield opened


@pytest.fixture
def device(emulated_device):
    with emulated_device.installed():
        yield emulated_device


@pytest.fixture
def machine(device, monkeypatch, tmp_path):
    """Makes a stand-in of TensorRT, which stays until the test is over."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    with ExitStack() as stack:
        def make(**options):
            module, calls = make_stand_in(device, **options)
            stack.enter_context(installed(module))
            return module, calls
        yield make


@pytest.fixture(scope="module")
def other():
    """Another scene, ten times as bright: told of it, the network answers otherwise."""
    return np.random.default_rng(5).gamma(4.4, 0.5 / 4.4, size=(2, 70, 90)).astype(np.float32)


def opened(package, **options):
    return TensorRTEngine(package, GRAPH, TensorRTOptions(batch=4, tile=(SIDE, SIDE), policy=PlanPolicy(cache=PlanCache(), say=lambda _: None), **options))


def vectors(count):
    return [np.random.default_rng(seed).normal(size=(1, 6)).astype(np.float32) for seed in range(count)]


def batch_of(tiles):
    return np.random.default_rng(9).normal(size=(tiles, 2, SIDE, SIDE)).astype(np.float32)


# A run on the emulated device.

@emulated
@pytest.mark.parametrize(("policy", "seed"), POLICIES)
@pytest.mark.parametrize("batch", ["auto", 1, 3])
def test_a_device_gives_the_map_of_the_cpu(engine_file, power, device, policy, seed, batch):
    scene = with_holes(power)
    with Segmenter(engine_file, tile=SIDE) as cpu, emulated_segmenter(engine_file, device, tile=SIDE, batch=batch) as gpu:
        device.policy(policy, seed)
        same(gpu.run(scene, unit="intensity"), cpu.run(scene, unit="intensity"))


@emulated
def test_the_next_scene_is_told_anew_and_nothing_is_allocated_for_it(engine_file, power, other, device):
    with Segmenter(engine_file, tile=SIDE) as cpu:
        wanted = [cpu.run(scene, unit="intensity") for scene in (power, other)]
    before = device.counts()["used"]
    with emulated_segmenter(engine_file, device, tile=SIDE) as gpu:
        gpu.run(other, unit="intensity")
        gpu.run(power, unit="intensity")
        allocations = device.counts()["allocations"]
        for turn in range(4):
            same(gpu.run((power, other)[turn % 2], unit="intensity"), wanted[turn % 2])
        assert device.counts()["allocations"] == allocations
    del gpu
    assert device.counts()["used"] == before


@emulated
def test_two_runs_at_once_are_told_of_their_own_scenes(engine_file, power, other, device):
    scenes = (power, other)
    with Segmenter(engine_file, tile=SIDE) as cpu:
        wanted = [cpu.run(scene, unit="intensity").labels for scene in scenes]
    with emulated_segmenter(engine_file, device, tile=SIDE) as gpu:
        runs = [gpu.prepare(ArraySource(scene, 2), SourceRadiometry("intensity")) for scene in scenes]
        strips, rows = [gpu.finished_strips(run) for run in runs], [[], []]
        while sum(map(len, rows)) < sum(len(list(run.plan.grid.strips())) for run in runs):
            for mine, each in zip(rows, strips):
                mine.extend(part.labels for part in [next(each, None)] if part is not None)
    for mine, labels in zip(rows, wanted):
        np.testing.assert_array_equal(np.concatenate(mine), labels)


@emulated
@pytest.mark.parametrize("mistake", ["never", "on another stream", "last one"])
def test_a_vector_that_does_not_come_in_time_comes_out_wrong(engine_file, power, device, monkeypatch, mistake):
    with Segmenter(engine_file, tile=SIDE) as cpu:
        wanted = cpu.run(power, unit="intensity")
    real, gpus = DeviceSlotMemory.tell, []

    def tell(slot, vector):
        if mistake == "on another stream":                          # which nobody waits for
            gpus.append(slot._gpu.stream())
            slot._told_host[:] = vector[0]
            slot._gpu.copy_in(slot._told[0], slot._told_host, gpus[-1].handle)
        elif mistake == "last one":
            real(slot, 0 * vector)

    monkeypatch.setattr(DeviceSlotMemory, "tell", tell)
    device.policy("lazy")
    with emulated_segmenter(engine_file, device, tile=SIDE) as gpu:
        got = gpu.run(power, unit="intensity")
    assert (got.labels != wanted.labels).any()


@emulated
@pytest.mark.parametrize(("memory", "words"), [((0, 0), "in 6 numbers, and the engine on this GPU takes none: run it with device='cpu'"),
                                               ((1, 16), "in 6 numbers, and the engine on this GPU takes 4")])
def test_an_engine_that_cannot_be_told_is_refused(engine_file, power, device, monkeypatch, memory, words):
    with emulated_segmenter(engine_file, device, tile=SIDE) as gpu:
        slot = gpu._engine.slot
        monkeypatch.setattr(gpu._engine, "slot", lambda *shape: setattr(made := slot(*shape), "scene_memory", memory) or made)
        with pytest.raises(EngineError, match=words):
            gpu.run(power, unit="intensity")


@emulated
def test_a_scene_on_the_device_is_told_of_too(engine_file, power, device):
    with Segmenter(engine_file, tile=SIDE) as cpu, emulated_segmenter(engine_file, device, tile=SIDE) as gpu:
        found = gpu.run(ArrayInterface(CudaDevice(0), power), "intensity")
        np.testing.assert_array_equal(found.labels.numpy(), cpu.run(power, "intensity").labels)


# TensorRT, by its stand-in.

@emulated
@pytest.mark.parametrize("library", ["tensorrt", "tensorrt_rtx"])
def test_infer_answers_as_the_cpu_does_for_any_vector_and_for_none(machine, package, library):
    _, calls = machine(library=library)
    engine, cpu = opened(package), OnnxRuntimeEngine(package, GRAPH, 1)
    assert engine.takes_scene
    answers = []
    for vector in (*vectors(2), None):
        for tiles in (1, 4, 3):
            batch = batch_of(tiles)
            answers.append(engine.infer(batch, vector))
            np.testing.assert_array_equal(answers[-1], np.concatenate([cpu.infer(tile[None], vector) for tile in batch]))
    assert np.abs(answers[0] - answers[3]).max() > 0.1
    assert {arguments[1:] for name, arguments in calls if name == "set_shape" and arguments[0] == "scene"} == {((1, 6),) * 3}
    contexts = len([name for name, _ in calls if name == "create_execution_context"])
    assert [arguments for name, arguments in calls if name == "set_input_shape"].count(("scene", (1, 6))) == contexts > 1
    for wrong in (np.zeros((1, 5), np.float32), np.zeros((2, 6), np.float32), np.zeros((1, 6))):
        with pytest.raises(EngineError, match=r"for the whole scene: graph-fp32.onnx takes float32 \(1, 6\)"):
            engine.infer(batch, wrong)
    engine.close()


@emulated
def test_a_replayed_graph_reads_the_vector_that_stands_there(machine, package, device):
    _, calls = machine()
    engine, cpu = opened(package), OnnxRuntimeEngine(package, GRAPH, 1)
    slots, batch = [engine.slot(4, SIDE, SIDE) for _ in range(2)], batch_of(4)
    assert len({slot.scene_memory for slot in slots}) == 2 and all(slot.scene_memory[1] == 24 for slot in slots)
    gpu, told = engine.gpu, vectors(4)
    stream, source = gpu.stream(), gpu.allocate(batch.nbytes)
    target = gpu.allocate(4 * 4 * 3 * (SIDE // 2)**2)
    gpu.copy_in(source.ptr, batch, stream.handle)
    for turn, vector in enumerate(told):
        before = len(calls)
        gpu.copy_in(slots[0].scene_memory[0], vector, stream.handle)
        slots[0].enqueue(source.ptr, target.ptr, stream.handle)
        gpu.synchronize(stream.handle)
        np.testing.assert_array_equal(floats_at(target.ptr, (4, 3, SIDE // 2, SIDE // 2)), cpu.infer(batch, vector))
        made = calls[before:]
        assert [name for name, _ in made].count("execute_async_v3") == (turn == 0), "captured once, replayed then"
        if turn == 0:
            assert ("set_tensor_address", ("scene", slots[0].scene_memory[0])) in made
    assert device.counts()["used"] > 0
    slots[1].enqueue(source.ptr, target.ptr, stream.handle)                # nobody told this one: zeros
    gpu.synchronize(stream.handle)
    np.testing.assert_array_equal(floats_at(target.ptr, (4, 3, SIDE // 2, SIDE // 2)), cpu.infer(batch))
    engine.close()


@emulated
def test_a_segmenter_on_the_device_gives_the_cpus_map(machine, engine_file, power, other):
    machine()
    with Segmenter(engine_file, tile=SIDE) as cpu, Segmenter(engine_file, device="cuda:0", tile=SIDE, batch=3) as gpu:
        for scene in (power, other, with_holes(power)):
            wanted = cpu.run(scene, unit="intensity")
            same(gpu.run(scene, unit="intensity"), wanted)
        assert gpu.engine == "tensorrt 10.16.1.11 graph-fp32.onnx" and any("device='cuda:0' runs this package" in note for note in wanted.report.notes)


@emulated
@pytest.mark.parametrize(("percentiles", "faults", "words"), [
    ((2, 98), (), r"input scene of type .* and shape \(1, 6\): the spec's scene_percentiles and bands make float32 \(1, 4\)"),
    (None, (), "has inputs pixels, scene and 1 outputs: an engine here takes one .the spec has no scene_percentiles"),
    ((2, 50, 98), ("scene shape",), r"input scene has shape \(1, 99\), the spec's scene_percentiles and bands make \(1, 6\)")])
def test_spec_graph_and_plan_must_agree(machine, engine_file, tmp_path, percentiles, faults, words):
    machine(faults=faults)
    with Package.open(engine_file) as package:
        write_again(package, tmp_path / "two.engine", replace(package.spec, scene_percentiles=percentiles), {})
    with Package.open(tmp_path / "two.engine") as package, pytest.raises(EngineError, match=words):
        opened(package)


@emulated
def test_a_graph_that_cannot_be_told_is_refused_where_the_spec_says_so(machine, engine_file, tmp_path, monkeypatch):
    machine()
    monkeypatch.setattr("hfd_edge.engine.tensorrt_build.with_scene_input", lambda model: model)
    with Package.open(engine_file) as package, pytest.raises(EngineError, match="has inputs pixels and 1 outputs: an engine here takes one and 'scene'"):
        opened(package)


def test_half_precision_is_refused_with_a_way_out_that_exists(package):
    with pytest.raises(EngineError, match="for precision fp16; a network that is told of the whole scene .* FP16: use auto"):
        trt_graph(package, "fp16")
    assert trt_graph(package, "auto") == trt_graph(package, "fp32") == GRAPH


# The graph that TensorRT gets.

def test_only_the_default_goes_from_the_graph(package):
    before = bytes(package.read(GRAPH))
    after = with_scene_input(before)
    assert [info.name for info in scan(before).inputs] == ["pixels"] and [info.name for info in scan(after).inputs] == ["pixels", "scene"]
    model, wanted = onnx.load_from_string(after), onnx.load_from_string(before)
    onnx.checker.check_model(model)
    (gone,) = [tensor for tensor in wanted.graph.initializer if tensor.name == "scene"]
    np.testing.assert_array_equal(numpy_helper.to_array(gone), np.zeros((1, 6)))
    wanted.graph.initializer.remove(gone)
    assert model == wanted and with_scene_input(after) is after


def test_other_graphs_stay_as_they_are():
    plain = deeplab().SerializeToString()
    assert with_scene_input(plain) is plain
    weight = told_network(name="context")                                   # a weight of this name is no input
    weight.graph.initializer[0].name = "scene"
    assert with_scene_input(data := weight.SerializeToString()) is data


def test_a_bare_plan_says_that_it_wants_the_vector(package, tmp_path):
    digest = package.manifest["members"][GRAPH]["sha256"]
    trt = type("Library", (), {"library": "tensorrt", "version": "10.16.1.11"})
    key = plan_key(package, GRAPH, plan_shapes(package, (SIDE, SIDE), 4), trt, Gpu("H100", "9.0", 13000))
    assert key.graph_sha256 == digest
    write_bare(tmp_path / "m.plan", package, key, b"ftrt")
    assert '"scene": {\n  "input": "scene"' in (tmp_path / "m.plan.json").read_text()
    write_triton(tmp_path / "sar", package, key, b"ftrt")
    assert 'input [{ name: "scene" data_type: TYPE_FP32 dims: [ 1, 6 ] }]' in (tmp_path / "sar" / "config.pbtxt").read_text()
    assert "pixels:4x2x48x48" in trtexec_command(tmp_path / "m.plan", package, key)
