"""`hfd-edge seams`: what a grid of tiles does to a map."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hfd_edge.cli.predict import parse_bands, parse_size
from hfd_edge.cli.report import print_json, print_lines
from hfd_edge.spec import Unit

if TYPE_CHECKING:
    import numpy as np

    from hfd_edge.measure.seams import SeamReport
    from hfd_edge.raster import RasterSource


def seams(  # an option of the command line is an argument here: more than six are meant
    rasters: Annotated[list[Path], typer.Argument(metavar="RASTER... ENGINE", help="The scene (or one file per band), then the "
                                                  ".engine file.")],
    tile: Annotated[int, typer.Option(help="Side of a tile with its halo, in pixels; 0 = as in training.")] = 0,
    halo: Annotated[str, typer.Option(help="exact, bounded, or pixels.")] = "exact",
    side: Annotated[int, typer.Option(help="Side of the crop from the scene's middle; it must fit as one tile.")] = 1024,
    unit: Annotated[Unit | None, typer.Option(
        case_sensitive=False, help="What the pixels are, where the file's tags do not say.")] = None,
    scale: Annotated[float | None, typer.Option(help="value = stored * SCALE + OFFSET, in UNIT.")] = None,
    offset: Annotated[float | None, typer.Option(help="See --scale.")] = None,
    nodata: Annotated[list[float] | None,
                      typer.Option(help="Stored value without meaning, besides the file's own; may be repeated.")] = None,
    bands: Annotated[str | None, typer.Option(help="Names or numbers from 1, in the network's order: VV,VH or 4,3.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one line of JSON.")] = False,
) -> None:
    """Measure seams on a crop: across borders, with the grid half a core on, and against one tile over all of it.

    hfd-edge seams scene.tif model.engine --halo 64
    """
    from hfd_edge.measure.seams import measure_seams
    from hfd_edge.plan import PlanRequest
    from hfd_edge.raster import RasterSource
    from hfd_edge.raster_run import RasterOptions, declared_radiometry
    from hfd_edge.radiometry import check_declared
    from hfd_edge.segmenter import Segmenter

    if len(rasters) < 2:
        raise typer.BadParameter("give the scene and the .engine file: hfd-edge seams scene.tif model.engine")
    *paths, engine = rasters
    options = RasterOptions(unit, scale, offset, tuple(nodata) if nodata else None, parse_bands(bands))
    with Segmenter(engine) as segmenter:
        with RasterSource(tuple(paths), options.bands, segmenter.spec.bands) as source:
            radiometry = check_declared(declared_radiometry(source, options), source.dtype)
            array = _crop(source, side)
        request = PlanRequest(tile=tile or segmenter.spec.tile_px, halo=parse_size(halo))
        report = measure_seams(segmenter, array, request, radiometry)
    rows, cols = array.shape[1:]
    if as_json:
        print_json({"rows": rows, "cols": cols, **report.to_dict()})
    else:
        print_lines(_lines(report, rows, cols))


def _crop(source: RasterSource, side: int) -> np.ndarray:
    """A masked array of the middle of a scene, bands first."""
    import numpy as np

    rows, cols = min(side, source.rows), min(side, source.cols)
    top, left = (source.rows - rows) // 2, (source.cols - cols) // 2
    values, valid = source.read(top, rows)
    window = np.ascontiguousarray(values[:, :, left:left + cols])
    if valid is None:
        return window
    return np.ma.MaskedArray(window, np.broadcast_to(~valid[:, left:left + cols], window.shape))


def _lines(report: SeamReport, rows: int, cols: int) -> dict[str, str]:
    found, whole = report.seams, report.seams_of_whole
    tile = f"{report.tile_px[0]} x {report.tile_px[1]}"
    return {
        "crop": f"{rows} x {cols} px, tiles of {tile}, halo {report.halo}, {report.halo_px} px",
        "seam ratio": f"{found.ratio:.3f} (z {found.z:.1f}); without tiles {whole.ratio:.3f} (z {whole.z:.1f}) there",
        "grid": f"{report.grid_disagreement:.4%} of the labels change with the grid half a core on",
        "whole": f"{report.whole_disagreement:.4%} differ from one tile over the crop"}
