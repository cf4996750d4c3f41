"""SICD (complex SAR in NITF) as a scene: rows of linear power by the file's own radiometric polynomials, some at a time.

Read through sarpy (optional extra `sicd`). Umbra, Capella and ICEYE deliver SICD; never checked on a real file, and every run says so.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.control import GroundControlPoint

from hfd_edge.errors import RadiometryError, RasterError
from hfd_edge.forks import no_fork
from hfd_edge.products.polarisations import choose_polarisations
from hfd_edge.products.vendor import LAYOUT_ONLY
from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.raster import GeoReference, RasterLimits
from hfd_edge.raster.bands import polarisation_of
from hfd_edge.raster.opened import OpenScene, refused
from hfd_edge.spec import Unit

_POLYNOMIAL = {"sigma0": "SigmaZeroSFPoly", "gamma0": "GammaZeroSFPoly", "beta0": "BetaZeroSFPoly"}
_LATTICE = 65                   # places per side at which the polynomial is checked
_PIECE_PX = 1 << 17             # calibrated at a time: their float64 numbers stay in the caches


def is_nitf(path: str | Path) -> bool:
    """Whether a file begins as NITF does."""
    path = Path(path)
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(9) in (b"NITF02.10", b"NITF02.00", b"NSIF01.00")


class SicdSource(OpenScene):
    """Linear power as float32, one band, read like a RasterSource. A context manager; one thread at a time reads.

    power = |z|^2 SF(x, y), SF the polynomial of the quantity in metres from the scene centre, evaluated in float64. Samples of exactly 0 are fill
    and not valid, as what is not finite.

    Attributes: as RasterSource, and notes: sentences for the report; spacing_m: of rows (slant range) and columns.
    """

    dtype = np.dtype(np.float32)
    scale, offset, nodata, count, block_rows = 1.0, 0.0, (), 1, 1

    def __init__(self, path: str | Path, bands: Sequence[int | str] | None = None, wanted: Sequence[str] | None = None,
                 quantity: str = "sigma0", limits: RasterLimits = RasterLimits()) -> None:
        """Open a file and check that it can be calibrated.

        Args:
            bands: its polarisation by name, or 1: taken for whatever is `wanted`.
        Raises:
            RasterError: sarpy is missing, the file is damaged, no SICD, larger than the limit, or of another polarisation than wanted.
            RadiometryError: it has no polynomial for the quantity.
        """
        self._path = Path(path)
        self.name, self.files = self._path.name, (self._path,)
        self._lock = threading.Lock()
        with refused(self._path, "SICD"):
            self._open = self._reader = _open(self._path)
        try:
            with refused(self._path, "SICD"):
                meta = self._reader.sicd_meta
                self.rows, self.cols = (int(n) for n in self._reader.data_size)
                self._take(meta, quantity, limits)
                self._check_polarisation(bands, wanted)
        except BaseException:
            self._reader.close()
            raise

    def _take(self, meta: Any, quantity: str, limits: RasterLimits) -> None:
        if self.rows * self.cols > limits.pixels:
            raise RasterError(f"{self._path} claims {self.rows} x {self.cols} pixels: more than the limit of {limits.pixels}; raise "
                              "RasterLimits.pixels (RasterOptions(limits=...)) if it is sound")
        self._factors = _factors(self._path, meta, quantity)
        grid, image = meta.Grid, meta.ImageData
        self.spacing_m = (float(grid.Row.SS), float(grid.Col.SS))
        self._origin = (float(image.FirstRow or 0) - float(image.SCPPixel.Row), float(image.FirstCol or 0) - float(image.SCPPixel.Col))
        self._check_positive()
        polarisation = getattr(meta.ImageFormation, "TxRcvPolarizationProc", None) or ""
        self.band_names = (polarisation.replace(":", ""),)
        self.geo = GeoReference.by_points(_corners(meta, self.rows, self.cols), self.files)
        self.declared = SourceRadiometry(Unit.INTENSITY, quantity=quantity, looks=1.0)
        collector = getattr(meta.CollectionInfo, "CollectorName", None) or "unknown collector"
        self.notes = (f"SICD of {collector}, {polarisation or 'polarisation not stated'}, {self.spacing_m[0]:g} x {self.spacing_m[1]:g} m (rows x "
                      f"columns, slant plane), calibrated to {quantity} by {_POLYNOMIAL[quantity]}, a single look, noise not removed; radar "
                      "geometry, placed by its four corners", LAYOUT_ONLY)

    def read_into(self, values: np.ndarray, row: int, col: int) -> np.ndarray:
        """Fill values (1, rows, cols), any strides, with the power from (row, col) on; gives `read`'s validity."""
        rows, cols = values.shape[1:]
        valid = np.empty((rows, cols), bool)
        height = max(1, _PIECE_PX // max(cols, 1))
        for first in range(0, rows, height):
            count = min(height, rows - first)
            with no_fork(), self._lock, refused(self._path, "SICD"):
                stored = self._reader.read(slice(row + first, row + first + count), slice(col, col + cols), squeeze=False)
                stored = np.asarray(stored).reshape(count, cols)
            part = slice(first, first + count)
            values[0, part] = self._calibrated(stored, row + first, col)
            valid[part] = (stored != 0) & np.isfinite(stored)
        return valid

    def _calibrated(self, stored: np.ndarray, row: int, col: int) -> np.ndarray:
        rows, cols = stored.shape
        with np.errstate(invalid="ignore", over="ignore"):
            power = stored.real.astype(np.float64) ** 2 + stored.imag.astype(np.float64) ** 2
            return power * self._factor(np.arange(row, row + rows), np.arange(col, col + cols))

    def _factor(self, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        x, y = ((at + first) * spacing for at, first, spacing in zip((rows, cols), self._origin, self.spacing_m))
        return np.polynomial.polynomial.polygrid2d(x, y, self._factors)

    def _check_polarisation(self, bands: Sequence[int | str] | None, wanted: Sequence[str] | None) -> None:
        """A polarisation that the file states never stands in for another unasked."""
        named = bands or (wanted and all(map(polarisation_of, wanted)))
        if named and polarisation_of(self.band_names[0]) and tuple(bands or ()) != (1,):
            choose_polarisations(self.name, self.band_names, bands, wanted)

    def _check_positive(self) -> None:
        """On a lattice over the image: a polynomial that is not positive makes power that is none."""
        lowest = float(self._factor(np.linspace(0, self.rows - 1, _LATTICE), np.linspace(0, self.cols - 1, _LATTICE)).min())
        if not lowest > 0:
            raise RadiometryError(f"{self._path}: its radiometric polynomial falls to {lowest:.3g} inside the image: it must be above 0 everywhere; "
                                  "order the product again")


def _open(path: Path) -> Any:
    try:
        from sarpy.io.complex.sicd import is_a
    except ImportError as error:
        raise RasterError(f"{path} is NITF, and SICD is read through sarpy, which is not installed ({error}): pip install 'hfd-edge[sicd]'") from error
    logging.getLogger("sarpy").setLevel(logging.CRITICAL)       # what is wrong comes as an error of ours, in one line
    reader = is_a(str(path))
    if reader is None:
        raise RasterError(f"{path} is NITF but no SICD: only complex SAR with SICD metadata is read; for a detected image (SIDD) take the SICD of "
                          "the same collect")
    return reader


def _factors(path: Path, meta: Any, quantity: str) -> np.ndarray:
    """(i, j) float64 coefficients of x^i y^j."""
    name = _POLYNOMIAL.get(quantity)
    radiometric = meta.Radiometric
    given = None if name is None or radiometric is None else getattr(radiometric, name, None)
    if given is None:
        there = [known for known in _POLYNOMIAL.values() if getattr(radiometric, known, None) is not None] if radiometric is not None else []
        raise RadiometryError(f"{path} has no {name or f'polynomial for quantity={quantity!r}'}: its pixels cannot be calibrated to {quantity} (it has "
                              f"{', '.join(there) or 'no radiometric polynomial'}); order it calibrated, or a network trained on what it has")
    factors = np.asarray(given.Coefs, np.float64)
    if factors.ndim != 2 or not np.isfinite(factors).all() or not factors[0, 0] > 0:
        raise RadiometryError(f"{path}: {name} is {factors.ravel()[:4]}...: its value at the scene centre must be finite and above 0; order the "
                              "product again")
    return factors


def _corners(meta: Any, rows: int, cols: int) -> tuple[GroundControlPoint, ...]:
    """The four corners as ground control points, in the middle of their pixels (the format counts samples); none where the file has none."""
    given = getattr(meta.GeoData, "ImageCorners", None)
    if given is None:
        return ()
    places = ((0.5, 0.5), (0.5, cols - 0.5), (rows - 0.5, cols - 0.5), (rows - 0.5, 0.5))
    points = [(row, col, float(lon), float(lat)) for (row, col), (lat, lon) in zip(places, given.get_array(dtype="float64")[:, :2])]
    return tuple(GroundControlPoint(row, col, lon, lat, 0.0) for row, col, lon, lat in points) if all(map(math.isfinite, sum(points, ()))) else ()
