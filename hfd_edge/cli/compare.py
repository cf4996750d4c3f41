"""`hfd-edge compare`: an old engine and a new one on the same data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hfd_edge.cli.options import (
    SCENES, BandsOption, JsonOption, NodataOption, OffsetOption, QuietOption, ScaleOption, UnitOption, declared_options)
from hfd_edge.cli.report import print_json
from hfd_edge.text import printable


def compare(  # an option of the command line is an argument here: more than six are meant
    old: Annotated[Path, typer.Argument(metavar="OLD", help="The .engine file that runs today.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The one that would replace it.")],
    data: Annotated[list[str], typer.Option(
        "--data", help=f"Scenes to run both on: {SCENES}.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for report.html, .md, .json and pictures.")],
    unit: UnitOption = None,
    scale: ScaleOption = None,
    offset: OffsetOption = None,
    nodata: NodataOption = None,
    bands: BandsOption = None,
    rounds: Annotated[int, typer.Option(help="Timed runs of each over the smallest scene, in turns.", min=1)] = 5,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a report that exists.")] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compare two engines on the same scenes: labels that flip and where, accuracy where labels exist, speed, size.

    hfd-edge compare old.engine new.engine --data scene.tif -o report
    """
    from hfd_edge.errors import RasterError
    from hfd_edge.export.compare import compare_engines
    from hfd_edge.export.compare_page import headline, less_accurate, write_report
    from hfd_edge.export.target import check_report

    check_report(output, data)
    if not overwrite and (output / "report.html").exists():
        raise RasterError(f"{output} holds a report: nothing is replaced unasked; use --overwrite, or another folder")
    found = compare_engines(old, new, data, declared_options(unit, scale, offset, nodata, bands), rounds)
    files = write_report(output, found, overwrite)
    worse = less_accurate(found)
    if as_json:
        print_json({**found.to_dict(), "less_accurate": worse or None, "files": list(map(str, files))})
    elif not quiet:
        for line in (headline(found), found.relation, *found.notes, f"written: {', '.join(map(str, files))}", *([f"{new} is {worse}"] if worse else [])):
            typer.echo(printable(line))
