"""What is no mosaic is refused by the name of the file, with the way out."""

import re
import shlex
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from rasterio.rio.main import main_group
from rasterio.transform import Affine

from hfd_edge import Mosaic, RasterOptions
from hfd_edge.errors import RadiometryError, RasterError
from hfd_edge.products import SceneRequest, open_scene
from hfd_edge.raster import RasterLimits
from hfd_edge.raster_run import declared_radiometry, open_as_declared
from hfd_edge.segmenter import Segmenter
from tests.engines import random_engine
from tests.mosaics import TileFile, cut, write_all
from tests.rasters import GCPS, ROTATED, UTM, ramp, write_tif


@pytest.fixture
def pair(tmp_path):
    """Writes a.tif, and beside it b.tif with other options; gives their folder."""
    def write(values=None, transform=UTM @ Affine.translation(11, 0), nodata=None, **options):
        write_tif(tmp_path / "a.tif", ramp(), crs="EPSG:32633", transform=UTM)
        profile = {"crs": "EPSG:32633", "transform": transform, "nodata": nodata, **options}
        write_tif(tmp_path / "b.tif", ramp() if values is None else values, **{k: v for k, v in profile.items() if v not in (None, False)})
        return tmp_path
    return write


@pytest.mark.parametrize(("options", "words"), [
    ({"crs": "EPSG:32634"}, r"b.tif is in EPSG:32634 and .*a.tif in EPSG:32633: a mosaic has one coordinate system.*--dst-crs EPSG:32633 --res 10 "),
    ({"crs": False}, "b.tif is in no coordinate system and .*a.tif in EPSG:32633"),
    ({"transform": Affine(20, 0, 5e5, 0, -20, 4.6e6)}, "b.tif has pixels of 20 x -20 and .*a.tif of 10 x -10: a mosaic has one pixel size"),
    ({"transform": UTM @ Affine.translation(11.5, 3)}, "b.tif lies 3.00 rows and 11.50 columns from .*a.tif: within 0.01 pixels.*whole"),
    ({"transform": UTM @ Affine.translation(11, 0.02)}, "b.tif lies 0.02 rows"),
    ({"transform": ROTATED}, "b.tif is rotated"),
    ({"transform": Affine.identity(), "crs": False}, "b.tif has no transform"),
    ({"transform": False, "crs": False, "gcps": GCPS}, "b.tif has no transform"),
    ({"transform": UTM @ Affine.translation(1e6, 1e6)}, r"has 1000007 x 1000011 pixels, from .*a.tif to .*b.tif: more than the limit of .*RasterLimits.pixels"),
    ({"values": ramp(dtype="float64")}, "b.tif has float64 and .*a.tif has float32: pixels are never converted"),
    ({"values": ramp(1)}, "b.tif has the band .unnamed. and .*a.tif has the bands .unnamed., .unnamed.: every tile has the same bands"),
    ({"descriptions": ("VV", "VH")}, "b.tif has the bands VV, VH and .*--bands 1,2"),
    ({"scales": (0.1, 0.1)}, "b.tif has scale 0.1, offset 0 and .*scale 1, offset 0: stored numbers"),
    ({"units": ("dB", "dB")}, "b.tif has the unit db, scale 1 and .*no stated unit.*--unit"),
    ({"tags": {"HFD_ENGINE": "demo"}}, "b.tif is a map or a truth and no scene .its tag HFD_ENGINE"),
    ({"tags": {"HFD_VALIDITY": "0 valid"}}, "b.tif is a map or a truth")])
def test_files_that_do_not_fit_together(pair, options, words):
    folder = pair(**options)
    with pytest.raises(RasterError, match=words):
        open_scene(Mosaic(folder))


@pytest.mark.parametrize(("names", "bands", "way"), [
    (("VH", "VV"), None, "choose by name: --bands VV,VH$"), (("VH", "VV"), (1, 2), "choose by name"), (("HH", "HV"), None, "another polarisation"),
    (("my VV", "my VH"), None, "where only names differ, choose by number: --bands 1,2$")])
def test_bands_in_another_order_are_never_taken_for_each_other(tmp_path, names, bands, way):
    for number, its in enumerate((("VV", "VH"), names)):
        TileFile(0, 11 * number, ramp()).write(tmp_path / f"{number}.tif", descriptions=its)
    with pytest.raises(RasterError, match=f"1.tif has the bands {', '.join(names)} and .*0.tif has the bands VV, VH: .*{way}"):
        open_scene(Mosaic(tmp_path), SceneRequest(bands))
    with open_scene(Mosaic(tmp_path), SceneRequest(("VV", "VH") if "choose by name" in way else (1, 2))) if "another" not in way else nullcontext():
        pass


@pytest.mark.parametrize(("options", "request_"), [
    ({"transform": UTM @ Affine.translation(11.004, -0.004)}, {}), ({"descriptions": ("VV", "VH")}, {"bands": (1, 2)}),
    ({"units": ("dB", "dB")}, {"unit": "db"}), ({"nodata": 3}, {}), ({"tiled": True, "blockxsize": 16, "blockysize": 16}, {}),
    ({"crs": rasterio.crs.CRS.from_proj4("+proj=utm +zone=33 +datum=WGS84 +units=m +no_defs")}, {})])
def test_what_may_differ(pair, options, request_):
    with open_scene(Mosaic(pair(**options)), SceneRequest(**request_)) as source:
        assert (source.rows, source.cols) == (7, 22) and source.nodata == ()
        values, valid = source.read(0, 7)
        assert valid.sum() == 7 * 22 - (options.get("nodata") == 3)
        np.testing.assert_array_equal(values, np.concatenate([ramp(), ramp()], axis=2))


def test_the_way_to_one_grid_works_as_it_is_told(pair, monkeypatch):
    folder = pair(transform=UTM @ Affine.translation(11.5, 3))
    with pytest.raises(RasterError) as refused:
        open_scene(Mosaic(folder))
    command = re.search(r"rio (warp .*)$", str(refused.value))[1]
    (folder / "new").mkdir()
    monkeypatch.chdir(folder)
    for name in ("a", "b"):
        done = CliRunner().invoke(main_group, shlex.split(command.replace("TILE.tif", f"{name}.tif").replace("new.tif", f"new/{name}.tif")))
        assert done.exit_code == 0, done.output
    with open_scene(Mosaic("new")) as source:
        assert source.rows in (10, 11) and source.cols in (22, 23)


def test_the_limit_of_pixels_is_the_callers(pair):
    folder = pair(transform=UTM @ Affine.translation(500_000, 300_000))
    with open_scene(Mosaic(folder), SceneRequest(limits=RasterLimits(pixels=1 << 40))) as source:
        assert (source.rows, source.cols) == (300_007, 500_011) and not source.read(1000, 2)[1].any()


@pytest.mark.parametrize(("given", "words"), [
    ([], "a mosaic of no files"), (["a.tif", "./a.tif"], "a.tif is given twice"), (["a.tif", "link.tif"], "link.tif is given twice, also as a.tif"),
    ("empty", "empty holds no tiles: .*.tif and .tiff"), ([3], "3 is no path"), (3, "3 is no path"), ("", "an empty name would be the folder"), ("none.tif", "none.tif does not exist"), (["notes.tif"], "is empty .0 bytes")])
def test_names_that_are_no_mosaic(pair, monkeypatch, given, words):
    monkeypatch.chdir(pair())
    (pair() / "empty").mkdir(exist_ok=True)
    (pair() / "link.tif").symlink_to("a.tif")
    if given == ["notes.tif"]:
        (pair() / "notes.tif").touch()
    with pytest.raises(RasterError, match=words):
        open_scene(Mosaic(given))


def test_of_a_folder_hidden_files_pictures_and_masks_of_products_are_no_tiles(pair):
    folder = pair()
    (folder / ".c.tif").touch()
    (folder / "quicklook.png").touch()
    (folder / "a.tif.aux.xml").touch()
    (folder / "sub").mkdir()
    (folder / "OPERA_L2_RTC-S1_T168-359429-IW2_20240111T130000Z_20240112T000000Z_S1A_30_v1.0_mask.tif").touch()
    (folder / "S1A_IW_20200101T000000_DVP_RTC20_G_gpunem_ABCD_ls_map.tif").touch()
    assert [path.name for path in Mosaic(folder)] == ["a.tif", "b.tif"] == [path.name for path in Mosaic([folder / "a.tif", folder / "b.tif"])]


def test_two_dates_of_one_place_are_too_many_bands_and_never_two_tiles(tmp_path):
    for name, value in (("jan", 1), ("feb", 2)):
        TileFile(0, 0, np.full((1, 5, 6), value, np.float32)).write(tmp_path / f"{name}.tif")
    TileFile(0, 6, np.full((1, 5, 6), 3, np.float32)).write(tmp_path / "other.tif")
    with pytest.raises(RasterError, match="other.tif has the band .unnamed. and .*feb.tif, .*jan.tif have the bands .*files of one place and size hold those of one tile"):
        open_scene(Mosaic(tmp_path))


def test_a_scale_is_for_rasters_and_so_for_mosaics(pair):
    options = RasterOptions(unit="amplitude", scale=0.5)
    with open_as_declared(Mosaic(pair()), options) as source:
        assert declared_radiometry(source, options).scale == 0.5
    with open_as_declared(Mosaic(pair()), RasterOptions()) as source:
        assert declared_radiometry(source, RasterOptions()) is None, "an unknown unit is not guessed"


def test_what_breaks_in_the_middle_of_a_run_is_named_and_nothing_is_left(tmp_path, monkeypatch):
    values = np.random.default_rng(1).normal(size=(2, 400, 60)).astype(np.float32)
    engine = random_engine(tmp_path / "random.engine")
    monkeypatch.setattr("hfd_edge.raster.mosaic_tiles.MOST_OPEN_FILES", 1)
    harm = {"damaged": lambda path: path.write_bytes(path.read_bytes()[:500] + b"\xff" * 9000 + path.read_bytes()[9500:]),
            "gone": lambda path: path.unlink(missing_ok=True), "other": lambda path: TileFile(300, 0, values[:, :50]).write(path)}
    for name, words in (("damaged", "t0003.tif: rows .* cannot be read"), ("gone", "t0003.tif does not exist"), ("other", "t0003.tif has 50 x 60 pixels now")):
        paths = write_all(tmp_path / name, cut(values, [100, 200, 300], [], profile={"compress": "deflate"}))

        def at_row(done, of):
            if done < 200:
                harm[name](paths[3])

        with Segmenter(engine, tile=128, halo="exact", memory=60 << 20) as segmenter, pytest.raises(RasterError, match=words):
            segmenter.run_raster(Mosaic(paths), tmp_path / "map.tif", unit="dn", progress=at_row)
        assert not list(tmp_path.glob("*map*")), name


@pytest.mark.parametrize("other", [{"nodata": 5.0}, {"row": 1}])
def test_a_file_that_changed_is_refused_however_often_it_is_asked_for(tmp_path, monkeypatch, other):
    monkeypatch.setattr("hfd_edge.raster.mosaic_tiles.MOST_OPEN_FILES", 1)
    tiles = cut(ramp(2, 6, 20), [], [10])
    paths = write_all(tmp_path, tiles)
    with open_scene(Mosaic(paths)) as source:
        source.read(0, 6)
        replace(tiles[0], **other).write(paths[0])
        for _ in range(2):
            with pytest.raises(RasterError, match="t0000.tif changed while the mosaic was read"):
                source.read(0, 6)


def test_a_mosaic_of_nothing_valid_is_an_empty_scene(tmp_path):
    engine = random_engine(tmp_path / "random.engine")
    scene = Mosaic(write_all(tmp_path / "tiles", cut(np.full((2, 50, 60), np.nan, np.float32), [20], [])))
    with Segmenter(engine) as segmenter:
        with pytest.raises(RadiometryError, match="not one of the 50 x 60 pixels is valid"):
            segmenter.run_raster(scene, tmp_path / "map.tif", unit="dn")
        assert segmenter.run_raster(scene, tmp_path / "map.tif", unit="dn", allow_empty=True).nodata_share == 1
