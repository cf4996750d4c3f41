"""Which engine runs a package here: ONNX Runtime on the CPU, TensorRT on a GPU where its library is there."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hfd_edge.build import build_info
from hfd_edge.device import cuda_index, is_whole, resolve_device
from hfd_edge.engine.base import Engine
from hfd_edge.engine.golden import check_golden
from hfd_edge.engine.tensorrt_build import PRECISION_OF
from hfd_edge.engine.tensorrt_capabilities import check_driver, gpu_here, load_tensorrt
from hfd_edge.engine.tensorrt_find import PlanPolicy, check_policy
from hfd_edge.engine.tensorrt_request import GRAPHS as GRAPHS_FOR_TENSORRT
from hfd_edge.engine.tensorrt_request import trt_graph
from hfd_edge.errors import DeviceError, EngineError, PackageError
from hfd_edge.package import Package
from hfd_edge.package.manifest import FP32, INT8_CPU
from hfd_edge.text import Note

GRAPHS_FOR_CPU = (INT8_CPU, FP32)     # the first that a package has is taken; `hfd-edge benchmark` tells which is fastest here
PRECISIONS = {"auto": GRAPHS_FOR_CPU, "int8": GRAPHS_FOR_CPU[:1], "fp32": GRAPHS_FOR_CPU[1:]}
WAYS_OUT = "hfd_edge does not fall back in silence: mend that (hfd-edge doctor tells more), or use device='cpu' (--device cpu)"


@dataclass(frozen=True, slots=True)
class GpuOptions:
    """What the caller wants of an engine on a GPU."""

    build: str = "auto"             # "never" builds no TensorRT plan
    trust_plans: bool = False       # plans inside the package may run
    batch: int | None = None        # tiles of a batch on a GPU; None = the engine's own
    tile: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        check_policy(self.build, self.trust_plans)              # on a CPU too: a word that is none is found where it stands


def tile_sides(tile: int | tuple[int, int] | str) -> tuple[int, int] | None:
    """Rows and columns of a tile that was asked for, None where it was not; what is neither is refused when tiles are planned."""
    if isinstance(tile, (tuple, list)) and len(tile) == 2:
        return tuple(tile)
    return (tile, tile) if is_whole(tile) else None


@dataclass(frozen=True, slots=True)
class Way:
    """One way to run a package on this machine: a graph of it, on a device, by a library."""

    library: str        # Engine.name, e.g. "onnxruntime"
    device: str         # "cpu" or "cuda:0"
    graph: str          # member of the package
    precision: str      # "fp32", "fp16" or "int8"


def ways_here(package: Package) -> tuple[Way, ...]:
    """Every graph of a package that an engine can run on this machine, plans built where missing; the gate judges them all."""
    return (*_cpu_ways(package), *_tensorrt_ways(package))


def open_way(package: Package, way: Way, threads: int) -> Engine:
    """The engine of one of `ways_here`, after its golden tile was answered.

    Raises:
        EngineError, PackageError, DeviceError: as `open_engine`.
    """
    if way.device == "cpu":
        return _open_onnxruntime(package, way.graph, threads)
    return _open_tensorrt(package, way.device, way.graph, GpuOptions())


def open_engine(package: Package, device: str, threads: int, precision: str = "auto", gpu: GpuOptions | None = None) -> Engine:
    """The engine for the package's graph of this precision on this device, after its golden tile was answered.

    Args:
        device: "cpu", or "cuda:0" and so on: that device or an error, never another one.
        precision: "auto", or one and no other: fp32 and int8 on the CPU, fp16 as well on a GPU.
    Raises:
        EngineError: the package holds no graph for this device and precision, or the engine refuses it.
        DeviceError: what a GPU needs is missing here; everything that is missing is named.
        PackageError: the engine's answer to the golden tile is another than at export.
    """
    if device != "cpu":
        return _open_cuda(package, device, precision, gpu or GpuOptions())
    if precision not in PRECISIONS:
        raise EngineError(f"precision={precision!r} on the CPU: it must be one of {', '.join(PRECISIONS)}")
    wanted = PRECISIONS[precision]
    graph = next((name for name in wanted if name in package.graph_names), None)
    if graph is None:
        raise EngineError(f"{package.path} holds {', '.join(package.graph_names) or 'no graph'}: device {device!r} runs "
                          f"{' or '.join(wanted)}{'' if precision == 'auto' else f' for precision {precision}'}; export it again for this target")
    return _open_onnxruntime(package, graph, threads)


def choose_device(device: str) -> str:
    """The device that will run, as device.resolve_device; where a GPU cannot be used, one error that names all that is missing.

    Raises:
        DeviceError: it cannot be used, or there is no such device.
    """
    try:
        return resolve_device(device)
    except DeviceError as error:
        if not str(device).startswith("cuda") or build_info()["cuda_module"]["devices"]:
            raise
        raise DeviceError(f"device={device!r} cannot be used here; missing: {'; '.join(why_not_cuda(cuda_index(device)))}. {WAYS_OUT}") from error


def why_cpu(device: str, package: Package) -> tuple[str, ...]:
    """What a report should tell of device="auto": the CPU is what it takes, also where a GPU would run the package."""
    if device != "auto" or not (ways := [way for way in ways_here(package) if way.device != "cpu"]):
        return ()
    return (Note("gpu_unused", f"device='auto' took the CPU; device='{ways[0].device}' runs this package here too ({ways[0].library}, {ways[0].graph})"),)


def why_not_cuda(index: int = 0) -> list[str]:
    """Everything that device="cuda" lacks on this machine, apart from a package; empty = nothing."""
    missing = []
    module = build_info()["cuda_module"]
    if not module["imported"]:
        missing.append(f"hfd_edge._cuda ({module['error']})")
    try:
        check_driver()
        gpu_here(index)
    except DeviceError as error:
        missing.append(f"a GPU ({error})")
    try:
        load_tensorrt()
    except EngineError as error:
        missing.append(f"TensorRT ({error})")
    return missing


def _open_cuda(package: Package, device: str, precision: str, options: GpuOptions) -> Engine:
    """TensorRT, or one error that names everything that is missing."""
    missing, graph = why_not_cuda(cuda_index(device)), None
    try:
        graph = trt_graph(package, precision)
    except EngineError as error:
        missing.append(f"a graph ({error})")
    if missing or graph is None:
        raise DeviceError(f"device={device!r} cannot run {package.path}; missing: {'; '.join(missing)}. {WAYS_OUT}")
    return _open_tensorrt(package, device, graph, options)


def _cpu_ways(package: Package) -> list[Way]:
    return [Way("onnxruntime", "cpu", graph, precision) for precision, graphs in PRECISIONS.items() if precision != "auto"
            for graph in graphs if graph in package.graph_names]


def _tensorrt_ways(package: Package) -> list[Way]:
    if not build_info()["cuda_module"]["devices"]:          # before anything of TensorRT is imported
        return []
    if why_not_cuda():
        return []
    return [Way(load_tensorrt().library, "cuda:0", graph, PRECISION_OF[graph]) for graph in GRAPHS_FOR_TENSORRT if graph in package.graph_names]


def _open_onnxruntime(package: Package, graph: str, threads: int) -> Engine:
    from hfd_edge.engine.onnxruntime import OnnxRuntimeEngine

    engine = OnnxRuntimeEngine(package, graph, threads)
    try:
        check_golden(package, engine)
    except BaseException:
        engine.close()
        raise
    return engine


def _open_tensorrt(package: Package, device: str, graph: str, options: GpuOptions) -> Engine:
    from hfd_edge.engine.tensorrt import TensorRTEngine, TensorRTOptions

    wanted = TensorRTOptions(cuda_index(device), tile=options.tile, policy=PlanPolicy(options.build, options.trust_plans))
    try:
        return TensorRTEngine(package, graph, wanted if options.batch is None else replace(wanted, batch=options.batch))
    except (EngineError, PackageError) as error:
        raise type(error)(f"{error}; or use device='cpu' (--device cpu)") from error
