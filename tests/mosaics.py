"""Tiles of a mosaic as files, and the one raster that they are: pasted pixel by pixel, with numpy alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.transform import Affine

from tests.rasters import UTM, write_tif

NODATA = -9999.0


@dataclass
class TileFile:
    """A tile from (row, col) of some grid on, with its nodata value and GDAL's options."""

    row: int
    col: int
    values: np.ndarray                  # (bands, rows, cols)
    nodata: float | None = NODATA
    profile: dict[str, Any] = field(default_factory=dict)

    def write(self, path: Path, **more: Any) -> Path:
        place = UTM @ Affine.translation(self.col, self.row)
        return write_tif(path, self.values, **{"nodata": self.nodata, "crs": "EPSG:32633", "transform": place, **self.profile, **more})

    @property
    def valid(self) -> np.ndarray:
        good = np.isfinite(self.values).all(axis=0)
        return good if self.nodata is None else good & (self.values != self.nodata).all(axis=0)


def pasted(tiles: list[TileFile]) -> tuple[np.ndarray, np.ndarray]:
    """The union (bands, rows, cols), NODATA where no tile has a valid pixel, and what is valid (rows, cols): the first that has one counts."""
    top, left = min(t.row for t in tiles), min(t.col for t in tiles)
    rows, cols = max(t.row + t.values.shape[1] for t in tiles) - top, max(t.col + t.values.shape[2] for t in tiles) - left
    made = np.full((len(tiles[0].values), rows, cols), NODATA, tiles[0].values.dtype)
    done = np.zeros((rows, cols), bool)
    for tile in tiles:
        for i, j in np.argwhere(tile.valid):
            at = tile.row - top + i, tile.col - left + j
            if not done[at]:
                made[(slice(None), *at)], done[at] = tile.values[:, i, j], True
    return made, done


def cut(values: np.ndarray, rows: list[int], cols: list[int], overlap: int = 0, **more: Any) -> list[TileFile]:
    """An array cut at these rows and columns into tiles, each reaching `overlap` pixels further."""
    edges = [[0, *rows, values.shape[1]], [0, *cols, values.shape[2]]]
    return [TileFile(r, c, np.ascontiguousarray(values[:, r:r_end + overlap, c:c_end + overlap]), **more)
            for r, r_end in zip(edges[0], edges[0][1:]) for c, c_end in zip(edges[1], edges[1][1:])]


def write_all(folder: Path, tiles: list[TileFile], **more: Any) -> list[Path]:
    folder.mkdir(exist_ok=True)
    return [tile.write(folder / f"t{number:04d}.tif", **more) for number, tile in enumerate(tiles)]
