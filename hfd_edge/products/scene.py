"""Whatever a path names, as a scene: a SAR product with calibration of its own, or a plain raster."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hfd_edge.errors import RadiometryError, RasterError
from hfd_edge.products.alos import declare_alos
from hfd_edge.products.annotation import QUANTITIES
from hfd_edge.products.cosmo import is_cosmo
from hfd_edge.products.cosmo_source import CosmoSource
from hfd_edge.products.hdf5 import is_hdf5
from hfd_edge.products.image import ImageOptions
from hfd_edge.products.mosaic import Mosaic
from hfd_edge.products.nisar import GcovSource
from hfd_edge.products.radarsat import folder_of, radarsat_xml
from hfd_edge.products.radarsat_source import RadarsatSource
from hfd_edge.products.rtc import declare_rtc
from hfd_edge.products.safe import safe_folder
from hfd_edge.products.sentinel1 import Sentinel1Options, Sentinel1Source
from hfd_edge.products.sicd import SicdSource, is_nitf
from hfd_edge.products.terrasar import terrasar_xml
from hfd_edge.products.terrasar_source import TerraSarSource
from hfd_edge.products.vendor import declare_vendor
from hfd_edge.raster import MosaicRules, MosaicSource, RasterLimits, RasterSource
from hfd_edge.raster.guard import CONVERT_ONE
from hfd_edge.raster.opened import printable
from hfd_edge.spec import ModelSpec
from hfd_edge.text import Note

PathLike = str | Path
Scene = RasterSource | MosaicSource | Sentinel1Source | RadarsatSource | TerraSarSource | SicdSource | GcovSource | CosmoSource


@dataclass(frozen=True, slots=True)
class SceneRequest:
    """What is wanted of a scene."""

    bands: Sequence[int | str] | None = None        # as RasterSource
    wanted: Sequence[str] | None = None             # as RasterSource
    limits: RasterLimits = RasterLimits()
    quantity: str | None = None                     # what a product is calibrated to where it offers several; None = sigma0, or as stored
    unit: str | None = None                         # what the caller declares the pixels to be, over a product's word
    raster: Mapping[str, Any] = field(default_factory=dict)     # further options of RasterSource, such as threads
    nodata: tuple[float, ...] | None = None         # that the caller declares: where tiles overlap, it does not count


def open_scene(path: PathLike | Sequence[PathLike] | Mosaic, request: SceneRequest = SceneRequest()) -> Scene:
    """An open scene, a context manager; `declared` says what its pixels are where tags or metadata do.

    Args:
        path: a raster, one raster per band, a Mosaic, a Sentinel-1 .SAFE folder, the manifest.safe in it, a RADARSAT-2 or RCM folder or
            the product.xml in it, a TerraSAR-X, TanDEM-X or PAZ folder or the main XML in it, a SICD (NITF), a NISAR GCOV (HDF5) or
            a COSMO-SkyMed product (HDF5).
    Raises:
        RasterError: it cannot be opened, is damaged or incomplete, or has not the bands.
        RadiometryError: a product whose metadata give no calibration, and no unit is declared.
    """
    paths = list(path) if isinstance(path, (list, tuple, Mosaic)) else [path]
    for each in paths:
        if not isinstance(each, (str, os.PathLike)):
            raise RasterError(f"{printable(repr(each))[:100]} is no path of a raster: give a text or a pathlib.Path, or several in a list; pixels in memory go into "
                              "Segmenter.run(array)")
    try:
        return _opened(path, paths, request)
    except OSError as error:
        if error.errno is None:                         # our own, or a signal handler's
            raise
        raise RasterError(f"{error.filename or paths[0]} cannot be read: {error.strerror}; check its permissions, and those of the folders above") from error


def _opened(path: PathLike | Sequence[PathLike] | Mosaic, paths: list[PathLike], request: SceneRequest) -> Scene:
    if isinstance(path, Mosaic):
        numbers = request.bands is not None and not any(isinstance(band, str) for band in request.bands)
        return MosaicSource(path.files, lambda files: _raster(files, request), MosaicRules(request.limits, request.nodata, request.unit is not None, numbers))
    product = _product(paths[0], request) if len(paths) == 1 else None
    return _raster(path, request) if product is None else product


def _raster(path: PathLike | Sequence[PathLike], request: SceneRequest) -> RasterSource:
    """A plain raster, with what is known of it by its names and tags."""
    source = RasterSource(path, request.bands, request.wanted, request.limits, **request.raster)
    try:
        if request.unit is None:
            declare_alos(source, request.limits)
            for declare in (declare_vendor, declare_rtc):
                if source.declared is None:
                    declare(source, request.limits)
    except BaseException:
        source.close()
        raise
    return source


def product_folder(path: PathLike) -> Path | None:
    """The folder of the SAFE, RADARSAT or TerraSAR-X product that a path names: it itself, or a file in it that stands for it; None if it names
    something else.

    Raises:
        RasterError: a product that is still packed or has no main file, or several in one folder.
    """
    xml = radarsat_xml(path)                            # before SAFE: an RCM product has a manifest.safe, too
    if xml is not None:
        return folder_of(xml)
    main = terrasar_xml(path)
    return safe_folder(path) if main is None else main.parent


def _product(path: PathLike, request: SceneRequest) -> Scene | None:
    """The product that a path names; None where it is a plain raster, or a GeoTIFF that brings its calibration in its tags."""
    def no_unit(name: str, why: str) -> None:
        if request.unit is not None:
            raise RadiometryError(f"unit={request.unit} with {name}: {why}")

    radarsat = radarsat_xml(path)                       # first, as in product_folder
    if radarsat is not None:
        no_unit(str(path), "a RADARSAT product is calibrated by its own tables; leave --unit out")
        return RadarsatSource(radarsat, request.bands, request.wanted, ImageOptions(request.quantity, request.limits, request.raster))
    terrasar = terrasar_xml(path)
    if terrasar is not None:
        no_unit(str(path), "it is calibrated by its own factors; leave --unit out, or give a file of its IMAGEDATA folder as a raster with --unit")
        return TerraSarSource(terrasar, request.bands, request.wanted, ImageOptions(request.quantity, request.limits, request.raster))
    folder = safe_folder(path)
    if folder is not None:
        no_unit(folder.name, "a SAFE is calibrated by its own tables; leave --unit out, or give a file of its measurement folder as a raster with "
                             "--unit and --scale")
        quantity = request.quantity if request.quantity in QUANTITIES else "sigma0"
        options = Sentinel1Options(quantity, limits=request.limits, raster=request.raster)
        return Sentinel1Source(folder, request.bands, request.wanted, options)
    if is_nitf(path):
        no_unit(Path(path).name, "a SICD is calibrated by its own polynomials; leave --unit out")
        return SicdSource(path, request.bands, request.wanted, request.quantity or "sigma0", request.limits)
    if is_hdf5(path):
        no_unit(Path(path).name, f"NISAR GCOV and COSMO-SkyMed state themselves what their pixels are; leave --unit out. Of other HDF5 and netCDF, "
                                 f"{CONVERT_ONE}")
        if is_cosmo(path, request.limits):
            return CosmoSource(path, request.bands, request.wanted, request.limits)
        return GcovSource(path, request.bands, request.wanted, request.quantity, request.limits)
    return None


def run_notes(source: Scene, spec: ModelSpec) -> tuple[str, ...]:
    """What a run's report says of the product: what it is, how it was calibrated, a pixel spacing unlike the network's, a filter before it."""
    notes: tuple[str, ...] = getattr(source, "notes", ())
    stated, trained = getattr(source, "spacing_m", None), spec.pixel_spacing_m
    spacing = stated or source.geo.spacing_m(source.rows, source.cols)
    if spacing is not None and trained is not None and any(abs(value / trained - 1) > 0.2 for value in spacing):
        rows_m, cols_m = (f"{value if stated else float(f'{value:.2g}'):g}" for value in spacing)       # of a sphere two digits are true
        notes += (Note("other_spacing", f"the scene's pixels are {rows_m} x {cols_m} m and the network was trained on {trained:g} m: "
                                        "objects have another size in pixels, which is not corrected"),)
    filtered = getattr(source, "filtered", None)
    if filtered is not None:
        again = ("the network was trained on unfiltered pixels" if spec.input.speckle_filter == "none" else
                 f"the network filters it once more by {spec.input.speckle_filter}")
        notes += (Note("filtered_before", f"the scene says that it was filtered ({filtered}) and {again}: give the scene as it was before"),)
    return notes
