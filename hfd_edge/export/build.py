"""Assembly: checkpoint -> graph -> reach -> quantised graphs -> parity gate -> package.

A step that fails leaves no package behind; a gate that fails leaves its evidence in a quarantine folder beside.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from hfd_edge.errors import ExportError, ReachError
from hfd_edge.export.activation import activation_bytes_per_px
from hfd_edge.export.build_graphs import GraphPlan, GraphSet, make_graphs
from hfd_edge.export.calibration_data import DataScene, halves, open_scenes, with_pixels
from hfd_edge.export.checkpoint_spec import student_spec
from hfd_edge.export.data_files import given_scenes
from hfd_edge.export.gate_report import GateReport
from hfd_edge.export.golden import golden_labels, golden_tile
from hfd_edge.export.lineage import KEY as LINEAGE
from hfd_edge.export.lineage import lineage_of
from hfd_edge.export.measured import measured_within_bound
from hfd_edge.export.onnx import to_onnx
from hfd_edge.export.parity import Parity, check_parity
from hfd_edge.export.qat_ranges import trained_ranges
from hfd_edge.export.reach import bound_reach
from hfd_edge.export.sealed import Contents, seal
from hfd_edge.export.session import tool_versions
from hfd_edge.export.target import check_target
from hfd_edge.export.told import say
from hfd_edge.export.verify import network_runner
from hfd_edge.network.checkpoint import PAIRS_KEY, checkpoint_paths, load_checkpoint
from hfd_edge.network.hfdnet import HFDNet
from hfd_edge.package import Golden
from hfd_edge.package.manifest import FP32
from hfd_edge.spec import ModelSpec
from hfd_edge.tiles import round_up

_TOOLS = ("hfd_edge", "torch", "timm", "onnx", "onnxscript", "onnxruntime", "numpy")


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What may differ from one export of a checkpoint to the next."""

    overwrite: bool = False
    golden_pixels: np.ndarray | None = None     # (bands, t, t) float32 network input; None = seeded noise
    filter_halo_px: int = 0                     # added to the reach; a filter named in the spec reads its own halo
    max_halo_px: int | None = None              # refuse a network whose exact halo is larger; None = any finite halo
    measure: bool = True                        # run the measurement that must stay within the bound
    plan: GraphPlan = field(default_factory=GraphPlan)      # which graphs, and the scenes to calibrate and judge on
    report: Path | None = None                  # folder for the gate's page, pictures and ranges; None = only on failure
    replaces: Path | None = None                # the package that this one replaces: version number and parents are kept


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export made."""

    path: Path
    spec: ModelSpec
    parameters: int
    graph_bytes: int
    package_bytes: int
    measured_reach_px: int | None               # None = not measured
    parity: Parity
    notes: tuple[str, ...]                      # what differs from what the checkpoint asked for
    gate: GateReport | None = None              # None = no scenes were given
    graph_sizes: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready record."""
        own = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**own, "path": str(self.path), "spec": self.spec.to_dict(), "notes": list(self.notes),
                "parity": self.parity.to_dict(), "gate": None if self.gate is None else self.gate.to_dict()}

    def __str__(self) -> str:
        spec, measured = self.spec, "" if self.measured_reach_px is None else f", measured {self.measured_reach_px}"
        lines = (f"{self.path}: {self.package_bytes / 1e6:.2f} MB, {self.parameters / 1e6:.2f} M parameters",
                 f"reach {spec.reach_px} px (bound{measured}), exact halo {spec.halo_px} px, stride {spec.stride_px}, "
                 f"logits at {spec.logit_stride_px}, tile {spec.tile_px} px, {spec.activation_bytes_per_px} B/px alive",
                 f"parity FP32: {self.parity.flips} of {self.parity.cells} labels flip, largest difference "
                 f"{self.parity.max_error:.1e} of {self.parity.max_logit:.1f}, {self.parity.close_calls} close calls")
        sizes = [f"{name}: {size / 1e6:.2f} MB, {size / self.graph_bytes:.2f} of FP32"
                 for name, size in self.graph_sizes.items()]
        if spec.halo_bounded_px is not None:
            sizes.append(f"bounded halo {spec.halo_bounded_px} px on the given scenes")
        return "\n".join((*lines, *sizes, *([] if self.gate is None else [str(self.gate)]), *self.notes))


def export_package(checkpoint: str | os.PathLike, output: str | os.PathLike,
                   options: ExportOptions | None = None) -> ExportReport:
    """Turn a checkpoint into a package: FP32, and with scenes to calibrate on the other graphs of the plan.

    Args:
        checkpoint: NAME.safetensors, NAME.json or NAME.
        output: the package to write.
        options: see ExportOptions.
    Raises:
        CheckpointError: the checkpoint is missing, damaged or incomplete.
        ReachError: the reach of the network is unbounded, or its exact halo above max_halo_px.
        ExportError: `output` exists and overwrite is off, is an input or cannot be written, the checkpoint's spec, golden pixels or scenes are refused, or the
            package to replace has other bands or classes.
        GateError: a graph does not say what the network says; the evidence of a gate on scenes is in OUTPUT.quarantine.
        RasterError, RadiometryError: a scene cannot be read, or its unit is not known.
        PackageError: `output` cannot be written.
    """
    options, output = options or ExportOptions(), Path(output)
    net, part, training = load_checkpoint(checkpoint)
    known, trained = student_spec(checkpoint, net, part, training), trained_ranges(training)
    _check_before(checkpoint, output, known.bands, options)
    say("exporting the network as ONNX")
    graph = to_onnx(net)
    spec, notes = _make_spec(net, known, graph, options)
    lineage = lineage_of(options.replaces, spec)
    with ExitStack() as stack:
        scenes, left_out = _scenes(options.plan, spec, stack)
        pixels = golden_tile(options.golden_pixels, spec.input, spec.stride_px)
        parity, labels = check_parity(net, graph, pixels)       # first: NaN is felt at any distance
        measured = measured_within_bound(graph, spec) if options.measure else None
        made = GraphSet({FP32: graph}, {}, None, {}, ())
        if scenes:
            made = make_graphs(graph, spec, network_runner(net), scenes, _plan(options), trained)
            spec = replace(spec, halo_bounded_px=made.halo_bounded_px, edge_error=made.edge and made.edge.values)
        golden = Golden(pixels, {FP32: labels, **{name: golden_labels(data, pixels) for name, data in made.graphs.items()
                                                   if name != FP32}})
        record = {"checkpoint": _hashes(checkpoint), "network": net.config.to_dict(), "training": {key: value for key, value in training.items() if key != PAIRS_KEY},
                  "tools": tool_versions(*_TOOLS), "parity": {FP32: parity.to_dict()}, "measured_reach_px": measured, LINEAGE: lineage,
                  **made.provenance()}
        contents = Contents(output, spec, made, golden, record, options.overwrite, options.report)
        gate = seal(contents, network_runner(net), halves(scenes)[1], options.plan.thresholds, left_out) if scenes else contents.write()
    return ExportReport(output, spec, sum(p.numel() for p in net.parameters()), len(graph), output.stat().st_size, measured,
                        parity, tuple(notes), gate, {name: len(data) for name, data in made.graphs.items() if name != FP32})


def _check_before(checkpoint: str | os.PathLike, output: Path, bands: Sequence[str], options: ExportOptions) -> None:
    """All that can be known to fail before torch's exporter runs."""
    if options.filter_halo_px < 0:
        raise ExportError(f"filter_halo_px={options.filter_halo_px} (--filter-halo): pixels are added to the exact halo, never taken off; give 0 or more")
    plan = options.plan
    scenes = given_scenes(plan.data, bands, plan.declared) if plan.data else []
    inputs = (*checkpoint_paths(checkpoint), options.replaces, *(file for scene in scenes for file in scene.inputs))
    check_target(output, options.overwrite, inputs, options.report, plan.data)
    lineage_of(options.replaces)


def _scenes(plan: GraphPlan, spec: ModelSpec, stack: ExitStack) -> tuple[list[DataScene], tuple[str, ...]]:
    """The plan's scenes with a pixel, and a note of those without; none where there is no data."""
    return with_pixels(open_scenes(plan.data, spec, stack, plan.declared), spec) if plan.data else ([], ())


def _plan(options: ExportOptions) -> GraphPlan:
    """Whoever asks for a report wants to know what each convolution costs."""
    return replace(options.plan, sensitivity=options.plan.sensitivity or options.report is not None)


def _make_spec(net: HFDNet, known: ModelSpec, graph: bytes, options: ExportOptions) -> tuple[ModelSpec, list[str]]:
    """The checkpoint's spec with the geometry of its network, and what differs from what it asked for."""
    stride, asked, notes = net.stride_px, known.tile_px, []
    reach = bound_reach(graph, stride, net.logit_stride_px).reach_px
    halo = round_up(reach + options.filter_halo_px, stride)
    if options.max_halo_px is not None and halo > options.max_halo_px:
        raise ReachError(f"exact halo {halo} px (reach {reach}) is above max_halo_px={options.max_halo_px} (--max-halo): "
                         "use a smaller max_stride or a shallower encoder")
    tile = round_up(asked, stride) if asked > 2 * halo else round_up(4 * halo, stride)
    if tile != asked:
        notes.append(f"tile_px={asked} of the checkpoint became {tile}: a multiple of {stride} above twice the halo of {halo}")
    memory = activation_bytes_per_px(graph, net.config.in_bands, stride)
    return replace(known, stride_px=stride, logit_stride_px=net.logit_stride_px, reach_px=reach, halo_px=halo, tile_px=tile,
                   activation_bytes_per_px=memory), notes


def _hashes(checkpoint: str | os.PathLike) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in checkpoint_paths(checkpoint)}
