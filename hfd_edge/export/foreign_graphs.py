"""The other precisions of a foreign network: calibrated and judged on real scenes, its own float graph being the reference."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from hfd_edge.errors import ExportError
from hfd_edge.export.build_graphs import GraphPlan, GraphSet, make_graphs
from hfd_edge.export.calibration_data import halves, open_scenes, with_pixels
from hfd_edge.export.gate_report import GateReport
from hfd_edge.export.golden import golden_labels
from hfd_edge.export.sealed import Contents, seal
from hfd_edge.export.verify import runner
from hfd_edge.package import Golden
from hfd_edge.package.manifest import FP32


def seal_with_more(contents: Contents, plan: GraphPlan) -> tuple[GateReport, Contents]:
    """Calibrate on one part of the scenes, judge on the other, write the package.

    Args:
        contents: with the float graph alone, as `prepare_network` made and proved it.
        plan: which graphs, and the scenes.
    Returns:
        the judgement, and what was written.
    Raises:
        ExportError: the graph takes one size only, the data cannot serve, or a graph for TensorRT is not legal.
        GateError: a graph says something else than the float graph; no package is written, the evidence is in OUTPUT.quarantine.
    """
    spec, graph = contents.spec, contents.made.graphs[FP32]
    if spec.fixed_tile:
        raise ExportError(f"the graph takes {spec.tile_px} x {spec.tile_px} pixels alone: it is calibrated and judged on tiles "
                          "of other sizes; export it with open sizes, or package it without --calibration")
    tiled = replace(spec, reach_bounded=True)       # without a bound, tiles are judged with the halo that was chosen
    with ExitStack() as stack:
        scenes, left_out = with_pixels(open_scenes(plan.data, tiled, stack, plan.declared), tiled)
        made = make_graphs(graph, tiled, runner(graph), scenes, plan)
        full = _with(contents, made)
        gate = seal(full, runner(graph), halves(scenes)[1], plan.thresholds,
                    ("the reference is the float graph itself, proved against the given file", *left_out))
    return gate, full


def _with(contents: Contents, made: GraphSet) -> Contents:
    """The contents with every graph, its golden labels, and what calibration adds to the manifest."""
    pixels, spec = contents.golden.input, contents.spec
    labels = {name: golden_labels(data, pixels) for name, data in made.graphs.items() if name != FP32}
    halo = made.halo_bounded_px if spec.reach_bounded else None
    return replace(contents, spec=replace(spec, halo_bounded_px=halo, edge_error=made.edge and made.edge.values), made=made,
                   golden=Golden(pixels, {**contents.golden.labels, **labels}),
                   provenance={**contents.provenance, **made.provenance()})
