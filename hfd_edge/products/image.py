"""What readers of products that keep one GeoTIFF a polarisation have in common: how such a product is read, and its images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hfd_edge.errors import RasterError
from hfd_edge.raster import RasterLimits, RasterSource


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """How a product is read."""

    quantity: str | None = None         # sigma0, gamma0 or beta0; None or another = sigma0
    limits: RasterLimits = RasterLimits()
    raster: Mapping[str, Any] = field(default_factory=dict)     # further options of RasterSource

    def opened(self, image: Path, dtypes: Sequence[str], size: tuple[int, int]) -> RasterSource:
        """An image of one band. Raises RasterError: it is not of these dtypes and this size (rows, cols), which the product's XML says."""
        pixels = RasterSource(image, limits=self.limits, **self.raster)
        if pixels.count != 1 or pixels.dtype.name not in dtypes or (pixels.rows, pixels.cols) != size:
            pixels.close()
            raise RasterError(f"{image} has {pixels.count} band(s) of {pixels.dtype}, {pixels.rows} x {pixels.cols} pixels, and its XML says one of "
                              f"{' or '.join(dtypes)}, {size[0]} x {size[1]}: they do not belong together; unpack the product again")
        return pixels
