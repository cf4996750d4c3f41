"""Any segmentation network as a package: foreign ONNX and spec.yaml -> checks -> geometry -> golden tile -> package."""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hfd_edge.engine.graph_scan import check_graph, scan
from hfd_edge.errors import ExportError, GateError, ReachError
from hfd_edge.export.activation import activation_bytes_per_px
from hfd_edge.export.data_files import given_scenes
from hfd_edge.export.foreign_intake import read_foreign
from hfd_edge.export.foreign_network import ForeignNetwork, prepare_network
from hfd_edge.export.foreign_rewrite import INPUT_NAME
from hfd_edge.export.foreign_spec import ForeignSpec, read_spec
from hfd_edge.export.golden import CLOSE_CALL, close_calls, golden_tile
from hfd_edge.export.lineage import KEY, lineage_of
from hfd_edge.export.measured import measured_within_bound
from hfd_edge.export.session import open_session, tool_versions
from hfd_edge.export.target import check_target
from hfd_edge.package import Golden, write_package
from hfd_edge.package.manifest import FP32
from hfd_edge.source.filter import check_filter
from hfd_edge.spec import NODATA_LABEL, ModelSpec
from hfd_edge.tiles import round_up

if TYPE_CHECKING:
    from hfd_edge.export.build_graphs import GraphPlan

DEFAULT_TILE_PX = 512
UNBOUNDED_SHARE = 8         # without --halo, an unbounded network gets a halo of one part in so many of its tile


@dataclass(frozen=True, slots=True)
class ForeignOptions:
    """What may differ from one packaging of a network to the next."""

    overwrite: bool = False
    unbounded: bool = False             # package a network without a bound on its reach; tiled then may differ from whole
    halo_px: int | None = None          # its halo; None = an eighth of the tile
    keep_size: bool = False             # leave a fixed input size as it is
    measure: bool = True                # run the measurement that must stay within the bound
    plan: GraphPlan | None = None       # other precisions, and scenes to calibrate and judge them on; None = FP32 alone
    replaces: Path | None = None        # the package that this one replaces: version number and parents are kept
    report: Path | None = None          # folder for the gate's page, pictures and ranges; None = only on failure


@dataclass(frozen=True, slots=True)
class ForeignReport:
    """What a packaging made."""

    path: Path
    spec: ModelSpec
    operators: dict[str, int]
    package_bytes: int
    measured_reach_px: int | None       # None = not measured
    notes: tuple[str, ...]              # what was changed in the graph
    warnings: tuple[str, ...]           # what is not promised
    gate: str = ""                      # the judgement as a table; "" = no scenes were given
    graph_sizes: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready record."""
        return {**asdict(self), "path": str(self.path), "spec": self.spec.to_dict(), "notes": list(self.notes),
                "warnings": list(self.warnings)}

    def __str__(self) -> str:
        spec, measured = self.spec, "" if self.measured_reach_px is None else f", measured {self.measured_reach_px}"
        reach = f"reach {spec.reach_px} px (bound{measured}), exact halo" if spec.reach_bounded else "reach without bound, halo"
        tile = f"tile {spec.tile_px} px{' and no other' if spec.fixed_tile else ''}"
        lines = (f"{self.path}: {self.package_bytes / 1e6:.2f} MB, {sum(self.operators.values())} nodes",
                 f"{reach} {spec.halo_px} px, stride {spec.stride_px}, logits at {spec.logit_stride_px}, {tile}, "
                 f"{spec.activation_bytes_per_px} B/px of activations",
                 *([self.gate] if self.gate else ()), *(f"changed: {note}" for note in self.notes),
                 *(f"WARNING: {warning}" for warning in self.warnings))
        return "\n".join(lines)


def package_foreign(source: str | os.PathLike, spec_file: str | os.PathLike, output: str | os.PathLike,
                    options: ForeignOptions | None = None) -> ForeignReport:
    """Package a foreign ONNX file.

    Args:
        source: the ONNX file: one float32 image in (NCHW), one float32 answer out.
        spec_file: YAML with what the graph does not tell; see `foreign_spec.EXAMPLE`.
        output: the package to write.
    Raises:
        SpecError: the spec is refused, or the spec and the graph contradict each other.
        ExportError, EngineError: the graph is refused; nothing is written.
        ReachError: the reach has no bound and that was not asked for, or the measurement exceeds the bound.
        GateError: the graph, rewritten for tiles, answers otherwise.
        PackageError: `output` cannot be written.
    """
    options, output, source = options or ForeignOptions(), Path(output), Path(source)
    part, plan = read_spec(spec_file), options.plan
    scenes = given_scenes(plan.data, part.bands, plan.declared) if plan is not None and plan.data else []
    inputs = (source, Path(spec_file), options.replaces, *(file for scene in scenes for file in scene.inputs))
    check_target(output, options.overwrite, inputs, options.report, plan.data if plan is not None else ())
    lineage_of(options.replaces)
    model, data = read_foreign(source, len(part.bands) * len(part.scene_percentiles or ()))
    network = prepare_network(model, source.name, len(part.classes) == 2, options.keep_size)
    check_graph(scan(network.graph, source.name))
    _check_agreement(network, part, source.name)
    spec = _make_spec(network, part, options)
    notes, warnings = _said(network, part, spec)
    lineage = lineage_of(options.replaces, spec)
    golden, undecided = _golden(network, spec)          # first: NaN is felt at any distance
    measured = measured_within_bound(network.graph, spec, network.fixed_px, seeds=(0,)) if options.measure and spec.reach_bounded else None
    provenance = {KEY: lineage, "foreign": _origin(source.name, data, network), "measured_reach_px": measured,
                  "golden_undecided": undecided, "tools": tool_versions("hfd_edge", "onnx", "onnxruntime", "numpy")}
    gate, spec, sizes = _write(network.graph, spec, golden, (output, options), provenance)
    return ForeignReport(output, spec, network.operators, output.stat().st_size, measured, notes, warnings, gate, sizes)


def _write(graph: bytes, spec: ModelSpec, golden: Golden, where: tuple[Path, ForeignOptions],
           provenance: dict[str, Any]) -> tuple[str, ModelSpec, dict[str, int]]:
    """(judgement in words, spec as written, sizes of the graphs); the gate where scenes are given."""
    output, options = where
    if options.plan is None or not options.plan.data:
        write_package(output, spec, {FP32: graph}, golden, provenance, overwrite=options.overwrite)
        return "", spec, {FP32: len(graph)}
    from hfd_edge.export.build_graphs import GraphSet       # the gate needs torch, a package of FP32 alone does not
    from hfd_edge.export.foreign_graphs import seal_with_more
    from hfd_edge.export.sealed import Contents
    from hfd_edge.export.verify import INT8_GRAPHS

    if spec.scene_percentiles is not None and {*INT8_GRAPHS} & {*options.plan.graphs}:
        raise ExportError("INT8 of a network with scene_percentiles is not made: nothing here checks how the layers of its vector are quantised; give "
                          "--precision fp32,fp16 --target cpu,tensorrt with --calibration, or leave them out for FP32 alone")
    alone = GraphSet({FP32: graph}, {}, None, {}, ())
    gate, written = seal_with_more(Contents(output, spec, alone, golden, provenance, options.overwrite, options.report),
                                   options.plan)
    return str(gate), written.spec, {name: len(data) for name, data in written.made.graphs.items()}


def _origin(name: str, data: bytes, network: ForeignNetwork) -> dict[str, Any]:
    return {"file": name, "sha256": hashlib.sha256(data).hexdigest(), "changes": list(network.notes),
            "operators": network.operators, "unbounded": network.unbounded}


def _check_agreement(network: ForeignNetwork, part: ForeignSpec, name: str) -> None:
    if network.bands != len(part.bands):
        raise ExportError(f"{name} takes {network.bands} bands, the spec names {len(part.bands)} ({', '.join(part.bands)}): they must agree")
    if network.classes != len(part.classes):
        hint = "; one logit (sigmoid) stands for two classes: name background first" if network.classes == 1 else ""
        raise ExportError(f"{name} answers with {network.classes} classes, the spec names {len(part.classes)} "
                          f"({', '.join(part.classes)}): they must agree{hint}")
    check_filter(part.input)


def _make_spec(network: ForeignNetwork, part: ForeignSpec, options: ForeignOptions) -> ModelSpec:
    stride, bounded = network.stride_px, network.reach_px is not None
    if bounded and (options.halo_px is not None or options.unbounded):
        raise ExportError(f"the reach is bounded by {network.reach_px} px: the exact halo is known, and --halo and --unbounded "
                          "are for networks without a bound; choose a smaller halo when running (predict --halo)")
    if not bounded and not options.unbounded and options.halo_px is None:
        raise ReachError(f"{network.unbounded}; tiles cannot equal the whole scene at any halo. To package it all the same, "
                         "give --halo PIXELS or --unbounded: equality is then not promised")
    tile = network.fixed_px or part.tile_px or DEFAULT_TILE_PX
    if bounded:
        halo, reach = round_up(network.reach_px + part.filter_halo_px, stride), network.reach_px
    else:
        halo = reach = round_up(tile // UNBOUNDED_SHARE if options.halo_px is None else options.halo_px, stride)
    if network.fixed_px and 2 * halo >= tile:
        raise ReachError(f"a halo of {halo} px leaves nothing of the only tile this graph takes, {tile} px: export it with "
                         f"open sizes, or for a tile above {2 * halo} px")
    if not network.fixed_px:
        tile = round_up(tile, stride) if tile > 2 * halo else round_up(4 * halo, stride)
    memory = activation_bytes_per_px(network.graph, network.bands, stride, network.fixed_px)
    return ModelSpec(
        name=part.name, bands=part.bands, input=part.input, classes=part.classes, colors=part.colors, stride_px=stride,
        logit_stride_px=network.logit_stride_px, reach_px=reach, halo_px=halo, tile_px=tile, activation_bytes_per_px=memory,
        pixel_spacing_m=part.pixel_spacing_m, reach_bounded=bounded, fixed_tile=network.fixed_px is not None,
        scene_percentiles=part.scene_percentiles)


def _said(network: ForeignNetwork, part: ForeignSpec, spec: ModelSpec) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(what was changed, what is not promised), in words."""
    asked, notes, warnings = part.tile_px or DEFAULT_TILE_PX, network.notes, ()
    if not spec.fixed_tile and asked != spec.tile_px:
        notes += (f"tile_px={asked} became {spec.tile_px}: a multiple of {spec.stride_px} above twice the halo",)
    if not spec.reach_bounded:
        warnings = (f"tiled is NOT promised to equal whole: {network.unbounded}. Runs say halo \"custom\"; compare tile sizes "
                    "on your own scenes before you trust the borders",)
    elif network.rounded:
        warnings = (f"tiled equals whole to some 1e-4 of a value, not bit for bit: {network.rounded}, and float32 rounds its positions by "
                    "where they lie in the tile; resize by 2, 4, 8 ... where the bits matter",)
    return notes, warnings


def _golden(network: ForeignNetwork, spec: ModelSpec) -> tuple[Golden, int]:
    """Seeded noise and the graph's answer; (golden tile, cells too close to call)."""
    pixels = golden_tile(None, spec.input, network.fixed_px or spec.stride_px)
    pixels = np.ascontiguousarray(pixels[:, :network.fixed_px, :network.fixed_px])
    logits = open_session(network.graph).run(None, {INPUT_NAME: pixels[None]})[0][0]
    if not np.isfinite(logits).all():
        raise GateError("the network answers noise of its own statistics with numbers that are not finite: its weights have "
                        "diverged, or mean and std of the spec are wrong; no package was written")
    labels = logits.argmax(0).astype(np.uint8)
    labels[close_calls(logits)] = NODATA_LABEL
    undecided = int((labels == NODATA_LABEL).sum())
    if undecided == labels.size:
        raise GateError(f"the two best logits of every place of the golden tile are nearer than {CLOSE_CALL:g}: the network "
                        "decides nothing (untrained, or its head ends in probabilities that hfd_edge could not cut off); no package was written")
    return Golden(pixels, {FP32: labels}), undecided
