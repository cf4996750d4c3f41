"""`hfd-edge predict`: a raster and an engine become a map."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hfd_edge.cli.options import (
    BandsOption, JsonOption, MosaicOption, NodataOption, OffsetOption, QuietOption, ScaleOption, SceneAndEngine, UnitOption,
    check_outputs, declared_options, parse_bounds, parse_memory, parse_probability, parse_size, parse_window,
    scene_and_engine, scene_of)
from hfd_edge.cli.quicklook import Pictured, draw_run, windowed
from hfd_edge.cli.report import accuracy_lines, print_json, print_lines, progress_bar
from hfd_edge.errors import EmptySceneError, EngineError, RadiometryError, RasterError

if TYPE_CHECKING:
    from hfd_edge.measure.accuracy import Accuracy
    from hfd_edge.raster_run import RasterOptions, ScenePath
    from hfd_edge.spec import ModelSpec


def predict(  # an option of the command line is an argument here: more than six are meant
    files: SceneAndEngine,
    output: Annotated[Path, typer.Option("--output", "-o", help="The map to write: a uint8 GeoTIFF, 255 = nodata.")],
    unit: UnitOption = None,
    scale: ScaleOption = None,
    offset: OffsetOption = None,
    nodata: NodataOption = None,
    saturation: Annotated[float | None, typer.Option(help="Stored value from which power is a lower bound: such pixels are counted.")] = None,
    bands: BandsOption = None,
    mosaic: MosaicOption = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda:0.")] = "auto",
    precision: Annotated[str, typer.Option(help="fp32, int8, fp16 on a GPU; auto: what the engine has of int8, fp32 (GPU: of fp16, int8, fp32).")] = "auto",
    build: Annotated[str, typer.Option(help="auto compiles a missing TensorRT plan and says so; never refuses.")] = "auto",
    trust_plans: Annotated[bool, typer.Option("--trust-plans", help="Run plans that travel in ENGINE: native code.")] = False,
    tile: Annotated[str, typer.Option(help="Side of a tile with its halo, in pixels; auto = from the memory.")] = "auto",
    halo: Annotated[str, typer.Option(help="auto, exact, bounded, or pixels.")] = "auto",
    stitch: Annotated[str, typer.Option(
        help="crop; or fuse overlapping tiles: precision (by the network's measured edge error), hann, gaussian, constant.")] = "crop",
    overlap: Annotated[str, typer.Option(
        help="Pixels in which two neighbours are fused; auto = twice the halo, all that both computed.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="For everything together; default: all cores of this process.")] = None,
    memory: Annotated[str | None, typer.Option(help="Budget for engine and buffers: 512M, 2G, or bytes.")] = None,
    confidence: Annotated[Path | None, typer.Option(help="Also write this map: the probability of each pixel's own class, 0..254 for 0..1, 255 = nodata.")] = None,
    probability: Annotated[list[str] | None, typer.Option(
        metavar="CLASS=FILE", help="Or this one: the probability of one class everywhere, in the same numbers; for a threshold of your own.")] = None,
    quicklook: Annotated[Path | None, typer.Option(help="Also draw this picture: scene, truth if given, map.")] = None,
    truth: Annotated[Path | None, typer.Option(
        help="A map of the same grid to compare with; 255 = not known. By class names where its tags hold them, else by number.")] = None,
    window: Annotated[str | None, typer.Option(
        metavar="ROW,COL,ROWS,COLS", help="Segment only these pixels, from 0,0 on: the crop of the whole map.")] = None,
    bounds: Annotated[str | None, typer.Option(
        metavar="W,S,E,N", help="The same as a box in the raster's coordinate system: the pixels whose middle lies in it.")] = None,
    classes: Annotated[list[str] | None, typer.Option(
        metavar="NAME[,NAME...]", help="Keep these classes with their numbers; every other one becomes 254, other.")] = None,
    compress: Annotated[str, typer.Option(help="Of the maps: none, deflate, zstd or lzw.")] = "zstd",
    allow_empty: Annotated[bool, typer.Option(
        "--allow-empty", help="Give a map of nodata where not one pixel is valid, as of a tile of a mosaic; else that fails.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Segment a raster of any size into a georeferenced map.

    hfd-edge predict scene.tif model.engine -o map.tif --unit db

    hfd-edge predict --mosaic tiles/ model.engine -o map.tif --unit db
    """
    from hfd_edge.results import run_lines
    from hfd_edge.segmenter import Segmenter

    rasters, engine = scene_and_engine(files, "predict")
    scene = scene_of(rasters, mosaic)
    scored = parse_probability(probability)
    options = declared_options(
        unit, scale, offset, nodata, bands, confidence=confidence, overwrite=overwrite, window=parse_window(window),
        classes=tuple(classes) if classes else None, compress=compress, saturation=saturation, allow_empty=allow_empty,
        bounds=parse_bounds(bounds), probability=scored)
    maps = [output, *([confidence] if confidence else []), *([Path(scored[1])] if scored else [])]
    outputs = [*maps, *([quicklook] if quicklook else [])]
    if truth and classes:
        raise typer.BadParameter("--truth with --classes: the accuracy is one of all classes; run without --classes to get it")
    _check_outputs(maps, quicklook, [*scene, engine, *([truth] if truth else [])], overwrite)
    with Segmenter(engine, device, parse_size(tile), halo=parse_size(halo), memory=parse_memory(memory),
                   threads=threads, precision=precision, stitch=stitch, overlap=parse_size(overlap), build=build,
                   trust_plans=trust_plans) as segmenter:
        if truth:
            _check_truth(truth, scene, segmenter.spec, options)
        with _named_option(), progress_bar("segmenting", quiet or as_json) as progress:
            report = segmenter.run_raster(scene, output, options, progress)
        options = replace(options, window=report.window, bounds=None)
        accuracy = accuracy_of_map(truth, output, segmenter.spec.classes, options) if truth else None
        if quicklook:
            draw_run(quicklook, Pictured(("", scene), (f"truth: {truth.name}", truth) if truth else None,
                                         (f"map: {output.name}", output)), segmenter.spec, options)
    record = {**report.to_dict(), "map": str(output), "accuracy": accuracy.to_dict() if accuracy else None}
    if as_json:
        print_json(record)
    elif not quiet:
        judged = accuracy_lines(accuracy) if accuracy else {}
        print_lines({**run_lines(report), **judged, "written": ", ".join(map(str, outputs))})
    if report.nan_pixels:
        raise EngineError(f"the engine answered NaN for {report.nan_pixels} pixels: they are labelled nodata in {output}; the "
                          "network's numbers overflow on this scene, look at its values there or export the network again")


@contextmanager
def _named_option() -> Iterator[None]:
    """The way out of an empty scene, in words of this verb."""
    try:
        yield
    except EmptySceneError as error:
        raise RadiometryError(f"{error.fact}. Where that is no mistake, as of a tile of a mosaic, --allow-empty gives a map of nodata") from error


def accuracy_of_map(truth: Path, answer: Path, classes: tuple[str, ...], options: RasterOptions) -> Accuracy:
    """Accuracy of a map on disk, read strip by strip. Raises RasterError where the truth holds what is no class.

    The truth lies on the scene's grid; of a map of a window of it, the same window (`options.window`) counts.
    """
    from hfd_edge.measure.accuracy import Confusion
    from hfd_edge.raster import RasterSource, TruthSource

    confusion = Confusion(classes)
    with TruthSource(truth, classes, options.limits) as known, RasterSource(answer, limits=options.limits) as given:
        there = windowed(known, options)
        for row in range(0, given.rows, 512):
            rows = min(512, given.rows - row)
            confusion.add(there.read(row, rows)[0][0], given.read(row, rows)[0][0])
    return confusion.result()


def _check_truth(truth: Path, path: ScenePath, spec: ModelSpec, options: RasterOptions) -> None:
    """Against the scene as the run opens it: of a product the bands can choose the grid."""
    from hfd_edge.raster import TruthSource
    from hfd_edge.raster_run import chosen_window, open_as_declared

    with TruthSource(truth, spec.classes, options.limits) as known, open_as_declared(path, options, spec) as scene:
        known.check_place((scene.rows, scene.cols), scene.geo, "the scene")
        there = windowed(known, replace(options, window=chosen_window(scene, options), bounds=None))
        for row in range(0, there.rows, 512):
            there.read(row, min(512, there.rows - row))         # every label is one of the engine's classes, or this says so


def _check_outputs(maps: list[Path], picture: Path | None, inputs: list[Path], overwrite: bool) -> None:
    from hfd_edge.raster import check_different

    try:
        check_different([*maps, *([picture] if picture else [])])
    except RasterError as error:
        raise typer.BadParameter(str(error)) from error
    check_outputs(maps, picture, inputs, overwrite)
    for path in maps:
        if path.suffix.lower() not in (".tif", ".tiff"):
            raise typer.BadParameter(f"{path} would be a GeoTIFF: give it the suffix .tif; pictures come from --quicklook")
