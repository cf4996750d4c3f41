"""Mosaics from the command line: --mosaic of every verb that opens a scene of its own."""

import json

import numpy as np
import pytest
import rasterio

from tests.command import BANDS, INPUT, failed, power, run
from tests.engines import random_engine
from tests.mosaics import NODATA, TileFile, cut, write_all


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return random_engine(tmp_path_factory.mktemp("engine") / "model.engine", BANDS, input=INPUT)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A folder of overlapping tiles, and the one raster that they are."""
    folder = tmp_path_factory.mktemp("scene")
    decibel = 10 * np.log10(power())
    decibel[:, :20, 50:] = NODATA
    write_all(folder / "tiles", cut(decibel, [40], [30], 5), descriptions=BANDS)
    (folder / "bands").mkdir()
    for number, tile in enumerate(cut(decibel, [40], [30], 5)):
        for band, name in enumerate(BANDS):
            TileFile(tile.row, tile.col, tile.values[band:band + 1]).write(folder / "bands" / f"t{number}_{name}.tif")
    return folder, TileFile(0, 0, decibel).write(folder / "one.tif", descriptions=BANDS)


@pytest.mark.parametrize("given", [["tiles"], ["bands"], ["tiles/t0001.tif", "tiles/t0000.tif", "tiles/t0002.tif", "tiles/t0003.tif"]])
def test_predict_gives_the_one_rasters_map(scene, engine, tmp_path, given):
    folder, one = scene
    words = engine, "--unit", "db", "--tile", "88", "--halo", "exact", "--json"
    done = run("predict", "--mosaic", *(folder / name for name in given), *words, "-o", tmp_path / "map.tif", "--confidence", tmp_path / "score.tif",
               "--truth", truth_of(one), "--quicklook", tmp_path / "look.png")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["read_as"] == "bands VV, VH in db, nodata -9999" and report["accuracy"]["pixels"] > 0 and (tmp_path / "look.png").stat().st_size > 999
    done = run("predict", one, *words, "-o", tmp_path / "one.tif", "--confidence", tmp_path / "one_score.tif")
    assert done.returncode == 0 and json.loads(done.stdout)["classes"] == report["classes"]
    for mine, its in (("map.tif", "one.tif"), ("score.tif", "one_score.tif")):
        with rasterio.open(tmp_path / mine) as a, rasterio.open(tmp_path / its) as b:
            assert (a.transform, a.crs, a.shape) == (b.transform, b.crs, b.shape)
            np.testing.assert_array_equal(a.read(), b.read())
            assert a.tags()["HFD_SOURCE"].startswith(f"mosaic of {8 if given == ['bands'] else 4} files, ")
            assert a.tags()["HFD_READ_AS"] == b.tags()["HFD_READ_AS"]


def truth_of(one):
    with rasterio.open(one) as there:
        truth = np.where(there.read(1) == NODATA, 255, there.read(1) > -12).astype(np.uint8)
    return TileFile(0, 0, truth[np.newaxis], 255).write(one.with_name("truth.tif"))


@pytest.mark.slow
def test_scene_and_despeckle_give_what_they_give_of_the_one_raster(scene, engine, tmp_path):
    folder, one = scene
    told, made = [], []
    for number, given in enumerate((["--mosaic", folder / "tiles"], [one])):
        done = run("scene", *given, "--unit", "db", "--json", "--validity", tmp_path / f"valid{number}.tif", "--engine", engine)
        assert done.returncode == 0, done.stderr
        told.append({key: value for key, value in json.loads(done.stdout).items() if key not in ("validity", "notes")})
        done = run("despeckle", *given, "--unit", "db", "-o", tmp_path / f"quiet{number}.tif", "-q")
        assert done.returncode == 0, done.stderr
        with rasterio.open(tmp_path / f"valid{number}.tif") as valid, rasterio.open(tmp_path / f"quiet{number}.tif") as quiet:
            made.append((valid.read(), quiet.read(), quiet.transform, quiet.descriptions))
    assert told[0] == told[1]
    np.testing.assert_array_equal(made[0][0], made[1][0])
    np.testing.assert_array_equal(made[0][1], made[1][1])
    assert made[0][2:] == made[1][2:]


@pytest.mark.slow
def test_seams_takes_a_mosaic(scene, engine):
    folder, one = scene
    words = engine, "--unit", "db", "--halo", "8", "--tile", "64", "--json"
    mine, its = (json.loads(run("seams", *given, *words).stdout) for given in (["--mosaic", folder / "tiles"], [one]))
    assert mine == its and mine["rows"] == 90


@pytest.mark.slow
def test_what_is_said_and_refused(scene, engine, tmp_path):
    folder, one = scene
    words = engine, "-o", tmp_path / "map.tif", "--unit", "db"
    failed(run("predict", folder / "tiles", *words), "tiles is a folder", "--mosaic")
    failed(run("predict", *sorted((folder / "tiles").glob("*.tif")), *words), "--mosaic")
    failed(run("predict", "--mosaic", folder / "tiles", engine, "-o", folder / "tiles" / "t0002.tif", "--unit", "db", "--overwrite"), "is an input of this run")
    failed(run("despeckle", "--mosaic", folder / "tiles", "-o", folder / "tiles" / "t0002.tif", "--unit", "db", "--overwrite"), "is an input of this run")
    assert "--mosaic without --scene" in run("benchmark", engine, "--mosaic").stderr
    other = TileFile(20, 20, np.full((2, 40, 30), -9, np.float32)).write(tmp_path / "other.tif", descriptions=BANDS)
    done = run("predict", "--mosaic", folder / "tiles", other, *words)
    assert done.returncode == 0 and "files of the mosaic overlap, and 0." in done.stdout, done.stderr
