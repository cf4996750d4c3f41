"""Every two-band backscatter raster of known unit goes through predict to a map; display data and unknown units do not.

The rasters do not travel with the repository; conftest.py says where they are looked for. Nothing here judges accuracy: the
engine has random weights. It shows that files as they are published can be read, declared and mapped.
"""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hfd_edge.package import Package, write_package
from hfd_edge.raster import RasterSource
from hfd_edge.spec import ModelInput
from tests.conftest import data_folder
from tests.engines import random_engine

pytestmark = pytest.mark.real_data

ROOT = Path(__file__).resolve().parent.parent
TERRAMIND = ("38D_378R_2_3", "609U_541L_3_0", "637U_59R_1_3")
BIGEARTHNET = ("4_55", "36_85")
S1 = "bigearthnet-mm-tiny/S1A_IW_GRDH_1SDV_20170617T064724_29UPU"
DB = ("--unit", "db")

GOOD = [
    *[((f"terramind-s1-s2-lulc/{chip}_s1rtc_vv_vh_db.tif",), DB) for chip in TERRAMIND],
    (("sen1floods11-spain/Spain_7370579top_S1Hand.tif",), DB),
    (("spacenet6-rotterdam-sample/sar_4pol_db_4p5m.tif",), (*DB, "--bands", "4,3")),
    # Single looks, unit known: complex. They are uncalibrated, so a calibration factor is made up.
    (("spacenet6-rotterdam-sample/sar_vv_complex64.tif", "spacenet6-rotterdam-sample/sar_vh_complex64.tif"),
     ("--scale", "0.001")),
    *[((f"{S1}_{patch}_VH.tif", f"{S1}_{patch}_VV.tif"), DB) for patch in BIGEARTHNET]]

PYROSAR = "pyrosar-s1-sigma0-db/S1A__IW___A_20150309T173017_VV_grd_mli_geo_norm_db.tif"
BAD = [
    ((PYROSAR,), DB, ("1 band", "one file per band")),
    (("spacenet6-rotterdam-sample/sar_4pol_db_4p5m.tif",), DB, ("4 bands", "--bands")),
    (("terramind-s1-s2-lulc/38D_378R_2_3_s1rtc_vv_vh_db.tif",), (), ("--unit",)),
    (("terramind-s1-s2-lulc/38D_378R_2_3_s1rtc_vv_vh_db.tif",), ("--unit", "intensity"), ("--unit db",)),
    (("sen1floods11-spain/Spain_7370579top_S1Hand.tif",), ("--unit", "amplitude"), ("--unit db",)),
    (("spacenet6-rotterdam-sample/rgb_uint8_4p5m.tif",), ("--bands", "1,2"), ("8-bit", "--scale")),
    (("terramind-s1-s2-lulc/38D_378R_2_3_s2rgb_uint8.tif",), (*DB, "--bands", "1,2"), ("8-bit", "--scale")),
    (("inlpg-sar-pairs/yellow_A_1.png", "inlpg-sar-pairs/yellow_A_2.png"), ("--unit", "amplitude"), ("8-bit", "--scale")),
    (("spacenet6-rotterdam-sample/worldview_ms1_uint16.tif",), ("--bands", "1,2"), ("--unit",)),
    (("spacenet6-rotterdam-sample/worldview_ms1_uint16.tif",), ("--bands", "1,2", "--unit", "intensity"), ("--scale",)),
    (("worldcereal-s1-s2-monthly/s1_s2_dem_meteo_12months.nc",), DB, ("netCDF", "rio convert")),
    (("isce3-single-look-complex/uavsar_winnipeg_L_HH.npy",), ("--unit", "complex"), ("numpy",))]


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("engine")
    unnamed = random_engine(folder / "unnamed.engine",
                            input=ModelInput(unit="db", mean=(-11.0, -18.0), std=(6.0, 6.0), floor=-35.0))
    with Package.open(unnamed) as package:
        graphs = {name: bytes(package.read(name)) for name in package.graph_names}
        write_package(folder / "vv-vh.engine", replace(package.spec, bands=("VV", "VH")), graphs, package.golden,
                      {"made_by": "tests"})
    return folder / "vv-vh.engine"


def predict(files, engine, out, *options):
    words = [str(w) for w in ("predict", *(data_folder() / name for name in files), engine, "-o", out, *options)]
    return subprocess.run([sys.executable, "-m", "hfd_edge.cli", *words], capture_output=True, text=True, cwd=ROOT, timeout=300)


@pytest.mark.parametrize("files,options", GOOD, ids=[Path(files[0]).stem[-40:] for files, _ in GOOD])
def test_every_two_band_backscatter_raster_of_known_unit_becomes_a_map(files, options, engine, tmp_path):
    done = predict(files, engine, tmp_path / "map.tif", *options, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    paths = [data_folder() / name for name in files]
    bands = (4, 3) if "--bands" in options else None
    with RasterSource(paths, bands, wanted=("VV", "VH")) as scene, RasterSource(tmp_path / "map.tif") as labels:
        values, valid = scene.read(0, scene.rows)
        nodata = ~np.isfinite(values).all(axis=0) if valid is None else ~(np.isfinite(values).all(axis=0) & valid)
        got = labels.read(0, labels.rows)[0][0]
        np.testing.assert_array_equal(got == 255, nodata)
        assert labels.geo.same_place(scene.geo, scene.rows, scene.cols) and report["nodata_share"] == pytest.approx(nodata.mean())
        assert scene.count == 2 and report["nan_pixels"] == 0


@pytest.mark.slow
def test_separate_files_are_taken_in_the_networks_order_whatever_theirs(engine, tmp_path):
    vh, vv = (f"{S1}_4_55_{name}.tif" for name in ("VH", "VV"))
    for name, files in (("a", (vh, vv)), ("b", (vv, vh))):
        assert predict(files, engine, tmp_path / f"{name}.tif", *DB).returncode == 0
    maps = [RasterSource(tmp_path / f"{name}.tif") for name in "ab"]
    assert (maps[0].read(0, 120)[0] == maps[1].read(0, 120)[0]).all()
    for source in maps:
        source.close()


@pytest.mark.parametrize("files,options,words", BAD,
                         ids=[f"{Path(files[0]).name[-30:]} {' '.join(options)}" for files, options, _ in BAD])
def test_what_is_not_known_is_refused_with_the_reason_and_the_option(files, options, words, engine, tmp_path):
    done = predict(files, engine, tmp_path / "map.tif", *options)
    assert done.returncode == 1 and not done.stdout and len(done.stderr.splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr, done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_every_eight_bit_sar_chip_of_a_folder_is_refused(engine, tmp_path):
    chips = sorted((data_folder() / "ombria-flood-no-explicit-licence").rglob("*_s1after*"))[:2]
    if not chips:
        pytest.skip("no OMBRIA chips in the data folder")
    for pair in (chips, chips[::-1]):               # the network takes two bands, a chip has one
        done = predict(pair, engine, tmp_path / "map.tif", "--unit", "db")
        assert done.returncode == 1 and "8-bit" in done.stderr, done.stderr
