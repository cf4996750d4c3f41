"""A package once more, with another spec: for what is measured after it was made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hfd_edge.package import Package, write_package
from hfd_edge.spec import ModelSpec


def write_again(package: Package, path: str | Path, spec: ModelSpec, measured: Mapping[str, Any],
                overwrite: bool = False) -> tuple[str, ...]:
    """Write the graphs, golden tile and provenance of an open package beside another spec.

    Args:
        measured: goes into the provenance, by key.
    Returns:
        members that were left behind: plans belong to the hash of the package they were built from.
    Raises:
        PackageError: `path` exists and overwrite is off, or it cannot be written.
    """
    graphs = {name: bytes(package.read(name)) for name in package.graph_names}
    write_package(path, spec, graphs, package.golden, {**package.manifest["provenance"], **measured}, overwrite)
    return tuple(name for name in package.names if name.startswith("plans/"))
