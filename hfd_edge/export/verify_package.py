"""A package judged again, later and on other data, against the checkpoint it was made from."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from hfd_edge.errors import ExportError
from hfd_edge.export.calibration_data import open_scenes, tiles_of, with_pixels
from hfd_edge.export.data_files import Place
from hfd_edge.export.enough import check_verify
from hfd_edge.export.gate_package import judge_package
from hfd_edge.export.gate_report import GateReport
from hfd_edge.export.parity import Thresholds
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
    net, part, _ = load_checkpoint(checkpoint)
    with Package.open(engine) as package, ExitStack() as stack:
        spec = package.spec
        for what, own in (("bands", spec.bands), ("classes", spec.classes)):
            if (others := tuple(part.get(what, ()))) != own:
                raise ExportError(f"{engine} has {what} {', '.join(own)}, {checkpoint} has {', '.join(map(str, others)) or 'none'}: verify an engine "
                                  "against the checkpoint that it was exported from")
        scenes, left_out = with_pixels(open_scenes(data, spec, stack, options), spec)
        tiles = list(tiles_of(scenes, spec, GATE_TILE_PX, MOST_TILES))
        check_verify(tiles, scenes, thresholds or Thresholds())
        graphs = {name: bytes(package.read(name)) for name in package.graph_names}
        plans = tuple(f"{name}: plans are run by their own GPU alone" for name in package.names if name.startswith("plans/"))
        results = gate_graphs(network_runner(net), graphs, tiles, thresholds)
        known = GateReport(results, (), (*unverified(graphs), *plans), tuple(scene.name for scene in scenes), left_out)
        return judge_package(Path(engine), network_runner(net), scenes, known, thresholds), spec
