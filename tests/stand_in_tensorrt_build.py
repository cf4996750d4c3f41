"""The half of the TensorRT stand-in that builds: network, parser, configuration, builder."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.stand_in_tensorrt_types import DataType


@dataclass
class Machine:
    """What the stand-in's classes know of where they are, and what they note."""

    device: Any                     # tests/emulated_cuda.Emulated
    calls: list
    faults: set
    version: str
    gpu: str
    say: Callable[..., None]        # (logger, text, severity)
    built_on: list = field(default_factory=list)        # devices that were current
    freed_on: list = field(default_factory=list)        # and where engines and their contexts were freed
    logger: Any = None              # a weak reference to the first one that was given: the others are ignored

    def given(self, logger: Any) -> Any:
        """The logger that is used where this one is given."""
        if self.logger is None:
            self.logger = weakref.ref(logger)
        assert self.logger() is not None, "TensorRT keeps the address of a logger that is gone"
        return self.logger()

    def made_nothing(self, logger: Any) -> None:
        """What the bindings raise where the library cannot begin with CUDA: of its reason they know nothing."""
        self.say(logger, "CUDA initialization failure with error: 35. Please check your CUDA installation", "WARNING")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    def current(self) -> int:
        """The calling thread's device; -1 = it has none."""
        return self.device.current()


def building_classes(machine: Machine) -> tuple[type, ...]:
    class IProgressMonitor:
        pass

    class ITensor:
        def __init__(self, name, shape):
            self.name, self.shape, self.dtype = name, shape, DataType.HALF if "half" in machine.faults else DataType.FLOAT

    class INetworkDefinition:
        num_outputs = 1

        @property
        def num_inputs(self):
            return len(self.inputs)

        def get_input(self, index):
            return self.inputs[index]

        def get_output(self, index):
            return self.outputs[index]

    class IOptimizationProfile:
        def __init__(self):
            self._shapes = {}

        def set_shape(self, input, min, opt, max):
            machine.calls.append(("set_shape", (input, min, opt, max)))
            if "set shape" in machine.faults:
                raise RuntimeError("Shape provided for min is inconsistent with other shapes.")
            self._shapes[input] = [min, opt, max]

    class ITimingCache:
        def __init__(self, data):
            self.data = data

        def serialize(self):
            return self.data + b"+"

    class IBuilderConfig:
        max_aux_streams, progress_monitor = 7, None

        def __init__(self):
            self.profiles = []

        def set_memory_pool_limit(self, pool, pool_size):
            machine.calls.append(("set_memory_pool_limit", (pool, pool_size)))

        def clear_flag(self, flag):
            machine.calls.append(("clear_flag", (flag,)))

        def add_optimization_profile(self, profile):
            self.profiles.append(profile._shapes)
            return len(self.profiles) - 1 if "add profile" not in machine.faults else -1

        def create_timing_cache(self, serialized_timing_cache):
            machine.calls.append(("create_timing_cache", (bytes(serialized_timing_cache),)))
            return ITimingCache(serialized_timing_cache)

        def set_timing_cache(self, cache, ignore_mismatch):
            return "timing" not in machine.faults and ignore_mismatch is False

    class Builder:
        def __init__(self, logger):
            self.logger = machine.given(logger)
            if "builder" in machine.faults:
                machine.made_nothing(logger)

        def create_network(self, flags=0):
            machine.calls.append(("create_network", (flags,)))
            assert flags == 2, "strongly typed"
            return INetworkDefinition()

        def create_optimization_profile(self):
            return IOptimizationProfile()

        def create_builder_config(self):
            return IBuilderConfig()

        def build_serialized_network(self, network, config):
            machine.calls.append(("build_serialized_network", (config.max_aux_streams,)))
            machine.built_on.append(machine.current())
            if "build" in machine.faults:
                return machine.say(self.logger, "Could not find any implementation for node conv_7")
            if "build memory" in machine.faults:
                return machine.say(self.logger, "Cuda Runtime (out of memory)")
            if "other type" in machine.faults:
                machine.say(self.logger, "UINT8 zero_point only on DLA. Defaulting to INT8 instead", "WARNING")
            if config.progress_monitor is not None:
                config.progress_monitor.phase_start("Building", None, 2)
                config.progress_monitor.phase_start("inner", "Building", 9)
                assert config.progress_monitor.step_complete("Building", 0)
                config.progress_monitor.phase_finish("Building")
            head = json.dumps({"version": machine.version, "gpu": machine.gpu, "profiles": config.profiles}).encode()
            return b"ftrt" + len(head).to_bytes(4, "little") + head + network.graph

    class ParserError:
        def desc(self):
            return "no importer for it"

        def node(self):
            return 3

        def node_name(self):
            return "the_wrong_one"

        def node_operator(self):
            return "Einsum"

        def local_function_stack(self):
            return []

    class OnnxParser:
        num_errors = 1

        def __init__(self, network, logger):
            self.network = network
            if "parser" in machine.faults:
                raise TypeError("pybind11::init(): factory function returned nullptr")

        def parse(self, model, path=None):
            import onnx
            if "parse" in machine.faults:
                return False
            graph = onnx.load_from_string(bytes(model)).graph
            constants = {tensor.name for tensor in graph.initializer}           # an input with a default is a constant, as in TensorRT
            self.network.inputs, self.network.outputs = (
                [ITensor(end.name, tuple(d.dim_value or -1 for d in end.type.tensor_type.shape.dim)) for end in ends if end.name not in constants]
                for ends in (graph.input, graph.output[:1]))
            self.network.graph = bytes(model)
            return True

        def get_error(self, index):
            return ParserError()

    return (IProgressMonitor, INetworkDefinition, ITimingCache, IOptimizationProfile, IBuilderConfig, Builder, ParserError, OnnxParser)
