"""Rasters in: what is read is what is stored, and what the file says of it."""

import subprocess
import sys
import warnings
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.transform import Affine

from hfd_edge.errors import RasterError
from hfd_edge.raster import GeoReference, RasterSource
from hfd_edge.raster_run import RasterOptions, declared_radiometry
from tests.rasters import GCPS, ROTATED, UTM, ramp, write_tif

ROOT = Path(__file__).resolve().parent.parent


def read_all(path, **options):
    with RasterSource(path, **options) as source:
        return source.read(0, source.rows)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64", "complex64",
                                   "complex128"])
@pytest.mark.parametrize("layout", [{}, {"tiled": True, "blockxsize": 16, "blockysize": 16},
                                    {"interleave": "pixel", "compress": "deflate"}])
def test_stored_pixels_come_back_in_their_own_type(tmp_path, dtype, layout):
    values = ramp(2, 37, 51, "float64").astype(dtype)
    path = write_tif(tmp_path / "a.tif", values, **layout)
    with RasterSource(path) as source:
        assert (source.rows, source.cols, source.count, source.dtype) == (37, 51, 2, np.dtype(dtype))
        for row, rows in ((0, 37), (5, 1), (15, 20), (36, 1)):
            got, valid = source.read(row, rows)
            assert valid is None and got.dtype == values.dtype
            np.testing.assert_array_equal(got, values[:, row:row + rows])


def test_complex_integers_read_as_complex_floats(tmp_path):
    values = (ramp(1, 4, 4) + 1j).astype("complex64")
    with rasterio.open(tmp_path / "slc.tif", "w", driver="GTiff", width=4, height=4, count=1, dtype="complex_int16",
                       transform=UTM) as dataset:
        dataset.write(values)
    with RasterSource(tmp_path / "slc.tif") as source:
        assert source.dtype == np.complex64 and source.declared.unit == "complex"
        np.testing.assert_array_equal(source.read(0, 4)[0], values)


@pytest.mark.parametrize("rows", [(-1, 2), (0, 0), (0, 8), (7, 1)])
def test_rows_outside_the_scene_are_refused(tmp_path, rows):
    with RasterSource(write_tif(tmp_path / "a.tif", ramp())) as source, pytest.raises(RasterError, match="rows 0 to 6"):
        source.read(*rows)


# Validity

@pytest.mark.parametrize("dtype,nodata", [("uint16", 0), ("int16", -32768), ("float32", -9999.0), ("float32", 0.1),
                                          ("float64", 0.1), ("float32", -3.4028234663852886e38)])
def test_nodata_of_any_band_makes_the_pixel_invalid(tmp_path, dtype, nodata):
    values = ramp(dtype=dtype)
    values[0, 1, 2] = values[1, 3, 4] = nodata
    _, valid = read_all(write_tif(tmp_path / "a.tif", values, nodata=nodata))
    assert sorted(map(tuple, np.argwhere(~valid))) == [(1, 2), (3, 4)]


@pytest.mark.parametrize("nodata", [-9999.0, -32768.0, -99.99, 65519.0, -3.4028234663852886e38])
def test_nodata_is_what_floats_of_16_bits_hold_of_it(tmp_path, nodata):
    values = ramp()
    values[0, 1, 2] = values[1, 3, 4] = nodata
    got, valid = read_all(write_tif(tmp_path / "a.tif", values, nodata=nodata, NBITS=16))
    seen = np.isfinite(got).all(axis=0) if valid is None else np.isfinite(got).all(axis=0) & valid       # infinity is nodata without being told
    assert sorted(map(tuple, np.argwhere(~seen))) == [(1, 2), (3, 4)]


@pytest.mark.parametrize("stored", [-9992.0, -10000.0])
def test_nodata_of_16_bit_floats_is_met_whichever_gdal_wrote_it(tmp_path, stored):
    """Before 3.11 it cut, since then it rounds: both numbers are floats of 16 bits, and are written as they are."""
    values = ramp()
    values[0, 1, 2] = stored
    with RasterSource(write_tif(tmp_path / "a.tif", values, nodata=-9999.0, NBITS=16)) as source:
        got, valid = source.read(0, 7)
        assert source.dtype == got.dtype == np.float32 and (got[0] == values[0]).all()
    assert [*map(tuple, np.argwhere(~valid))] == [(1, 2)]


def test_nan_as_nodata_is_left_in_the_values(tmp_path):
    values = ramp()
    values[1, 2, 3] = np.nan
    got, valid = read_all(write_tif(tmp_path / "a.tif", values, nodata=np.nan))
    assert valid is None and np.isnan(got[1, 2, 3]) and np.isnan(got).sum() == 1


def test_a_nodata_value_that_no_pixel_can_hold_marks_none(tmp_path):
    path = write_tif(tmp_path / "a.tif", ramp(dtype="uint16"))
    (tmp_path / "a.tif.aux.xml").write_text("<PAMDataset>" + "".join(
        f'<PAMRasterBand band="{b}"><NoDataValue>-9999</NoDataValue></PAMRasterBand>' for b in (1, 2)) + "</PAMDataset>")
    with RasterSource(path) as source:
        assert source.nodata == () and source.read(0, 7)[1] is None


def test_each_bands_own_nodata_counts_for_that_band_only(tmp_path):
    values = ramp(dtype="uint16")
    values[0, 0, 0], values[1, 0, 1], values[0, 5, 5] = 7, 9, 9
    path = write_tif(tmp_path / "a.tif", values)
    (tmp_path / "a.tif.aux.xml").write_text(
        '<PAMDataset><PAMRasterBand band="1"><NoDataValue>7</NoDataValue></PAMRasterBand>'
        '<PAMRasterBand band="2"><NoDataValue>9</NoDataValue></PAMRasterBand></PAMDataset>')
    with RasterSource(path) as source:
        assert source.nodata == ()                      # the mask says it; one list for all bands would be wrong
        invalid = ~source.read(0, 7)[1]
    expected = (values[0] == 7) | (values[1] == 9)
    np.testing.assert_array_equal(invalid, expected)
    assert not invalid[5, 5]


def test_an_internal_mask_and_nodata_add_up(tmp_path):
    values, mask = ramp(dtype="uint16"), np.full((7, 11), 255, np.uint8)
    mask[2, 2] = 0
    with RasterSource(write_tif(tmp_path / "a.tif", values, mask=mask)) as source:
        np.testing.assert_array_equal(source.read(0, 7)[1], mask != 0)
        np.testing.assert_array_equal(source.read(2, 1)[1], mask[2:3] != 0)
    values[1, 4, 4] = 0
    valid = read_all(write_tif(tmp_path / "b.tif", values, mask=mask, nodata=0))[1]
    assert not valid[4, 4]


def test_a_mask_of_each_band_makes_the_pixel_invalid(tmp_path):
    """GDAL's way of it: a file beside with a band of mask for each, and no flag."""
    masks = np.full((2, 7, 11), 255, np.uint8)
    masks[0, 2, 2] = masks[1, 4, 5] = 0
    path = write_tif(tmp_path / "a.tif", ramp())
    write_tif(tmp_path / "mask.tif", masks, tags={"INTERNAL_MASK_FLAGS_1": "0", "INTERNAL_MASK_FLAGS_2": "0"}).rename(tmp_path / "a.tif.msk")
    np.testing.assert_array_equal(read_all(path)[1], masks.all(axis=0))


def test_an_alpha_band_is_validity_and_not_data(tmp_path):
    from rasterio.enums import ColorInterp
    values = ramp(3, dtype="uint16")
    values[2] = 65535
    values[2, 3, 3] = 0
    path = write_tif(tmp_path / "a.tif", values, colorinterp=[ColorInterp.gray, ColorInterp.undefined, ColorInterp.alpha])
    with RasterSource(path) as source:
        assert source.count == 2
        assert np.argwhere(~source.read(0, 7)[1]).tolist() == [[3, 3]]


def test_one_file_per_band_is_one_scene_in_the_wanted_order(tmp_path):
    values = ramp()
    vh = write_tif(tmp_path / "scene_VH.tif", values[1:], transform=UTM, crs="EPSG:32633")
    vv = write_tif(tmp_path / "scene_VV.tif", values[:1], transform=UTM, crs="EPSG:32633")
    np.testing.assert_array_equal(read_all([vh, vv], wanted=("VV", "VH"))[0], values)
    np.testing.assert_array_equal(read_all([vh, vv])[0], values[::-1])
    with RasterSource([vh, vv]) as source:
        assert source.geo.files == (vh, vv) and source.band_names == ("VH", "VV")
    small = write_tif(tmp_path / "small.tif", ramp(1, 6, 11))
    moved = write_tif(tmp_path / "moved.tif", values[:1], transform=ROTATED, crs="EPSG:32633")
    (tmp_path / "link.tif").symlink_to(vv)
    for other, words in ((small, "6 x 11 pixels"), (tmp_path / "link.tif", "given twice"), (moved, "different places")):
        with pytest.raises(RasterError, match=words):
            RasterSource([vv, other])


@pytest.mark.parametrize(("spacing", "same"), [(10.0, True), (10.0 + 2e-4, True), (10.008, False), (9.992, False)])
def test_files_whose_pixels_drift_apart_are_no_scene(tmp_path, spacing, same):
    """Of 400 columns the last lies a third of a pixel off where the spacing differs by less than a thousandth; of a whole scene 20."""
    files = [write_tif(tmp_path / f"a_{name}.tif", ramp(1, 2, 400), crs="EPSG:32633", transform=Affine(size, 0, 5e5, 0, -10, 4.6e6))
             for name, size in (("VV", 10.0), ("VH", spacing))]
    with nullcontext() if same else pytest.raises(RasterError, match="different places"):
        RasterSource(files).close()


@pytest.mark.parametrize(("crs", "same"), [("EPSG:32633+5773", True), ("+proj=utm +zone=33 +ellps=WGS84 +units=m", True), ("EPSG:32634", False),
                                           ("EPSG:4326", False)])
def test_one_place_in_other_words_for_the_coordinate_system_is_one_scene(tmp_path, crs, same):
    files = [write_tif(tmp_path / f"a_{name}.tif", ramp(1), transform=UTM, **({"crs": system} if system else {}))
             for name, system in (("VV", "EPSG:32633"), ("VH", crs))]
    with nullcontext() if same else pytest.raises(RasterError, match="different places"):
        RasterSource(files).close()


@pytest.mark.parametrize(("left_out", "words"), [("crs", "not both a coordinate system.*-a_srs"), ("transform", "not both a transform.*-a_ullr")])
def test_a_file_without_a_place_beside_one_with_it_is_told_how_it_gets_it(tmp_path, left_out, words):
    place = {"crs": "EPSG:32633", "transform": UTM}
    files = [write_tif(tmp_path / "a_VV.tif", ramp(1), **place)]
    del place[left_out]
    files.append(write_tif(tmp_path / "a_VH.tif", ramp(1), **place))
    for given in (files, files[::-1]):
        with pytest.raises(RasterError, match=words):
            RasterSource(given)


@pytest.mark.parametrize("moved,same", [(0.0, True), (2e-5, True), (1e-4, False), (1.0, False)])
def test_files_with_control_points_of_other_places_are_no_scene(tmp_path, moved, same):
    points = [GroundControlPoint(p.row, p.col, p.x + moved, p.y, p.z) for p in GCPS]        # 1e-4 degrees a pixel
    files = [write_tif(tmp_path / name, ramp(1), gcps=gcps) for name, gcps in (("a_VV.tif", GCPS), ("a_VH.tif", points))]
    with nullcontext() if same else pytest.raises(RasterError, match="different places"):
        RasterSource(files).close()


# What the tags say

@pytest.mark.parametrize("profile,unit,quantity", [
    ({"units": ["dB", "dB"]}, "db", None), ({"units": ["sigma0 dB"] * 2}, "db", "sigma0"),
    ({"units": ["gamma0 linear"] * 2}, "intensity", "gamma0"),
    ({"tags": {"HFD_UNIT": "amplitude", "HFD_QUANTITY": "sigma0"}}, "amplitude", "sigma0")])
def test_a_unit_that_the_tags_state_is_declared(tmp_path, profile, unit, quantity):
    with RasterSource(write_tif(tmp_path / "a.tif", ramp(), **profile)) as source:
        assert (source.declared.unit, source.declared.quantity) == (unit, quantity)


@pytest.mark.parametrize("profile", [{}, {"units": ["dB", ""]}, {"units": ["m", "m"]}, {"units": ["linear"] * 2},
                                     {"tags": {"HFD_UNIT": "watt"}},
                                     {"descriptions": ["Sigma0_VV", "Sigma0_VH"]}])
def test_a_unit_that_the_tags_do_not_clearly_state_is_not_declared(tmp_path, profile):
    with RasterSource(write_tif(tmp_path / "a.tif", ramp(), **profile)) as source:
        assert source.declared is None


@pytest.mark.parametrize("names,quantity", [(("Gamma0_VV", "Gamma0_VH"), "gamma0"), (("Sigma0_VV_db", "Sigma0_VH_db"), "sigma0"), (("VV", "VH"), None),
                                            (("Beta0_VV", "beta_nought VH"), "beta0"), (("Gamma0_VV", "Sigma0_VH"), None)])
def test_the_quantity_in_the_bands_names_counts_for_a_declared_unit(tmp_path, names, quantity):
    with RasterSource(write_tif(tmp_path / "a.tif", ramp(), descriptions=names)) as source:
        assert source.declared is None and declared_radiometry(source, RasterOptions(unit="db")).quantity == quantity


def test_scale_offset_and_nodata_tags_are_read(tmp_path):
    path = write_tif(tmp_path / "a.tif", ramp(dtype="int16"), scales=[0.1, 0.1], offsets=[-3.0, -3.0], nodata=-1)
    with RasterSource(path) as source:
        assert (source.scale, source.offset, source.nodata) == (0.1, -3.0, (-1.0,))
    path = write_tif(tmp_path / "b.tif", ramp(dtype="int16"), scales=[0.1, 0.2])
    with pytest.raises(RasterError, match="-unscale"):
        RasterSource(path)


@pytest.mark.parametrize("place", [{}, {"crs": "EPSG:32633", "transform": UTM}, {"crs": "EPSG:32631", "transform": ROTATED},
                                   {"gcps": GCPS}])
def test_the_georeference_is_read_without_a_word(tmp_path, place):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with RasterSource(write_tif(tmp_path / "a.tif", ramp(), **place)) as source:
            geo = source.geo
    assert geo.transform == place.get("transform") and len(geo.gcps) == len(place.get("gcps", ()))
    assert isinstance(geo, GeoReference) and (geo.gcp_crs is not None) == ("gcps" in place)


@pytest.mark.parametrize("left,top,spacing,crs,apart", [
    (500_000, 4_600_000, 10, "EPSG:32633", 0), (500_004, 4_600_000, 10, "EPSG:32633", 0.4), (500_000, 4_599_000, 10, "EPSG:32633", 100),
    (500_000, 4_600_000, 20, "EPSG:32633", 30), (500_000, 4_600_000, 10, "EPSG:32634", 5e4), (2e8, 2e8, 10, "EPSG:4326", np.inf)])
def test_how_far_two_georeferences_lie_apart_is_told_in_pixels(left, top, spacing, crs, apart):
    geo, other = GeoReference.north_up("EPSG:32633", 500_000, 4_600_000, 10), GeoReference.north_up(crs, left, top, spacing)
    found = geo.pixels_apart(other, 20, 30)
    assert found == pytest.approx(apart, rel=0.05, abs=1e-6) and geo.pixels_apart(GeoReference(gcps=(1,)), 20, 30) is None
    assert GeoReference().pixels_apart(other, 20, 30) is None


def test_png_and_jpeg2000_are_read(tmp_path):
    values = ramp(1, 40, 40, "uint16")
    for name, driver in (("a.png", "PNG"), ("a.jp2", "JP2OpenJPEG")):
        lossless = {"QUALITY": "100", "REVERSIBLE": "YES"} if driver == "JP2OpenJPEG" else {}
        np.testing.assert_array_equal(read_all(write_tif(tmp_path / name, values, driver=driver, **lossless))[0], values)


def test_sources_close_in_any_order_and_in_any_thread(tmp_path):
    import threading
    path = write_tif(tmp_path / "a.tif", ramp())
    first, second, third = RasterSource(path), RasterSource(path), RasterSource(path)
    first.close()
    second.read(0, 7)
    second.close()
    thread = threading.Thread(target=third.close)
    thread.start()
    thread.join()
    read_all(path)


def test_gdals_cache_is_bounded_also_in_a_thread_that_reads_ahead(tmp_path):
    code = f"""
import threading
from tests.peak import peak_kib
from hfd_edge.raster import RasterSource, RasterProfile, write_raster
import numpy as np
rows = 16384
strip = np.zeros((2, 512, 4096), np.float32)
write_raster({str(tmp_path / "big.tif")!r}, ((r, strip) for r in range(0, rows, 512)), RasterProfile(rows, 4096, 2, "float32"))
def read():
    for r in range(0, rows, 512):
        source.read(r, 512)
with RasterSource({str(tmp_path / "big.tif")!r}) as source:
    thread = threading.Thread(target=read); thread.start(); thread.join()
print(peak_kib())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not done.stderr
    assert int(done.stdout) < 320 << 10, f"{done.stdout} KiB for a raster of 512 MiB"
