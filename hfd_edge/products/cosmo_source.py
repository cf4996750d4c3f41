"""A COSMO-SkyMed product (first generation, HDF5) as a scene: rows of calibrated linear power, some at a time, with what is known about it.

Written after published descriptions and never checked on a real product; every run says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hfd_edge.errors import RasterError
from hfd_edge.products.cosmo import ON_A_MAP, check_compensated, corners_of, factor_of, images_of, kind_of, map_of, spacing_of
from hfd_edge.products.hdf5 import Hdf5File, Hdf5Scene
from hfd_edge.products.polarisations import choose_polarisations
from hfd_edge.products.vendor import LAYOUT_ONLY
from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.raster import GeoReference, RasterLimits
from hfd_edge.spec import Unit


class CosmoSource(Hdf5Scene):
    """Linear power as float32, read like a RasterSource. A context manager; one thread at a time reads.

    sigma nought = k DN^2, k by the product's attributes, in float64 until it is stored. Not valid is DN = 0 in any chosen polarisation.

    Attributes: as RasterSource, and notes: sentences for the report; spacing_m: of lines and columns, of an image in radar geometry.
    """

    dtype = np.dtype(np.float32)
    scale, offset, nodata = 1.0, 0.0, ()

    def __init__(self, path: str | Path, bands: Sequence[int | str] | None = None, wanted: Sequence[str] | None = None,
                 limits: RasterLimits = RasterLimits()) -> None:
        """Open the polarisations `bands`, else those that the names in `wanted` hold, else all.

        Raises:
            RasterError: h5py is missing, the file is damaged, no detected image, larger than the limits, or without a wanted polarisation.
            RadiometryError: it cannot be calibrated.
        """
        self._opened(path, limits, lambda file: self._take(file, bands, wanted))

    def _take(self, file: Hdf5File, bands: Sequence[int | str] | None, wanted: Sequence[str] | None) -> None:
        kind = kind_of(file)
        there = images_of(file)
        self.band_names = choose_polarisations(self.name, there, bands, wanted)
        self.count = len(self.band_names)
        images = [there[name] for name in self.band_names]
        compensated = check_compensated(file)
        found = [factor_of(file, image) for image in images]
        self._factors = [factor for factor, _ in found]
        self._pixels = [file.raster(image.where, "u") for image in images]
        self.rows, self.cols = self._pixels[0].shape
        for pixels in self._pixels:
            if pixels.dtype != np.uint16 or pixels.shape != (self.rows, self.cols) or not pixels.size:
                raise RasterError(f"{file.path}: {pixels.name} has {pixels.shape[0]} x {pixels.shape[1]} pixels of {pixels.dtype}: detected images are of "
                                  f"uint16, and those of several polarisations of one size, which is {self.rows} x {self.cols} here; choose one with "
                                  "--bands, or copy or download it again")
        places = [map_of(file, image, (self.rows, self.cols)) if kind in ON_A_MAP else corners_of(file, image, (self.rows, self.cols)) for image in images]
        self._check_places(places)
        self.geo = places[0]
        self.spacing_m = None if kind in ON_A_MAP else spacing_of(file, images[0])
        self.declared = SourceRadiometry(Unit.INTENSITY, quantity="sigma0", bands=self.band_names)
        self._take_blocks(self._pixels)
        self.notes = (self._about(kind, spacing_of(file, images[0]), compensated, found[0][1]), LAYOUT_ONLY)

    def _check_places(self, places: Sequence[GeoReference]) -> None:
        for name, place in zip(self.band_names, places):
            if not places[0].same_place(place, self.rows, self.cols):
                raise RasterError(f"{self._file.path}: the image of {name} lies elsewhere than that of {self.band_names[0]}: a network takes pixels that lie "
                                  "on each other; choose one polarisation with --bands, or put both on one map first (gdalwarp)")

    def _read_piece(self, values: np.ndarray, valid: np.ndarray, place: tuple[slice, slice]) -> None:
        for out, pixels, factor in zip(values, self._pixels, self._factors):
            stored = pixels[place]
            valid &= stored != 0
            for power, numbers in zip(out, stored):                 # so that nothing but a row is held in float64
                power[...] = np.square(numbers.astype(np.float64)) * factor

    def _about(self, kind: str, spacing: tuple[float, float], compensated: dict[str, str], divided: bool) -> str:
        """One sentence: what was read."""
        def said(name: str) -> str:
            return (self._file.attribute_text("/", name) or "not stated")[:60]

        place = {"DGM_B": "radar geometry, placed by its four corners", "GEC_B": "on its own map, without the terrain",
                 "GTC_B": "on its own map, corrected for the terrain's displacement"}[kind]
        how = ", ".join(f"{what.lower()} {words.lower()}" for what, words in compensated.items())
        factors = ", ".join(f"{name} {factor:.6g}" for name, factor in zip(self.band_names, self._factors))
        return (f"COSMO-SkyMed {said('Satellite ID')} {kind}, mode {said('Acquisition Mode')}, {said('Orbit Direction').lower()}, looking "
                f"{said('Look Side').lower()}, {spacing[0]:g} x {spacing[1]:g} m, calibrated to sigma0 = k DN^2 (k: {factors}; compensated by its own word: "
                f"{how}; its calibration constant {'divided by here' if divided else 'applied already'}), noise not removed, DN 0 is nodata, equivalent "
                f"number of looks not stated; {place}")
