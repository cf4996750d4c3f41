"""What `hfd-edge build` and `hfd-edge plan` do: plans for this machine from a package, made or taken from the cache."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace

from hfd_edge.device.memory import CudaDevice
from hfd_edge.engine.tensorrt_build import PRECISION_OF, BuildOptions, plan_shapes
from hfd_edge.engine.tensorrt_capabilities import load_tensorrt
from hfd_edge.engine.tensorrt_find import Found, PlanPolicy, find_plan, say_aloud
from hfd_edge.errors import EngineError
from hfd_edge.package import Package
from hfd_edge.package.manifest import FP16_TRT, FP32, INT8_TRT
from hfd_edge.plan.device import wide_tile_px

# Half precision first: INT8 is often no faster on small networks (docs/tensorrt.md), and it was not measured here.
GRAPHS = (FP16_TRT, INT8_TRT, FP32)


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """Which plan is wanted."""

    precision: str = "auto"                     # "fp16", "int8", "fp32", or the first of GRAPHS that the package holds
    tile: tuple[int, int] | None = None         # rows, cols; None = what a run takes by itself
    batch: int | None = None                    # tiles of a batch; None = what a run takes by itself
    library: str | None = None                  # None = the full TensorRT where it is there
    device: int = 0
    options: BuildOptions = BuildOptions()


def trt_graph(package: Package, precision: str = "auto") -> str:
    """The graph of a package that TensorRT runs in this precision.

    Raises:
        EngineError: the package holds none.
    """
    if precision not in ("auto", *PRECISION_OF.values()):
        raise EngineError(f"precision={precision!r}: it must be auto, {', '.join(sorted(PRECISION_OF.values()))}")
    wanted = [graph for graph in GRAPHS if precision in ("auto", PRECISION_OF[graph])]
    graph = next((graph for graph in wanted if graph in package.graph_names), None)
    if graph is None:
        way = "export it again with --target cpu,tensorrt and --calibration" if package.spec.scene_percentiles is None else \
            "a network that is told of the whole scene (scene_percentiles) has FP32, or with --calibration and --target cpu,tensorrt FP16: use auto"
        raise EngineError(f"{package.path} holds {', '.join(package.graph_names)}: TensorRT runs {' or '.join(wanted)} for precision "
                          f"{precision}; {way}")
    return graph


def make_plan(package: Package, request: BuildRequest, quiet: bool = False) -> Found:
    """Build the plan, unless the cache has it.

    Raises:
        EngineError, DeviceError: no TensorRT, no GPU where it needs one, no such graph, or it cannot be built.
    """
    graph = trt_graph(package, request.precision)
    trt = load_tensorrt(request.library)
    policy = PlanPolicy(options=request.options, say=(lambda _: None) if quiet else say_aloud)
    with nullcontext() if trt.builds_without_gpu else CudaDevice(request.device).current():     # TensorRT measures on the thread's own device
        return find_plan(trt, package, graph, plan_shapes(package, request.tile, request.batch), policy, request.device)


def make_plans(package: Package, request: BuildRequest, quiet: bool = False) -> list[Found]:
    """Every plan that a run takes by itself: that of the usual tiles and that of the wide ones; or the one that was asked for by tile or
    batch. Raises as make_plan."""
    wide = wide_tile_px(package.spec)
    sizes = [request.tile] if request.tile or request.batch or wide is None else [None, (wide, wide)]
    return [make_plan(package, replace(request, tile=tile), quiet) for tile in sizes]
