"""A NISAR GCOV product (geocoded polarimetric covariance, HDF5) as a scene: rows of its backscatter, some at a time, with what it states of them.

Written after the published specification (D-102274, 1.1.2 to 1.2.1) and never checked on a real file; every run says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import CRSError

from hfd_edge.errors import RadiometryError, RasterError
from hfd_edge.products.annotation import QUANTITIES
from hfd_edge.products.hdf5 import Hdf5File, Hdf5Scene
from hfd_edge.products.nisar_bands import choose_terms
from hfd_edge.products.vendor import LAYOUT_ONLY
from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.raster import GeoReference, RasterLimits
from hfd_edge.raster.guard import CONVERT_ONE
from hfd_edge.spec import Unit

_BANDS = {"LSAR": "L", "SSAR": "S"}
_FACTOR = "rtcGammaToSigmaFactor"
_MASK_FILL, _MOST_SUBSWATHS = 255, 5
_OFF_THE_GRID = 0.01                # of a step: what coordinates may lie beside an even grid
_BY_HAND = f"if what it holds is known from elsewhere, {CONVERT_ONE}, and give them with --unit"


class GcovSource(Hdf5Scene):
    """Linear power as float32, read like a RasterSource. A context manager; one thread at a time reads.

    power = the covariance term of a polarisation with itself, in the quantity that the product states; sigma0 = gamma0 times the product's own factor
    where that is asked for. Not valid is what is not finite, the fill value, and what the product's mask marks (0 and 255), in any chosen polarisation.

    Attributes: as RasterSource, and notes: sentences for the report.
    """

    dtype = np.dtype(np.float32)
    scale, offset, nodata = 1.0, 0.0, ()

    def __init__(self, path: str | Path, bands: Sequence[int | str] | None = None, wanted: Sequence[str] | None = None,
                 quantity: str | None = None, limits: RasterLimits = RasterLimits()) -> None:
        """Open the polarisations `bands`, else those that the names in `wanted` hold, else all of the first frequency.

        Args:
            quantity: what is asked for; None = as stored. A quantity that the product cannot give is left to whoever reads `declared`.
        Raises:
            RasterError: h5py is missing, the file is damaged, no GCOV, larger than the limits, or without a wanted polarisation.
            RadiometryError: it does not state a quantity in linear power.
        """
        self._opened(path, limits, lambda file: self._take(file, bands, wanted, quantity))

    def _take(self, file: Hdf5File, bands: Sequence[int | str] | None, wanted: Sequence[str] | None, quantity: str | None) -> None:
        sar = _product(file)
        root = f"/science/{sar}/GCOV"
        frequency, self.band_names = choose_terms(file, f"{root}/grids", bands, wanted)
        grid = f"{root}/grids/frequency{frequency}"
        self.count = len(self.band_names)
        self._terms = [file.raster(f"{grid}/{name}{name}", "f") for name in self.band_names]
        self._fills = [_fill_of(term) for term in self._terms]
        self._mask = file.raster(f"{grid}/mask", "u")
        stored = _stored_quantity(file, f"{root}/metadata/processingInformation/parameters")
        self._factor = file.raster(f"{grid}/{_FACTOR}", "f") if (stored, quantity) == ("gamma0", "sigma0") else None
        self.rows, self.cols = self._terms[0].shape
        self._check_sizes()
        self.geo = _place(file, grid, (self.rows, self.cols))
        self.declared = SourceRadiometry(Unit.INTENSITY, quantity=stored if self._factor is None else "sigma0")
        self._take_blocks(self._rasters())
        self.notes = (self._about(sar, frequency, root), LAYOUT_ONLY)

    def _rasters(self) -> list[Any]:
        return [raster for raster in (*self._terms, self._mask, self._factor) if raster is not None]

    def _check_sizes(self) -> None:
        for raster in self._rasters():
            if raster.shape != (self.rows, self.cols):
                raise RasterError(f"{self._file.path}: {raster.name} has {raster.shape[0]} x {raster.shape[1]} pixels and {self._terms[0].name} "
                                  f"{self.rows} x {self.cols}: images of one frequency lie on one grid; copy or download it again")

    def _read_piece(self, values: np.ndarray, valid: np.ndarray, place: tuple[slice, slice]) -> None:
        factor = None if self._factor is None else self._factor[place]
        for out, term, fill in zip(values, self._terms, self._fills):
            out[...] = term[place]
            if fill is not None:
                valid &= out != fill
            if factor is not None:
                with np.errstate(invalid="ignore", over="ignore"):
                    out *= factor
            valid &= np.isfinite(out)
        if factor is not None:
            valid &= factor > 0
        if self._mask is not None:
            mask = self._mask[place]
            known = (mask <= _MOST_SUBSWATHS) | (mask == _MASK_FILL)
            if not known.all():
                raise RasterError(f"{self._file.path}: its mask holds {mask[~known][0]}: the published values are 0 (not valid), 1 to {_MOST_SUBSWATHS} "
                                  f"(the sub-swath) and {_MASK_FILL} (outside), and another is not guessed at; {_BY_HAND}")
            valid &= (mask != 0) & (mask != _MASK_FILL)

    def _about(self, sar: str, frequency: str, root: str) -> str:
        """One sentence: what was read."""
        def said(name: str) -> str:
            return (self._file.text(f"/science/{sar}/identification/{name}") or "not stated").lower()

        def done(name: str, yes: str, no: str, what: str) -> str:
            flag = (self._file.text(f"{root}/metadata/processingInformation/parameters/{name}") or "").lower()
            return {"true": yes, "false": no}.get(flag, f"{what} not stated")

        step = self.geo.transform
        words = (
            f"NISAR GCOV, {_BANDS[sar]}-band, frequency {frequency}", f"track {said('trackNumber')}", f"frame {said('frameNumber')}",
            f"pass {said('orbitPassDirection')}", f"look direction {said('lookDirection')}", f"{abs(step.e):g} x {abs(step.a):g} m (rows x columns)",
            f"specification {said('productSpecificationVersion')}",
            f"stored as {self.declared.quantity}" if self._factor is None else f"gamma0 times {_FACTOR} is sigma0",
            done("radiometricTerrainCorrectionApplied", "terrain-corrected", "not terrain-corrected", "terrain correction"),
            done("noiseCorrectionApplied", "noise removed", "noise not removed", "noise removal"),
            done("polarimetricSymmetrizationApplied", "HV is the mean of HV and VH where both are received", "HV and VH not averaged",
                 "averaging of HV and VH"),
            "its mask counts" if self._mask is not None else "it has no mask, so that NaN alone is nodata", "equivalent number of looks not stated")
        return ", ".join(words)


def _product(file: Hdf5File) -> str:
    """LSAR or SSAR, of a file that is a GCOV."""
    sars = [sar for sar in _BANDS if file.names(f"/science/{sar}")]
    if not sars:
        raise RasterError(f"{file.path} is HDF5 (or netCDF-4) and no NISAR product, nor one of COSMO-SkyMed: {CONVERT_ONE}")
    kinds = {sar: file.text(f"/science/{sar}/identification/productType") or next(
        (name for name in file.names(f"/science/{sar}") if name != "identification"), "nothing") for sar in sars}
    sar = next((sar for sar, kind in kinds.items() if kind == "GCOV"), None)
    if sar is not None:
        return sar
    kind = kinds[sars[0]]
    what = {"RSLC": "complex, in radar geometry", "GSLC": "complex", "RRSD": "raw"}.get(kind)
    what = what or ("of two passes: no backscatter" if kind in ("RIFG", "RUNW", "ROFF", "GUNW", "GOFF") else "no backscatter")
    raise RasterError(f"{file.path} is a NISAR product of type {kind} ({what}): only GCOV is read; take the GCOV of the same track, frame and pass")


def _stored_quantity(file: Hdf5File, parameters: str) -> str:
    stated = file.text(f"{parameters}/rtc/outputBackscatterNormalizationConvention")
    expressed = file.text(f"{parameters}/rtc/outputBackscatterExpressionConvention") or ""
    if stated is None or stated.lower() not in QUANTITIES:
        raise RadiometryError(f"{file.path} states outputBackscatterNormalizationConvention={stated!r}: one of {', '.join(QUANTITIES)} is needed to know "
                              f"what its pixels are; copy or download it again, or, {_BY_HAND}")
    if any(word in expressed.lower() for word in ("db", "decibel", "amplitude")):
        raise RadiometryError(f"{file.path} states outputBackscatterExpressionConvention={expressed!r}: the specification knows linear power only; "
                              f"{_BY_HAND}")
    return stated.lower()


def _fill_of(term: Any) -> float | None:
    """A fill value that is a number; NaN needs no comparing."""
    if "_FillValue" not in term.attrs:
        return None
    fill = np.float32(np.asarray(term.attrs["_FillValue"]).ravel()[0])
    return float(fill) if np.isfinite(fill) else None


def _place(file: Hdf5File, grid: str, shape: tuple[int, int]) -> GeoReference:
    """By the coordinates, which are those of the pixels' middles, and the EPSG code."""
    rows, cols = (_first_and_step(file, f"{grid}/{axis}Coordinates", size) for axis, size in zip("yx", shape))
    code = file.text(f"{grid}/projection") or ""
    if not code.isdecimal():
        raise RasterError(f"{file.path}: {grid}/projection is {code or 'not there'!r}: the EPSG code of the grid is needed; copy or download it again")
    try:
        with rasterio.Env():                        # which keeps PROJ from writing to the standard error
            return GeoReference.by_middles(f"EPSG:{int(code)}", cols, rows, (file.path,))
    except CRSError as error:
        raise RasterError(f"{file.path}: {grid}/projection is {code}, which is no EPSG code that PROJ knows here; copy or download it again") from error


def _first_and_step(file: Hdf5File, where: str, size: int) -> tuple[float, float]:
    axis = file.axis(where)
    if axis.size != size:
        raise RasterError(f"{file.path}: {where} has {axis.size} places and the images {size}: copy or download it again")
    step = (axis[-1] - axis[0]) / (size - 1)
    beside = np.abs(axis - (axis[0] + step * np.arange(size)))
    if not (np.isfinite(step) and step != 0 and (beside <= _OFF_THE_GRID * abs(step)).all()):
        raise RasterError(f"{file.path}: {where} runs from {axis[0]:.9g} to {axis[-1]:.9g} and not in even steps: a map needs an even grid; copy or "
                          "download it again")
    return float(axis[0]), float(step)
