"""PALSAR and PALSAR-2 GeoTIFFs: amplitude by JAXA's factor where the name says enough, or refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from rasterio.transform import Affine

from hfd_edge import Mosaic, RadiometryError, RasterError, Segmenter
from hfd_edge.export.data_files import scene_files
from hfd_edge.products import SceneRequest, open_scene
from hfd_edge.raster import RasterSource
from tests.engines import levels_engine, plain_input
from tests.rasters import UTM, write_tif

DN = np.random.default_rng(0).integers(0, 9000, (1, 40, 50)).astype(np.uint16)
SCALE = 10 ** (-83.0 / 20)
STANDARD = "IMG-{}-ALOS2146686640-170209-FBDR1.5GUA"
FLATTENED = "ALOS2437590500-220630_WWDR2.2GUA_{}_SLP"
MOSAIC = "N00E072_21_sl_{}_F02DAR"
READ = {STANDARD: "sigma0", "IMG-{}-ALOS2237752900-181018-UBSR2.1GUD": "sigma0", "IMG-{}-ALOS2049273700-150422-FBDR1.5RUD": "sigma0",
        "IMG-{}-ALOS2146686640-160928-WBDR2.1GUD": "sigma0", "img-{}-alos2146686640-170209-fbdr1.5gua": "sigma0", FLATTENED: "gamma0",
        "ALOS2010632250-140804_WBDR2.2GUD_{}_SLP": "gamma0", MOSAIC: "gamma0", "S05W070_17_sl_{}_FP6QAR": "gamma0", "N22E089_07_sl_{}": "gamma0"}


def image(folder, name, pol="HH", values=DN, **profile):
    return write_tif(folder / f"{name.format(pol)}.tif", values, **{"transform": UTM, "crs": "EPSG:32633", **profile})


@pytest.mark.parametrize("name", READ)
def test_power_is_amplitude_by_jaxas_factor_of_the_quantity_that_the_level_has(tmp_path, name):
    files = [image(tmp_path, name, pol) for pol in ("HH", "HV")]
    with open_scene(files, SceneRequest(wanted=("HV", "HH"))) as source:
        assert (source.declared.unit, source.declared.quantity, source.declared.nodata) == ("amplitude", READ[name], (0.0,))
        assert source.scale == source.declared.scale and math.isclose(source.scale, SCALE, rel_tol=1e-12) and source.nodata == (0.0,)
        assert source.band_names == ("HV", "HH") and "-83.0 dB" in source.notes[0] and "layout only" in source.notes[-1]


@pytest.mark.parametrize("name", [STANDARD, FLATTENED, MOSAIC])
def test_a_run_sees_the_power_that_jaxa_means(tmp_path, name):
    path = image(tmp_path, name)
    engine = levels_engine(tmp_path / "e.engine", 64, input=plain_input(1, unit="db", floor=-60.0, mean=(-60.0,), std=(1.0,)))
    with Segmenter(engine) as segmenter:
        report = segmenter.run_raster(path, tmp_path / "map.tif")
    assert any("layout only" in note for note in report.notes) and "amplitude" in report.read_as
    with RasterSource(tmp_path / "map.tif") as written:
        labels = written.read(0, 40)[0][0]
    with np.errstate(divide="ignore"):
        level = 10 * np.log10(DN[0].astype(np.float64) ** 2) - 83.0 + 60
    np.testing.assert_array_equal(labels == 255, DN[0] == 0)
    clear = (np.abs(level - np.floor(level) - 0.5) > 1e-3) & (DN[0] != 0)                    # not between two labels
    np.testing.assert_array_equal(labels[clear], np.clip(np.rint(level), 0, 63)[clear])


@pytest.mark.parametrize(("name", "words"), [
    ("IMG-{}-ALOS2014410740-140829-UBSL3.1GUA", "level 3.1.*compressed"), ("IMG-{}-ALOS2055603740-150604-FBDR1.1__D", "level 1.1.*complex"),
    ("IMG-{}-ALOS2101143750-160407-WBDR1.1__D-F3", "level 1.1"), ("IMG-{}-ALOS2058563200-150624-WBDR2.1GUD", "-79.0 dB for beam W2"),
    ("IMG-{}-ALOS2058563200-160927-VBDR1.5GUD", "ordered before 2016-09-28"), ("IMG-{}-ALPSRP031591140-P1.5GUA", "processed from 2009-01-09 on.*--scale"),
    ("N10E010_96_sl_{}", "JERS-1"), ("N10E010_12_sl_{}_F02DAR", "PALSAR-2")])
def test_what_has_another_factor_or_several_is_refused_with_the_way_out(tmp_path, name, words):
    with pytest.raises(RadiometryError, match=words) as caught:
        open_scene(image(tmp_path, name))
    assert "\n" not in str(caught.value)
    with open_scene(image(tmp_path, name), SceneRequest(unit="amplitude")) as source:              # believed
        assert source.declared is None and source.scale == 1.0


def test_complex_images_of_such_a_name_are_refused_whatever_their_tags_say(tmp_path):
    for name in ("IMG-{}-ALOS2055603740-150604-FBDR1.1__D", STANDARD):
        with pytest.raises(RadiometryError, match="complex"):
            open_scene(image(tmp_path, name, values=(DN + 1j * DN).astype(np.complex64)))


def test_the_summary_of_level_2_2_must_state_the_formula(tmp_path):
    def summary(convention="Gamma-0", formula="10*log10(DN^2)-83.0", file=f"{FLATTENED.format('HH')}.tif", filtered="FALSE"):
        (tmp_path / "ALOS2437590500-220630_WWDR2.2GUA_summary.xml").write_text(
            f"<Product><CARD4LProductAttributes><Filtering><FilterApplied>{filtered}</FilterApplied></Filtering><BackscatterMeasurementData>"
            f"<BackscatterMeasurement>{convention}</BackscatterMeasurement><BackscatterConversionEq>{formula}</BackscatterConversionEq>"
            f"<FileName>{file}</FileName></BackscatterMeasurementData></CARD4LProductAttributes></Product>")
        return image(tmp_path, FLATTENED)

    open_scene(summary()).close()
    open_scene(summary(formula="10*log10(DN^2) - 83.0")).close()
    with open_scene(summary(filtered="TRUE")) as source:
        assert any("filtered against speckle" in note for note in source.notes)
    for wrong in ({"convention": "Sigma-0"}, {"formula": "10*log10(DN^2)-81.0"}, {"file": "other.tif"}):
        with pytest.raises(RadiometryError, match="summary.xml states.*--scale"):
            open_scene(summary(**wrong))
    path = summary()
    (tmp_path / "ALOS2437590500-220630_WWDR2.2GUA_summary.xml").write_text("<!DOCTYPE x><Product/>")
    with pytest.raises(RasterError, match="document type"):
        open_scene(path)


def test_files_of_two_quantities_and_files_that_are_no_images_of_palsar_are_refused(tmp_path):
    first = image(tmp_path, STANDARD)
    with pytest.raises(RadiometryError, match="both gamma0 and sigma0"):
        open_scene([first, image(tmp_path, MOSAIC, "HV")])
    with pytest.raises(RadiometryError, match="other_HV.tif beside .*not all of them"):
        open_scene([first, image(tmp_path, "other_{}", "HV")])


@pytest.mark.parametrize("values", [DN.astype(np.float32), DN.clip(0, 255).astype(np.uint8)])
def test_what_was_converted_is_no_product_any_more(tmp_path, values):
    with open_scene(image(tmp_path, STANDARD, values=values)) as source:
        assert source.declared is None
    with open_scene(image(tmp_path, f"{STANDARD}.UTM48N.30M")) as source:           # another name
        assert source.declared is None


def test_a_unit_in_the_files_own_tags_is_believed(tmp_path):
    with open_scene(image(tmp_path, STANDARD, tags={"HFD_UNIT": "db"})) as source:
        assert source.declared.unit == "db" and source.scale == 1.0


def test_a_folder_of_tiles_holds_scenes_and_no_masks_dates_or_angles(tmp_path):
    files = [image(tmp_path, name, pol) for name in (FLATTENED, MOSAIC) for pol in ("HH", "HV")]
    for name in ("N00E072_21_mask_F02DAR", "N00E072_21_linci_F02DAR", "N00E072_21_date_F02DAR", "N00E072_21_sl_mask_F02DAR",
                 "ALOS2437590500-220630_WWDR2.2GUA_MSK", "ALOS2437590500-220630_WWDR2.2GUA_LIN"):
        image(tmp_path, name)
    assert [scene.files for scene in scene_files([tmp_path], ("HH", "HV"))] == [tuple(files[:2]), tuple(files[2:])]


@pytest.mark.parametrize(("name", "mask", "invalid"), [
    (MOSAIC, "N00E072_21_mask_F02DAR", (0,)), ("N10E010_20_sl_{}_F02DAR", "N10E010_20_sl_mask_F02DAR", (0,)),
    ("N22E089_07_sl_{}", "N22E089_07_mask", (0,)), (FLATTENED, "ALOS2437590500-220630_WWDR2.2GUA_MSK", (0, 5))])
def test_the_mask_beside_an_image_marks_what_is_no_data_and_is_kept(tmp_path, name, mask, invalid):
    stored = np.random.default_rng(3).choice([0, 1, 2, 3, 4, 5, 50, 100, 150, 255], (1, 40, 50)).astype(np.uint8)
    files = [image(tmp_path, name, pol) for pol in ("HH", "HV")]
    image(tmp_path, mask, values=stored)
    with open_scene(files) as source:
        for row, rows, col, cols in ((0, 40, 0, 50), (7, 20, 11, 30)):
            np.testing.assert_array_equal(source.read_part(row, rows, col, cols)[1], ~np.isin(stored[0], invalid)[row:row + rows, col:col + cols])
        assert f"nodata also where {mask}.tif is {' or '.join(map(str, invalid))};" in source.notes[1] and source.geo.files[-1].name == f"{mask}.tif"
    with open_scene(Mosaic(files)) as source:
        assert source.geo.files[-1].name == f"{mask}.tif", "a map never replaces what its run has read"
    with Segmenter(levels_engine(tmp_path / "e.engine", 64, input=plain_input(1, unit="db", floor=-60.0, mean=(-60.0,), std=(1.0,)))) as segmenter:
        segmenter.run_raster(files[0], tmp_path / "map.tif")
    with RasterSource(tmp_path / "map.tif") as written:
        np.testing.assert_array_equal(written.read(0, 40)[0][0] == 255, (DN[0] == 0) | np.isin(stored[0], invalid))


def test_a_mask_of_another_grid_or_a_damaged_one_is_refused(tmp_path):
    path, mask = image(tmp_path, MOSAIC), tmp_path / "N00E072_21_mask_F02DAR.tif"
    aside = Affine(10.0, 0.0, 500_030.0, 0.0, -10.0, 4_600_000.0)
    for shape, place in (((1, 39, 50), UTM), ((2, 40, 50), UTM), ((1, 40, 50), aside)):
        write_tif(mask, np.ones(shape, np.uint8), transform=place, crs="EPSG:32633")
        with pytest.raises(RasterError, match="is no mask of N00E072_21_sl_HH_F02DAR.tif.*take the mask away"):
            open_scene(path)
    mask.write_bytes(b"II*\0 no more")
    with pytest.raises(RasterError, match="damaged"):
        open_scene(path)
    mask.unlink()
    with pytest.raises(RadiometryError, match="read unasked"):
        open_scene([path, image(tmp_path, "N00E072_21_mask_F02DAR")], SceneRequest(bands=["HH"]))
