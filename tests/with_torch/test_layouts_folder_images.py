"""The folder's rasters are read by the rules of a run: names, scale and offset tags, masks, nodata; what contradicts set.yaml is refused."""

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp

torch = pytest.importorskip("torch")

from test_layouts_folder import describe, folder, save  # noqa: E402

from hfd_edge.radiometry import make_gather  # noqa: E402
from hfd_edge.raster import RasterSource  # noqa: E402
from hfd_edge.raster_run import RasterOptions, declared_radiometry  # noqa: E402
from hfd_edge.spec import ModelInput, Unit  # noqa: E402
from tests.with_torch.tiny_sets import SIDE, pixels  # noqa: E402
from training.augment import AugmentOptions, Geometry, cut  # noqa: E402
from training.layouts import open_pairs  # noqa: E402
from training.loader import Loader, LoaderOptions  # noqa: E402
from training.pairs import DataError  # noqa: E402
from training.statistics import measure, sar_tensor  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
TENTHS = np.rint(pixels(2, 3) * 10).astype(np.int16)


def rewrite(path, image, names=(), scale=1.0, offset=0.0, unit=None, mask=None, alpha=False, tags=None, **profile):
    with rasterio.open(path) as old:
        profile = {"crs": old.crs, "transform": old.transform, **profile}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(
            path, "w", driver="GTiff", height=image.shape[1], width=image.shape[2], count=len(image), dtype=image.dtype, **profile) as file:
        if alpha:
            file.colorinterp = [ColorInterp.gray] * (len(image) - 1) + [ColorInterp.alpha]
        file.write(image)
        for number, name in enumerate(names, 1):
            file.set_band_description(number, name)
        if (scale, offset) != (1.0, 0.0):
            file.scales, file.offsets = (scale,) * len(image), (offset,) * len(image)
        if unit:
            file.units = (unit,) * len(image)
        if mask is not None:
            file.write_mask(mask)
        file.update_tags(**(tags or {}))


def read(root, name="p03"):
    return open_pairs("folder", root).read(name)


def test_scale_and_offset_tags_are_honoured_as_in_a_run(tmp_path):
    rewrite(folder(tmp_path, nodata=None) / "sar/p03.tif", TENTHS + 100, scale=0.1, offset=-10.0, nodata=-32768)
    pair = read(tmp_path)
    assert pair.valid.all()
    np.testing.assert_allclose(pair.sar, TENTHS * 0.1, atol=1e-5)
    describe(tmp_path, nodata=None, scale=0.1)
    with pytest.raises(DataError, match="scale 0.1 and offset -10, set.yaml says scale: 0.1.*leave scale out"):
        read(tmp_path)
    rewrite(tmp_path / "sar/p03.tif", TENTHS, scale=0.1)
    assert np.allclose(read(tmp_path).sar, TENTHS * 0.1, atol=1e-5)        # said twice, but the same


@pytest.mark.parametrize("marks", [{"scale": 0.1, "offset": -1.0, "nodata": -32768}, {"names": ("VH", "VV"), "scale": 0.1},
                                   {"names": ("VV", "VH"), "scale": 0.1, "mask": np.arange(SIDE * SIDE).reshape(SIDE, SIDE) > 99}])
def test_a_student_sees_in_training_what_it_sees_in_a_run(marks, tmp_path):
    rewrite(folder(tmp_path, nodata=None) / "sar/p03.tif", TENTHS, **marks)
    model = ModelInput(Unit.DB, (-12.0, -13.0), (4.0, 5.0), ((-20.0, 1.0), (-24.0, 3.0)), -24.0)
    with RasterSource(tmp_path / "sar/p03.tif", wanted=("VV", "VH")) as source:
        stored, valid = source.read(0, SIDE)
        made, status = np.empty(stored.shape, np.float32), np.empty(stored.shape[1:], np.uint8)
        declared = declared_radiometry(source, RasterOptions(unit="db"))
        make_gather(declared, model).run(stored, (0, 0), status.shape, (0, 0), made, status, valid, 1)
    np.testing.assert_allclose(sar_tensor(read(tmp_path), Unit.DB, model).numpy(), made, atol=1e-5)


@pytest.mark.parametrize("marks", [{"names": ("Gamma0_VV", "Gamma0_VH")}, {"unit": "gamma0 dB"}, {"tags": {"HFD_UNIT": "db", "HFD_QUANTITY": "gamma0"}}])
def test_a_quantity_that_the_files_contradict_is_refused(marks, tmp_path):
    rewrite(folder(tmp_path) / "sar/p03.tif", pixels(2, 3), **marks)
    with pytest.raises(DataError, match="p03.tif: its tags or the names of its bands say gamma0 and set.yaml says quantity: sigma0"):
        open_pairs("folder", tmp_path)
    assert open_pairs("folder", describe(tmp_path, quantity="gamma0")).info.quantity == "gamma0"


def test_bands_are_taken_by_name_where_the_file_names_them(tmp_path):
    rewrite(folder(tmp_path) / "sar/p03.tif", pixels(2, 3)[::-1], ("Sigma0_VH", "Sigma0_VV"))
    np.testing.assert_array_equal(read(tmp_path).sar, pixels(2, 3))
    rewrite(tmp_path / "sar/p03.tif", np.concatenate([pixels(1, 9), pixels(2, 3)]), ("angle", "VV", "VH"))
    np.testing.assert_array_equal(read(tmp_path).sar, pixels(2, 3))
    rewrite(tmp_path / "eo/p03.tif", pixels(3, 3, np.uint8, 0, 255)[[2, 0, 1]], ("B", "R", "G"))
    np.testing.assert_array_equal(read(tmp_path).eo, pixels(3, 3, np.uint8, 0, 255))


@pytest.mark.parametrize("names,words", [(("VH", ""), "VH, .no name. and"), (("HH", "HV"), "another polarisation"),
                                         (("", "VV"), "describe all bands of the file, or none"), (("VV", "angle"), "or an angle")])
def test_names_that_contradict_the_set_are_refused(names, words, tmp_path):
    rewrite(folder(tmp_path) / "sar/p03.tif", pixels(2, 3), names)
    with pytest.raises(DataError, match=words) as error:
        read(tmp_path)
    assert "p03.tif" in str(error.value) and "set.yaml" in str(error.value) and "--bands" not in str(error.value)


@pytest.mark.parametrize("names,bands", [(("VV_20200101", "VH_20200101", "VV_20200113", "VH_20200113"), ["VV1", "VH1", "VV2", "VH2"]),
                                         (("VV_20200101", "VV_20200113"), ["VV", "VV2"]), (("VV", "VV"), ["VV_pre", "VV_post"])])
def test_a_time_series_is_taken_in_the_order_of_the_file(names, bands, tmp_path):
    folder(tmp_path, bands=bands)
    for number in range(10):
        rewrite(tmp_path / f"sar/p{number:02d}.tif", pixels(len(bands), number), names)
    np.testing.assert_array_equal(read(tmp_path).sar, pixels(len(bands), 3))
    rewrite(tmp_path / "sar/p03.tif", pixels(len(bands), 3), [name.replace("VV", "HH") for name in names])
    with pytest.raises(DataError, match="HH.* and set.yaml says bands: .*correct bands in set.yaml") as error:
        read(tmp_path)
    assert "network" not in str(error.value) and "p03.tif" in str(error.value)


@pytest.mark.parametrize("count,suffix", [(4, ".tif"), (4, ".png"), (2, ".png")])
def test_the_last_8_bit_band_of_digital_numbers_is_data_where_the_set_names_it(count, suffix, tmp_path):
    folder(tmp_path, bands=[f"B{i}" for i in range(count)], unit="dn", nodata=None)
    image = pixels(count, 3, np.uint8, 0, 255)
    for number in range(10):
        (tmp_path / f"sar/p{number:02d}.tif").unlink()
        save(tmp_path / f"sar/p{number:02d}", suffix, image)
    pair = read(tmp_path)
    assert pair.valid.all() and np.array_equal(pair.sar, image)


def test_an_alpha_band_of_measured_power_is_no_band(tmp_path):
    folder(tmp_path)
    rewrite(tmp_path / "sar/p03.tif", pixels(2, 3), alpha=True)
    with pytest.raises(DataError, match="sar has 1 bands, 2 are declared.*alpha is no band"):
        read(tmp_path)


def test_masks_alpha_and_the_nodata_of_every_band_are_honoured(tmp_path):
    path, inside = folder(tmp_path) / "sar/p03.tif", np.ones((SIDE, SIDE), bool)
    inside[:5, 2:] = False
    rewrite(path, pixels(2, 3), mask=inside)
    assert np.array_equal(read(tmp_path).valid, inside) and (read(tmp_path).labels[~inside] == 255).all()
    rewrite(path, np.concatenate([pixels(2, 3), inside[None] * np.float32(255)]), alpha=True)
    assert np.array_equal(read(tmp_path).valid, inside)
    marked = pixels(2, 3)
    marked[1][~inside] = -77
    rewrite(path, marked)
    path.with_name("p03.tif.aux.xml").write_text('<PAMDataset><PAMRasterBand band="2"><NoDataValue>-77</NoDataValue></PAMRasterBand>'
                                                 "</PAMDataset>")
    assert np.array_equal(read(tmp_path).valid, inside)


@pytest.mark.parametrize("marks,words", [({"unit": "sigma0 linear"}, "tags say unit intensity"), ({"tags": {"HFD_UNIT": "amplitude"}}, "unit amplitude")])
def test_a_unit_that_the_tags_state_and_the_set_does_not_is_refused(marks, words, tmp_path):
    rewrite(folder(tmp_path) / "sar/p03.tif", np.abs(pixels(2, 3)), **marks)
    with pytest.raises(DataError, match=words):
        read(tmp_path)
    rewrite(tmp_path / "sar/p03.tif", pixels(2, 3), unit="dB")
    assert open_pairs("folder", tmp_path).info.sar_unit is Unit.DB and read(tmp_path).valid.all()


def test_eight_bit_pixels_are_a_measurement_only_with_a_scale(tmp_path):
    stored = pixels(2, 3, np.uint8, 0, 255)
    rewrite(folder(tmp_path) / "sar/p03.tif", stored, scale=0.1, offset=-30.0)
    np.testing.assert_allclose(read(tmp_path).sar, stored * 0.1 - 30, atol=1e-5)
    rewrite(tmp_path / "sar/p03.tif", stored)
    with pytest.raises(DataError, match="p03.tif.*8-bit"):
        read(tmp_path)


def test_optical_nodata_is_no_optical_image_there_and_0_after_normalisation(tmp_path):
    optical, seen = pixels(3, 3, np.int16, 0, 3000), np.ones((SIDE, SIDE), bool)
    seen[:, :6] = False
    rewrite(folder(tmp_path) / "eo/p03.tif", np.where(seen, optical, -32768).astype(np.int16), nodata=-32768)
    pair = read(tmp_path)
    assert np.array_equal(pair.eo_seen, seen) and np.array_equal(pair.eo[:, seen], optical[:, seen]) and pair.valid[5:].all()
    np.testing.assert_allclose(pair.eo[:, ~seen], np.repeat(optical[:, seen].mean(axis=1)[:, None], (~seen).sum(), axis=1), rtol=1e-6)
    item = cut(pair, Geometry(2, 4, SIDE, ("cols",), (0, 1)))
    assert not item.eo_seen[:, -1].any() and item.eo_seen[:-2, 4:-1].all() and not item.eo_seen[-2:].any()
    rewrite(tmp_path / "eo/p04.tif", np.full((3, SIDE, SIDE), -32768, np.int16), nodata=-32768)
    pairs = open_pairs("folder", tmp_path)
    assert pairs.read("p04").eo is None and pairs.read("p05").eo_seen is None
    options = LoaderOptions(crop_px=SIDE, batch=6, workers=0, augment=AugmentOptions(flips=()))
    batch = Loader(pairs, pairs.names("train"), measure(pairs), options, eo=True).batch(0)
    holes = (batch.eo == 0).all(dim=1).flatten(1).sum(dim=1)
    assert sorted(holes.tolist()) == [0] * 5 + [6 * SIDE]


def test_the_fourth_8_bit_band_of_an_optical_image_is_data_where_four_are_declared_and_alpha_where_three_are(tmp_path):
    four = pixels(4, 3, np.uint8, 0, 255)
    folder(tmp_path)
    rewrite(tmp_path / "eo/p03.tif", four)                                  # GDAL itself calls band four alpha
    assert np.array_equal(read(tmp_path).eo_seen, four[3] != 0) if (four[3] == 0).any() else read(tmp_path).eo_seen is None
    assert read(tmp_path).eo.shape == (3, SIDE, SIDE)
    for number in range(10):
        rewrite(tmp_path / f"eo/p{number:02d}.tif", four)
    describe(tmp_path, eo_bands=["B", "G", "R", "NIR"])
    pair = read(tmp_path)
    assert pair.eo_seen is None and np.array_equal(pair.eo, four)
    inside = np.arange(SIDE) > np.full((SIDE, 1), 4)
    rewrite(tmp_path / "eo/p03.tif", four, mask=inside)                     # a mask of the file is none of its bands
    assert np.array_equal(read(tmp_path).eo_seen, inside)


def test_pixels_in_numpy_files_and_pictures_are_read_as_before(tmp_path):
    folder(tmp_path, ".npy")
    save(tmp_path / "label/p03", ".npy", np.full((SIDE, SIDE), 20.0))
    (tmp_path / "eo/p03.npy").unlink()
    save(tmp_path / "eo/p03", ".png", pixels(3, 3, np.uint8, 0, 255))
    pair = read(tmp_path)
    assert np.array_equal(pair.eo, pixels(3, 3, np.uint8, 0, 255)) and (pair.labels[pair.valid] == 1).all()
