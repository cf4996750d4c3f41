"""Raster files for tests, written with rasterio alone so that hfd_edge does not check itself."""

import warnings
from pathlib import Path

import numpy as np
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.transform import Affine

UTM = Affine(10.0, 0.0, 500_000.0, 0.0, -10.0, 4_600_000.0)
ROTATED = Affine(8.0, 3.0, 500_000.0, 3.0, -8.0, 4_600_000.0)
EXTRA = ("descriptions", "units", "tags", "gcps", "mask", "colorinterp", "scales", "offsets")
GCPS = [GroundControlPoint(r, c, 4.0 + c * 1e-4, 51.0 - r * 1e-4, 10.0) for r in (0, 100) for c in (0, 100)]


def write_tif(path: Path, values: np.ndarray, **profile) -> Path:
    """values (bands, rows, cols). Keys of ours are EXTRA; mask is (rows, cols). All others are GDAL's."""
    extra = {key: profile.pop(key) for key in EXTRA if key in profile}
    count, rows, cols = values.shape
    driver = profile.pop("driver", "GTiff")
    with warnings.catch_warnings(), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        warnings.simplefilter("ignore")
        with rasterio.open(path, "w", driver=driver, width=cols, height=rows, count=count, dtype=values.dtype.name,
                           **profile) as dataset:
            for key in ("descriptions", "units", "colorinterp", "scales", "offsets"):
                if key in extra:
                    setattr(dataset, key, extra[key])
            if "gcps" in extra:
                dataset.gcps = (extra["gcps"], rasterio.crs.CRS.from_epsg(4326))
            dataset.update_tags(**extra.get("tags", {}))
            dataset.write(values)
            if "mask" in extra:
                dataset.write_mask(extra["mask"])
    return path


def ramp(bands: int = 2, rows: int = 7, cols: int = 11, dtype: str = "float32") -> np.ndarray:
    """Different values everywhere, all above 0."""
    return (1 + np.arange(bands * rows * cols).reshape(bands, rows, cols)).astype(dtype)
