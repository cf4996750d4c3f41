"""A package judged again, later and on other data, against the checkpoint it was made from."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hfd_edge.errors import ExportError
from hfd_edge.export.calibration_data import open_scenes, tiles_of, with_pixels
from hfd_edge.export.checkpoint_spec import student_spec
from hfd_edge.export.data_files import Place
from hfd_edge.export.enough import check_verify
from hfd_edge.export.gate_package import judge_package
from hfd_edge.export.gate_report import GateReport
from hfd_edge.export.parity import Thresholds
from hfd_edge.export.told import say
from hfd_edge.export.verify import GATE_TILE_PX, MOST_TILES, gate_graphs, network_runner, unverified
from hfd_edge.network.checkpoint import load_checkpoint
from hfd_edge.package import Package
from hfd_edge.raster_run import RasterOptions
from hfd_edge.spec import ModelSpec


def verify_package(engine: str | Path, checkpoint: str | Path, data: list[Place], options: RasterOptions | None = None,
                   thresholds: Thresholds | None = None) -> tuple[GateReport, ModelSpec]:
    """Judge a package against the checkpoint it was made from, on real scenes.

    Raises:
        PackageError, CheckpointError: one of the two cannot be read.
        ExportError: they are not of one network, or there is no data or too little.
    """
    net, part, training = load_checkpoint(checkpoint)
    known = student_spec(checkpoint, net, part, training)
    with Package.open(engine) as package, ExitStack() as stack:
        spec = package.spec
        _check_one_network(engine, spec, checkpoint, known)
        scenes, left_out = with_pixels(open_scenes(data, spec, stack, options), spec)
        tiles = list(tiles_of(scenes, spec, GATE_TILE_PX, MOST_TILES))
        check_verify(tiles, scenes, thresholds or Thresholds())
        graphs = {name: bytes(package.read(name)) for name in package.graph_names}
        plans = tuple(f"{name}: plans are run by their own GPU alone" for name in package.names if name.startswith("plans/"))
        say(f"judging {', '.join(graphs)} on {len(tiles)} tiles")
        results = gate_graphs(network_runner(net), graphs, tiles, thresholds)
        judged = GateReport(results, (), (*unverified(graphs), *plans), tuple(scene.name for scene in scenes), left_out)
        say("judging the package: a scene in tiles, the speed of every way to run it")
        return judge_package(Path(engine), network_runner(net), scenes, judged, thresholds), spec


def _check_one_network(engine: str | Path, spec: ModelSpec, checkpoint: str | Path, known: ModelSpec) -> None:
    """Both see the same bands in the same numbers, and answer with the same classes: the graphs are judged on input made by the engine's spec."""
    seen, wanted = spec.to_dict()["input"], known.to_dict()["input"]
    inputs = ((f"input.{key}", seen.get(key), wanted.get(key)) for key in {**seen, **wanted})
    for what, own, others in (("bands", spec.bands, known.bands), ("classes", spec.classes, known.classes), *inputs):
        if own != others:
            raise ExportError(f"{engine} has {what} {_words(own)}, {checkpoint} has {_words(others)}: verify an engine against the checkpoint that it was "
                              "exported from, or export it again")


def _words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
