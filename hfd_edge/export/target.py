"""What can be known to fail before an export does any work: it takes minutes, and an hour with scenes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hfd_edge.errors import ExportError, RasterError
from hfd_edge.raster import check_output


def check_target(output: Path, overwrite: bool, inputs: Iterable[Path | None], report: Path | None = None) -> None:
    """Where an export writes.

    Args:
        overwrite: whether a package that is there may be replaced.
        inputs: files that it must not replace; None = none.
        report: the folder of its report.
    Raises:
        ExportError: OUTPUT exists, is an input, or cannot be written; the report is no folder.
    """
    try:
        check_output(output, overwrite, inputs=[path for path in inputs if path is not None])
    except RasterError as error:
        raise ExportError(str(error)) from error
    if report is not None and report.exists() and not report.is_dir():
        raise ExportError(f"the report {report} is a file: give a folder, or a name that nothing has yet")
