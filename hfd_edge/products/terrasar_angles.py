"""The local incidence angles of an EEC of TerraSAR-X, TanDEM-X or PAZ, slopes of the terrain included: the raster GIM that comes with it.

A pixel is tenths of a degree times ten, plus a digit that marks layover and shadow: as SNAP's calibration takes it.
"""

from __future__ import annotations

import numpy as np

from hfd_edge.errors import RasterError
from hfd_edge.products.image import ImageOptions
from hfd_edge.products.inside import named_file
from hfd_edge.products.terrasar import TerraSar
from hfd_edge.raster import GeoReference, RasterSource
from hfd_edge.raster.xml_file import number_of

_PLACE = "AUXRASTER/GIM.tif"
_SAMPLED_ROWS = 32
_TENTHS = 1800                      # of a degree; no angle is as large
_SINES = np.sin(np.deg2rad(np.arange(_TENTHS, dtype=np.float32) / np.float32(10), dtype=np.float64))
_CENTRE_OFF_DEG = 15.0              # of the median: ground is level on the whole, and another scale is off by ten times


def open_angles(product: TerraSar, place: GeoReference, options: ImageOptions) -> RasterSource | None:
    """The raster of an EEC, None where there is none. Raises RasterError: it is no raster of this image, or its angles are not those of the scene."""
    if product.variant != "EEC" or not (product.folder / _PLACE).is_file():
        return None
    angles = options.opened(named_file(product.xml, product.folder, _PLACE), ("uint16", "int16"), (product.rows, product.cols))
    try:
        if not place.same_place(angles.geo, product.rows, product.cols):
            raise RasterError(f"{angles.files[0]} lies elsewhere than the images: they do not belong together; unpack the product again")
        rows = np.unique(np.linspace(0, product.rows - 1, min(product.rows, _SAMPLED_ROWS)).round().astype(int)).tolist()
        found = np.concatenate([tenths[known] for tenths, known in (read_tenths(angles, (row, 1, 0, product.cols)) for row in rows)]) / 10
        stated = number_of(product.root, "productInfo/sceneInfo/sceneCenterCoord/incidenceAngle", product.xml)
        if found.size and not abs(np.median(found) - stated) <= _CENTRE_OFF_DEG:
            raise RasterError(f"{angles.files[0]} holds local incidences about {np.median(found):.4g} degrees and {product.xml.name} states {stated:g}: they "
                              "do not belong together; unpack the product again")
    except BaseException:
        angles.close()
        raise
    return angles


def read_tenths(angles: RasterSource, part: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Tenths of degrees (rows, cols) of a part (row, rows, col, cols), and where an angle is stated: 0 is none."""
    tenths = angles.read_part(*part)[0][0] // 10
    return tenths, (tenths > 0) & (tenths < _TENTHS)


def sines(tenths: np.ndarray) -> np.ndarray:
    """Of tenths of degrees, float64; some number where none is stated."""
    return _SINES.take(tenths, mode="clip")
