"""A plan that was loaded: checked against the spec, ready to make execution contexts."""

from __future__ import annotations

from typing import Any

from hfd_edge.device.memory import CudaDevice
from hfd_edge.engine.tensorrt_capabilities import TensorRT
from hfd_edge.engine.tensorrt_find import Found
from hfd_edge.engine.tensorrt_log import Log
from hfd_edge.engine.tensorrt_slot import Block, Names, Slot, SlotShape
from hfd_edge.errors import EngineError
from hfd_edge.spec import SCENE_INPUT, ModelSpec

_WAY_OUT = "remove it (hfd-edge inspect names the plans), and run hfd-edge build again on this machine"


class LoadedPlan:
    """Logger, runtime and engine, kept alive in this order; they go in the other one."""

    def __init__(self, trt: TensorRT, gpu: CudaDevice, found: Found, spec: ModelSpec) -> None:
        """Raises EngineError or DeviceError where TensorRT refuses the plan, or it is not the spec's; the log's last lines are told."""
        self.key, self.source = found.key, found.source
        self._trt, self._gpu, self._spec = trt, gpu, spec
        self.profiles = found.key.profiles
        self.log = Log(trt)
        what = f"the plan of {found.key.graph} from {found.source} cannot be loaded by {trt.library} {trt.version}"
        with self.log.told(what, _WAY_OUT):
            self._runtime = trt.module.Runtime(self.log.logger)
        plan = bytes(found.plan)
        self._check_validity(plan, what)
        self.log.mark()
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise self.log.error(what, _WAY_OUT)
        self._how = self._context_options()
        self._names = self._check_ends(what)
        self._check_profiles(what)

    def slot(self, shape: tuple[int, int, int], block: Block, cuda_graphs: bool) -> Slot:
        """A context for (tiles, rows, cols), one of `profiles`.

        Raises:
            EngineError, DeviceError: no such profile, the plan is closed, or TensorRT or the device refuses.
        """
        if self._engine is None:
            raise EngineError(f"the plan of {self.key.graph} is closed: open the package again")
        if shape not in self.profiles:
            raise EngineError(f"a batch of {shape[0]} tiles of {shape[1]} x {shape[2]} px: this plan takes "
                              f"{', '.join('x'.join(map(str, p)) for p in self.profiles)}; ask for one of them, or build another plan")
        tiles, rows, cols = shape
        spec, profile, s = self._spec, self.profiles.index(shape), self._spec.logit_stride_px
        block.reserve(self._memory_bytes(profile))
        return Slot(self._context, self._gpu, block, self.log, SlotShape(
            profile, (tiles, len(spec.bands), rows, cols), (tiles, len(spec.classes), rows // s, cols // s), self._names, cuda_graphs,
            spec.scene_numbers))

    def close(self) -> None:
        """Let go of engine and runtime; slots must be closed before."""
        with self._gpu.current_to_free():
            self._how = None
            self._engine = None
            self._runtime = None

    def _context_options(self) -> Any:
        """What contexts are made with: their scratch memory is ours, and TensorRT-RTX compiles the kernels of a shape before they run. Its
        default is to run others until these are ready, which a CUDA graph captured in the meantime would keep."""
        module, ours = self._trt.module, self._trt.module.ExecutionContextAllocationStrategy.USER_MANAGED
        if not self._trt.specialises:
            return ours
        config = self._engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(ours)
        config.dynamic_shapes_kernel_specialization_strategy = module.DynamicShapesKernelSpecializationStrategy.EAGER
        return config

    def _context(self) -> Any:
        self.log.mark()
        context = self._engine.create_execution_context(self._how)
        if context is None:
            raise self.log.error(f"no execution context of {self.key.graph}", "use a smaller batch or tile")
        streams = []
        if count := getattr(self._engine, "num_aux_streams", 0):
            streams = [self._gpu.stream() for _ in range(count)]
            context.set_aux_streams([stream.handle for stream in streams])
        return context, streams

    def _memory_bytes(self, profile: int) -> int:
        if self._trt.memory_of_profile:
            return self._engine.get_device_memory_size_for_profile_v2(profile)
        return self._engine.device_memory_size_v2

    def _check_validity(self, plan: bytes, what: str) -> None:
        """TensorRT-RTX can say beforehand whether a plan runs on this GPU."""
        if not self._trt.validity:
            return
        self.log.mark()
        validity, diagnostics = self._runtime.get_engine_validity(plan)
        if validity == self._trt.module.EngineValidity.INVALID:
            raise EngineError(f"{what}: it does not run on this GPU (diagnostics {diagnostics}); TensorRT said: {self.log.last()}; use the "
                              "full TensorRT here (--library tensorrt), or device='cpu'")

    def _check_ends(self, what: str) -> Names:
        engine, module = self._engine, self._trt.module
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        ends = [[name for name in names if engine.get_tensor_mode(name) == mode]
                for mode in (module.TensorIOMode.INPUT, module.TensorIOMode.OUTPUT)]
        told = [SCENE_INPUT] if self._spec.scene_numbers else []
        images = [name for name in ends[0] if name not in told]
        if (len(images), len(ends[0]), len(ends[1])) != (1, 1 + len(told), 1):
            raise EngineError(f"{what}: it has inputs {', '.join(ends[0]) or 'none'} and outputs {', '.join(ends[1]) or 'none'}, an engine "
                              f"here has one of each{f' and an input {SCENE_INPUT!r} (scene_percentiles)' if told else ''}; {_WAY_OUT}")
        for name in names:
            if engine.get_tensor_dtype(name) != module.DataType.FLOAT:
                raise EngineError(f"{what}: tensor {name} is {engine.get_tensor_dtype(name)}, not float32; {_WAY_OUT}")
        if told and (found := tuple(engine.get_tensor_shape(SCENE_INPUT))) != (1, self._spec.scene_numbers):
            raise EngineError(f"{what}: input {SCENE_INPUT} has shape {found}, the spec's scene_percentiles and bands make "
                              f"{(1, self._spec.scene_numbers)}; {_WAY_OUT}")
        return Names(images[0], ends[1][0])

    def _check_profiles(self, what: str) -> None:
        engine, bands = self._engine, len(self._spec.bands)
        if engine.num_optimization_profiles != len(self.profiles):
            raise EngineError(f"{what}: it has {engine.num_optimization_profiles} profiles, its record says {len(self.profiles)}; {_WAY_OUT}")
        for number, (tiles, rows, cols) in enumerate(self.profiles):
            bounds = [tuple(dims) for dims in engine.get_tensor_profile_shape(self._names.source, number)]
            if any(found != (tiles, bands, rows, cols) for found in bounds):
                raise EngineError(f"{what}: profile {number} takes {bounds}, its record says {(tiles, bands, rows, cols)}; {_WAY_OUT}")
