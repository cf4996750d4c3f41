"""`hfd-edge export`: a checkpoint becomes a package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hfd_edge.cli.options import (
    CALIBRATOR, SCENES, BandsOption, CalibratorOption, JsonOption, KeepFloatOption, NodataOption, OffsetOption, PrecisionsOption, QuietOption, ScaleOption,
    TargetsOption, UnitOption, check_calibrated, declared_options, split_words)
from hfd_edge.cli.report import print_json, say_aside, written
from hfd_edge.text import printable

if TYPE_CHECKING:
    from hfd_edge.export.build_graphs import GraphPlan

_WEIGHT_BITS = 7


def export(  # an option of the command line is an argument here: more than six are meant
    checkpoint: Annotated[Path, typer.Argument(help="NAME.safetensors with NAME.json beside it, as training writes them.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The package to write.")],
    calibration: Annotated[list[str] | None, typer.Option(
        help=f"Real scenes for INT8 and the gate: {SCENES}.")] = None,
    precision: PrecisionsOption = None,
    target: TargetsOption = "cpu",
    calibrator: CalibratorOption = CALIBRATOR,
    keep_float: KeepFloatOption = None,
    weight_bits: Annotated[int, typer.Option(help="Of the CPU's INT8 graph: 7, or 8 for processors with VNNI alone.")] = _WEIGHT_BITS,
    unit: UnitOption = None,
    scale: ScaleOption = None,
    offset: OffsetOption = None,
    nodata: NodataOption = None,
    bands: BandsOption = None,
    report: Annotated[Path | None, typer.Option(
        help="Folder for the gate's page, pictures and the ranges, and with --replaces for old against new.")] = None,
    replaces: Annotated[Path | None, typer.Option(
        help="The engine that this one replaces: version and parents are kept, and both run over the scenes for a report.")] = None,
    qgis: Annotated[Path | None, typer.Option(help="Also write a copy for the QGIS plugin Deepness, an .onnx file.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUTPUT if it exists.")] = False,
    max_halo: Annotated[int | None, typer.Option(help="Refuse a network whose exact halo is larger, in pixels.")] = None,
    filter_halo: Annotated[int, typer.Option(help="Pixels to add to the exact halo; a filter named in the spec reads its own.")] = 0,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Turn a trained student into one .engine file, after checking every graph against the network.

    hfd-edge export student.safetensors -o model.engine --calibration scenes --unit db
    """
    check_calibrated(calibration, {
        "--calibrator": None if calibrator == CALIBRATOR else calibrator, "--keep-float": keep_float,
        "--weight-bits": None if weight_bits == _WEIGHT_BITS else weight_bits, "--unit": unit, "--scale": scale, "--offset": offset, "--nodata": nodata,
        "--bands": bands, "--report": report})
    from hfd_edge.export import ExportOptions, export_package
    from hfd_edge.export.build_graphs import GraphPlan
    from hfd_edge.export.qgis import check_target, write_qgis
    from hfd_edge.export.told import telling

    _check_replaced(replaces, output)
    if qgis is not None:
        check_target(qgis, overwrite, (checkpoint, output))
    declared = declared_options(unit, scale, offset, nodata, bands)
    plan = GraphPlan(tuple(calibration or ()), declared, None if precision is None else split_words(precision), split_words(target), calibrator,
                     keep_float=split_words(keep_float), weight_bits=weight_bits)
    options = ExportOptions(overwrite, filter_halo_px=filter_halo, max_halo_px=max_halo, plan=plan, report=report, replaces=replaces)
    tell = None if quiet else say_aside
    with telling(tell):
        made = export_package(checkpoint, output, options)
    with telling(tell), written(output):
        compared, worse = _compare(replaces, output, plan, report) if replaces and calibration else (None, "")
        if qgis is not None:
            write_qgis(output, qgis, overwrite)
    if as_json:
        print_json({**made.to_dict(), "compared": compared, "less_accurate": worse or None, "qgis": str(qgis) if qgis else None})
    elif not quiet:
        typer.echo("\n".join([str(made), *([compared] if compared else []), *([f"QGIS Deepness: {qgis}"] if qgis else [])]))
    if worse:
        typer.echo(printable(worse), err=quiet or as_json)


def _check_replaced(replaces: Path | None, output: Path) -> None:
    if replaces is not None and output.exists() and replaces.exists() and output.samefile(replaces):
        raise typer.BadParameter(f"--replaces {replaces} is the output itself: old and new are run side by side; give the new one "
                                 "another name and rename it afterwards")


def _compare(old: Path, new: Path, plan: GraphPlan, report: Path | None) -> tuple[str, str]:
    """Both engines over the calibration scenes, in a line, and the last word where the new one is less accurate; the page lies in
    REPORT/compare, or in NEW.compare."""
    from hfd_edge.export.compare import compare_engines
    from hfd_edge.export.compare_page import headline, less_accurate, write_report

    folder = new.with_name(f"{new.name}.compare") if report is None else report / "compare"
    comparison = compare_engines(old, new, plan.data, plan.declared)
    write_report(folder, comparison, overwrite=True)
    worse = less_accurate(comparison)
    return f"{headline(comparison)} (report: {folder})", worse and f"WARNING: {new} is {worse}; it was written all the same, and {old} is as it was"
