"""Every verb that takes a scene takes a SAFE: scene, despeckle, seams, predict with truth, picture and window."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hfd_edge.products import Sentinel1Source
from hfd_edge.raster import RasterSource
from tests import command
from tests.rasters import write_tif
from tests.safe_files import MadeUp
from tests.test_products_sentinel1 import engine_with_names, scene_of

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def product(tmp_path_factory):
    made = scene_of(MadeUp())
    folder = tmp_path_factory.mktemp("safe")
    return made, made.write(folder), engine_with_names(folder)


def verb(*words):
    done = subprocess.run([sys.executable, "-m", "hfd_edge.cli", *map(str, words)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_scene_measures_the_calibrated_power(product):
    record = verb("scene", product[1], "--json")
    assert "VV, VH in intensity" in record["read_as"]


@pytest.mark.parametrize("option", ["scale", "offset"])
def test_a_factor_for_a_product_is_refused_as_a_unit_is(product, tmp_path, option):
    _, safe, engine = product
    for words in (("predict", safe, engine, "-o", tmp_path / "x.tif"), ("scene", safe), ("despeckle", safe, "-o", tmp_path / "x.tif")):
        command.failed(command.run(*words, f"--{option}", "0.5"), f"{option}=0.5", "leave it out")
    assert not (tmp_path / "x.tif").exists()


def test_despeckle_with_a_boxcar_of_one_writes_what_was_read(product, tmp_path):
    made, safe, _ = product
    verb("despeckle", safe, "-o", tmp_path / "out.tif", "--filter", "boxcar", "--radius", "1", "--json")
    with RasterSource(tmp_path / "out.tif") as written, Sentinel1Source(safe) as source:
        assert written.declared.quantity == "sigma0" and [(p.row, p.col) for p in written.geo.gcps] == made.places()
        values, valid = source.read(0, source.rows)
        got = written.read(0, written.rows)[0]
    window = values[0, 40:43, 40:43]
    assert valid[40:43, 40:43].all() and got[0, 41, 41] == pytest.approx(window.mean(), rel=1e-5)


@pytest.mark.slow
def test_predict_with_truth_picture_and_window(product, tmp_path):
    pytest.importorskip("cv2")
    made, safe, engine = product
    truth = write_tif(tmp_path / "truth.tif", np.zeros((1, made.rows, made.cols), np.uint8))
    whole = verb("predict", safe, engine, "-o", tmp_path / "map.tif", "--truth", truth, "--quicklook", tmp_path / "map.png", "--json")
    verb("predict", safe, engine, "-o", tmp_path / "part.tif", "--window", "8,16,40,30", "--quicklook", tmp_path / "part.png", "--json")
    assert whole["accuracy"] is not None and (tmp_path / "map.png").stat().st_size and (tmp_path / "part.png").stat().st_size
    with RasterSource(tmp_path / "map.tif") as a, RasterSource(tmp_path / "part.tif") as b:
        np.testing.assert_array_equal(b.read(0, 40)[0][0], a.read(8, 40)[0][0][:, 16:46])
        assert [(p.row, p.col) for p in b.geo.gcps] == [(r - 8, c - 16) for r, c in made.places()]


def test_seams_measures_tiles_of_the_calibrated_scene(product):
    measured, = verb("seams", product[1], product[2], "--side", "64", "--json")["measures"]
    assert measured["halo"] == "exact" and measured["grid_disagreement"] == 0 and measured["whole"]["flips"] == 0
