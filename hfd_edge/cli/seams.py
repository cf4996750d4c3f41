"""`hfd-edge seams`: what a grid of tiles does to a map, and which halo is enough."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hfd_edge.cli.options import (
    BandsOption, JsonOption, MosaicOption, NodataOption, OffsetOption, ScaleOption, SceneAndEngine, UnitOption,
    check_outputs, declared_options, parse_size, parse_window, scene_and_engine, scene_of)
from hfd_edge.cli.report import print_json, print_lines, progress_bar

if TYPE_CHECKING:
    import numpy as np

    from hfd_edge.measure.seams import SeamReport, SeamStudy
    from hfd_edge.plan import PlanRequest
    from hfd_edge.radiometry import SourceRadiometry
    from hfd_edge.raster_run import RasterOptions, ScenePath
    from hfd_edge.spec import ModelSpec


def seams(  # an option of the command line is an argument here: more than six are meant
    files: SceneAndEngine,
    tile: Annotated[int, typer.Option(help="Side of a tile with its halo, in pixels; 0 = as in training.")] = 0,
    halo: Annotated[str, typer.Option(help="exact, bounded, pixels, several as 0,16,32, or all: every halo up to the exact one.")] = "exact",
    stitch: Annotated[str, typer.Option(help="crop, precision, hann, gaussian, constant, several of them, or all.")] = "crop",
    overlap: Annotated[str, typer.Option(help="Of blended tiles: pixels, or auto, twice the halo.")] = "auto",
    wanted: Annotated[float | None, typer.Option(help="Share of labels that may differ from the untiled map, such as 1e-4: every "
                                                 "halo is measured and the smallest that keeps to it is named.")] = None,
    side: Annotated[int, typer.Option(help="Side of the crop from the scene's middle; it must fit as one tile.")] = 1024,
    window: Annotated[str | None, typer.Option(
        metavar="ROW,COL,ROWS,COLS", help="Measure on these pixels instead of the middle, from 0,0 on.")] = None,
    truth: Annotated[Path | None, typer.Option(
        help="A map of the same grid in the engine's class numbers, 255 = not known: mIoU and border drop.")] = None,
    plot: Annotated[Path | None, typer.Option(
        help="Also draw this picture: the map that differs most, where it does, the curves.")] = None,
    profile: Annotated[Path | None, typer.Option(
        metavar="NEW.engine", help="Instead: measure the network's error at the end of a tile and write the engine again with it, "
        "for --stitch precision.")] = None,
    unit: UnitOption = None,
    scale: ScaleOption = None,
    offset: OffsetOption = None,
    nodata: NodataOption = None,
    bands: BandsOption = None,
    mosaic: MosaicOption = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure seams on a crop: across borders, with the grid half a core on, and against one tile over all of it.

    hfd-edge seams scene.tif model.engine --halo 64

    hfd-edge seams scene.tif model.engine --wanted 1e-4 --plot seams.png

    hfd-edge seams scene.tif model.engine --profile measured.engine
    """
    from hfd_edge.measure.seams import SeamStudy
    from hfd_edge.segmenter import Segmenter

    rasters, engine = scene_and_engine(files, "seams")
    path = scene_of(rasters, mosaic)
    options = declared_options(unit, scale, offset, nodata, bands)
    if plot and profile:
        raise typer.BadParameter("--plot with --profile: a profile is written into an engine and not drawn; run twice")
    check_outputs([profile], plot, [*path, engine, *([truth] if truth else [])], overwrite)
    with Segmenter(engine) as segmenter:
        crop = _read(path, segmenter.spec, options, (side, parse_window(window)), truth)
        if profile:
            return _write_profile(engine, crop, profile, overwrite, as_json)
        requests = _requests(segmenter.spec, _Wish(tile, halo, stitch, overlap, wanted))
        study = SeamStudy.of(segmenter, crop.array, crop.radiometry, crop.truth)
        with progress_bar("measuring", as_json) as progress:
            reports = []
            for request in requests:
                reports.append(study.measure(request))
                if progress is not None:
                    progress(len(reports), len(requests))
        if plot:
            worst = max(range(len(reports)), key=lambda number: reports[number].whole.flips)
            _draw(plot, study, requests[worst], reports, wanted)
    _print(reports, crop, wanted, as_json, plot)


@dataclass(frozen=True, slots=True)
class _Wish:
    """What was asked for, as words."""

    tile: int
    halo: str
    stitch: str
    overlap: str
    wanted: float | None


@dataclass(frozen=True)
class _Crop:
    """A part of a scene, with what is declared of it."""

    array: np.ndarray
    radiometry: SourceRadiometry
    truth: np.ndarray | None


def _requests(spec: ModelSpec, wish: _Wish) -> list[PlanRequest]:
    """One per way to stitch and halo; halos from the largest down."""
    from hfd_edge.plan import PlanRequest
    from hfd_edge.tiles.shares import MODES

    modes = MODES if wish.stitch == "all" else tuple(word.strip() for word in wish.stitch.split(","))
    if wish.stitch == "all" and spec.edge_error is None:
        modes = tuple(mode for mode in modes if mode != "precision")
    if wish.wanted is not None and wish.halo != "exact":
        raise typer.BadParameter(f"--wanted with --halo {wish.halo}: --wanted measures every halo and names one; leave out --halo")
    words = [word.strip() for word in wish.halo.split(",")]
    if wish.halo == "all" or wish.wanted is not None:
        words = [str(halo) for halo in range(spec.halo_px, -1, -spec.stride_px)]
    side = wish.tile or spec.tile_px
    overlap = parse_size(wish.overlap)
    return [PlanRequest(tile=side, halo=parse_size(word), stitch=mode, overlap="auto" if mode == "crop" else overlap)
            for mode in modes for word in words if mode == "crop" or word != "0" or len(words) == 1]


def _read(path: ScenePath, spec: ModelSpec, options: RasterOptions, place: tuple[int, tuple[int, int, int, int] | None], truth: Path | None) -> _Crop:
    """The middle of a scene, its side at most as given, or the window. Raises RasterError where that is not in the scene."""
    import numpy as np

    from hfd_edge.radiometry import check_declared
    from hfd_edge.raster import RasterPart, TruthSource
    from hfd_edge.raster_run import declared_radiometry, open_as_declared

    side, window = place
    with open_as_declared(path, options, spec) as source:
        radiometry = check_declared(declared_radiometry(source, options), source.dtype)
        size, geo = (source.rows, source.cols), source.geo
        rows, cols = (min(side, length) for length in size)
        window = window or ((size[0] - rows) // 2, (size[1] - cols) // 2, rows, cols)
        values, valid = RasterPart(source, window).read(0, window[2])
    array = values if valid is None else np.ma.MaskedArray(values, np.broadcast_to(~valid, values.shape))
    if truth is None:
        return _Crop(array, radiometry, None)
    with TruthSource(truth, spec.classes, options.limits) as known:
        known.check_place(size, geo, "the scene")
        return _Crop(array, radiometry, RasterPart(known, window).read(0, window[2])[0][0])


def _write_profile(engine: Path, crop: _Crop, to: Path, overwrite: bool, as_json: bool) -> None:
    from hfd_edge.measure.edge_error import edge_error_of_scene
    from hfd_edge.package import Package
    from hfd_edge.package.again import write_again
    from hfd_edge.source import ArraySource

    with Package.open(engine) as package:
        spec = package.spec
        found = edge_error_of_scene(engine, ArraySource(crop.array, len(spec.bands)), crop.radiometry)
        left = write_again(package, to, replace(spec, edge_error=found.values), {"edge_error": found.to_dict()}, overwrite)
    if as_json:
        return print_json({"written": str(to), "edge_error": found.values, **found.to_dict(), "left_out": left})
    step, shown = spec.logit_stride_px, found.values[:6]
    print_lines({
        "edge error": f"{', '.join(f'{value:.3g}' for value in shown)}{' ...' if len(found.values) > 6 else ''} at 0, {step}, "
        f"{2 * step} ... px from the end of a tile; the logits' own mean square is {found.mean_square:.3g}",
        "reaches": f"{len(found.values) * step} px, of an exact halo of {spec.halo_px}",
        "measured on": f"{found.patches} patches, {found.cells} logits at each distance",
        **({"left out": ", ".join(left)} if left else {}), "written": str(to)})


def _draw(path: Path, study: SeamStudy, request: PlanRequest, reports: list[SeamReport], wanted: float | None) -> None:
    from hfd_edge.view.seams import FlipCurve, SeamPicture, draw_seams

    labels, plan = study.labels(request)
    curves = [FlipCurve(mode, *zip(*((r.halo_px, r.whole.rate, r.whole.bound) for r in reports if r.stitch == mode)))
              for mode in dict.fromkeys(report.stitch for report in reports)]
    title = f"{plan.stitch}, halo {plan.grid.halo_px} px"
    draw_seams(path, SeamPicture(title, labels, study.whole, plan.grid.borders), study.segmenter.spec.colors, curves, wanted)


def _print(reports: list[SeamReport], crop: _Crop, wanted: float | None, as_json: bool, plot: Path | None) -> None:
    from hfd_edge.measure.seams import smallest_halo

    rows, cols = crop.array.shape[1:]
    chosen = {} if wanted is None else {mode: smallest_halo([r for r in reports if r.stitch == mode], wanted)
                                        for mode in dict.fromkeys(report.stitch for report in reports)}
    if as_json:
        return print_json({"rows": rows, "cols": cols, "measures": [report.to_dict() for report in reports], "wanted": wanted,
                           "halo_for_wanted": {mode: report and report.halo_px for mode, report in chosen.items()},
                           "plot": plot and str(plot)})
    first = reports[0]
    tile = f"{first.tile_px[0]} x {first.tile_px[1]}"
    typer.echo(f"crop of {rows} x {cols} px, tiles of {tile} px with their halo")
    for line in _table(reports):
        typer.echo(line)
    for mode, report in chosen.items():
        typer.echo(f"{mode}: no halo below {wanted:g} on this crop; a larger --side gives tighter bounds" if report is None else
                   f"{mode}: --halo {report.halo_px} keeps flips at or below {wanted:g} (upper 95 % bound "
                   f"{report.whole.bound:.1e} over {report.whole.pixels} px), {report.halo_share:.0%} of the engine's work is halo")
    if plot:
        typer.echo(f"written: {plot}")


def _table(reports: list[SeamReport]) -> list[str]:
    """Aligned columns; what each is: docs/seams.md."""
    head = ["stitch", "halo", "work", "flips", "bound", "grid", "seam", "z", "untiled", "z to it", "noise", "in overlap"]
    head += ["mIoU", "drop"] if reports[0].miou is not None else []
    cells = [head]
    for r in reports:
        row = [r.stitch, f"{r.halo_px} {r.halo}", f"{r.halo_share:.0%}", f"{r.whole.rate:.2e}", f"{r.whole.bound:.1e}",
               f"{r.grid_disagreement:.2e}", f"{r.seams.ratio:.3f}", f"{r.seams.z:.1f}", f"{r.seams_of_whole.ratio:.3f}",
               f"{r.z_against_whole:.1f}", f"{r.noise_core:.2e}", f"{r.noise_overlap:.2e}"]
        cells.append(row if r.miou is None else [*row, f"{r.miou:.4f}", f"{r.border_drop:+.4f}"])
    widths = [max(map(len, column)) for column in zip(*cells)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in cells]
