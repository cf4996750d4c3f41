"""How verbs speak: progress on a terminal, a report for people, one line of JSON for machines."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from hfd_edge.errors import HfdError, RasterError

if TYPE_CHECKING:
    from hfd_edge.measure.accuracy import Accuracy
    from hfd_edge.results import ClassShare, RunReport

_MOST_CLASSES = 12              # of a line


@contextmanager
def progress_bar(what: str, quiet: bool, unit: str = "rows") -> Iterator[Callable[[int, int], None] | None]:
    """A function (done, total) that draws a bar on the standard error, or None where nobody watches."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn(unit), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def written(path: Path) -> Iterator[None]:
    """What fails here fails after a command wrote its file: the error says that it is there."""
    try:
        yield
    except HfdError as error:
        raise type(error)(f"{path} is written; {error}") from error


def print_json(record: dict[str, Any]) -> None:
    """As `json_line`."""
    from hfd_edge.results import json_line

    _say(json_line(record))


def print_lines(lines: Mapping[str, str | tuple[str, ...]]) -> None:
    """Name and value, aligned; a line for each of several values, none for ()."""
    width = max(len(name) for name, values in lines.items() if values != ())
    for name, values in lines.items():
        for value in (values,) if isinstance(values, str) else values:
            _say(printable(f"{name:<{width}}  {value}"))


def _say(line: str) -> None:
    try:
        typer.echo(line)
    except BrokenPipeError:
        raise
    except OSError as error:                # a full disk behind `> log`
        raise RasterError(f"the report cannot be written to the standard output ({error.strerror}); files that this command writes are complete") from error


def printable(text: str) -> str:
    """The text with control characters spelled out: names in a file must not move the cursor or forge a line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def run_lines(report: RunReport) -> dict[str, str | tuple[str, ...]]:
    """A run's report for people."""
    stages = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in report.timings.items() if stage != "total")
    lines: dict[str, str | tuple[str, ...]] = {
        "pixels": f"{report.rows} x {report.cols} = {report.rows * report.cols / 1e6:.2f} Mpx, {report.nodata_share:.2%} nodata"
        + (f", from row {report.window[0]}, column {report.window[1]} of the scene on" if report.window else ""),
        "time": f"{report.timings['total']:.2f} s, {report.mpx_per_s:.2f} Mpx/s",
        "stages": f"{stages} (seconds; they overlap)",
        "device": f"{report.device}, {report.threads} threads, {report.engine}",
        "engine": report.engine_hash,
        "tiles": f"{report.tiles_run} of up to {report.tile_px[0]} x {report.tile_px[1]} px, {report.tiles_empty} empty ones skipped"
        + (", two at once" if report.at_once > 1 else ""),
        "halo": f"{report.halo}, {report.halo_px} px, costs {report.compute_ratio:.2f} times the scene's pixels: "
        f"{report.halo_share:.0%} of the engine's work",
        "stitch": report.stitch + (f", tiles fused over {report.overlap_px} px at each border" if report.overlap_px else "")}
    if report.classes:
        lines["classes"] = _classes(report.classes)
    if report.saturated_pixels is not None:
        lines["saturated"] = f"{report.saturated_pixels} pixels, valid all the same: their power is a lower bound"
    if report.offset:
        lines["off training"] = str(report.offset)
    lines["note"] = report.notes
    if report.read_as:
        lines = {"read as": report.read_as, **lines}
    if report.nan_pixels:
        lines["NaN"] = f"{report.nan_pixels} pixels where the engine answered NaN: labelled nodata"
    return lines


def _classes(shares: tuple[ClassShare, ...]) -> str:
    """Every class of a few, of many the most frequent."""
    shown = shares if len(shares) <= _MOST_CLASSES else sorted((each for each in shares if each.pixels), key=lambda each: -each.pixels)[:_MOST_CLASSES]
    told = [f"{each.value} {each.name} {each.share:.2%}" + ("" if each.km2 is None else f" ({each.km2:.4g} km2)") for each in shown]
    return ", ".join(told) + ("" if len(shown) == len(shares) else f"; all {len(shares)} with --json") if told else "none of them has a pixel"


def accuracy_lines(accuracy: Accuracy) -> dict[str, str]:
    """Accuracy against a truth for people."""
    per_class = ", ".join(f"{name} {iou:.3f}" if present else f"{name} -"
                          for name, iou, present in zip(accuracy.classes, accuracy.iou, accuracy.present))
    why = "" if accuracy.present.all() else " (-: the truth has no pixel of it, so it is not in the mIoU)"
    mean = f"{accuracy.miou:.4f}" if accuracy.pixels else "-"
    return {"mIoU": f"{mean} over {accuracy.pixels} pixels with a truth", "IoU": per_class + why}
