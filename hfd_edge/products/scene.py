"""Whatever a path names, as a scene: a SAR product with calibration of its own, or a plain raster."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hfd_edge.errors import RadiometryError, RasterError
from hfd_edge.products.annotation import QUANTITIES
from hfd_edge.products.hdf5 import is_hdf5
from hfd_edge.products.nisar import GcovSource
from hfd_edge.products.safe import safe_folder
from hfd_edge.products.sentinel1 import Sentinel1Options, Sentinel1Source
from hfd_edge.products.sicd import SicdSource, is_nitf
from hfd_edge.products.vendor import declare_vendor
from hfd_edge.raster import RasterLimits, RasterSource
from hfd_edge.raster.guard import CONVERT_ONE
from hfd_edge.spec import ModelSpec

PathLike = str | Path
Scene = RasterSource | Sentinel1Source | SicdSource | GcovSource


@dataclass(frozen=True, slots=True)
class SceneRequest:
    """What is wanted of a scene."""

    bands: Sequence[int | str] | None = None        # as RasterSource
    wanted: Sequence[str] | None = None             # as RasterSource
    limits: RasterLimits = RasterLimits()
    quantity: str | None = None                     # what a product is calibrated to where it offers several; None = sigma0, or as stored
    unit: str | None = None                         # what the caller declares the pixels to be, over a product's word
    raster: Mapping[str, Any] = field(default_factory=dict)     # further options of RasterSource, such as threads


def open_scene(path: PathLike | Sequence[PathLike], request: SceneRequest = SceneRequest()) -> Scene:
    """An open scene, a context manager; `declared` says what its pixels are where tags or metadata do.

    Args:
        path: a raster, one raster per band, a Sentinel-1 .SAFE folder, the manifest.safe in it, a SICD (NITF), or a NISAR GCOV (HDF5).
    Raises:
        RasterError: it cannot be opened, is damaged or incomplete, or has not the bands.
        RadiometryError: a product whose metadata give no calibration, and no unit is declared.
    """
    paths = list(path) if isinstance(path, (list, tuple)) else [path]
    for each in paths:
        if not isinstance(each, (str, os.PathLike)):
            raise RasterError(f"{each!r} is no path of a raster: give a text or a pathlib.Path, or several in a list; pixels in memory go into "
                              "Segmenter.run(array)")
    folder = safe_folder(paths[0]) if len(paths) == 1 else None
    if folder is not None:
        if request.unit is not None:
            raise RadiometryError(f"unit={request.unit} with {folder.name}: a SAFE is calibrated by its own tables; leave "
                                  "--unit out, or give a file of its measurement folder as a raster with --unit and --scale")
        quantity = request.quantity if request.quantity in QUANTITIES else "sigma0"
        options = Sentinel1Options(quantity, limits=request.limits, raster=request.raster)
        return Sentinel1Source(folder, request.bands, request.wanted, options)
    if len(paths) == 1 and is_nitf(paths[0]):
        if request.unit is not None:
            raise RadiometryError(f"unit={request.unit} with {Path(paths[0]).name}: a SICD is calibrated by its own polynomials; leave --unit out")
        return SicdSource(paths[0], request.quantity or "sigma0", request.limits)
    if len(paths) == 1 and is_hdf5(paths[0]):
        if request.unit is not None:
            raise RadiometryError(f"unit={request.unit} with {Path(paths[0]).name}: a NISAR GCOV states itself what its pixels are; leave --unit out. Of "
                                  f"other HDF5 and netCDF, {CONVERT_ONE}")
        return GcovSource(paths[0], request.bands, request.wanted, request.quantity, request.limits)
    source = RasterSource(path, request.bands, request.wanted, request.limits, **request.raster)
    try:
        if request.unit is None and source.declared is None:
            declare_vendor(source, request.limits)
    except BaseException:
        source.close()
        raise
    return source


def run_notes(source: Scene, spec: ModelSpec) -> tuple[str, ...]:
    """What a run's report says of the product: what it is, how it was calibrated, a pixel spacing unlike the network's, a filter before it."""
    notes: tuple[str, ...] = getattr(source, "notes", ())
    stated, trained = getattr(source, "spacing_m", None), spec.pixel_spacing_m
    spacing = stated or source.geo.spacing_m(source.rows, source.cols)
    if spacing is not None and trained is not None and any(abs(value / trained - 1) > 0.2 for value in spacing):
        rows_m, cols_m = (f"{value if stated else float(f'{value:.2g}'):g}" for value in spacing)       # of a sphere two digits are true
        notes += (f"the scene's pixels are {rows_m} x {cols_m} m and the network was trained on {trained:g} m: "
                  "objects have another size in pixels, which is not corrected",)
    filtered = getattr(source, "filtered", None)
    if filtered is not None:
        again = ("the network was trained on unfiltered pixels" if spec.input.speckle_filter == "none" else
                 f"the network filters it once more by {spec.input.speckle_filter}")
        notes += (f"the scene's tags say that it was filtered ({filtered}) and {again}: give the scene as it was before",)
    return notes
