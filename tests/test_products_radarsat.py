"""RADARSAT-2 and RCM: power by the product's own tables, in any strips, placed by its tie points; what is something else is refused in one line."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio

from hfd_edge.errors import RadiometryError, RasterError
from hfd_edge.products import SceneRequest, open_scene
from tests import command
from tests.engines import plain_input, random_engine
from tests.radarsat_files import MadeUp
from tests.rasters import write_tif

KINDS = {"rs2": {}, "rcm": {"rcm": True}, "rcm-backwards": {"rcm": True, "step": -1}, "rcm-every-ninth": {"rcm": True, "step": 9},
         "rcm-every-seventh-backwards": {"rcm": True, "step": -7}}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("quantity", "table", "stated"), [(None, "Sigma", "sigma0"), ("gamma0", "Gamma", "gamma0"), ("beta0", "Beta", "beta0")])
def test_power_is_that_of_the_products_table_and_any_strips_hold_the_same_bits(tmp_path, kind, quantity, table, stated):
    made = MadeUp(**KINDS[kind])
    with open_scene(made.write(tmp_path), SceneRequest(wanted=("HV", "HH"), quantity=quantity)) as scene:
        assert (scene.rows, scene.cols, scene.count, scene.band_names, scene.spacing_m) == (57, 83, 2, ("HV", "HH"), (10.0, 12.5))
        values, valid = scene.read(0, scene.rows)
        expected, expected_valid = made.by_hand(("HV", "HH"), table)
        np.testing.assert_allclose(values, expected, rtol=1e-6)
        np.testing.assert_array_equal(valid, expected_valid)
        assert 0 < np.count_nonzero(~valid) < 100
        assert (scene.declared.unit, scene.declared.quantity, scene.declared.looks) == ("intensity", stated, None)
        assert f"calibrated to {stated}" in scene.notes[0] and "layout only" in scene.notes[-1]
        for row, rows, col, cols in ((0, 1, 0, 83), (20, 37, 5, 40), (56, 1, 82, 1)):
            part, part_valid = scene.read_part(row, rows, col, cols)
            np.testing.assert_array_equal(part, values[:, row:row + rows, col:col + cols])
            np.testing.assert_array_equal(part_valid, valid[row:row + rows, col:col + cols])


@pytest.mark.parametrize("kind", ["rs2", "rcm"])
def test_predict_takes_the_folder_or_a_file_of_it_and_the_map_has_its_tie_points(tmp_path, kind):
    made = MadeUp(**KINDS[kind])
    folder = made.write(tmp_path)
    engine = random_engine(tmp_path / "x.engine", ("HH", "HV"), input=plain_input(2, unit="db", floor=-40.0, mean=(-12.0, -18.0), std=(6.0, 6.0)))
    done = command.run("predict", folder, engine, "-o", tmp_path / "map.tif")
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    for words in (f"{'RCM' if made.rcm else 'RADARSAT-2'} {made.kind}, beam w2, pass descending", "calibrated to sigma0", "bands HH, HV in intensity",
                  "layout only"):
        assert words in said, said
    with rasterio.open(tmp_path / "map.tif") as labels:
        np.testing.assert_array_equal(labels.read(1) == 255, ~made.by_hand(("HH", "HV"))[1])
        assert [(p.row, p.col, round(p.x, 6), p.y) for p in labels.gcps[0]][2] == (0.5, made.cols - 0.5, round(-75 + (made.cols - 1) * 1e-4, 6), 60.0)
    for name in ("metadata/product.xml", "manifest.safe") if made.rcm else ("product.xml",):
        with open_scene(folder / name) as scene:
            assert scene.band_names == ("HH", "HV")
    command.failed(command.run("predict", folder, engine, "-o", tmp_path / "other.tif", "--unit", "amplitude"), "leave --unit out")
    image = folder / made.image("HH").removeprefix("../")
    command.failed(command.run("predict", folder, engine, "-o", image, "--overwrite"), image.name)


@pytest.mark.parametrize(("quantity", "table"), [("sigma0", "SIGMA0"), ("gamma0", "GAMMA"), ("beta0", "BETA0")])
def test_gdals_own_reader_of_radarsat_2_gives_the_same_power_and_tie_points(tmp_path, quantity, table):
    with rasterio.Env() as gdal:
        if "RS2" not in gdal.drivers():
            pytest.skip("this GDAL has no driver RS2")
    folder = MadeUp().write(tmp_path)
    with open_scene(folder, SceneRequest(quantity=quantity)) as scene, rasterio.open(f"RADARSAT_2_CALIB:{table}:{folder / 'product.xml'}") as theirs:
        np.testing.assert_allclose(scene.read(0, scene.rows)[0], theirs.read(), rtol=1e-6)
        places = [[(p.row, p.col, p.x, p.y, p.z) for p in points] for points in (scene.geo.gcps, theirs.gcps[0])]
        np.testing.assert_allclose(*places)


def refused(made, folder, error=RasterError, **request):
    with pytest.raises(error) as caught:
        with open_scene(made.write(folder), SceneRequest(**request)):
            pass
    assert "\n" not in str(caught.value), caught.value
    return str(caught.value)


@pytest.mark.parametrize("rcm", [False, True])
def test_what_is_no_detected_image_in_ground_range_or_lacks_a_polarisation_is_refused(tmp_path, rcm):
    for kind in ("SLC", "GCD", "SSG", "MLC"):
        assert f"of type {kind}" in refused(MadeUp(rcm=rcm, kind=kind), tmp_path)
    assert "(Complex)" in refused(MadeUp(rcm=rcm, sample="Complex"), tmp_path)
    assert "it holds HH, HV" in refused(MadeUp(rcm=rcm), tmp_path, wanted=("VV", "VH"))
    assert "choose by name" in refused(MadeUp(rcm=rcm), tmp_path, bands=(1, 2))
    assert "in this order; leave --bands out" in refused(MadeUp(rcm=rcm), tmp_path, bands=("HV", "HH"), wanted=("HH", "HV"))
    assert "chosen twice" in refused(MadeUp(rcm=rcm), tmp_path, bands=("HH", "hh"))


def test_floating_point_images_and_what_they_mark_as_nodata(tmp_path):
    dn = np.random.default_rng(4).uniform(1, 900, (57, 83)).astype(np.float32)
    made = MadeUp(dn={"HH": dn, "HV": dn.copy()})
    folder = made.write(tmp_path)
    marked = dn.copy()
    marked[3, 4], marked[5, 6], marked[7, 8], marked[9, 10] = np.nan, np.inf, -5.0, 0.0
    write_tif(folder / made.image("HV"), marked[np.newaxis], nodata=-5.0)
    with open_scene(folder) as scene:
        values, valid = scene.read(0, scene.rows)
    assert np.argwhere(~valid).tolist() == [[3, 4], [5, 6], [7, 8], [9, 10]]
    np.testing.assert_allclose(values[:, valid], made.by_hand(("HH", "HV"))[0][:, valid], rtol=1e-6)


def test_a_table_that_begins_inside_the_image_is_refused(tmp_path):
    made = MadeUp(rcm=True, step=9)
    made.write(tmp_path)
    table = tmp_path / "RCM1_OK1_made_up" / "metadata" / "calibration" / made.table("Sigma", "HH")
    for first, good in ((9, True), (10, False)):
        table.write_text(made.table_xml("Sigma").replace("<pixelFirstLutValue>0<", f"<pixelFirstLutValue>{first}<"))
        if good:
            open_scene(table.parent.parent.parent).close()
        else:
            with pytest.raises(RasterError, match="from column 10 in steps of 9.*must cover the 83 columns"):
                open_scene(table.parent.parent.parent)


@pytest.mark.parametrize("stated,said", [("", "noise not removed"), ("<noiseSubtractionPerformed>false</noiseSubtractionPerformed>", "noise not removed"),
                                         ("<noiseSubtractionPerformed>true</noiseSubtractionPerformed>", "noise removed by the processor")])
def test_noise_that_the_processor_subtracted_is_told(tmp_path, stated, said):
    made = MadeUp(rcm=True)
    xml = made.write(tmp_path) / "metadata/product.xml"
    end = "</imageGenerationParameters>"
    xml.write_text(made.product_xml().replace(end, f"<sarProcessingInformation>{stated}</sarProcessingInformation>{end}"))
    with open_scene(xml) as scene:
        assert said in scene.notes[0]


@pytest.mark.parametrize("pols,wanted,given", [(("CH", "CV"), None, ("CH", "CV")), (("HH", "VV", "HV", "VH"), ("VV", "VH"), ("VV", "VH"))])
def test_compact_and_full_polarimetry_of_rcm_is_read_by_the_names_of_its_images(tmp_path, pols, wanted, given):
    made = MadeUp(rcm=True, pols=pols, step=-1)
    with open_scene(made.write(tmp_path), SceneRequest(wanted=wanted)) as scene:
        assert scene.band_names == given
        np.testing.assert_allclose(scene.read(0, scene.rows)[0], made.by_hand(given)[0], rtol=1e-6)


@pytest.mark.parametrize("rcm", [False, True])
def test_tables_that_do_not_belong_to_the_image_are_refused(tmp_path, rcm):
    made = MadeUp(rcm=rcm)
    made.gains["Sigma"][40] = 0.0
    assert "above 0 everywhere" in refused(made, tmp_path, RadiometryError)
    made = MadeUp(rcm=rcm)
    made.gains["Sigma"] = made.gains["Sigma"][:-9]
    assert "columns" in refused(made, tmp_path)
    made = MadeUp(rcm=rcm)
    xml = made.write(tmp_path) / ("metadata/product.xml" if rcm else "product.xml")
    xml.write_text(made.product_xml().replace("Sigma Nought", "Sigma"))
    with pytest.raises(RadiometryError, match="0 tables of 'Sigma Nought' for HH.*Beta Nought, Gamma, Sigma"):
        open_scene(xml)
    write_tif(xml.parent / made.image("HH"), np.ones((1, made.rows, made.cols - 1), np.uint16))
    xml.write_text(made.product_xml())
    with pytest.raises(RasterError, match="do not belong together"):
        open_scene(xml)


@pytest.mark.parametrize("rcm", [False, True])
def test_files_outside_the_product_are_never_read(tmp_path, rcm):
    made = MadeUp(rcm=rcm)
    folder = made.write(tmp_path)
    xml = folder / ("metadata/product.xml" if rcm else "product.xml")
    write_tif(tmp_path / "outside.tif", made.dn["HH"][np.newaxis])
    (tmp_path / "outside.xml").write_text(made.table_xml("Sigma"))
    for old, new in ((made.image("HH"), "../../outside.tif" if rcm else "../outside.tif"), (made.image("HH"), str(tmp_path / "outside.tif")),
                     (made.image("HH"), "https://x/y.tif"), (made.image("HH"), ""),
                     (made.table("Sigma", "HH" if rcm else ""), "../../../outside.xml" if rcm else "../outside.xml")):
        xml.write_text(made.product_xml().replace(f">{old}<", f">{new}<"))
        with pytest.raises(RasterError, match="own folder only"):
            open_scene(folder)
    xml.write_text(made.product_xml())
    image = xml.parent / made.image("HH")
    image.unlink()
    image.symlink_to(tmp_path / "outside.tif")
    with pytest.raises(RasterError, match="own folder only"):
        open_scene(folder)
    image.unlink()
    with pytest.raises(RasterError, match="is missing"):
        open_scene(folder)


def test_damaged_and_foreign_xml_is_one_line(tmp_path):
    made = MadeUp()
    xml = made.write(tmp_path) / "product.xml"
    text = made.product_xml()
    for damaged in (text[:-30], "", text.replace("imageTiePoint", "tie"), text.replace("<numberOfLines>57", "<numberOfLines>x"),
                    text.replace("<numberOfLines>57", "<numberOfLines>99999999"), text.replace("rsi.ca/rs2", "rsi.ca/other"),
                    text.replace("<product ", "<!DOCTYPE x><product "), text.replace("fullResolutionImageData", "image"),
                    text.replace('pole="HV"', 'pole="HH"')):
        xml.write_text(damaged)
        with pytest.raises(RasterError) as caught:
            open_scene(xml)
        assert "\n" not in str(caught.value) and "product.xml" in str(caught.value), caught.value
