"""What can be known to fail before an export does any work: it takes minutes, and an hour with scenes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from hfd_edge.errors import ExportError, RasterError
from hfd_edge.export.data_files import Place
from hfd_edge.raster import check_output


def check_target(output: Path, overwrite: bool, inputs: Iterable[Path | None], report: Path | None = None, data: Iterable[Place] = ()) -> None:
    """Where an export writes.

    Args:
        overwrite: whether a package that is there may be replaced.
        inputs: files that it must not replace; None = none.
        report: the folder of its report; data: where its scenes lie.
    Raises:
        ExportError: OUTPUT exists, is an input, or cannot be written; the report is no folder.
    """
    try:
        check_output(output, overwrite, inputs=[path for path in inputs if path is not None])
    except RasterError as error:
        raise ExportError(str(error)) from error
    check_report(report, data)
    if report is not None and report.resolve() == output.resolve():
        raise ExportError(f"the report {report} has the name of the package: give its folder another one")


def check_report(report: Path | None, data: Iterable[Place] = ()) -> None:
    """Raise ExportError where the folder of a report, None = none, is no folder, cannot be made, or is one of scenes."""
    if report is None:
        return
    if any(isinstance(place, (str, Path)) and Path(place).is_dir() and Path(place).resolve() == report.resolve() for place in data):
        raise ExportError(f"the report {report} would lie among the scenes, and its pictures would be scenes of the next run: give another folder")
    if report.exists() and not report.is_dir():
        raise ExportError(f"the report {report} is a file: give a folder, or a name that nothing has yet")
    there = next(path for path in (report, *report.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise ExportError(f"the report {report} cannot be written: {there} is no folder that can be written to; change its permissions, or choose another")
