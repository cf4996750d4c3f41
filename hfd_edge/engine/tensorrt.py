"""TensorRT on an NVIDIA GPU, TensorRT 10.3 to 11.x or TensorRT-RTX; what is here decides.

The driver is probed before TensorRT is touched. Every plan that runs answered the package's golden tile first, through the profile that it
keeps for it. Slots are execution contexts of their own with memory of their own, so they run side by side; `infer` has one more for each
shape, which share one block because only one of them runs at a time.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from hfd_edge.device.memory import CudaDevice
from hfd_edge.engine.golden import check_golden
from hfd_edge.engine.tensorrt_build import plan_key, plan_shapes
from hfd_edge.engine.tensorrt_capabilities import check_driver, load_tensorrt, target_gpu
from hfd_edge.engine.tensorrt_find import PlanPolicy, find_plan, ready_plan
from hfd_edge.engine.tensorrt_plan import LoadedPlan
from hfd_edge.engine.tensorrt_slot import Block, Slot
from hfd_edge.errors import DeviceError, EngineError
from hfd_edge.package import Package
from hfd_edge.plan.device import usual_batch, usual_tile_px, wide_tile_px
from hfd_edge.text import Note


@dataclass(frozen=True, slots=True)
class TensorRTOptions:
    """How the engine runs."""

    device: int = 0
    batch: int | None = None                # tiles of a batch, 1 is always there too; None = what a run takes by itself
    tile: tuple[int, int] | None = None     # rows, cols of the plan that is made ready at once; None = what a run takes by itself
    library: str | None = None
    cuda_graphs: bool = True                # replay a captured graph where that works
    policy: PlanPolicy = PlanPolicy()


class TensorRTEngine:
    """One graph of one package on one GPU. Two threads may call `infer`; slots are independent.

    Plans are made ready by size of tile: the usual one at once, others when a slot or `infer` asks for them first.
    """

    def __init__(self, package: Package, graph: str, options: TensorRTOptions | None = None) -> None:
        """Find or build the plan, load it, and let it answer the golden tile.

        Raises:
            DeviceError: no driver, no such GPU, not enough memory on it, or the device was lost.
            EngineError: no TensorRT, no plan and none may be built, or TensorRT refuses it.
            PackageError: the golden tile was answered otherwise than at export.
        """
        self._options = options = options or TensorRTOptions()
        check_driver()
        self.gpu = CudaDevice(options.device)
        self._trt = load_tensorrt(options.library)
        self.name, self.version, self.graph = self._trt.library, self._trt.version, graph
        self.device = f"cuda:{options.device}"
        self.takes_scene = package.spec.scene_numbers > 0
        self._spec, self._numbers = package.spec, package.spec.scene_numbers
        self._package: Package | None = package
        self._lock = threading.RLock()
        self._plans: dict[tuple[int, int], LoadedPlan] = {}
        self._own: dict[tuple[int, int, int], Slot] = {}
        self._slots: list[Slot] = []
        self._block = Block(self.gpu)
        self._stream: Any = None
        try:
            self._stream = self.gpu.stream()
            shapes = plan_shapes(package, options.tile, options.batch)
            self._plan(shapes.rows, shapes.cols)
        except BaseException:
            self.close()
            raise

    @property
    def notes(self) -> tuple[str, ...]:
        """What a report should tell: plans that were built, slots that run without a CUDA graph."""
        with self._lock:
            plans = (f"plan of {key.precision}, tiles {key.shape}, for {key.gpu} from {source}" for key, source in
                     ((plan.key, plan.source) for plan in self._plans.values()))
            return tuple(Note("engine", each) for each in (*plans, *dict.fromkeys(slot.note for slot in self._slots if slot.note)))

    def infer(self, batch: np.ndarray, scene: np.ndarray | None = None) -> np.ndarray:
        """Logits (n, classes, rows / s, cols / s) float32 of a batch (n, bands, rows, cols) float32 of network input.

        Host in, host out, synchronous; a batch of the engine's own size runs at once, others tile by tile. `scene` is (1, n) float32, what the
        network is told of the whole scene; None = zeros.
        """
        if scene is not None and (scene.dtype != np.float32 or scene.shape != (1, self._numbers)):
            raise EngineError(f"{self.name} was given {scene.dtype} {scene.shape} for the whole scene: {self.graph} takes "
                              f"{f'float32 {(1, self._numbers)}' if self._numbers else 'no second input (the spec has no scene_percentiles)'}")
        if batch.ndim != 4 or batch.dtype != np.float32:
            raise EngineError(f"a batch of {batch.dtype} {batch.shape}: it must be float32 (n, bands, rows, cols)")
        rows, cols = batch.shape[2:]
        with self._lock:
            new = self._plan_of(1, rows, cols) is None and len(batch) == self.batch_of(rows, cols)
            step = len(batch) if new or self._plan_of(len(batch), rows, cols) is not None else 1
            answers = [self._answer(np.ascontiguousarray(batch[at:at + step]), scene) for at in range(0, len(batch), step)]
        return np.concatenate(answers)

    def batch_of(self, rows: int, cols: int) -> int:
        """See DeviceEngine."""
        return self._options.batch or usual_batch(self._spec, rows, cols)

    def takes(self, rows: int, cols: int) -> bool:
        """Whether there is a plan for tiles of this size, or one may be built."""
        options = self._options
        with self._lock:
            if options.policy.build == "auto" or (rows, cols) in self._plans or self._package is None:
                return True
            key = plan_key(self._package, self.graph, plan_shapes(self._package, (rows, cols), options.batch), self._trt,
                           target_gpu(self._trt, options.device))
            return ready_plan(self._package, key, options.policy) is not None

    def slot(self, tiles: int, rows: int, cols: int) -> Slot:
        """A new execution context for batches of 1 or `batch` tiles of rows x cols, with memory of its own.

        Raises:
            EngineError: another number of tiles, a size the network does not take, or no plan and none may be built.
            DeviceError: not enough device memory.
        """
        with self._lock:
            if tiles not in (1, most := self.batch_of(rows, cols)):
                raise EngineError(f"a slot of {tiles} tiles: the plan takes 1 or {most}; use batch={most}, or build with --max-batch {tiles}")
            slot = self._plan(rows, cols).slot((tiles, rows, cols), Block(self.gpu), self._options.cuda_graphs)
            self._slots = [*(held for held in self._slots if not held.closed), slot]
            return slot

    def close(self) -> None:
        """Free contexts, engines and memory, in this order. Twice does nothing; slots that are still held are closed too."""
        with self._lock:
            for slot in (*self._slots, *self._own.values()):
                slot.close()
            self._slots.clear()
            self._own.clear()
            for plan in self._plans.values():
                plan.close()
            self._plans.clear()
            self._block.free()
            self._package = None

    def _plan_of(self, tiles: int, rows: int, cols: int) -> LoadedPlan | None:
        return next((plan for plan in self._plans.values() if (tiles, rows, cols) in plan.profiles), None)

    def _plan(self, rows: int, cols: int) -> LoadedPlan:
        """The plan for a size of tile; found or built, loaded, and checked with the golden tile where it is new."""
        if self._package is None:
            raise EngineError(f"the engine of {self.graph} is closed: open the package again (Segmenter is a context manager)")
        if (plan := self._plans.get((rows, cols))) is not None:
            return plan
        options, package = self._options, self._package
        shapes = plan_shapes(package, (rows, cols), options.batch)
        with self.gpu.current():
            try:
                found = find_plan(self._trt, package, self.graph, shapes, options.policy, options.device)
                plan = LoadedPlan(self._trt, self.gpu, found, package.spec)
            except (EngineError, DeviceError) as error:
                if (rows, cols) != (wide_tile_px(package.spec),) * 2:
                    raise
                raise type(error)(f"{error}; tile={usual_tile_px(package.spec)} (--tile) runs this scene without it") from error
        try:
            check_golden(package, _OnePlan(self, plan))
        except BaseException:
            plan.close()
            raise
        self._plans[rows, cols] = plan
        return plan

    def _answer(self, batch: np.ndarray, scene: np.ndarray | None) -> np.ndarray:
        tiles, _, rows, cols = batch.shape
        plan = self._plan_of(tiles, rows, cols) or self._plan(rows, cols)
        key = (tiles, rows, cols)
        if key not in self._own:
            self._own[key] = plan.slot(key, self._block, cuda_graphs=False)
        return self.run(self._own[key], batch, scene)

    def run(self, slot: Slot, batch: np.ndarray, scene: np.ndarray | None = None) -> np.ndarray:
        """One batch through a slot, from and to main memory; the slot is told of the scene first, None = zeros."""
        if batch.shape != slot.input_shape:
            raise EngineError(f"a batch of {batch.shape}: this network takes {slot.input_shape[1]} bands; give {slot.input_shape}")
        stream, gpu = self._stream.handle, self.gpu
        logits = np.empty(slot.output_shape, np.float32)
        vector = np.zeros((1, self._numbers), np.float32) if scene is None else np.ascontiguousarray(scene)
        source, target = gpu.allocate(batch.nbytes), gpu.allocate(logits.nbytes)
        try:
            gpu.copy_in(source.ptr, batch, stream)
            if self._numbers:
                gpu.copy_in(slot.scene_memory[0], vector, stream)
            slot.enqueue(source.ptr, target.ptr, stream)
            gpu.copy_out(logits, target.ptr, stream)
            gpu.synchronize(stream)
        except DeviceError as error:
            raise DeviceError(f"{self.name} failed on {self.graph} with a batch of shape {batch.shape}: {error}") from error
        finally:
            source.free()
            target.free()
        return logits


class _OnePlan:
    """A plan that nobody may use yet, as an engine for its golden tile."""

    def __init__(self, engine: TensorRTEngine, plan: LoadedPlan) -> None:
        self.name, self.version, self.graph, self.device = engine.name, engine.version, engine.graph, engine.device
        self._engine, self._plan = engine, plan

    def infer(self, batch: np.ndarray, scene: np.ndarray | None = None) -> np.ndarray:
        slot = self._plan.slot((len(batch), *batch.shape[2:]), Block(self._engine.gpu), cuda_graphs=False)
        try:
            return self._engine.run(slot, np.ascontiguousarray(batch), scene)
        finally:
            slot.close()

    def close(self) -> None:
        return None
