"""What the GDAL of this installation can do of what we need: formats it reads, compressions it writes."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.shutil import copy

from hfd_edge.raster.cog import COMPRESSIONS
from hfd_edge.raster.guard import READ_DRIVERS, one_line, rasterio_open


WRITE_DRIVERS = ("GTiff", "COG")


def drivers_present() -> dict[str, bool]:
    """Each GDAL driver that reads scenes or writes maps, and whether it is there."""
    with rasterio.Env() as environment:
        there = environment.drivers()
    return {name: name in there for name in dict.fromkeys((*READ_DRIVERS, *WRITE_DRIVERS))}


def compressions_written(folder: Path) -> dict[str, str]:
    """Each --compress and "works", or why not; tried on a small map in `folder`, which is left empty."""
    answers = {}
    source, target = folder / "plain.tif", folder / "packed.tif"
    with rasterio_open(source, "w", driver="GTiff", width=16, height=16, count=1, dtype="uint8") as dataset:
        dataset.write(np.arange(256, dtype=np.uint8).reshape(1, 16, 16))
    for name, options in COMPRESSIONS.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                copy(source, target, driver="COG", **options)
            with rasterio_open(target, driver="GTiff") as dataset:
                written = dataset.compression.name if dataset.compression else "none"
                same = (dataset.read(1).ravel() == np.arange(256)).all()
            answers[name] = "works" if written == name and same else f"gave {written}"
        except RasterioError as error:
            answers[name] = f"cannot: {one_line(error)}"
        target.unlink(missing_ok=True)
    source.unlink()
    return answers
