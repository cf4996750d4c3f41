"""SpaceNet 6: Capella quad-pol X band and WorldView-2 over Rotterdam, buildings, 900 x 900 at 0.5 m (Shermeyer et al. 2020)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.features import rasterize
from rasterio.transform import Affine

from hfd_edge.spec import Unit
from training.layouts.files import FileSet, Plane, find_files, image_frame, partner, read_planes
from training.pairs import FLIPS, DataError, Pair, SetInfo, pair_of

WEST_M, EAST_M, BANDS_EAST_WEST = 591_550.0, 596_250.0, 5      # of the tiles' west edges, EPSG:32631
_TILE = re.compile(r"(\d{14}_\d{14})_tile_\d+")
_EO = {"PS-RGB": ("R", "G", "B"), "PS-RGBNIR": ("R", "G", "B", "NIR")}
FROM_SOUTH = 1                                                 # in SAR_orientations.txt; 0 = imaged from north


@dataclass(frozen=True, slots=True)
class _Tile:
    name: str
    sar: Path
    from_south: bool
    band: int                            # 0 (west) to 4 (east)


class SpaceNet6Pairs(FileSet):
    """`{SAR-Intensity,PS-RGB,geojson_buildings,SummaryData}` as they lie in AOI_11_Rotterdam of the training archive.

    Tiles imaged from south are turned by 180 degrees, images and labels, so that layover points one way (along the rows); a map
    of such a scene is turned back by the same. The five eastings bands: the fourth is for selection, the last (east) the test.
    """

    def __init__(self, root: Path, eo: str = "PS-RGB", unit: str = "dn", turn: bool = True,
                 min_building_m2: float = 20.0) -> None:
        """
        Args:
            eo: optical product, PS-RGB or PS-RGBNIR (both on the grid of the SAR tiles).
            unit: dn, or db for who knows that the log-like values are decibel up to a constant; speckle needs it.
            turn: turn tiles imaged from south.
            min_building_m2: smaller buildings are not drawn in training tiles; select and test keep all.
        """
        if eo not in _EO or unit not in ("dn", "db"):
            raise DataError(f"layout spacenet6: eo={eo!r}, unit={unit!r}; use eo PS-RGB or PS-RGBNIR and unit dn or db")
        self._root, self._eo, self._turn, self._least = _aoi(root), eo, turn, min_building_m2
        files = find_files("spacenet6", self._root, "SAR-Intensity/*.tif")
        directions = _directions(self._root / "SummaryData" / "SAR_orientations.txt")
        tiles = [_tile(path, directions) for path in files]
        self._tiles = {tile.name: tile for tile in tiles}
        quantity, colors = "dn" if unit == "dn" else "sigma0", ((90, 90, 90), (200, 58, 52))
        info = SetInfo("spacenet6", ("HH", "HV", "VH", "VV"), _EO[eo], ("background", "building"), colors, Unit(unit), quantity,
                       None, 0.5, ("cols",) if turn else FLIPS[:2])              # the look lies along the rows
        super().__init__(info, {tile.name: {3: "select", 4: "test"}.get(tile.band, "train") for tile in tiles})

    def _load(self, name: str, eo: bool) -> Pair:
        tile = self._tiles[name]
        planes = [Plane("SAR-Intensity", (tile.sar,), 4),
                  Plane(self._eo, (_sibling(tile.sar, self._eo, self._eo, ".tif"),), len(_EO[self._eo])) if eo else None]
        sar, optical = read_planes(name, planes)
        least = self._least if self._known[name] == "train" else 0.0
        buildings = partner(_sibling(tile.sar, "geojson_buildings", "Buildings", ".geojson"), name)
        labels = draw_buildings(buildings, tile.sar, sar.shape[1:], least)
        valid = np.isfinite(sar).all(axis=0) & (sar != 0).any(axis=0)
        if self._turn and tile.from_south:
            sar, labels, valid = (plane[..., ::-1, ::-1] for plane in (sar, labels, valid))
            optical = None if optical is None else optical[..., ::-1, ::-1]
        return pair_of(name, sar, optical, labels, valid)


def draw_buildings(path: Path, grid: Path, shape: tuple[int, int], least_m2: float) -> np.ndarray:
    """(rows, cols) uint8, 1 inside the polygons of a GeoJSON file of at least `least_m2`, on the grid of an image."""
    try:
        features = json.loads(path.read_text(encoding="utf-8"))["features"]
        polygons = [polygon for feature in features for polygon in _polygons(feature["geometry"])]
        shapes = [polygon for polygon in polygons if _area_m2(polygon) >= least_m2]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(f"{path}: not GeoJSON with polygons ({type(error).__name__}: {error}); restore it from the archive") from error
    if not shapes:
        return np.zeros(shape, np.uint8)
    transform = Affine.from_gdal(*image_frame(grid)[1])
    return rasterize(shapes, out_shape=shape, transform=transform, fill=0, default_value=1, dtype=np.uint8)


def _polygons(geometry: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Polygons with plain (x, y) corners; anything else a building cannot be."""
    if geometry is None or not geometry["coordinates"]:
        return []
    parts = {"Polygon": [geometry["coordinates"]], "MultiPolygon": geometry["coordinates"]}.get(geometry["type"])
    if parts is None:
        raise ValueError(f"geometry {geometry['type']}")
    return [{"type": "Polygon", "coordinates": [[corner[:2] for corner in ring] for ring in part]} for part in parts]


def _area_m2(polygon: dict[str, Any]) -> float:
    """Outer ring less holes, by the shoelace formula; coordinates are metres."""
    areas = []
    for ring in polygon["coordinates"]:
        x, y = np.array(ring, np.float64).T
        areas.append(abs(float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())) / 2)
    return areas[0] - sum(areas[1:])


def _aoi(root: Path) -> Path:
    """The folder that holds SAR-Intensity: the root or AOI_11_Rotterdam below it."""
    for folder in (root, root / "AOI_11_Rotterdam", root / "train" / "AOI_11_Rotterdam"):
        if (folder / "SAR-Intensity").is_dir():
            return folder
    return root


def _directions(path: Path) -> dict[str, bool]:
    """Strip to whether it was imaged from south."""
    if not path.is_file():
        raise DataError(f"layout spacenet6: looked for {path}, which says from where each strip was imaged, and it is not "
                        "there; it comes with the training archive (SummaryData)")
    directions = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.split()
        if words and (len(words) != 2 or words[1] not in ("0", "1")):
            raise DataError(f"{path}: line {line!r}; expected START_END and 0 (from north) or 1 (from south)")
        if words:
            directions[words[0]] = int(words[1]) == FROM_SOUTH
    return directions


def _tile(path: Path, directions: dict[str, bool]) -> _Tile:
    found = _TILE.search(path.stem)
    if not found:
        raise DataError(f"{path}: its name does not end in START_END_tile_NUMBER, which says the strip and the partner files")
    if found.group(1) not in directions:
        raise DataError(f"{path}: strip {found.group(1)} is not in SAR_orientations.txt; the file belongs to another archive")
    share = (image_frame(path)[1][0] - WEST_M) / (EAST_M - WEST_M)
    band = min(BANDS_EAST_WEST - 1, max(0, int(share * BANDS_EAST_WEST // 1)))
    return _Tile(found.group(0), path, directions[found.group(1)], band)


def _sibling(sar: Path, folder: str, word: str, suffix: str) -> Path:
    return sar.parent.parent / folder / (sar.stem.replace("SAR-Intensity", word) + suffix)
