"""CUDA graphs, devices and the one logger of the TensorRT engine, on its stand-in and the emulated device: what is captured when, what is current
then, and who hears what TensorRT says."""

import gc
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from hfd_edge.engine import tensorrt_log
from hfd_edge.engine.onnxruntime import OnnxRuntimeEngine
from hfd_edge.engine.tensorrt_log import Log
from hfd_edge.engine.tensorrt_request import BuildRequest, make_plan
from hfd_edge.errors import DeviceError
from tests import emulated_cuda
from tests.device_engine import floats_at
from tests.test_tensorrt_engine import (  # noqa: F401 - fixtures
    GRAPH, SIDE, batch_of, engine_file, machine, names, opened, own_cache, package)

pytestmark = pytest.mark.skipif(emulated_cuda.why_not() is not None, reason=str(emulated_cuda.why_not()))


def test_on_a_second_gpu_everything_is_built_loaded_and_run_there_whatever_the_threads_own_is(machine, package, emulated_device, monkeypatch):
    emulated_device.devices(2)
    module, _ = machine()
    engine = opened(package, device=1)
    batch = batch_of(package, 4)
    np.testing.assert_array_equal(engine.infer(batch), OnnxRuntimeEngine(package, GRAPH, 1).infer(batch))
    slot, gpu = engine.slot(4, SIDE, SIDE), engine.gpu
    stream, source, target = gpu.stream(), gpu.allocate(batch.nbytes), gpu.allocate(4 * 4 * 5 * 44 * 44)
    slot.enqueue(source.ptr, target.ptr, stream.handle)
    gpu.synchronize(stream.handle)
    assert set(module.built_on) == {1}
    monkeypatch.setattr(type(gpu), "current", lambda self: nullcontext())
    with pytest.raises(AssertionError):                         # the stand-in's: TensorRT would work on the wrong device
        slot.enqueue(target.ptr, source.ptr, stream.handle)
    monkeypatch.undo()
    engine.close()


@pytest.mark.parametrize("device", [0, 1])
def test_a_plan_that_is_built_ahead_is_measured_on_the_gpu_it_is_for(machine, package, emulated_device, device):
    emulated_device.devices(2)
    module, _ = machine()
    make_plan(package, BuildRequest(tile=(SIDE, SIDE), device=device), quiet=True)
    assert module.built_on == [device]


@pytest.mark.parametrize(("graphs", "failures"), [(True, 0), (True, 1), (True, 2), (True, 3), (False, 0)])
def test_where_a_graph_cannot_be_captured_the_plain_path_runs_and_after_three_tries_the_notes_say_so(machine, package, emulated_device, graphs, failures):
    _, calls = machine()
    engine = opened(package, cuda_graphs=graphs)
    slot, gpu, batch = engine.slot(1, SIDE, SIDE), engine.gpu, batch_of(package, 1)
    stream, source, target = gpu.stream(), gpu.allocate(batch.nbytes), gpu.allocate(4 * 5 * 44 * 44)
    gpu.copy_in(source.ptr, batch, stream.handle)
    for turn, step in enumerate([slot.prepare, *[slot.enqueue] * 4]):
        if turn < failures:
            emulated_device.fail("cudaGraphInstantiate", 901)
        before = len(calls)
        step(source.ptr, target.ptr, stream.handle)
    assert bool(names(calls[before:], "execute_async_v3")) == (not graphs or failures == 3)          # else it is replayed
    gpu.synchronize(stream.handle)
    np.testing.assert_array_equal(floats_at(target.ptr, (1, 5, 44, 44)), OnnxRuntimeEngine(package, GRAPH, 1).infer(batch))
    assert any("without CUDA graphs, which could not be captured" in note for note in engine.notes) == (failures == 3)
    engine.close()


def test_the_words_are_told_of_a_second_engine_too_and_when_the_first_is_gone(machine, package):
    """TensorRT keeps the first logger that it is given: a second engine's lines go there, or nowhere once it is freed."""
    module, _ = machine()
    first, second = opened(package), opened(package)
    module.faults.add("execute memory")
    for engine in (second, first):
        with pytest.raises(DeviceError, match="not enough device memory.*OutOfMemory"):
            engine.infer(batch_of(package, 1))
    module.faults.clear()
    first.close()
    del first, engine
    gc.collect()
    third = opened(package)
    module.faults.add("execute memory")
    for engine in (third, second):
        with pytest.raises(DeviceError, match="not enough device memory.*OutOfMemory"):
            engine.infer(batch_of(package, 1))
    third.close()
    second.close()


def test_what_another_engine_says_while_the_log_is_looked_through_stops_nothing(monkeypatch):
    library = ModuleType("library")
    library.ILogger = object
    log = Log(SimpleNamespace(module=library))
    log.keep("WARNING", "defaulting to int8")
    monkeypatch.setattr(tensorrt_log, "_OTHER_TYPE", SimpleNamespace(search=lambda text: log.keep("INFO", "of another thread") or text))
    assert log.other_types() == ["defaulting to int8"] and log.warnings() == ["defaulting to int8"]


@pytest.mark.parametrize(("library", "wanted"), [("tensorrt", set()), ("tensorrt_rtx", {("EAGER",)})])
def test_rtx_compiles_the_kernels_of_a_shape_before_a_graph_of_them_is_captured(machine, package, library, wanted):
    _, calls = machine(library=library)
    engine = opened(package)
    engine.slot(4, SIDE, SIDE)
    assert {arguments for name, arguments in calls if name == "specialise"} == wanted
    engine.close()
