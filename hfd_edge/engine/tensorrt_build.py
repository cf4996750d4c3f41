"""A plan out of a package's graph: parsed, checked against the spec, strongly typed, with one profile a tile count."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfd_edge.durable import write_whole
from hfd_edge.engine.graph_scan import check_graph, scan
from hfd_edge.engine.onnx_scene import with_scene_input
from hfd_edge.engine.tensorrt_capabilities import Gpu, TensorRT, check_driver
from hfd_edge.engine.tensorrt_log import Log
from hfd_edge.errors import EngineError
from hfd_edge.package import Package
from hfd_edge.package.manifest import FP16_TRT, FP32, INT8_TRT
from hfd_edge.package.plans import PlanKey
from hfd_edge.plan.device import usual_batch, usual_tile_px
from hfd_edge.spec import SCENE_INPUT, ModelSpec

PRECISION_OF = {FP32: "fp32", FP16_TRT: "fp16", INT8_TRT: "int8"}
WORKSPACE_BYTES = 1 << 30
Progress = Callable[[str, int, int], None]          # phase, steps done, steps in all


@dataclass(frozen=True, slots=True)
class PlanShapes:
    """Network inputs that a plan takes; PlanKey.profiles are made of them."""

    rows: int
    cols: int
    batch: int
    golden_px: int


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How to build; none of it changes what a plan computes."""

    workspace: int = WORKSPACE_BYTES        # bytes that a kernel may use besides its tensors
    timing_cache: Path | None = None        # read, and written again; TensorRT measures less the second time
    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class Built:
    """A plan and what is worth telling of its making."""

    key: PlanKey
    plan: bytes
    seconds: float
    warnings: tuple[str, ...]


def plan_shapes(package: Package, tile: tuple[int, int] | None = None, batch: int | None = None) -> PlanShapes:
    """The shapes of a package's plan; without a tile or a batch, those that a run takes by itself (plan/device.py).

    Raises:
        EngineError: the network's stride or a fixed tile size says otherwise.
    """
    spec, golden = package.spec, package.golden.input.shape[-1]
    rows, cols = tile or (usual_tile_px(spec),) * 2
    if rows < 1 or cols < 1 or rows % spec.stride_px or cols % spec.stride_px:
        raise EngineError(f"a tile of {rows} x {cols} px: it must be a multiple of the network's stride of {spec.stride_px} px")
    if spec.fixed_tile and (rows, cols) != (spec.tile_px, spec.tile_px):
        raise EngineError(f"a tile of {rows} x {cols} px: this network takes {spec.tile_px} x {spec.tile_px} px and nothing else")
    batch = usual_batch(spec, rows, cols) if batch is None else batch
    if not 1 <= batch <= 1024:
        raise EngineError(f"batch {batch}: it must be 1 to 1024 tiles")
    return PlanShapes(rows, cols, batch, golden)


def plan_key(package: Package, graph: str, shapes: PlanShapes, trt: TensorRT, gpu: Gpu) -> PlanKey:
    """What a plan of these depends on."""
    digest = package.manifest["members"][graph]["sha256"]
    return PlanKey(graph, digest, PRECISION_OF[graph], trt.library, trt.version, gpu.name, gpu.capability, gpu.driver, shapes.rows,
                   shapes.cols, shapes.batch, shapes.golden_px)


def build_plan(trt: TensorRT, package: Package, key: PlanKey, options: BuildOptions) -> Built:
    """Compile a package's graph. Takes seconds to minutes.

    Raises:
        EngineError: the graph is unsafe, contradicts the spec, or TensorRT refuses it; every parser error is in the text.
        DeviceError: no driver (the full TensorRT needs one to build), or not enough device memory.
    """
    if not trt.builds_without_gpu:
        check_driver()
    start, log, module = time.perf_counter(), Log(trt), trt.module
    name, data = f"{key.graph} of {package.path}", package.read(key.graph)
    check_graph(scan(data, name))
    with log.told(f"{trt.library} {trt.version} makes no builder", "see hfd-edge doctor, or use device='cpu'"):
        builder = module.Builder(log.logger)
        network = builder.create_network(1 << int(module.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    _parse(trt, network, log, with_scene_input(bytes(data)), name)
    image = check_network(network, module, package.spec, name)
    config = builder.create_builder_config()
    _configure(trt, config, options)
    _add_profiles(builder, config, log, image, package.spec, key)
    cache = _with_timing_cache(trt, config, options.timing_cache)
    log_before = log.other_types()
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise log.error(f"{trt.library} {trt.version} built no plan of {name}", "see hfd-edge doctor, or use device='cpu'")
    if said := log_before or log.other_types():
        raise EngineError(f"{trt.library} {trt.version} takes other types than {name} says ({said[0][:200]}), so its answers would be "
                          "wrong: export the network again with this version of hfd_edge")
    if cache is not None:
        _write_timing_cache(cache, options.timing_cache)
    return Built(key, bytes(plan), time.perf_counter() - start, tuple(log.warnings()))


def _parse(trt: TensorRT, network: Any, log: Log, data: bytes, name: str) -> None:
    with log.told(f"{trt.library} {trt.version} makes no parser of {name}", "see hfd-edge doctor, or use device='cpu'"):
        parser = trt.module.OnnxParser(network, log.logger)
    if parser.parse(data):
        return
    errors = [_parser_error(parser.get_error(i)) for i in range(parser.num_errors)]
    raise EngineError(f"{trt.library} {trt.version} cannot read {name}: {' | '.join(errors) or log.last()}; export the network again "
                      "for this target (--target cpu,tensorrt), or use device='cpu'")


def _parser_error(error: Any) -> str:
    """Everything that the parser knows of an error; what a version does not have is left out."""
    parts = []
    for name in ("desc", "node", "node_name", "node_operator", "local_function_stack", "func", "file", "line", "code"):
        ask = getattr(error, name, None)
        if ask is not None and (value := ask()) not in ("", None, []):
            parts.append(f"{name} {' '.join(str(value).split())[:300]}")
    return ", ".join(parts)


def check_network(network: Any, module: Any, spec: ModelSpec, name: str) -> str:
    """Refuse a network whose ends are not the spec's: one float32 input of its bands, one float32 output of its classes, and the scene's
    vector where it has scene_percentiles.

    Returns:
        name of the input of bands.
    """
    inputs, numbers = [network.get_input(i) for i in range(network.num_inputs)], spec.scene_numbers
    images = [end for end in inputs if not numbers or end.name != SCENE_INPUT]
    if len(images) != 1 or len(inputs) != 1 + (numbers > 0) or network.num_outputs != 1:
        wanted = f"one and {SCENE_INPUT!r} (the spec has scene_percentiles)" if numbers else "one (the spec has no scene_percentiles)"
        raise EngineError(f"{name} has inputs {', '.join(end.name for end in inputs) or 'none'} and {network.num_outputs} outputs: an engine here "
                          f"takes {wanted} and gives one; graph and spec differ, package the network again")
    for end in inputs:
        if end is not images[0] and (end.dtype != module.DataType.FLOAT or tuple(end.shape) != (1, numbers)):
            raise EngineError(f"{name} has input {end.name} of type {end.dtype} and shape {tuple(end.shape)}: the spec's scene_percentiles and "
                              f"bands make float32 {(1, numbers)}; graph and spec differ, package the network again")
    for end, what, count in ((images[0], "input", len(spec.bands)), (network.get_output(0), "output", len(spec.classes))):
        shape = tuple(end.shape)
        if end.dtype != module.DataType.FLOAT or len(shape) != 4 or shape[1] not in (count, -1):
            raise EngineError(f"{name} has {what} {end.name} of type {end.dtype} and shape {shape}: the spec says float32 and {count} "
                              "channels; graph and spec differ, export the package again")
    return images[0].name


def _configure(trt: TensorRT, config: Any, options: BuildOptions) -> None:
    module = trt.module
    config.set_memory_pool_limit(module.MemoryPoolType.WORKSPACE, options.workspace)
    if trt.tf32:
        config.clear_flag(module.BuilderFlag.TF32)          # float32 means float32
    if trt.max_aux_streams:
        config.max_aux_streams = 0                          # slots run side by side; within one, order is the stream's
    if trt.progress and options.progress is not None:
        config.progress_monitor = _monitor(trt, options.progress)


def _add_profiles(builder: Any, config: Any, log: Log, name: str, spec: ModelSpec, key: PlanKey) -> None:
    for tiles, rows, cols in key.profiles:
        profile, shape = builder.create_optimization_profile(), (tiles, len(spec.bands), rows, cols)
        refused = f"TensorRT refused a profile of {shape} for input {name}"
        way_out = "where the graph fixes a size of its own use --tile and --max-batch that it takes, or export it with free sizes"
        with log.told(refused, way_out):
            profile.set_shape(name, shape, shape, shape)
            if spec.scene_numbers:
                profile.set_shape(SCENE_INPUT, *[(1, spec.scene_numbers)] * 3)
        if config.add_optimization_profile(profile) < 0:
            raise log.error(refused, way_out)


def _with_timing_cache(trt: TensorRT, config: Any, path: Path | None) -> Any:
    if path is None:
        return None
    if not trt.timing_cache:
        raise EngineError(f"a timing cache for {trt.library}: it keeps none; leave it out")
    cache = config.create_timing_cache(path.read_bytes() if path.is_file() else b"")
    if cache is None or not config.set_timing_cache(cache, False):
        raise EngineError(f"{path} is no timing cache of {trt.library} {trt.version} on this GPU: delete it, it is made anew")
    return cache


def _write_timing_cache(cache: Any, path: Path) -> None:
    try:
        write_whole(path, bytes(cache.serialize()))
    except OSError as error:
        raise EngineError(f"the timing cache {path} cannot be written ({error}): choose another place, or leave it out") from error


def _monitor(trt: TensorRT, tell: Progress) -> Any:
    """TensorRT's own progress, phase by phase; phases nest, the outermost is told."""
    base = trt.module.IProgressMonitor

    class Monitor(base):
        def __init__(self) -> None:
            base.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if not parent_phase:
                self._steps[phase_name] = num_steps
                tell(phase_name, 0, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            if phase_name in self._steps:
                tell(phase_name, step + 1, self._steps[phase_name])
            return True

        def phase_finish(self, phase_name: str) -> None:
            if phase_name in self._steps:
                tell(phase_name, self._steps[phase_name], self._steps[phase_name])

    return Monitor()
