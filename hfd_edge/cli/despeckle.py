"""`hfd-edge despeckle`: a raster with less speckle."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from hfd_edge.cli.options import (
    AnyBandsOption, JsonOption, MosaicOption, NodataOption, OffsetOption, QuietOption, ScaleOption, UnitOption, declared_options, scene_of)
from hfd_edge.cli.report import print_json, print_lines, progress_bar
from hfd_edge.spec import Unit

FilterName = Enum("FilterName", {name: name for name in (
    "boxcar", "lee", "kuan", "enhanced_lee", "gamma_map", "frost", "refined_lee", "lee_sigma")}, type=str)
Border = Enum("Border", {"mask": "mask", "nearest": "nearest"}, type=str)


def despeckle(  # an option of the command line is an argument here: more than six are meant
    rasters: Annotated[list[Path], typer.Argument(metavar="RASTER", help="The scene; or one file per band, all on one grid.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The raster to write: a float32 GeoTIFF, nodata NaN.")],
    filter_name: Annotated[FilterName, typer.Option("--filter", help="Which filter; see docs/speckle.md.")] = FilterName.lee,
    looks: Annotated[float | None, typer.Option(help="Equivalent number of looks; default: estimated over the scene.")] = None,
    radius: Annotated[int, typer.Option(help="Of the window, 1 to 7 pixels; 3 is 7 x 7.")] = 3,
    border: Annotated[Border, typer.Option(help="Outside the scene: mask = nothing, or the nearest pixel.")] = Border.mask,
    damping: Annotated[float, typer.Option(help="Of Frost: weights exp(-damping Ci^2 distance).")] = 2.0,
    sigma: Annotated[float, typer.Option(help="Of lee_sigma: share of the speckle inside its range.")] = 0.9,
    output_unit: Annotated[Unit | None, typer.Option(
        case_sensitive=False, help="intensity, amplitude or db; default: as the input (complex: intensity).")] = None,
    unit: UnitOption = None,
    scale: ScaleOption = None,
    offset: OffsetOption = None,
    nodata: NodataOption = None,
    bands: AnyBandsOption = None,
    mosaic: MosaicOption = False,
    threads: Annotated[int | None, typer.Option(help="Default: all cores of this process.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Filter speckle in linear intensity; georeference, bands, nodata and unit stay as they are.

    hfd-edge despeckle scene.tif -o quiet.tif --filter refined_lee --looks 4.4
    """
    from hfd_edge.scene.filter import DespeckleOptions, despeckle_raster

    raster = declared_options(unit, scale, offset, nodata, bands, overwrite=overwrite)
    options = DespeckleOptions(filter_name.value, looks, radius, border.value, damping, sigma, output_unit, raster, threads)
    with progress_bar("filtering", quiet or as_json) as progress:
        report = despeckle_raster(scene_of(rasters, mosaic), output, options, progress)
    if as_json:
        print_json({**report.to_dict(), "output": str(output)})
    elif not quiet:
        megapixels = report.rows * report.cols / 1e6
        used = "not used" if report.looks is None else f"{report.looks:.3g}, {report.looks_from}"
        print_lines({
            "read as": report.read_as,
            "pixels": f"{report.rows} x {report.cols} = {megapixels:.2f} Mpx, {report.nodata_share:.2%} nodata",
            "filter": f"{report.filter}, {2 * report.radius + 1} x {2 * report.radius + 1} px, looks {used}",
            "time": f"{report.seconds:.2f} s, {megapixels / report.seconds:.1f} Mpx/s",
            "note": report.notes,
            "written": f"{output}, {report.unit}, float32, nodata NaN"})
