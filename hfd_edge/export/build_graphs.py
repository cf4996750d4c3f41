"""From a float graph and real scenes to every graph of a package, each with its judgement."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cache

import numpy as np

from hfd_edge.errors import ExportError, GridError
from hfd_edge.export.bounded_halo import HaloFlips, bounded_halo_px, flip_curve
from hfd_edge.export.calibration import METHODS, Ranges, calibrate, shifted
from hfd_edge.export.calibration_data import DataScene, Tile, halves, tiles_of
from hfd_edge.export.data_files import Place
from hfd_edge.export.enough import check_export
from hfd_edge.export.legality import check_trt
from hfd_edge.export.parity import GateResult, Infer, Thresholds
from hfd_edge.export.qat_ranges import TrainedRanges, chosen_ranges
from hfd_edge.export.quantize_cpu import to_int8_cpu
from hfd_edge.export.quantize_options import Int8Options
from hfd_edge.export.quantize_sensitivity import int8_that_passes, sensitivity
from hfd_edge.export.quantize_trt import to_fp16_trt, to_int8_trt
from hfd_edge.export.told import say
from hfd_edge.export.verify import GATE_TILE_PX, MOST_TILES, gate_graphs, judge, remembering, runner
from hfd_edge.measure.edge_error import EdgeError, Patch, edge_error
from hfd_edge.package.manifest import FP16_TRT, FP32, INT8_CPU, INT8_TRT
from hfd_edge.raster_run import RasterOptions
from hfd_edge.spec import ModelSpec

PRECISIONS, TARGETS = ("fp32", "fp16", "int8"), ("cpu", "tensorrt")
CALIBRATION_TILES = 48
_METHOD = "percentile"
_SENSITIVITY_TILES, _CHOICE_TILES = 2, 8
_EDGE_TILES = 8                 # each is run 8 times, to see what the end of a tile does


@dataclass(frozen=True, slots=True)
class GraphPlan:
    """Which graphs a package gets, and from what data."""

    data: tuple[Place, ...] = ()                # rasters, products, folders of them, or "simulated"; none = FP32 alone, without a gate on scenes
    declared: RasterOptions = field(default_factory=RasterOptions)      # what is said of all rasters alike
    precisions: tuple[str, ...] | None = None   # None = fp32, and with data all that the targets take
    targets: tuple[str, ...] = ("cpu",)
    method: str = _METHOD
    sensitivity: bool = False                   # what each convolution costs, measured even where the gate passes at once
    keep_float: tuple[str, ...] = ()            # nodes of the float graph; more are added where the gate asks for it
    thresholds: Thresholds = Thresholds()
    weight_bits: int = 7                        # of the CPU graph; 8 is finer, and saturates on processors without VNNI

    def __post_init__(self) -> None:
        for name, given in (("precision", self.precisions), ("target", self.targets)):
            if given is not None and not given:
                raise ExportError(f"{name} (--{name}) is empty: name one, or leave it out for the default")
        for name, given, known in (("precision", self.precisions or (), PRECISIONS), ("target", self.targets, TARGETS),
                                   ("calibration method", (self.method,), METHODS)):
            if strange := [word for word in given if word not in known]:
                raise ExportError(f"{name} {strange[0]!r} is not known: use {', '.join(known)}")
        if self.weight_bits not in (7, 8):
            raise ExportError(f"weight_bits={self.weight_bits}: weights have 7 bits, or 8 where the processor has VNNI")
        more = [word for word in self.precisions or () if word != "fp32"] or [word for word in self.targets if word != "cpu"]
        if more and not self.data:
            raise ExportError(f"{more[0]} without calibration data: ranges come from real scenes, never from random numbers, "
                              "and the gate judges every graph on them; give --calibration with rasters, a folder of them, or "
                              "'simulated' for a network of simulated scenes")
        if "fp16" in (self.precisions or ()) and "tensorrt" not in self.targets:
            raise ExportError("precision fp16 without target tensorrt: processors run it slower than fp32; add --target cpu,tensorrt")
        self._check_of_int8()

    def _check_of_int8(self) -> None:
        """Refuse what says how an INT8 graph is made where none is made."""
        made = {INT8_CPU, INT8_TRT} & {*self.graphs}
        given = (("--keep-float", self.keep_float and not made), ("--calibrator", self.method != _METHOD and not made),
                 ("--weight-bits 8", self.weight_bits == 8 and INT8_CPU not in made))
        if self.data and (named := [name for name, is_so in given if is_so]):
            without = f"an INT8 graph{' for the CPU' * bool(made)}"
            raise ExportError(f"{named[0]} without {without}: it says how one is made, and precision {','.join(self.precisions or PRECISIONS)} for target "
                              f"{','.join(self.targets)} has none; leave it out, or ask for one (--precision fp32,int8, --target cpu)")

    @property
    def int8(self) -> Int8Options:
        """Of the INT8 graph for the CPU, before anything more is kept in float."""
        return Int8Options(keep_float=self.keep_float, weight_bits=self.weight_bits)

    @property
    def graphs(self) -> tuple[str, ...]:
        """Members to make besides the FP32 graph, which always is there."""
        wanted = self.precisions or (PRECISIONS if self.data else ("fp32",))
        known = ((INT8_CPU, "int8", "cpu"), (FP16_TRT, "fp16", "tensorrt"), (INT8_TRT, "int8", "tensorrt"))
        return tuple(name for name, precision, target in known if precision in wanted and target in self.targets)


@dataclass(frozen=True, slots=True)
class GraphSet:
    """The graphs, what they were made from, and how they did."""

    graphs: dict[str, bytes]
    results: dict[str, GateResult]
    ranges: Ranges | None
    keep_float: dict[str, tuple[str, ...]]      # of each INT8 graph
    halo_curve: tuple[HaloFlips, ...]
    edge: EdgeError | None = None               # None = not measured, or nothing to measure: a network without halo
    notes: tuple[str, ...] = ()                 # what a reader of the report should know of how they were made
    tuned: bool = False                         # the network had quantisation-aware training
    sensitivity: dict[str, float] = field(default_factory=dict)     # of the convolutions, the worst first; empty = not measured

    @property
    def halo_bounded_px(self) -> int | None:
        return bounded_halo_px(list(self.halo_curve))

    def provenance(self) -> dict:
        """What the manifest keeps of the calibration."""
        return {"calibration": None if self.ranges is None else self.ranges.to_dict(),
                "keep_float": {name: list(kept) for name, kept in self.keep_float.items()},
                "halo_curve": [asdict(point) for point in self.halo_curve],
                "sensitivity": self.sensitivity, "edge_error": None if self.edge is None else self.edge.to_dict()}


def make_graphs(graph: bytes, spec: ModelSpec, reference: Infer, scenes: list[DataScene], plan: GraphPlan,
                trained: TrainedRanges | None = None) -> GraphSet:
    """Calibrate on one part of the scenes, judge every graph on the other.

    Args:
        graph: serialised float ONNX, FP32.
        spec: of its network.
        reference: the network itself, in PyTorch.
        trained: the ranges of quantisation-aware training.
    Raises:
        ExportError, GateError: the data cannot serve, or are too few, or a graph answers with numbers that are not finite. A graph that merely
            fails its gate is in the results.
    """
    first, second = halves(scenes)
    tiles = list(tiles_of(second, spec, GATE_TILE_PX, MOST_TILES))
    check_export(tiles, scenes, spec, plan.thresholds)
    graphs, ranges, kept, notes, seen = {FP32: graph}, None, {}, (), []
    say(f"judging {FP32} on {len(tiles)} tiles")
    known = remembering(reference, tiles)
    results = gate_graphs(known, graphs, tiles, plan.thresholds)
    if plan.graphs:
        shown = list(tiles_of(first, spec, spec.tile_px, CALIBRATION_TILES))
        say(f"calibrating on {len(shown)} tiles")
        seen, statuses = [tile.pixels for tile in shown], [tile.status for tile in shown]
        told = [tile.vector for tile in shown] if spec.scene_percentiles else None
        wider = () if trained or told else shifted(seen, spec.input)        # ranges that were trained are not to be widened
        calibrated = calibrate(graph, seen, plan.method, statuses, told, wider)
        ranges, notes = _ranges(graph, calibrated, trained, seen, plan)
    ranking = cache(lambda: sensitivity(graph, ranges, seen[:_SENSITIVITY_TILES]))
    for name, make in _int8_makers(graph, ranges, plan).items():
        say(f"making and judging {name}")
        made = int8_that_passes(make, lambda own, name=name: judge(known, name, own, tiles, plan.thresholds), ranking, plan.keep_float)
        graphs[name], results[name], kept[name] = made.graph, made.result, made.kept
        notes += (f"{name}: kept in float: {', '.join(made.kept)}",) if made.kept else ()
    if FP16_TRT in plan.graphs:
        say(f"making and judging {FP16_TRT}")
        graphs[FP16_TRT] = to_fp16_trt(graph, calibrated)       # half precision must hold what scenes reach, not where INT8 cuts
        results |= gate_graphs(known, {FP16_TRT: graphs[FP16_TRT]}, tiles, plan.thresholds)
    graphs, results = ({name: each[name] for name in (FP32, *plan.graphs)} for each in (graphs, results))     # in the plan's order
    for name in {FP16_TRT, INT8_TRT} & {*graphs}:
        check_trt(graphs[name], name)
    if INT8_CPU in plan.graphs and plan.weight_bits == 8:
        notes += (f"{INT8_CPU} has weights of 8 bits: right on processors with VNNI (or ARM's dot products), wrong on others",)
    say("measuring the bounded halo and the error at the end of a tile")
    ranked = ranking() if kept and (plan.sensitivity or ranking.cache_info().currsize) else {}
    return GraphSet(graphs, results, ranges, kept, tuple(flip_curve(runner(graph), tiles, spec)), _edge(runner(graph), tiles, spec), notes,
                    trained is not None, ranked)


def _int8_makers(graph: bytes, ranges: Ranges | None, plan: GraphPlan) -> dict[str, Callable[[tuple[str, ...]], bytes]]:
    """For each INT8 graph of the plan how it is made with some convolutions in float."""
    makers = {INT8_CPU: lambda kept: to_int8_cpu(graph, ranges, replace(plan.int8, keep_float=kept)),
              INT8_TRT: lambda kept: to_int8_trt(graph, ranges, kept)}
    return {name: make for name, make in makers.items() if name in plan.graphs}


def _ranges(graph: bytes, calibrated: Ranges, trained: TrainedRanges | None, seen: list[np.ndarray],
            plan: GraphPlan) -> tuple[Ranges, tuple[str, ...]]:
    """Ranges of the INT8 graphs, and what is to be said of them."""
    if trained is None or not {INT8_CPU, INT8_TRT} & {*plan.graphs}:
        return calibrated, ()
    make = (lambda own, ranges: to_int8_cpu(own, ranges, plan.int8)) if INT8_CPU in plan.graphs else to_int8_trt
    return chosen_ranges(graph, (calibrated, trained), make, seen[:_CHOICE_TILES], plan.weight_bits)


def _edge(run: Infer, tiles: list[Tile], spec: ModelSpec) -> EdgeError | None:
    """The error at the end of a tile, on some of the tiles; None where their cores hold too little, and the package then says
    that it was not measured."""
    large = [tile for tile in tiles if min(tile.pixels.shape[1:]) >= 3 * spec.halo_px]
    chosen, told = large[::max(1, -(-len(large) // _EDGE_TILES))], []

    def patches() -> Iterator[Patch]:
        for tile in chosen:
            _, *told[:] = tile.given()              # until the next patch is asked for
            yield tile.pixels, tile.status
    try:
        return edge_error(lambda batch: run(batch, *told), patches(), spec)
    except GridError:
        return None
