"""A TerraSAR-X, TanDEM-X or PAZ product as a scene: rows of calibrated linear power, some at a time, with what is known about it.

Written after published descriptions and never checked on a real image; every run says so.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from hfd_edge.errors import RasterError
from hfd_edge.forks import no_fork
from hfd_edge.products.image import ImageOptions
from hfd_edge.products.polarisations import choose_polarisations
from hfd_edge.products.tables import BilinearTable
from hfd_edge.products.terrasar import TerraSar
from hfd_edge.products.terrasar_angles import open_angles, read_tenths, sines
from hfd_edge.products.terrasar_grid import control_points, incidence_of_places, incidence_of_times, read_georef, read_mapping
from hfd_edge.products.vendor import COMPARED, LAYOUT_ONLY
from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.raster import GeoReference
from hfd_edge.raster.opened import OpenScene
from hfd_edge.spec import Unit

_OF_BETA: dict[str, Callable[[np.ndarray], np.ndarray] | None] = {"sigma0": np.sin, "gamma0": np.tan, "beta0": None}      # of the incidence
_IN_WORDS = {"sigma0": "k DN^2 sin(incidence)", "gamma0": "k DN^2 tan(incidence)", "beta0": "k DN^2"}


class TerraSarSource(OpenScene):
    """Linear power as float32, read like a RasterSource. A context manager; one thread at a time reads.

    beta nought = k DN^2; sigma nought is that times the sine of the incidence, gamma nought times its tangent; in float64 until it is stored. Not valid is
    DN = 0 in any chosen polarisation, and where the raster of local incidences that sigma nought of an EEC is made by states none.

    Attributes: as RasterSource, and notes: sentences for the report; spacing_m: of lines and samples, of an image in radar geometry.
    """

    dtype = np.dtype(np.float32)
    scale, offset, nodata = 1.0, 0.0, ()

    def __init__(self, xml: Path, bands: Sequence[int | str] | None = None, wanted: Sequence[str] | None = None,
                 options: ImageOptions = ImageOptions()) -> None:
        """Open the polarisations `bands`, else those that the names in `wanted` hold, else all.

        Raises:
            RasterError: damaged, incomplete, no detected image, or without a wanted polarisation.
            RadiometryError: it cannot be calibrated.
        """
        product = TerraSar(xml)
        self.name = product.folder.name
        self.rows, self.cols = product.rows, product.cols
        self.band_names = choose_polarisations(self.name, product.images, bands, wanted)
        self.count = len(self.band_names)
        quantity = options.quantity if options.quantity in _OF_BETA else "sigma0"
        self._factors = [product.factor(name) for name in self.band_names]
        self._of_beta = _OF_BETA[quantity]
        self.files: tuple[Path, ...] = (*(product.images[name] for name in self.band_names), product.xml)
        with ExitStack() as stack:
            self._pixels = [stack.enter_context(options.opened(product.images[name], ("uint16",), (self.rows, self.cols))) for name in self.band_names]
            self._incidence = self._placed(product)
            self._local = open_angles(product, self.geo, options) if quantity == "sigma0" else None
            if self._local is not None:
                stack.enter_context(self._local)
                self.files = (*self.files, *self._local.files)
                self.geo = replace(self.geo, files=self.files)
            self.notes = (_about(product, quantity, self._local is not None), *_noise(product, self.band_names, self._factors),
                          COMPARED if product.variant == "EEC" else LAYOUT_ONLY)
            self._open = stack.pop_all()
        self.declared = SourceRadiometry(Unit.INTENSITY, quantity=quantity, bands=self.band_names)
        self.stored_block = max(pixels.stored_block[0] for pixels in self._pixels), self.cols
        self.block_rows = max(pixels.block_rows for pixels in self._pixels)
        self._lock = threading.Lock()

    def _placed(self, product: TerraSar) -> BilinearTable | None:
        """Sets geo, spacing_m and files; gives the incidence where the quantity needs it. Raises RasterError."""
        self.spacing_m: tuple[float, ...] | None = None
        if product.variant == "MGD":
            georef = read_georef(product)
            mapping = read_mapping(product, georef)
            self.spacing_m, self.files = product.spacing_m, (*self.files, georef.file, mapping.file)
            self.geo = GeoReference.by_points(control_points(georef, mapping), self.files)
            return None if self._of_beta is None else incidence_of_times(product, georef, mapping)
        on_map = self._on_one_map(product)
        georefs = [] if self._of_beta is None else [read_georef(product)]
        self.files = (*self.files, *(georef.file for georef in georefs))
        self.geo = replace(on_map, files=self.files)
        return incidence_of_places(product, georefs[0], on_map) if georefs else None

    def _on_one_map(self, product: TerraSar) -> GeoReference:
        first = self._pixels[0].geo
        if first.crs is None or first.transform is None or first.transform.is_degenerate:
            raise RasterError(f"{self._pixels[0].name} has no coordinate system or no transform, and a {product.variant} image lies on a map; unpack "
                              "the product again")
        for pixels in self._pixels[1:]:
            if not first.same_place(pixels.geo, self.rows, self.cols):
                raise RasterError(f"{pixels.name} lies elsewhere than {self._pixels[0].name}: polarisations of one product lie on one grid; unpack "
                                  "the product again")
        return first

    def read_into(self, values: np.ndarray, row: int, col: int) -> np.ndarray:
        """Fill values (bands, rows, cols), any strides, with the power from (row, col) on; gives `read`'s validity."""
        rows, cols = values.shape[1:]
        valid, planes = np.ones((rows, cols), bool), []
        with no_fork(), self._lock:
            for pixels in self._pixels:
                stored, marked = pixels.read_part(row, rows, col, cols)
                planes.append(stored[0])
                valid &= stored[0] != 0
                if marked is not None:
                    valid &= marked
            local = None
            if self._local is not None:
                local, stated = read_tenths(self._local, (row, rows, col, cols))
                valid &= stated
            for line in range(rows):                # so that nothing but a row is held in float64
                share = self._share(row + line, slice(col, col + cols)) if local is None else sines(local[line])
                for out, numbers, factor in zip(values, planes, self._factors):
                    out[line] = np.square(numbers[line].astype(np.float64)) * (factor * share)
        return valid

    def _share(self, line: int, columns: slice) -> np.ndarray | float:
        """What beta nought is to be multiplied by along a line."""
        if self._incidence is None or self._of_beta is None:
            return 1.0
        return self._of_beta(np.deg2rad(self._incidence.row(line)[columns]))


def _about(product: TerraSar, quantity: str, local: bool) -> str:
    """One sentence: what was read."""
    place = {"MGD": "radar geometry, placed by control points of its own grids", "GEC": "on its own map, without the terrain",
             "EEC": "on its own map, corrected for the terrain's displacement"}[product.variant]
    angle = "" if quantity == "beta0" else (", local incidence of the product's GIM, slopes of the terrain included" if local else
                                            ", incidence of the product's grid without the slopes of the terrain")
    return (f"{product.said('missionInfo/mission')} {product.variant}, mode {product.said('acquisitionInfo/imagingMode')}, "
            f"{product.said('missionInfo/orbitDirection').lower()}, looking {product.said('acquisitionInfo/lookDirection').lower()}, "
            f"{product.spacing_m[0]:g} x {product.spacing_m[1]:g} m, calibrated to {quantity} = {_IN_WORDS[quantity]}{angle}, DN 0 is nodata, "
            f"equivalent number of looks not stated; {place}")


def _noise(product: TerraSar, names: Sequence[str], factors: Sequence[float]) -> list[str]:
    """How strong the noise is that stays in the pixels, as beta nought."""
    stated = {name: product.noise(name) for name in names}
    told = [f"{name} {10 * math.log10(factor * noise):.1f} dB" for (name, noise), factor in zip(stated.items(), factors) if noise is not None and noise > 0]
    if product.noise_removed():
        return ["noise removed by the processor, as the product says"]
    return [f"noise not removed; the product states it, as beta0 in the middle of its range: {', '.join(told)}" if told else
            "noise not removed; how strong it is could not be read from the product"]
