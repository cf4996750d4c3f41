"""`hfd-edge export`: a checkpoint becomes a package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hfd_edge.cli.report import print_json


def export(
    checkpoint: Annotated[Path, typer.Argument(help="NAME.safetensors with NAME.json beside it, as training writes them.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The package to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUTPUT if it exists.")] = False,
    max_halo: Annotated[int | None, typer.Option(help="Refuse a network whose exact halo is larger, in pixels.")] = None,
    filter_halo: Annotated[int, typer.Option(help="Radius of the speckle filter the network was trained with, in pixels.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one line of JSON.")] = False,
) -> None:
    """Turn a trained student into one .engine file (FP32), after checking it against the network.

    hfd-edge export student.safetensors -o model.engine
    """
    from hfd_edge.export import ExportOptions, export_package
    report = export_package(checkpoint, output, ExportOptions(overwrite, filter_halo_px=filter_halo, max_halo_px=max_halo))
    if as_json:
        print_json(report.to_dict())
    elif not quiet:
        typer.echo(str(report))
