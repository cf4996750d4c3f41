"""`hfd-edge benchmark`: how fast an engine is here, alone and on a scene, and what the time goes into."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hfd_edge.cli.options import check_outputs, parse_bands, scene_of
from hfd_edge.spec import Unit
from hfd_edge.text import printable

_QUICK = {"calls": 5, "rounds": 2, "batches": (1, 2), "tiles": (256, 512)}


def benchmark(  # an option of the command line is an argument here: more than six are meant
    engine: Annotated[Path | None, typer.Argument(metavar="[ENGINE]", help="The .engine file.")] = None,
    scene: Annotated[Path | None, typer.Option(help="A raster, file to file; without it a simulated scene in memory.")] = None,
    mosaic: Annotated[bool, typer.Option("--mosaic", help="SCENE is a folder of tiles of one scene.")] = False,
    size: Annotated[str | None, typer.Option(metavar="ROWSxCOLS", help="Of the simulated scene; default 4096x4096.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda:0.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="For operations and engine; default: all cores of this process.")] = None,
    unit: Annotated[Unit | None, typer.Option(case_sensitive=False, help="What the raster's pixels are, where its tags do not say.")] = None,
    bands: Annotated[str | None, typer.Option(help="Of the raster: names or numbers from 1, in the network's order.")] = None,
    report: Annotated[Path | None, typer.Option(metavar="OUT.html", help="Write one page with plots, which needs nothing else.")] = None,
    json_lines: Annotated[Path | None, typer.Option("--json", metavar="OUT.json", help="Write JSON lines, one measurement each; "
                                                    "- prints them instead of the table.")] = None,
    compare: Annotated[tuple[Path, Path] | None, typer.Option(
        metavar="A.json B.json", help="Measure nothing: print how much better B is than A.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A few calls on 512x512 pixels: does it work, not how fast.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
) -> None:
    """Measure an engine: alone, stage by stage, end to end, over tile sizes and precisions; with memory and, where told, energy.

    It takes about two minutes, as many rounds as fit; where a scene of this size is too slow for two rounds, longer (--size).

    hfd-edge benchmark model.engine --report speed.html --json speed.json

    hfd-edge benchmark --compare before.json after.json
    """
    if compare is not None:
        if engine is not None:
            raise typer.BadParameter(f"--compare measures nothing: leave out {engine}")
        return _compare(*compare)
    if engine is None:
        raise typer.BadParameter("give the .engine file: hfd-edge benchmark model.engine (or --compare a.json b.json)")
    if scene is not None and size is not None:
        raise typer.BadParameter(f"--scene with --size {size}: a raster has its own size; leave out one of them")
    if scene is None and (unit is not None or bands is not None or mosaic):
        raise typer.BadParameter("--unit, --bands or --mosaic without --scene: a simulated scene has its own; leave them out")
    from hfd_edge.measure.benchmark import BenchmarkRequest, run_benchmark
    from hfd_edge.raster_run import RasterOptions

    printed = json_lines is not None and str(json_lines) == "-"
    given = [] if scene is None else scene_of([scene], mosaic)
    check_outputs([report, None if printed else json_lines], None, [engine, *given], overwrite)
    rows, cols = _size(size, quick)
    request = BenchmarkRequest(engine, device, threads, rows, cols, given if mosaic else scene, RasterOptions(unit, bands=parse_bands(bands)), **(_QUICK if quick else {}))
    records = run_benchmark(request, lambda step: typer.echo(f"measuring {step}", err=True))
    _write(records, report, json_lines, printed, overwrite)


def _write(records: list, report: Path | None, json_lines: Path | None, printed: bool, overwrite: bool) -> None:
    from hfd_edge.measure.benchmark import to_lines
    from hfd_edge.measure.benchmark_page import write_page
    from hfd_edge.measure.benchmark_table import summary_lines
    from hfd_edge.raster import write_bytes

    if printed:
        typer.echo(to_lines(records), nl=False)
    else:
        for line in summary_lines(records):
            typer.echo(printable(line))
        if json_lines is not None:
            write_bytes(json_lines, to_lines(records).encode(), overwrite)
            typer.echo(f"written: {json_lines}")
    if report is not None:
        write_page(report, records, overwrite)
        typer.echo(f"written: {report}", err=printed)


def _compare(first: Path, second: Path) -> None:
    from hfd_edge.measure.benchmark import read_lines
    from hfd_edge.measure.benchmark_compare import compare_records, differences
    from hfd_edge.measure.benchmark_table import compare_lines

    a, b = read_lines(first), read_lines(second)
    for line in compare_lines(compare_records(a, b), differences(a, b)):
        typer.echo(printable(line))


def _size(size: str | None, quick: bool) -> tuple[int, int]:
    if size is None:
        return (512, 512) if quick else (4096, 4096)
    rows, found, cols = size.lower().partition("x")
    if not found or not (rows.isdecimal() and cols.isdecimal() and int(rows) and int(cols)):
        raise typer.BadParameter(f"--size {size}: give rows and columns in pixels, such as 4096x4096")
    return int(rows), int(cols)
