"""Tiny files in the layouts of public data sets, made by the tests: names, types and codes as published, pixels made up."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine

SIDE = 16


def pixels(bands: int, seed: int = 0, dtype=np.float32, low: float = -25.0, high: float = 5.0, side: int = SIDE) -> np.ndarray:
    values = np.random.default_rng(seed).uniform(low, high, (bands, side, side))
    return values.astype(dtype)


def write(path: Path, image: np.ndarray, west: float | None = None, north: float = 0.0, step: float = 10.0, **profile) -> Path:
    """A GeoTIFF or PNG by suffix; with a georeference (EPSG:32631) where `west` is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = image if image.ndim == 3 else image[None]
    if west is not None:
        profile = {"crs": "EPSG:32631", "transform": Affine(step, 0, west, 0, -step, north), **profile}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="PNG" if path.suffix == ".png" else "GTiff", height=image.shape[1],
                           width=image.shape[2], count=len(image), dtype=image.dtype, **profile) as file:
            file.write(image)
    return path


def ombria(root: Path, numbers=(1, 30, 60, 80, 110)) -> Path:
    for number in numbers:
        for part, bands in (("s1before", 1), ("s1after", 1), ("s2before", 3), ("s2after", 3)):
            write(root / f"train_{number:04d}_{part}.png", pixels(bands, number, np.uint8, 0, 255))
        mask = np.where(pixels(1, number + 1, low=0, high=1) > 0.5, 255, 0).astype(np.uint8)
        write(root / f"train_{number:04d}_mask.png", mask)
    return root


def ombria_published(root: Path) -> Path:
    for number in (1, 30):
        for sensor, bands in (("S1", 1), ("S2", 3)):
            for time in ("before", "after"):
                folder, name = root / f"Ombria{sensor}/train/{time.upper()}", f"{sensor}_{time}_{number:04d}.png"
                write(folder / name, pixels(bands, number, np.uint8, 0, 255))
        write(root / f"OmbriaS1/train/MASK/S1_mask_{number:04d}.png", np.full((SIDE, SIDE), 255, np.uint8))
    return root


def sen1floods11(root: Path, chips=("Ghana_1", "Ghana_2", "India_3", "Spain_4", "USA_5", "Bolivia_6")) -> Path:
    for seed, chip in enumerate(chips):
        sar = pixels(2, seed)
        sar[:, 0, :3] = np.nan
        label = np.random.default_rng(seed).integers(-1, 2, (SIDE, SIDE)).astype(np.int16)
        hand = root / "data/flood_events/HandLabeled"
        write(hand / f"S1Hand/{chip}_S1Hand.tif", sar, nodata=np.nan)
        write(hand / f"S2Hand/{chip}_S2Hand.tif", pixels(13, seed, np.int16, 0, 6000))
        write(hand / f"LabelHand/{chip}_LabelHand.tif", label)
    return root


def sen1floods11_lists(root: Path) -> Path:
    folder = root / "splits/flood_handlabeled"
    folder.mkdir(parents=True)
    lists = {"train": ("Ghana_1", "India_3"), "valid": ("Spain_4",), "test": ("Ghana_2", "USA_5"), "bolivia": ("Bolivia_6",)}
    for file, chips in lists.items():
        (folder / f"flood_{file}_data.csv").write_text("".join(f"{c}_S1Hand.tif,{c}_LabelHand.tif\n" for c in chips))
    return root


def sen12ms(root: Path, scenes=(1, 2, 3, 4, 146), season: str = "ROIs1868_summer") -> Path:
    for scene in scenes:
        for patch in (30, 202):
            name = f"{season}_{{}}_{scene}_p{patch}.tif"
            cover = np.stack([np.random.default_rng(scene).integers(0, 18, (SIDE, SIDE))] * 4).astype(np.uint16)
            for part, image in (("s1", pixels(2, scene)), ("s2", pixels(13, scene, np.uint16, 0, 9000)), ("lc", cover)):
                write(root / season / f"{part}_{scene}" / name.format(part), image)
    return root


def dfc2020(root: Path, test_west: float = 500_000.0) -> Path:
    for part, folder, count in (("validation", "validation", 12), ("test", "0", 2)):
        for patch in range(count):
            name, west = f"ROIs0000_{part}_{{}}_0_p{patch}.tif", (test_west if part == "test" else 500_000.0) + 6_000.0 * patch
            code = np.random.default_rng(patch).integers(0, 11, (SIDE, SIDE)).astype(np.uint8)
            for kind, image in (("s1", pixels(2, patch)), ("s2", pixels(13, patch, np.uint16, 0, 9000)), ("dfc", code)):
                write(root / f"ROIs0000_{part}" / f"{kind}_{folder}" / name.format(kind), image, west, 5_000_000)
    return root


STRIPS = (("20190822070610_20190822070846", 0), ("20190823162315_20190823162606", 1))


def spacenet6(root: Path, wests=(591_600.0, 592_600.0, 593_600.0, 594_600.0, 596_000.0)) -> Path:
    """Each place in both strips: a building of 8 x 4 m in the north-west, one of 2 x 2 m beside it, SAR 0 in the last row."""
    aoi = root / "AOI_11_Rotterdam"
    (aoi / "SummaryData").mkdir(parents=True)
    (aoi / "SummaryData/SAR_orientations.txt").write_text("".join(f"{strip} {direction}\n" for strip, direction in STRIPS))
    for strip, _ in STRIPS:
        for number, west in enumerate(wests):
            name, north, step = f"SN6_Train_AOI_11_Rotterdam_{{}}_{strip}_tile_{number}", 5_746_000.0, 1.0
            sar = pixels(4, number, low=1, high=92)
            sar[:, -1] = 0
            write(aoi / "SAR-Intensity" / f"{name.format('SAR-Intensity')}.tif", sar, west, north, step)
            write(aoi / "PS-RGB" / f"{name.format('PS-RGB')}.tif", pixels(3, number, np.uint8, 0, 255), west, north, step)
            houses = [rectangle(west + 1, north - 5, 8, 4), rectangle(west + 11, north - 4, 2, 2)]
            features = [{"type": "Feature", "properties": {}, "geometry": g} for g in houses]
            path = aoi / "geojson_buildings" / f"{name.format('Buildings')}.geojson"
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return root


def rectangle(west: float, south: float, width: float, height: float) -> dict:
    ring = [(west, south), (west + width, south), (west + width, south + height), (west, south + height), (west, south)]
    return {"type": "Polygon", "coordinates": [[(*corner, 0.0) for corner in ring]]}


def whu_opt_sar(root: Path, sheets: int = 5, rows: int = 40, cols: int = 70) -> Path:
    for number in range(sheets):
        rng, name = np.random.default_rng(number), f"NH49E{number:03d}013.tif"
        code = (10 * rng.integers(0, 8, (rows, cols))).astype(np.uint8)
        sar = rng.integers(1, 255, (rows, cols)).astype(np.uint8)
        code[:2, :2] = sar[:2, :2] = 0
        write(root / "sar" / name, sar)
        write(root / "lbl" / name, code)
        write(root / "optical" / name, rng.integers(0, 255, (4, rows, cols)).astype(np.uint8))
    return root


def openearthmap_sar(root: Path) -> Path:
    for number in (1, 30, 55, 80, 110):
        name, rng = f"Rotterdam_{number}.tif", np.random.default_rng(number)
        write(root / "train/sar_images" / name, rng.integers(0, 255, (SIDE, SIDE)).astype(np.uint8))
        write(root / "train/rgb_images" / name, rng.integers(0, 255, (3, SIDE, SIDE)).astype(np.uint8))
        write(root / "train/labels" / name, rng.integers(0, 9, (SIDE, SIDE)).astype(np.uint8))
    return root
