"""A Sentinel-1 GRD product as a scene: rows of calibrated linear power, some at a time, with what is known about it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hfd_edge.errors import RadiometryError, RasterError
from hfd_edge.forks import no_fork
from hfd_edge.products.annotation import QUANTITIES, Image, read_calibration, read_image, read_noise
from hfd_edge.products.border import CLEAN_SINCE_IPF, measured_columns
from hfd_edge.products.image import ImageOptions
from hfd_edge.products.polarisations import choose_polarisations
from hfd_edge.products.safe import Channel, Safe, read_safe
from hfd_edge.products.tables import BilinearTable, NoiseTable, Vector, power_by_tables
from hfd_edge.products.vendor import METADATA_RUN
from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.raster import GeoReference, RasterSource
from hfd_edge.raster.opened import OpenScene
from hfd_edge.spec import Unit


@dataclass(frozen=True, slots=True)
class Sentinel1Options(ImageOptions):
    """How a product is calibrated."""

    quantity: str = "sigma0"            # sigma0, gamma0 or beta0: each has a table of its own in the product
    remove_noise: bool = True

    def __post_init__(self) -> None:
        if self.quantity not in QUANTITIES:
            raise RadiometryError(f"quantity={self.quantity!r}: a Sentinel-1 product is calibrated to {', '.join(QUANTITIES)}; use one")


@dataclass(frozen=True, slots=True)
class _Plane:
    """One polarisation, open."""

    pixels: RasterSource                # uint16 amplitude
    calibration: BilinearTable
    noise: NoiseTable                   # to subtract
    border_noise: NoiseTable | None     # to find the old border with; None = the border is clean

    def read(self, power: np.ndarray, row: int, col: int, valid: np.ndarray) -> None:
        """Fill power (rows, cols) from (row, col) on; takes from `valid` what is no measurement, judged on the raw numbers."""
        rows, cols = power.shape
        stored, marked = self.pixels.read_part(row, rows, *((col, cols) if self.border_noise is None else (0, self.pixels.cols)))
        if self.border_noise is not None:                   # it is found from the ends of rows
            for marks, first, stop in zip(valid, *measured_columns(stored[0], row, self.border_noise)):
                marks[:max(first - col, 0)] = False
                marks[max(stop - col, 0):] = False
            stored, marked = stored[:, :, col:col + cols], None if marked is None else marked[:, col:col + cols]
        if marked is not None:
            valid &= marked
        valid &= stored[0] != 0
        power_by_tables(stored[0], (row, col), self.calibration, self.noise, power)


class Sentinel1Source(OpenScene):
    """Linear power as float32, read like a RasterSource. A context manager; one thread at a time reads.

    value = max(DN^2 - noise, 0) / A^2, in float64 until it is stored, A bilinear in line and pixel. Not valid is DN = 0 in any
    chosen polarisation, and the dark border of products older than IPF 2.9. Power that the noise removal brings to 0 or below
    is 0 and stays valid: no signal is not no data.

    Attributes: as RasterSource, and notes: sentences for the report; spacing_m: of lines and samples.
    """

    dtype = np.dtype(np.float32)
    scale, offset, nodata = 1.0, 0.0, ()
    zeros_measured = True               # power that the noise removal brings to 0; what is no measurement is masked

    def __init__(self, folder: str | Path, bands: Sequence[int | str] | None = None, wanted: Sequence[str] | None = None,
                 options: Sentinel1Options = Sentinel1Options()) -> None:
        """Open the polarisations `bands`, else those that the names in `wanted` hold, else all, in the order of the names.

        Raises:
            RasterError: damaged, incomplete, not GRD, or without a wanted polarisation.
            RadiometryError: it cannot be calibrated.
        """
        self._safe = read_safe(Path(folder))
        self.name = self._safe.folder.absolute().name
        self.band_names = choose_polarisations(self.name, self._safe.channels, bands, wanted)
        self.count = len(self.band_names)
        with ExitStack() as stack:
            images, planes, words = zip(*(self._opened(stack, self._safe.channels[name], options) for name in self.band_names))
            _check_one_grid(self.name, self.band_names, images)
            self._open = stack.pop_all()
        image: Image = images[0]
        self._planes: tuple[_Plane, ...] = planes
        self.rows, self.cols, self.spacing_m = image.rows, image.cols, image.spacing_m
        self.files = tuple(file for name in self.band_names for file in _files(self._safe.channels[name]))
        self.geo = GeoReference.by_points(image.gcps, self.files)
        self.declared = SourceRadiometry(Unit.INTENSITY, quantity=options.quantity, bands=self.band_names, looks=image.looks)
        self.notes = (_about(image, self._safe, options.quantity), *_differing(self.band_names, words), METADATA_RUN)
        rows, cols = map(max, zip(*(plane.pixels.stored_block for plane in planes)))
        self.stored_block = rows, self.cols if any(plane.border_noise for plane in planes) else cols
        self.block_rows = max(plane.pixels.block_rows for plane in planes)
        self._lock = threading.Lock()

    def _opened(self, stack: ExitStack, channel: Channel, options: Sentinel1Options) -> tuple[Image, _Plane, str]:
        image = read_image(channel)
        pixels = stack.enter_context(options.opened(channel.measurement, ("uint16",), (image.rows, image.cols)))
        calibration = read_calibration(channel, image.cols, options.quantity)
        noise, words = read_noise(channel, image.cols, self._safe.ipf)
        border = noise if self._safe.ipf is not None and self._safe.ipf < CLEAN_SINCE_IPF else None
        none = NoiseTable(BilinearTable([Vector(0.0, np.zeros(1), np.zeros(1))], image.cols, channel.measurement), ())
        if image.noise_removed:
            return image, _Plane(pixels, calibration, none, None), "noise already removed by the processor"
        if not options.remove_noise:
            return image, _Plane(pixels, calibration, none, border), "noise not removed, as asked"
        return image, _Plane(pixels, calibration, noise or none, border), words

    def read_into(self, values: np.ndarray, row: int, col: int) -> np.ndarray:
        """Fill values (bands, rows, cols), columns adjacent, with the power from (row, col) on; gives `read`'s validity."""
        valid = np.ones(values.shape[1:], bool)
        with no_fork(), self._lock:
            for plane, power in zip(self._planes, values):
                plane.read(power, row, col, valid)
        return valid


def _check_one_grid(product: str, names: Sequence[str], images: Sequence[Image]) -> None:
    sizes = [f"{name} {image.rows} x {image.cols}" for name, image in zip(names, images)]
    if len({(image.rows, image.cols) for image in images}) > 1:
        raise RasterError(f"{product}: its images differ in size ({', '.join(sizes)}): polarisations of one product lie on one "
                          "grid; unpack the product again")


def _files(channel: Channel) -> tuple[Path, ...]:
    files = (channel.measurement, channel.annotation, channel.calibration, channel.noise)
    return tuple(file for file in files if file is not None)


def _about(image: Image, safe: Safe, quantity: str) -> str:
    """One sentence: what was read. Sentinel-1 looks to the right of its track."""
    ipf = f"IPF {safe.ipf:.2f}" if safe.ipf is not None else "IPF version not stated"
    looks = "number of looks not known"
    if image.looks:
        looks = f"{image.looks:g} looks (quoted for this product type, not measured)"
    return (f"Sentinel-1 {image.mode} GRD, {image.orbit_pass}, right-looking, {image.spacing_m[0]:g} x {image.spacing_m[1]:g} "
            f"m (lines x samples), {ipf}, calibrated to {quantity}, {looks}; radar geometry, placed by {len(image.gcps)} ground control points")


def _differing(names: Sequence[str], words: Sequence[str]) -> tuple[str, ...]:
    return (words[0],) if len(set(words)) == 1 else tuple(f"{name}: {word}" for name, word in zip(names, words))
