"""A RADARSAT-2 or RCM product as a scene: rows of calibrated linear power, some at a time, with what is known about it.

Written after the published descriptions and never checked on a real image; every run says so.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from hfd_edge.forks import no_fork
from hfd_edge.products.image import ImageOptions
from hfd_edge.products.polarisations import choose_polarisations
from hfd_edge.products.radarsat import TABLES, Radarsat, Table
from hfd_edge.products.vendor import COMPARED, LAYOUT_ONLY
from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.raster import GeoReference
from hfd_edge.raster.opened import OpenScene
from hfd_edge.spec import Unit

_DTYPES = ("uint8", "uint16", "float32")


class RadarsatSource(OpenScene):
    """Linear power as float32, read like a RasterSource. A context manager; one thread at a time reads.

    power = (DN^2 + offset) / gain of the column, in float64 until it is stored. Not valid is DN = 0 in any chosen polarisation.

    Attributes: as RasterSource, and notes: sentences for the report; spacing_m: of lines and samples.
    """

    dtype = np.dtype(np.float32)
    scale, offset, nodata = 1.0, 0.0, ()

    def __init__(self, xml: Path, bands: Sequence[int | str] | None = None, wanted: Sequence[str] | None = None,
                 options: ImageOptions = ImageOptions()) -> None:
        """Open the polarisations `bands`, else those that the names in `wanted` hold, else all.

        Raises:
            RasterError: damaged, incomplete, no detected image in ground range, or without a wanted polarisation.
            RadiometryError: it cannot be calibrated.
        """
        product = Radarsat(xml)
        self.name = product.folder.name
        self.rows, self.cols, self.spacing_m = product.rows, product.cols, product.spacing_m
        self.band_names = choose_polarisations(self.name, product.images, bands, wanted)
        self.count = len(self.band_names)
        quantity = options.quantity if options.quantity in TABLES else "sigma0"
        self._tables = [product.table(name, quantity) for name in self.band_names]
        images = [product.images[name] for name in self.band_names]
        self.files = (*images, *(table.file for table in self._tables), product.xml)
        self.geo = GeoReference.by_points(product.control_points(), self.files)
        with ExitStack() as stack:
            self._pixels = [stack.enter_context(options.opened(image, _DTYPES, (self.rows, self.cols))) for image in images]
            self._open = stack.pop_all()
        self.declared = SourceRadiometry(Unit.INTENSITY, quantity=quantity, bands=self.band_names)
        self.stored_block = max(pixels.stored_block[0] for pixels in self._pixels), self.cols
        self.block_rows = max(pixels.block_rows for pixels in self._pixels)
        self.notes = (_about(product, quantity), COMPARED if product.layout.mission == "RCM" else LAYOUT_ONLY)
        self._lock = threading.Lock()

    def read_into(self, values: np.ndarray, row: int, col: int) -> np.ndarray:
        """Fill values (bands, rows, cols), any strides, with the power from (row, col) on; gives `read`'s validity."""
        rows, cols = values.shape[1:]
        valid = np.ones((rows, cols), bool)
        with no_fork(), self._lock:
            for out, pixels, table in zip(values, self._pixels, self._tables):
                stored, marked = pixels.read_part(row, rows, col, cols)
                if marked is not None:
                    valid &= marked
                valid &= (stored[0] != 0) & np.isfinite(stored[0])
                _calibrate(out, stored[0], table, slice(col, col + cols))
        return valid


def _calibrate(out: np.ndarray, stored: np.ndarray, table: Table, columns: slice) -> None:
    """Row by row, so that nothing but a row is held in float64."""
    gains = table.gains[columns]
    for power, numbers in zip(out, stored):
        power[...] = (np.square(numbers.astype(np.float64)) + table.offset) / gains


def _about(product: Radarsat, quantity: str) -> str:
    """One sentence: what was read."""
    source = "sourceAttributes"
    return (f"{product.layout.mission} {product.kind}, beam {product.said(f'{source}/beamModeMnemonic')}, pass "
            f"{product.said(f'{source}/orbitAndAttitude/orbitInformation/passDirection')}, antenna pointing "
            f"{product.said(f'{source}/radarParameters/antennaPointing')}, {product.spacing_m[0]:g} x {product.spacing_m[1]:g} m (lines x samples), "
            f"calibrated to {quantity} = (DN^2 + offset) / gain, noise {'removed by the processor' if product.noise_removed() else 'not removed'}, DN 0 is "
            "nodata, equivalent number of looks not stated; radar geometry, placed by its tie points")
