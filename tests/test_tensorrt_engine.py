"""The TensorRT engine on a stand-in of TensorRT and the emulated device: what it asks of them, and what it makes of their failures.

Nothing here says that a real TensorRT on a real GPU runs it: tests/test_tensorrt_gpu.py does, where there is one.
"""

from contextlib import ExitStack

import numpy as np
import pytest

from hfd_edge.engine.base import DeviceEngine, DeviceSlot
from hfd_edge.engine.choose import GpuOptions, open_engine
from hfd_edge.engine.onnxruntime import OnnxRuntimeEngine
from hfd_edge.engine.tensorrt import TensorRTEngine, TensorRTOptions
from hfd_edge.engine.tensorrt_build import BuildOptions
from hfd_edge.engine.tensorrt_cache import PlanCache
from hfd_edge.engine.tensorrt_capabilities import DENIED, load_tensorrt
from hfd_edge.engine.tensorrt_find import PlanPolicy
from hfd_edge.errors import DeviceError, EngineError, PackageError
from hfd_edge.package import Package
from tests import emulated_cuda
from tests.command import INPUT
from tests.device_engine import floats_at
from tests.engines import random_engine
from tests.stand_in_tensorrt import SCRATCH, installed, make_stand_in

pytestmark = pytest.mark.skipif(emulated_cuda.why_not() is not None, reason=str(emulated_cuda.why_not()))
GRAPH, SIDE = "graph-fp32.onnx", 176


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))


@pytest.fixture(scope="module")
def engine_file(tmp_path_factory):
    return random_engine(tmp_path_factory.mktemp("engine") / "m.engine", input=INPUT)


@pytest.fixture
def package(engine_file):
    with Package.open(engine_file) as opened:
        yield opened


@pytest.fixture
def machine(emulated_device):
    """Makes a stand-in, which stays until the test is over."""
    with ExitStack() as stack, emulated_device.installed():
        def make(**options):
            module, calls = make_stand_in(emulated_device, **options)
            stack.enter_context(installed(module))
            return module, calls
        yield make


def opened(package, said=None, batch=4, **options):
    policy = options.pop("policy", PlanPolicy(cache=PlanCache(), say=(said if said is not None else []).append))
    return TensorRTEngine(package, GRAPH, TensorRTOptions(batch=batch, tile=(SIDE, SIDE), policy=policy, **options))


def batch_of(package, tiles, side=SIDE, seed=2):
    return np.random.default_rng(seed).normal(size=(tiles, len(package.spec.bands), side, side)).astype(np.float32)


def names(calls, *wanted):
    return [name for name, _ in calls if name in wanted]


@pytest.mark.parametrize("library", ["tensorrt", "tensorrt_rtx"])
def test_answers_are_the_networks_for_one_tile_a_batch_and_other_counts(machine, package, library):
    module, calls = machine(library=library)
    engine = opened(package, said := [])
    assert isinstance(engine, DeviceEngine) and (engine.name, engine.version, engine.device) == (library, "10.16.1.11", "cuda:0")
    expected = OnnxRuntimeEngine(package, GRAPH, 1)
    for tiles in (1, 4, 3):
        batch = batch_of(package, tiles, seed=tiles)
        np.testing.assert_array_equal(engine.infer(batch), np.concatenate([expected.infer(tile[None]) for tile in batch]))
    assert "building a plan" in said[0] and [arguments for name, arguments in calls if name == "clear_flag"]
    assert [arguments for name, arguments in calls if name == "create_execution_context"][0] == (module.ExecutionContextAllocationStrategy.USER_MANAGED,)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed: open the package again"):
        engine.infer(batch)


def test_a_batch_of_the_plans_own_size_runs_at_once_and_others_tile_by_tile(machine, package):
    _, calls = machine()
    engine, runs = opened(package), {}
    for tiles in (4, 3, 1, 4, 3, 1):                    # the first of each makes a context, which runs once by itself
        before = len(names(calls, "execute_async_v3"))
        engine.infer(batch_of(package, tiles))
        runs[tiles] = len(names(calls, "execute_async_v3")) - before
    assert runs == {4: 1, 3: 3, 1: 1}
    engine.close()


def test_a_second_opening_finds_the_plan_and_says_nothing(machine, package):
    _, calls = machine()
    opened(package).close()
    opened(package, said := [], policy=PlanPolicy("never", cache=PlanCache(), say=lambda text: said.append(text))).close()
    assert names(calls, "build_serialized_network") == ["build_serialized_network"] and not said


def test_slots_run_side_by_side_with_memory_of_their_own_and_replay_a_graph(machine, package, emulated_device):
    _, calls = machine()
    engine = opened(package)
    slots = [engine.slot(4, SIDE, SIDE) for _ in range(2)]
    assert all(isinstance(slot, DeviceSlot) and slot.output_shape == (4, 5, 44, 44) for slot in slots)
    places = [arguments for name, arguments in calls if name == "set_device_memory"][-2:]
    assert abs(places[0][0] - places[1][0]) >= 4 * SCRATCH and {size for _, size in places} == {4 * SCRATCH}
    gpu, expected = engine.gpu, OnnxRuntimeEngine(package, GRAPH, 1)
    streams, batches = [gpu.stream(), gpu.stream()], [batch_of(package, 4, seed=seed) for seed in (5, 6)]
    memory = [(gpu.allocate(batch.nbytes), gpu.allocate(4 * 4 * 5 * 44 * 44)) for batch in batches]
    held = []
    for turn in range(3):
        before = emulated_device.counts(), len(calls)
        for slot, stream, (source, target), batch in zip(slots, streams, memory, batches):
            held.append(batch + np.float32(turn))                   # the copy comes later: nothing has been waited for
            gpu.copy_in(source.ptr, held[-1], stream.handle)
            slot.enqueue(source.ptr, target.ptr, stream.handle)
        after = emulated_device.counts()
        assert after["allocations"] == before[0]["allocations"] and after["synchronisations"] == before[0]["synchronisations"]
        assert len(names(calls[before[1]:], "execute_async_v3")) == (2 if turn == 0 else 0)      # captured once, replayed then
        for stream in streams:
            gpu.synchronize(stream.handle)
        for (_, target), batch in zip(memory, batches):
            np.testing.assert_array_equal(floats_at(target.ptr, (4, 5, 44, 44)), expected.infer(batch + np.float32(turn)))
    slots[0].enqueue(memory[1][0].ptr, memory[0][1].ptr, streams[0].handle)                     # other addresses: captured anew
    assert names(calls[before[1]:], "execute_async_v3") == ["execute_async_v3"]
    assert not any("without CUDA graphs" in note for note in engine.notes)
    slots[0].close()
    with pytest.raises(EngineError, match="this slot is closed"):
        slots[0].enqueue(memory[0][0].ptr, memory[0][1].ptr, streams[0].handle)
    engine.close()


@pytest.mark.parametrize(("fault", "kind", "words"), [
    ("none", EngineError, "cannot be loaded by tensorrt 10.16.1.11.*it said nothing.*hfd-edge build again"),
    ("version", EngineError, "built by another version of TensorRT.*Version tag does not match.*hfd-edge build"),
    ("gpu", EngineError, "built for another GPU.*expecting compute 8.0 got compute 8.9"),
    ("context", DeviceError, "not enough device memory.*out of memory.*smaller batch or tile"),
    ("execute memory", DeviceError, "not enough device memory.*OutOfMemory"),
    ("lost", DeviceError, "the device was lost.*illegal memory access.*dmesg"),
    ("execute", EngineError, "TensorRT failed on a batch of .*something else"),
    ("missing tensor", EngineError, "it has inputs pixels, logits and outputs none"),
    ("dtype", EngineError, "tensor pixels is .*INT8, not float32"),
    ("profiles", EngineError, "it has 4 profiles, its record says 3"),
    ("profile shape", EngineError, r"profile 0 takes \[\(9, 9, 9, 9\)"),
    ("profile", EngineError, "profile . was refused .Error in set optimization profile async.*out of range"),
    ("shapes", EngineError, "the shapes of a batch of .* cannot be inferred .infer_shapes error code: -1"),
    ("set shape", EngineError, "refused a profile of .*inconsistent with other shapes.*--tile"),
    ("add profile", EngineError, "refused a profile of .*--tile and --max-batch"),
    ("builder", DeviceError, "makes no builder.*cannot begin with CUDA.*error: 35.*update the driver.*tensorrt-cu12"),
    ("parser", EngineError, "makes no parser of graph-fp32.onnx.*factory function returned nullptr"),
    ("runtime", DeviceError, "cannot be loaded by tensorrt 10.16.1.11.*cannot begin with CUDA.*update the driver"),
    ("missing shape", EngineError, "misses the shape of pixels"),
    ("output shape", EngineError, r"output logits has shape \(1, 99"),
    ("address", EngineError, "tensor pixels was refused the address"),
    ("wrong answers", PackageError, "answers the golden tile otherwise than at export"),
    ("build", EngineError, "built no plan.*Could not find any implementation for node conv_7"),
    ("build memory", DeviceError, "built no plan.*not enough device memory"),
    ("parse", EngineError, "cannot read .*no importer for it.*node_name the_wrong_one, node_operator Einsum.*--target cpu,tensorrt"),
    ("other type", EngineError, "takes other types than .*Defaulting to INT8"),
    ("half", EngineError, "has input pixels of type DataType.HALF.*the spec says float32")])
def test_every_failure_is_our_error_with_the_logs_last_words(machine, package, fault, kind, words):
    machine(faults=[fault])
    with pytest.raises(kind, match=words) as caught:
        opened(package)
    assert "\n" not in str(caught.value)


def test_a_lost_device_while_waiting_is_told_too(machine, package, emulated_device):
    machine()
    engine = opened(package)
    engine.infer(batch_of(package, 1))
    emulated_device.fail("cudaStreamSynchronize", 700)
    with pytest.raises(DeviceError, match="tensorrt failed on graph-fp32.onnx with a batch of shape"):
        engine.infer(batch_of(package, 1))
    engine.close()


def test_too_little_device_memory_for_a_slot_is_a_device_error(machine, package, emulated_device):
    machine()
    engine = opened(package)
    emulated_device.limit(emulated_device.counts()["used"] + 1000)
    with pytest.raises(DeviceError, match="memory"):
        engine.slot(4, SIDE, SIDE)
    emulated_device.limit()
    engine.slot(4, SIDE, SIDE)
    engine.close()


def test_a_closed_slot_gives_its_memory_back(machine, package, emulated_device):
    machine()
    before = emulated_device.counts()["used"]           # what other tests' errors still hold
    engine = opened(package)
    engine.infer(batch_of(package, 1))
    engine.slot(4, SIDE, SIDE).close()
    used = emulated_device.counts()["used"]
    for _ in range(3):
        slot = engine.slot(4, SIDE, SIDE)
        assert emulated_device.counts()["used"] > used
        slot.close()
        assert emulated_device.counts()["used"] <= used
    engine.close()
    assert emulated_device.counts()["used"] <= before < used          # these may have let go meanwhile


def test_auxiliary_streams_are_ours_so_that_nothing_is_made_in_a_capture(machine, package):
    _, calls = machine(faults=["aux streams"])
    engine = opened(package)
    engine.slot(1, SIDE, SIDE)
    given = [arguments[0] for name, arguments in calls if name == "set_aux_streams"]
    assert given and all(len(set(streams)) == 2 and all(streams) for streams in given)
    assert [arguments for name, arguments in calls if name == "build_serialized_network"] == [(0,)]     # and none were asked for
    engine.close()


def test_shapes_that_the_plan_does_not_take_are_refused_and_other_tiles_get_a_plan_of_their_own(machine, package):
    _, calls = machine()
    engine = opened(package, said := [])
    with pytest.raises(EngineError, match="a slot of 3 tiles: the plan takes 1 or 4"):
        engine.slot(3, SIDE, SIDE)
    with pytest.raises(EngineError, match="stride"):
        engine.slot(1, 100, SIDE)
    with pytest.raises(EngineError, match="must be float32"):
        engine.infer(batch_of(package, 1).astype(np.float64))
    batch = batch_of(package, 1, side=96)
    np.testing.assert_array_equal(engine.infer(batch), OnnxRuntimeEngine(package, GRAPH, 1).infer(batch))
    assert len(names(calls, "build_serialized_network")) == 2 and len([text for text in said if "4x96x96" in text]) == 1
    engine.close()
    never = opened(package, policy=PlanPolicy("never", cache=PlanCache()))
    with pytest.raises(EngineError, match=r"no plan of .* 4x80x80 .*hfd-edge build .*--tile 80,80 --max-batch 4"):
        never.slot(4, 80, 80)
    never.close()


def test_a_plan_of_another_version_or_driver_is_never_loaded_and_the_message_says_which(machine, package, engine_file):
    machine(version="10.3.0")
    opened(package).close()
    _, calls = machine(version="10.16.1.11")
    with pytest.raises(EngineError, match="the cache's plan is for version 10.3.0, here 10.16.1.11.*run hfd-edge build"):
        opened(package, policy=PlanPolicy("never", cache=PlanCache()))
    assert not names(calls, "create_execution_context")


def test_timings_are_kept_by_version_gpu_and_driver(machine, package):
    _, calls = machine()
    opened(package).close()
    kept = list(PlanCache().folder.glob("timing-*.cache"))
    assert len(kept) == 1 and kept[0].read_bytes() == b"+"
    engine = opened(package, batch=2)
    assert kept[0].read_bytes() == b"++"
    engine.close()
    machine(faults=["timing"])
    with pytest.raises(EngineError, match="is no timing cache of tensorrt"):
        opened(package, batch=3, policy=PlanPolicy(cache=PlanCache(), options=BuildOptions(timing_cache=kept[0])))


def test_rtx_is_asked_whether_a_plan_runs_on_this_gpu(machine, package):
    machine(library="tensorrt_rtx", faults=["invalid"])
    with pytest.raises(EngineError, match="does not run on this GPU.*use the full TensorRT here"):
        opened(package)


@pytest.mark.parametrize(("change", "words"), [
    (lambda module: module.IExecutionContext, "IExecutionContext.set_device_memory"), (lambda module: module.ICudaEngine, "ICudaEngine.")])
def test_a_tensorrt_that_lacks_what_is_needed_is_refused_by_what_it_lacks(machine, package, change, words):
    module, _ = machine()
    kind = change(module)
    for name in ("set_device_memory", "get_tensor_profile_shape"):
        if hasattr(kind, name):
            delattr(kind, name)
    with pytest.raises(DeviceError, match=f"missing: TensorRT .*lacks.*{words}.*10.3 is the oldest"):
        open_engine(package, "cuda:0", 1, gpu=GpuOptions())


@pytest.mark.parametrize("start", [start for _, start in DENIED])
def test_versions_known_to_be_broken_are_refused_by_name(machine, start):
    machine(version=start + "0")
    with pytest.raises(EngineError, match=f"{start}0 is not used: "):
        load_tensorrt()
