"""A TensorRT that records what is asked of it, and answers with ONNX Runtime on the emulated device.

It is strict where TensorRT is: shapes within profiles, addresses and scratch memory set before execution, a plan only for its own version
and GPU, an engine only where the device is current that was when it was loaded. Every class and parameter that
it has stands in tests/tensorrt_signatures.py, which is checked against the real bindings. Faults are switched on by name,
to see what our engine makes of them.
"""

from __future__ import annotations

import enum
import importlib.machinery
import json
import sys
from contextlib import contextmanager
from types import ModuleType

import numpy as np

from tests.device_engine import floats_at
from tests.stand_in_tensorrt_build import Machine, building_classes
from tests.stand_in_tensorrt_types import (
    BuilderFlag, DataType, DynamicShapesKernelSpecializationStrategy, EngineValidity, ExecutionContextAllocationStrategy, MemoryPoolType,
    NetworkDefinitionCreationFlag, TensorIOMode)


SCRATCH = 4096          # bytes per tile


def make_stand_in(device, library="tensorrt", version="10.16.1.11", gpu="an emulated device", faults=()):
    """(module, calls): the module, and every call in order as (method, arguments)."""
    calls, faults, module = [], set(faults), ModuleType(library)
    module.__version__, module.__spec__ = version, importlib.machinery.ModuleSpec(library, None)
    for kind in (DataType, TensorIOMode, ExecutionContextAllocationStrategy, NetworkDefinitionCreationFlag, BuilderFlag, MemoryPoolType):
        setattr(module, kind.__name__, kind)

    class ILogger:
        class Severity(enum.IntEnum):
            INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

        def log(self, severity, msg):
            raise NotImplementedError

    def say(logger, text, severity="ERROR"):
        logger.log(ILogger.Severity[severity], text)

    machine = Machine(device, calls, faults, version, gpu, say)
    building = building_classes(machine)

    class IExecutionContext:
        def __init__(self, engine):
            self.engine, self.addresses, self.profile, self.shapes, self.memory = engine, {}, None, {}, None
            assert machine.current() == engine.device

        def __del__(self):
            machine.freed_on.append(machine.current())

        def set_optimization_profile_async(self, profile_index, stream_handle):
            assert stream_handle, "the default stream"
            assert machine.current() == self.engine.device
            self.profile = profile_index
            if "profile" in faults:                     # the bindings never answer False
                say(self.engine.logger, "profile index is out of range")
                raise RuntimeError("Error in set optimization profile async.")
            return True

        def set_input_shape(self, name, shape):
            calls.append(("set_input_shape", (name, tuple(shape))))
            self.shapes[name] = tuple(shape)
            return list(shape) == self.engine.head["profiles"][self.profile][name][0]

        def infer_shapes(self):
            if "shapes" in faults:
                raise RuntimeError("infer_shapes error code: -1")
            return ["pixels"] if "missing shape" in faults else []

        def get_tensor_shape(self, name):
            assert {*self.shapes} == {*self.engine.inputs}
            n, _, h, w = self.shapes[self.engine.inputs[0]]
            answer = self.engine.session.run(None, {each: np.zeros((1, *shape[1:]), np.float32) for each, shape in self.shapes.items()})[0]
            return (n, *answer.shape[1:]) if "output shape" not in faults else (n, 99, h, w)

        def set_device_memory(self, memory, size):
            calls.append(("set_device_memory", (memory, size)))
            assert size >= self.engine.get_device_memory_size_for_profile_v2(self.profile) and memory % 256 == 0
            self.memory = memory

        def set_aux_streams(self, aux_streams):
            calls.append(("set_aux_streams", (list(aux_streams),)))
            self.aux = list(aux_streams)

        def set_tensor_address(self, name, memory):
            calls.append(("set_tensor_address", (name, memory)))
            assert name in self.engine.names and memory
            self.addresses[name] = memory
            return "address" not in faults

        def execute_async_v3(self, stream_handle):
            assert stream_handle and self.memory and {*self.addresses} == {*self.engine.names}
            assert machine.current() == self.engine.device
            assert not self.engine.num_aux_streams or len(self.aux) == self.engine.num_aux_streams
            calls.append(("execute_async_v3", (self.addresses[self.engine.names[0]], self.addresses[self.engine.names[-1]], stream_handle)))
            if fault := faults & {"lost", "execute memory", "execute"}:
                words = {"lost": "Cuda failure: 700 (an illegal memory access was encountered)", "execute memory": "OutOfMemory in allocation",
                         "execute": "something else"}
                return bool(say(self.engine.logger, words[fault.pop()]))
            places, target = {name: self.addresses[name] for name in self.engine.inputs}, self.addresses[self.engine.names[-1]]
            shapes, session = dict(self.shapes), self.engine.session
            spoil = 1.0 if "wrong answers" in faults else 0.0

            def run():
                answer = session.run(None, {name: np.ascontiguousarray(floats_at(place, shapes[name])) for name, place in places.items()})[0]
                floats_at(target, answer.shape)[...] = np.roll(answer, 1, axis=1) if spoil else answer

            device.call(stream_handle, run)
            return True

    class ICudaEngine:
        num_aux_streams = 2 if "aux streams" in faults else 0

        def __init__(self, logger, head, graph):
            import onnxruntime
            self.logger, self.head, self.device = logger, head, machine.current()
            self.session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
            self.inputs = [end.name for end in self.session.get_inputs()]
            self.names = [*self.inputs, self.session.get_outputs()[0].name]

        def __del__(self):
            machine.freed_on.append(machine.current())

        @property
        def num_io_tensors(self):
            return len(self.names)

        @property
        def num_optimization_profiles(self):
            return len(self.head["profiles"]) + ("profiles" in faults)

        @property
        def device_memory_size_v2(self):
            return max(self.get_device_memory_size_for_profile_v2(i) for i in range(len(self.head["profiles"])))

        def get_tensor_name(self, index):
            return self.names[index]

        def get_tensor_mode(self, name):
            if "missing tensor" in faults:
                return TensorIOMode.INPUT
            return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

        def get_tensor_shape(self, name):
            return (1, 99) if "scene shape" in faults else tuple(next(end.shape for end in self.session.get_inputs() if end.name == name))

        def get_tensor_dtype(self, name):
            return DataType.INT8 if "dtype" in faults else DataType.FLOAT

        def get_tensor_profile_shape(self, name, profile_index):
            return [(9, 9, 9, 9)] * 3 if "profile shape" in faults else self.head["profiles"][profile_index][name]

        def get_device_memory_size_for_profile_v2(self, profile_index):
            return SCRATCH * self.head["profiles"][profile_index][self.names[0]][2][0]

        def create_execution_context(self, strategy=ExecutionContextAllocationStrategy.STATIC):
            if library == "tensorrt_rtx":
                calls.append(("specialise", (strategy.dynamic_shapes_kernel_specialization_strategy.name,)))
                strategy = strategy.allocation
            calls.append(("create_execution_context", (strategy,)))
            if "context" in faults:
                return say(self.logger, "failed to create a context: out of memory")
            return IExecutionContext(self)

    class IRuntimeConfig:
        dynamic_shapes_kernel_specialization_strategy = DynamicShapesKernelSpecializationStrategy.LAZY

        def set_execution_context_allocation_strategy(self, strategy=ExecutionContextAllocationStrategy.STATIC):
            self.allocation = strategy

    class Runtime:
        def __init__(self, logger):
            self.logger = machine.given(logger)
            if "runtime" in faults:
                machine.made_nothing(logger)

        def deserialize_cuda_engine(self, serialized_engine):
            data = bytes(serialized_engine)
            size = int.from_bytes(data[4:8], "little")
            head = json.loads(data[8:8 + size])
            if head["version"] != version or "version" in faults:
                return say(self.logger, "Serialization assertion stdVersionRead == kSERIALIZATION_VERSION failed. Version tag does not match.")
            if head["gpu"] != gpu or "gpu" in faults:
                return say(self.logger, "The engine plan file is generated on an incompatible device, expecting compute 8.0 got compute 8.9")
            if "none" in faults:
                return None
            return ICudaEngine(self.logger, head, data[8 + size:])

    for kind in (ILogger, *building, IExecutionContext, ICudaEngine, Runtime):
        setattr(module, kind.__name__, kind)
    if library == "tensorrt_rtx":
        module.EngineValidity, module.IRuntimeConfig = EngineValidity, IRuntimeConfig
        module.DynamicShapesKernelSpecializationStrategy = DynamicShapesKernelSpecializationStrategy
        ICudaEngine.create_runtime_config = lambda self: IRuntimeConfig()
        module.IBuilderConfig.set_compute_capability = lambda self, compute_capability, index: True
        Runtime.get_engine_validity = lambda self, buffer: (EngineValidity.INVALID if "invalid" in faults else EngineValidity.VALID, 0)
    module.faults, module.built_on, module.freed_on = faults, machine.built_on, machine.freed_on
    return module, calls


@contextmanager
def installed(module):
    """`import tensorrt` (or tensorrt_rtx) gives the stand-in inside the block, and no other TensorRT is there."""
    before = {name: sys.modules.get(name) for name in ("tensorrt", "tensorrt_rtx")}
    for name in before:
        sys.modules[name] = module if name == module.__name__ else None
    try:
        yield module
    finally:
        for name, old in before.items():
            sys.modules.pop(name, None)
            if old is not None:
                sys.modules[name] = old
