"""`hfd-edge package`: any segmentation network in ONNX becomes a package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hfd_edge.cli.options import (
    CALIBRATOR, SCENES, BandsOption, CalibratorOption, JsonOption, KeepFloatOption, NodataOption, OffsetOption, PrecisionsOption, ScaleOption,
    TargetsOption, UnitOption, check_calibrated, declared_options, split_words)
from hfd_edge.cli.report import print_json, say_aside, written
from hfd_edge.text import printable

if TYPE_CHECKING:
    from hfd_edge.export.build_graphs import GraphPlan
    from hfd_edge.raster_run import RasterOptions


def package(  # an option of the command line is an argument here: more than six are meant
    network: Annotated[Path | None, typer.Argument(
        metavar="NETWORK", help="The ONNX file: one float32 image in, logits out.")] = None,
    spec: Annotated[Path | None, typer.Option(
        "--spec", help="YAML with what the graph does not tell; see --example-spec.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The package to write.")] = None,
    halo: Annotated[int | None, typer.Option(
        help="Package a network whose reach has no bound, with this halo in pixels; equality is not promised.")] = None,
    unbounded: Annotated[bool, typer.Option(
        "--unbounded", help="The same with a halo of an eighth of the tile.")] = False,
    keep_size: Annotated[bool, typer.Option(
        "--keep-size", help="Leave a fixed input size fixed, even if no node needs it.")] = False,
    measure: Annotated[bool, typer.Option(
        "--measure/--no-measure", help="Measure the reach too; it must stay within the bound (seconds to minutes).")] = True,
    qgis: Annotated[Path | None, typer.Option(help="Also write this ONNX file for the QGIS plugin Deepness.")] = None,
    calibration: Annotated[list[str] | None, typer.Option(
        help=f"Real scenes for INT8 and its gate: {SCENES}.")] = None,
    precision: PrecisionsOption = None,
    target: TargetsOption = "cpu",
    calibrator: CalibratorOption = CALIBRATOR,
    keep_float: KeepFloatOption = None,
    report: Annotated[Path | None, typer.Option(help="Folder for the gate's page, pictures and the ranges.")] = None,
    unit: UnitOption = None,
    scale: ScaleOption = None,
    offset: OffsetOption = None,
    nodata: NodataOption = None,
    bands: BandsOption = None,
    replaces: Annotated[Path | None, typer.Option(
        help="The engine that this one replaces: its version number and parents are kept; see hfd-edge compare.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUTPUT if it exists.")] = False,
    example_spec: Annotated[bool, typer.Option("--example-spec", help="Print an example of SPEC and exit.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors and warnings.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Turn any segmentation network in ONNX (U-Net, DeepLab, ...) into one .engine file.

    hfd-edge package net.onnx --spec spec.yaml -o model.engine
    """
    from hfd_edge.export.foreign_spec import EXAMPLE

    if example_spec:
        typer.echo(EXAMPLE, nl=False)
        return
    for value, name in ((network, "NETWORK"), (spec, "--spec"), (output, "--output / -o")):
        if value is None:
            raise typer.BadParameter(f"{name} is missing: hfd-edge package net.onnx --spec spec.yaml -o model.engine")
    check_calibrated(calibration, {
        "--calibrator": None if calibrator == CALIBRATOR else calibrator, "--keep-float": keep_float, "--unit": unit, "--scale": scale,
        "--offset": offset, "--nodata": nodata, "--bands": bands, "--report": report})
    from hfd_edge.export.foreign import ForeignOptions, package_foreign
    from hfd_edge.export.told import telling

    if qgis is not None:
        from hfd_edge.export.qgis import check_target
        check_target(qgis, overwrite, (network, spec, output))
    asked = calibration or precision is not None or target != "cpu"
    declared = declared_options(unit, scale, offset, nodata, bands)
    plan = _plan(calibration, (precision, target, calibrator, keep_float), declared) if asked else None
    options = ForeignOptions(overwrite, unbounded, halo, keep_size, measure, plan, replaces, report)
    with telling(None if quiet else say_aside):
        made = package_foreign(network, spec, output, options)
    if qgis is not None:
        from hfd_edge.export.qgis import write_qgis
        with written(output):
            write_qgis(output, qgis, overwrite)
    if as_json:
        print_json({**made.to_dict(), "qgis": str(qgis) if qgis else None})
    elif not quiet:
        for line in (*str(made).split("\n"), *([f"QGIS Deepness: {qgis}"] if qgis else [])):
            typer.echo(printable(line))
    if quiet or as_json:
        for warning in made.warnings:
            typer.echo(printable(f"WARNING: {warning}"), err=True)


def _plan(calibration: list[str] | None, words: tuple[str | None, str, str, str | None], declared: RasterOptions) -> GraphPlan:
    """Which graphs, and from what scenes; words are precision, target, calibrator and what stays in float. Needs torch, which
    FP32 alone does not."""
    from hfd_edge.export.build_graphs import GraphPlan

    return GraphPlan(tuple(calibration or ()), declared, None if words[0] is None else split_words(words[0]), split_words(words[1]), words[2],
                     keep_float=split_words(words[3]))
