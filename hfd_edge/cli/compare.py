"""`hfd-edge compare`: an old engine and a new one on the same data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hfd_edge.cli.predict import parse_bands
from hfd_edge.cli.report import print_json, printable
from hfd_edge.spec import Unit


def compare(  # an option of the command line is an argument here: more than six are meant
    old: Annotated[Path, typer.Argument(metavar="OLD", help="The .engine file that runs today.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The one that would replace it.")],
    data: Annotated[list[str], typer.Option(
        "--data", help="Scenes to run both on: a raster, a folder of them, or 'simulated'; may be repeated.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for report.html, .md, .json and pictures.")],
    unit: Annotated[Unit | None, typer.Option(
        case_sensitive=False, help="What the scenes' pixels are, where the files' tags do not say.")] = None,
    scale: Annotated[float | None, typer.Option(help="value = stored * SCALE + OFFSET, in UNIT.")] = None,
    offset: Annotated[float | None, typer.Option(help="See --scale.")] = None,
    nodata: Annotated[list[float] | None, typer.Option(help="Stored value without meaning; may be repeated.")] = None,
    bands: Annotated[str | None, typer.Option(help="Names or numbers from 1, in the network's order: VV,VH or 4,3.")] = None,
    rounds: Annotated[int, typer.Option(help="Timed runs of each over the smallest scene, in turns.", min=1)] = 5,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a report that exists.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one line of JSON.")] = False,
) -> None:
    """Compare two engines on the same scenes: labels that flip and where, accuracy where labels exist, speed, size.

    hfd-edge compare old.engine new.engine --data scene.tif -o report
    """
    from hfd_edge.errors import RasterError
    from hfd_edge.export.compare import compare_engines
    from hfd_edge.export.compare_page import headline, write_report
    from hfd_edge.raster_run import RasterOptions

    if not overwrite and (output / "report.html").exists():
        raise RasterError(f"{output} holds a report: nothing is replaced unasked; use --overwrite, or another folder")
    declared = RasterOptions(unit, scale, offset, tuple(nodata) if nodata else None, parse_bands(bands))
    found = compare_engines(old, new, data, declared, rounds)
    files = write_report(output, found, overwrite)
    if as_json:
        print_json({**found.to_dict(), "files": list(map(str, files))})
    elif not quiet:
        for line in (headline(found), found.relation, *found.notes, f"written: {', '.join(map(str, files))}"):
            typer.echo(printable(line))
