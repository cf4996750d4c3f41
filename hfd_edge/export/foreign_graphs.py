"""The other precisions of a foreign network: calibrated and judged on real scenes, its own float graph being the reference."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hfd_edge.errors import ExportError, GateError
from hfd_edge.export.build_graphs import GraphPlan, make_graphs
from hfd_edge.export.calibration_data import halves, open_scenes
from hfd_edge.export.golden import golden_labels
from hfd_edge.export.verify import FP32, GateReport, runner, unverified
from hfd_edge.export.verify_page import write_page
from hfd_edge.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class MoreGraphs:
    """What calibration adds to a package."""

    graphs: dict[str, bytes]                # without the FP32 graph
    labels: dict[str, np.ndarray]           # golden labels of each
    halo_bounded_px: int | None
    edge_error: tuple[float, ...] | None
    provenance: dict[str, Any]
    gate: GateReport


def more_graphs(graph: bytes, spec: ModelSpec, pixels: np.ndarray, plan: GraphPlan, quarantine: Path) -> MoreGraphs:
    """Calibrate on one part of the scenes, judge on the other.

    Args:
        graph: the float graph as `prepare_network` made and proved it.
        spec: of the network.
        pixels: the golden tile, (bands, t, t) float32.
        plan: which graphs, and the scenes.
        quarantine: folder for the evidence of a gate that fails.
    Raises:
        ExportError: the graph takes one size only, the data cannot serve, or a graph for TensorRT is not legal.
        GateError: a graph says something else than the float graph; no package may be written.
    """
    if spec.fixed_tile:
        raise ExportError(f"the graph takes {spec.tile_px} x {spec.tile_px} pixels alone: it is calibrated and judged on tiles "
                          "of other sizes; export it with open sizes, or package it without --calibration")
    tiled = replace(spec, reach_bounded=True)       # without a bound, tiles are judged with the halo that was chosen
    with ExitStack() as stack:
        scenes = open_scenes(plan.data, tiled, stack, plan.declared)
        made = make_graphs(graph, tiled, runner(graph), scenes, plan)
        names = tuple(scene.name for scene in halves(scenes)[1])
    notes = ("the reference is the float graph itself, proved against the given file",
             *((f"kept in float: {', '.join(made.keep_float)}",) if made.keep_float else ()))
    gate = GateReport(made.results, (), unverified(tuple(made.graphs)), names, notes)
    if not gate.passed:
        write_page(quarantine, gate, spec)
        for name, data in made.graphs.items():
            (quarantine / name).write_bytes(data)
        raise GateError(f"the gate failed and no package was written: {'; '.join(gate.failures)}; pictures, figures and graphs "
                        f"are in {quarantine}; calibrate on more or other scenes (--calibration), or leave out int8")
    others = {name: data for name, data in made.graphs.items() if name != FP32}
    halo = made.halo_bounded_px if spec.reach_bounded else None
    return MoreGraphs(others, {name: golden_labels(data, pixels) for name, data in others.items()}, halo,
                      made.edge and made.edge.values,
                      {**made.provenance(), "gate": gate.to_dict()}, gate)
