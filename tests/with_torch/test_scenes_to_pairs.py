"""The page's way from scenes to pairs, as it is printed there."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import rasterio

torch = pytest.importorskip("torch")

from rasterio.transform import from_origin  # noqa: E402
from rasterio.warp import transform_geom  # noqa: E402

from tiny_sets import pixels  # noqa: E402
from training.layouts import folder, open_pairs  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
SET = ("name: mine\nbands: [VV, VH]\neo_bands: [R, G, B]\nunit: db\nclasses: {land: 0, water: 1}\nsplit: {by: place, size_m: 5000}\n")


def scenes(rows, cols):
    """sar.tif, eo.tif and truth.geojson here: water is the left half."""
    place = {"driver": "GTiff", "width": cols, "height": rows, "crs": "EPSG:32633", "transform": from_origin(500_000, 5_300_000, 10, 10)}
    for name, bands, dtype, low, high in (("sar", 2, "float32", -20, 0), ("eo", 3, "uint8", 0, 255)):
        with rasterio.open(f"{name}.tif", "w", count=bands, dtype=dtype, **place) as file:
            file.write(pixels(bands, 1, np.dtype(dtype), low, high, side=max(rows, cols))[:, :rows, :cols])
            if name == "sar":
                file.descriptions = ("VV", "VH")
    east, south = 500_000 + 5 * cols, 5_300_000 - 10 * rows
    half = {"type": "Polygon", "coordinates": [[(500_000, 5_300_000), (east, 5_300_000), (east, south), (500_000, south), (500_000, 5_300_000)]]}
    half = transform_geom("EPSG:32633", "EPSG:4326", half, precision=9)
    Path("truth.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [
        {"type": "Feature", "properties": {"code": 1}, "geometry": half}]}))


def test_scenes_and_polygons_become_pairs_as_the_page_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scenes(1300, 1100)
    for part in ("sar", "eo", "label"):
        Path("my-set", part).mkdir(parents=True)
    page = (ROOT / "docs/data.md").read_text().partition("### From scenes to pairs")[2].partition("###")[0]
    exec(compile(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1], "data.md", "exec"), {})
    Path("my-set/set.yaml").write_text(SET)
    pairs = open_pairs("folder", "my-set")
    names = [name for split in ("train", "select", "test") for name in pairs.names(split)]
    assert sorted(names) == [f"scene-{row:05d}-{col:05d}" for row in (0, 512, 1024) for col in (0, 512, 1024)] and not pairs.notes
    pair = pairs.read("scene-00512-00512")
    with rasterio.open("sar.tif") as file:
        np.testing.assert_array_equal(pair.sar, file.read()[:, 512:1024, 512:1024])
        assert rasterio.open("my-set/sar/scene-01024-01024.tif").descriptions == file.descriptions
    assert pair.eo is not None and pairs.read("scene-01024-01024").labels.shape == (276, 76)
    expected = np.arange(512, 1024) < 550
    assert (pair.labels == expected).all(axis=0).sum() >= 510                    # a meridian is no column: a pixel at the edge


def test_pairs_that_are_whole_scenes_are_told_of(tmp_path, monkeypatch):
    from test_layouts_folder import folder as small
    monkeypatch.setattr(folder, "_LARGE_PX", 255)
    notes = open_pairs("folder", small(tmp_path)).notes
    assert len(notes) == 1 and "10 of 10 pairs have more than" in notes[0] and "16 x 16" in notes[0] and "From scenes to pairs" in notes[0]
    monkeypatch.setattr(folder, "_LARGE_PX", 256)
    assert not open_pairs("folder", tmp_path).notes
