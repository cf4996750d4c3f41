"""What must not be opened is refused in one line, whatever it is called and whatever it claims."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from hfd_edge.errors import RasterError
from hfd_edge.products import open_scene
from hfd_edge.raster import RasterLimits, RasterSource, check_output
from hfd_edge.raster_run import RasterOptions
from hfd_edge.segmenter import Segmenter
from tests import command
from tests.engines import random_engine
from tests.rasters import GCPS, UTM, ramp, write_tif

VRT = ('<VRTDataset rasterXSize="4" rasterYSize="4"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
       "<SourceFilename>{}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>")


@pytest.mark.parametrize("path", ["/vsimem/a.tif", "/vsicurl/http://localhost/a.tif", "/vsizip/a.zip/a.tif",
                                  "http://localhost/a.tif",
                                  "s3://bucket/a.tif", "zip+https://localhost/a.zip", "file:///tmp/a.tif"])
def test_urls_and_virtual_paths_are_refused(path):
    for given in (path, Path(path)):                            # pathlib leaves one slash of two
        with pytest.raises(RasterError, match="only files on this machine are opened"):
            RasterSource(given)
        with pytest.raises(RasterError, match="only files on this machine are written"):
            check_output(given, overwrite=False)


@pytest.mark.parametrize("place", [{"crs": "EPSG:32633", "transform": UTM}, {"gcps": GCPS}])
def test_without_projs_tables_a_run_ends_before_it_begins(tmp_path, place):
    """PROJ_LIB of another program's: the run ended in a traceback, when all was computed."""
    engine, scene = random_engine(tmp_path / "e.engine"), write_tif(tmp_path / "scene.tif", ramp(), **place)
    words = ("predict", scene, engine, "-o", tmp_path / "map.tif", "--unit", "dn")
    (tmp_path / "empty").mkdir()
    done = command.run(*words, env={**os.environ, "PROJ_LIB": str(tmp_path / "empty")})
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith("error: the coordinate system EPSG:4326 cannot be made"), done.stderr
    assert f"PROJ_LIB='{tmp_path / 'empty'}'" in done.stderr and "Traceback" not in done.stderr and "out of the environment" in done.stderr
    assert command.run(*words).returncode == 0


@pytest.mark.parametrize("path", [b"scene.tif", io.BytesIO(), None, 3, (name for name in ["scene.tif"]), [io.BytesIO()]])
def test_what_is_no_path_is_refused_with_the_way_for_pixels_in_memory(path):
    with pytest.raises(RasterError, match=r"is no path of a raster: give a text.*Segmenter.run\(array\)"):
        open_scene(path)


@pytest.mark.parametrize("content,words", [
    (VRT.format("secret.tif").encode(), "a VRT"), (b"\n  " + VRT.format("secret.tif").encode(), "a VRT"), (b"", "0 bytes"),
    (b"GDAL_WMS", "not a raster"), (b"<GDAL_WMS/>", "XML"), (b"<Dimap_Document", "BEAM-DIMAP"), (b"\x89HDF\r\n", "rio info --subdatasets INPUT"),
    (b"CDF\x02", "rio info --subdatasets INPUT"), (b"PK\x03\x04" + bytes(99), "zip"),
    (b"\x93NUMPY" + bytes(99), "numpy"),
    (bytes(500), "not a raster"), (b"II*\0" + bytes(99), "damaged or incomplete"), (b"II*\0", "damaged or incomplete"),
    (b"\x89PNG\r\n\x1a\n" + bytes(50), "damaged or incomplete")])
def test_what_is_no_raster_is_refused_whatever_its_name(tmp_path, content, words):
    (tmp_path / "scene.tif").write_bytes(content)
    with pytest.raises(RasterError, match=words) as caught:
        RasterSource(tmp_path / "scene.tif")
    assert "\n" not in str(caught.value)


def test_a_folder_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(RasterError, match="is a folder"):
        RasterSource(tmp_path)
    with pytest.raises(RasterError, match="does not exist"):
        RasterSource(tmp_path / "none.tif")


@pytest.mark.parametrize("suffix", [".msk", ".ovr"])
def test_a_sidecar_that_is_a_vrt_is_refused(tmp_path, suffix):
    path = write_tif(tmp_path / "a.tif", ramp())
    (tmp_path / f"a.tif{suffix}").write_text(VRT.format("secret.tif"))
    with pytest.raises(RasterError, match="no TIFF"):
        RasterSource(path)


def test_a_decompression_bomb_is_refused_before_anything_is_allocated(tmp_path):
    path = tmp_path / "bomb.tif"
    rasterio.open(path, "w", driver="GTiff", width=200_000, height=200_000, count=4, dtype="float32", tiled=True, blockxsize=512,
                  blockysize=512,
                  compress="deflate", sparse_ok=True, transform=UTM).close()
    with pytest.raises(RasterError, match="decompression bomb"):
        RasterSource(path)


@pytest.mark.parametrize("limits,words", [(RasterLimits(pixels=76), "RasterLimits.pixels"),
                                          (RasterLimits(bands=1), "RasterLimits.bands"),
                                          (RasterLimits(block_bytes=100), "RasterLimits.block_bytes"),
                                          (RasterLimits(expansion_from=1, expansion=0), "RasterLimits.expansion")])
def test_each_limit_is_named_with_its_way_out(tmp_path, limits, words):
    with pytest.raises(RasterError, match=words):
        RasterSource(write_tif(tmp_path / "a.tif", ramp()), limits=limits)


@pytest.mark.parametrize("layout", [{}, {"compress": "deflate"},
                                    {"tiled": True, "blockxsize": 64, "blockysize": 64, "interleave": "band"}])
def test_a_truncated_tiff_is_refused_when_it_is_opened(tmp_path, layout):
    path = write_tif(tmp_path / "a.tif", np.random.default_rng(0).random((2, 300, 300), np.float32), **layout)
    data = path.read_bytes()
    for share in (0.5, 0.9):
        path.write_bytes(data[:int(len(data) * share)])
        with pytest.raises(RasterError, match="truncated|damaged or incomplete"):
            RasterSource(path)


def test_damage_inside_is_an_error_and_not_zeros(tmp_path):
    path = write_tif(tmp_path / "a.tif", np.random.default_rng(0).random((1, 300, 300), np.float32), compress="deflate",
                     blockysize=10)
    data = bytearray(path.read_bytes())
    data[len(data) // 2:len(data) // 2 + 4000] = bytes(4000)
    path.write_bytes(data)
    with RasterSource(path) as source, pytest.raises(RasterError, match="damaged or truncated"):
        source.read(0, 300)


def test_what_cannot_be_read_twice_is_refused_without_opening_it(tmp_path):
    os.mkfifo(tmp_path / "pipe.tif")
    (tmp_path / "link.tif").symlink_to("nowhere.tif")
    for path, words in ((tmp_path / "pipe.tif", "a pipe or a device"), (tmp_path / "link.tif", "symbolic link to nowhere.tif"),
                        (os.fsdecode(b"b\xff.tif"), "no UTF-8 name"), (None, "no path"), ([], "no raster was given")):
        with pytest.raises(RasterError, match=words):
            RasterSource(path)


@pytest.mark.parametrize("bands, words", [("VV", "a list of names"), ((1.0,), "band 1.0 .*as an int"), ((True,), "band True")])
def test_bands_that_are_no_numbers_or_names_are_refused(tmp_path, bands, words):
    path = write_tif(tmp_path / "a.tif", ramp())
    with pytest.raises(RasterError, match=words):
        RasterSource(path, bands)
    with RasterSource(path, (np.int64(2), np.uint8(1))) as source:
        np.testing.assert_array_equal(source.read(0, 7)[0], ramp()[::-1])


@pytest.mark.parametrize(("name", "value"), [("bands", 1.5), ("bands", np.int64(1)), ("classes", 1.5), ("classes", object()), ("confidence", 0),
                                             ("confidence", b"c.tif"), ("compress", []), ("limits", None), ("overwrite", "no"), ("allow_empty", 1)])
def test_an_option_of_a_kind_that_it_cannot_be_is_refused_by_name(name, value):
    with pytest.raises(RasterError, match=f"{name}=.*: it must be .*; leave it out"):
        RasterOptions(**{name: value})
    RasterOptions(bands=range(1, 3), classes="water", confidence=Path("c.tif"))


def test_an_output_or_a_progress_that_cannot_be_one_is_refused_before_the_run(tmp_path):
    with Segmenter(random_engine(tmp_path / "random.engine")) as seg:
        for given, words in (((None,), "out=None"), ((b"map.tif",), "out=b"), ((tmp_path / "map.tif", RasterOptions("dn"), 3), "progress=3")):
            with pytest.raises(RasterError, match=words):
                seg.run_raster(write_tif(tmp_path / "scene.tif", np.ones((2, 50, 60), np.float32)), *given)
        for options in ({"unit": "dn"}, print):                 # a function that was meant as progress
            with pytest.raises(RasterError, match="it must be a RasterOptions; give its fields by name.*progress="):
                seg.run_raster(tmp_path / "scene.tif", tmp_path / "map.tif", options, unit="dn")
    assert not (tmp_path / "map.tif").exists()


@pytest.mark.parametrize(("cols", "words"), [(11, "lie on different places, 11 pixels apart"), (8, "has 7 x 8 pixels and .* 7 x 11")])
def test_tiles_side_by_side_that_are_not_called_so_are_refused_with_the_way(tmp_path, cols, words):
    tiles = [write_tif(tmp_path / "a.tif", ramp(), crs="EPSG:32633", transform=UTM),
             write_tif(tmp_path / "b.tif", ramp(cols=cols), crs="EPSG:32633", transform=UTM @ Affine.translation(11, 0))]
    with pytest.raises(RasterError, match=f"{words}.*one grid.*tiles side by side.*--mosaic.*hfd_edge.Mosaic"):
        RasterSource(tiles)
