"""How verbs speak: progress on a terminal, a report for people, one line of JSON for machines."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from hfd_edge.errors import HfdError, RasterError
from hfd_edge.text import Lines, aligned, printable

if TYPE_CHECKING:
    from hfd_edge.measure.accuracy import Accuracy


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


def say_aside(line: str) -> None:
    """What is being done: on the standard error, where it mixes with no report."""
    typer.echo(printable(line), err=True)


def print_json(record: dict[str, Any]) -> None:
    """As `json_line`."""
    from hfd_edge.results import json_line

    _say(json_line(record))


def print_lines(lines: Lines) -> None:
    """As `aligned`."""
    for line in aligned(lines):
        _say(line)


def _say(line: str) -> None:
    try:
        typer.echo(line)
    except BrokenPipeError:
        raise
    except OSError as error:                # a full disk behind `> log`
        raise RasterError(f"the report cannot be written to the standard output ({error.strerror}); files that this command writes are complete") from error


def accuracy_lines(accuracy: Accuracy) -> dict[str, str]:
    """Accuracy against a truth for people."""
    per_class = ", ".join(f"{name} {iou:.3f}" if present else f"{name} -"
                          for name, iou, present in zip(accuracy.classes, accuracy.iou, accuracy.present))
    why = "" if accuracy.present.all() else " (-: the truth has no pixel of it, so it is not in the mIoU)"
    mean = f"{accuracy.miou:.4f}" if accuracy.pixels else "-"
    return {"mIoU": f"{mean} over {accuracy.pixels} pixels with a truth", "IoU": per_class + why}
