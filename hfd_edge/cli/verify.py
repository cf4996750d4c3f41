"""`hfd-edge verify`: does an engine still say what its network said, on real scenes?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hfd_edge.cli.options import (
    SCENES, BandsOption, JsonOption, NodataOption, OffsetOption, QuietOption, ScaleOption, UnitOption, declared_options)
from hfd_edge.cli.report import print_json, say_aside


def verify(  # an option of the command line is an argument here: more than six are meant
    engine: Annotated[Path, typer.Argument(metavar="ENGINE", help="The .engine file.")],
    against: Annotated[Path, typer.Option(help="The checkpoint it was exported from: NAME.safetensors.")],
    data: Annotated[list[str], typer.Option(help=f"Scenes to judge on: {SCENES}.")],
    unit: UnitOption = None,
    scale: ScaleOption = None,
    offset: OffsetOption = None,
    nodata: NodataOption = None,
    bands: BandsOption = None,
    max_flips: Annotated[float, typer.Option(help="Share of labels that may differ, by its upper 95 % bound.")] = 0.01,
    max_iou: Annotated[float, typer.Option(help="Change of a class's IoU that is allowed, by its upper 95 % bound.")] = 0.005,
    max_logits: Annotated[float, typer.Option(
        help="99 % quantile of the logits' error that is allowed, over the largest logit.")] = 0.1,
    min_pixels: Annotated[int, typer.Option(help="Valid pixels that must be compared.")] = 1_000_000,
    report: Annotated[Path | None, typer.Option(help="Folder for gate.html, gate.json and the worst tiles.")] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compare every graph of an engine with the network in PyTorch, label by label; exit code 3 if one differs too much.

    hfd-edge verify model.engine --against student.safetensors --data scenes --unit db
    """
    from hfd_edge.errors import GateError, RasterError
    from hfd_edge.export.parity import Thresholds
    from hfd_edge.export.target import check_report
    from hfd_edge.export.told import telling
    from hfd_edge.export.verify_package import verify_package
    from hfd_edge.export.verify_page import write_page

    check_report(report, data)
    declared = declared_options(unit, scale, offset, nodata, bands)
    with telling(None if quiet else say_aside):
        gate, spec = verify_package(engine, against, data, declared, Thresholds(max_flips, max_iou, max_logits, min_pixels))
    if as_json:
        print_json(gate.to_dict())
    elif not quiet:
        typer.echo(str(gate))
    unwritten = None
    try:
        if report is not None:
            write_page(report, gate, spec)
    except RasterError as error:                # the judgement stands all the same
        unwritten = RasterError(f"the report is not whole: {error}")
    if not gate.passed:
        failures = (*gate.failures, *([str(unwritten)] if unwritten else []))
        raise GateError(f"{engine} no longer says what {against} says: {'; '.join(failures)}")
    if unwritten:
        raise unwritten
