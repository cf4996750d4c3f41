"""A package once more: with another spec, for what is measured after it was made, or with plans inside."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hfd_edge.package import Package, manifest as package_manifest, write_beside, write_package
from hfd_edge.package.plans import PlanKey, plan_records
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


def embed_plans(package: Package, plans: Mapping[PlanKey, bytes]) -> tuple[str, ...]:
    """Write an open package anew with plans inside, in place of itself. Plans that it has stay, unless replaced.

    Returns:
        names of the members that hold the new plans.
    Raises:
        PackageError: it cannot be written, or a limit of the format is passed; the file is as it was then.
    """
    records = {**plan_records(package.manifest, package.names), **{key.member: key for key in plans}}
    kept = {name: package.read(name) for name in package.names if name != package_manifest.MANIFEST}
    data = dict(sorted({**kept, **{key.member: memoryview(plan) for key, plan in plans.items()}}.items()))
    manifest = package_manifest.encode(package.spec, data, package.manifest["provenance"],
                                       {name: key.to_dict() for name, key in records.items()})
    write_beside(Path(os.path.realpath(package.path)), [(package_manifest.MANIFEST, memoryview(manifest)), *data.items()], True)
    return tuple(key.member for key in plans)
