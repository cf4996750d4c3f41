"""GeoTIFFs of commercial SAR satellites, made up after the published layouts: calibrated by their metadata, or refused."""

import json
import math

import numpy as np
import pytest

from hfd_edge import RadiometryError, RasterError, Segmenter
from hfd_edge.products import SceneRequest, open_scene
from hfd_edge.raster import RasterSource
from tests.engines import levels_engine, plain_input
from tests.rasters import UTM, write_tif

DN = np.random.default_rng(0).integers(1, 3000, (1, 40, 50)).astype(np.uint16)


def capella(folder, image=None, kind="GEO", beside=False, text=None, **top):
    record = {"product_type": kind, "collect": {"platform": "capella-14", "image": {
        "data_type": "UInt16", "scale_factor": 2e-4, "radiometry": "sigma_nought", **(image or {})}}, **top}
    text = json.dumps(record) if text is None else text
    tags = {} if beside else {"TIFFTAG_IMAGEDESCRIPTION": text}
    path = folder / "CAPELLA_C14_SP_GEO_HH_20240626150051_20240626150055.tif"
    write_tif(path, DN, transform=UTM, crs="EPSG:32633", tags=tags)
    if beside:
        path.with_name(f"{path.stem}_extended.json").write_text(text)
    return path


def iceye(folder, name="ICEYE_X7_GRD_SM_12345_20240101T000000.tif", xml=None, **tags):
    path = write_tif(folder / name, DN, tags=tags)
    if xml is not None:
        path.with_suffix(".xml").write_text(xml)
    return path


def declared(path):
    with open_scene(path) as source:
        assert source.scale == source.declared.scale and source.nodata == (0.0,)
        assert any("never checked on a real file" in note or "the pixels were made up" in note for note in source.notes)
        return source.declared


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("kind", ["GEO", "GEC"])
@pytest.mark.parametrize("stated,quantity", [("sigma_nought", "sigma0"), ("gamma_nought", "gamma0"), ("beta_nought", "beta0")])
def test_capella_is_amplitude_times_its_scale_factor(tmp_path, beside, kind, stated, quantity):
    found = declared(capella(tmp_path, {"radiometry": stated}, kind, beside))
    assert (found.unit, found.scale, found.quantity) == ("amplitude", 2e-4, quantity)


@pytest.mark.parametrize("image,said", [({"calibration": "full"}, "full"), ({"calibration": "limited"}, "limited"), ({}, "not stated")])
def test_how_well_capella_says_that_it_is_calibrated_is_told(tmp_path, image, said):
    with open_scene(capella(tmp_path, image)) as source:
        assert any(f"calibration {said} by its own word" in note for note in source.notes), source.notes


@pytest.mark.parametrize("tags,xml", [
    ({"CALIBRATION_FACTOR": "4e-8"}, None), ({"calibration_factor": "4e-8", "SATELLITE_NAME": "ICEYE-X7"}, None),
    ({"ICEYE_PROPERTIES": '{"calibration_factor": 4e-8}'}, None),
    ({"ICEYE_PROPERTIES": '{"iceye:calibration_factor": 4e-8, "sar:product_type": "GRD-COG"}'}, None),
    ({"ICEYE_PROPERTIES": '{"iceye:calibration_factor": 1e-8, "iceye:amplitude_mapping": {"function": "power", "parameters": '
                          '{"exponent": 1, "scale": 0.5}}}'}, None),
    ({}, "<Metadata><calibration_factor>4e-8</calibration_factor></Metadata>")])
def test_iceye_is_amplitude_times_the_root_of_its_factor(tmp_path, tags, xml):
    found = declared(iceye(tmp_path, xml=xml, **tags))
    assert found.unit == "amplitude" and found.scale == pytest.approx(math.sqrt(4e-8)) and found.quantity == "sigma0"


@pytest.mark.parametrize("properties,words", [
    ('{"iceye:calibration_factor": 4e-8, "iceye:amplitude_mapping": {"function": "power", "parameters": {"exponent": 0.25, "scale": 1}}}',
     "exponent.*0.25.*gdal_calc"),
    ('{"iceye:calibration_factor": 4e-8, "iceye:amplitude_mapping": {"function": "log"}}', "mapping"),
    ('{"iceye:calibration_factor": 4e-8, "iceye:amplitude_mapping": "power"}', "mapping"),
    ('{"iceye:calibration_factor": 4e-8, "sar:product_type": "SLC-COG"}', "amplitude and phase")])
def test_iceye_that_stores_something_else_than_amplitude_is_refused(tmp_path, properties, words):
    with pytest.raises(RadiometryError, match=words):
        open_scene(iceye(tmp_path, ICEYE_PROPERTIES=properties))


def test_an_iceye_slc_is_told_by_its_name_where_nothing_else_does(tmp_path):
    with pytest.raises(RadiometryError, match="SLC"):
        open_scene(iceye(tmp_path, "ICEYE_X7_SLC_SM_12345_20240101T000000.tif", CALIBRATION_FACTOR="4e-8"))


@pytest.mark.parametrize("name,power", [("capella", lambda dn: (2e-4 * dn) ** 2), ("iceye", lambda dn: 4e-8 * dn ** 2)])
def test_a_run_sees_the_power_that_the_metadata_mean(tmp_path, name, power):
    path = capella(tmp_path) if name == "capella" else iceye(tmp_path, CALIBRATION_FACTOR="4e-8")
    engine = levels_engine(tmp_path / "e.engine", 64, input=plain_input(1, unit="db", floor=-60.0, mean=(-40.0,), std=(1.0,)))
    with Segmenter(engine) as segmenter:
        report = segmenter.run_raster(path, tmp_path / "map.tif")
    assert any("layout only" in note or "made up" in note for note in report.notes) and "amplitude" in report.read_as
    with RasterSource(tmp_path / "map.tif") as written:
        labels = written.read(0, 40)[0][0]
    level = 10 * np.log10(power(DN[0].astype(np.float64))) + 40
    clear = np.abs(level - np.floor(level) - 0.5) > 1e-3                    # not between two labels
    np.testing.assert_array_equal(labels[clear], np.clip(np.rint(level), 0, 63)[clear])


@pytest.mark.parametrize("image", [{"scale_factor": 0}, {"scale_factor": None}, {"scale_factor": -1}, {"scale_factor": "nan"},
                                   {"scale_factor": True}, {"radiometry": "unknown"}, {"radiometry": None}])
def test_capella_without_calibration_is_refused_with_the_way_out(tmp_path, image):
    with pytest.raises(RadiometryError, match="scale_factor=.*--unit amplitude --scale"):
        open_scene(capella(tmp_path, image))


def test_capella_without_its_metadata_is_refused_with_the_file_that_is_missing(tmp_path):
    path = capella(tmp_path, beside=True)
    missing = path.with_name(f"{path.stem}_extended.json")
    missing.unlink()
    with pytest.raises(RadiometryError, match=f"put {missing.name} beside it"):
        open_scene(path)
    open_scene(path, SceneRequest(unit="amplitude")).close()


def test_capella_of_another_type_and_damaged_metadata_are_refused(tmp_path):
    with pytest.raises(RadiometryError, match="type 'SLC'"):
        open_scene(capella(tmp_path, kind="SLC"))
    with pytest.raises(RasterError, match="cannot be read"):
        open_scene(capella(tmp_path, text='{"collect": {"platform": "capella-14", '))


@pytest.mark.parametrize("factor", ["0", "0.0", "-1", "none", "inf"])
def test_iceye_that_is_not_calibrated_is_refused(tmp_path, factor):
    with pytest.raises(RadiometryError, match="0 marks a satellite that is not calibrated"):
        open_scene(iceye(tmp_path, CALIBRATION_FACTOR=factor))


def test_iceye_without_any_factor_and_with_a_hostile_sidecar_is_refused(tmp_path):
    with pytest.raises(RadiometryError, match="calibration_factor=None"):
        open_scene(iceye(tmp_path))
    with pytest.raises(RasterError, match="document type"):
        open_scene(iceye(tmp_path, xml='<!DOCTYPE Metadata [<!ENTITY a "b">]><Metadata></Metadata>'))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_umbra_for_display_is_refused(tmp_path, dtype):
    path = write_tif(tmp_path / "2024-01-01-00-00-00_UMBRA-05_GEC.tif", DN.clip(0, 255).astype(dtype))
    with pytest.raises(RadiometryError, match="Umbra GEC: .*SICD"):
        open_scene(path)


def test_a_declared_unit_is_believed_over_the_metadata(tmp_path):
    for path in (capella(tmp_path), iceye(tmp_path, CALIBRATION_FACTOR="0")):
        with open_scene(path, SceneRequest(unit="amplitude")) as source:
            assert source.declared is None and source.scale == 1.0


def test_what_was_converted_to_real_numbers_is_no_product_any_more(tmp_path):
    path = write_tif(tmp_path / "ICEYE_X7_GRD_db.tif", DN.astype(np.float32))
    with open_scene(path) as source:
        assert source.declared is None


def test_foreign_json_in_a_description_is_left_alone(tmp_path):
    with open_scene(write_tif(tmp_path / "a.tif", DN, tags={"TIFFTAG_IMAGEDESCRIPTION": '{"shape": [1'})) as source:
        assert source.declared is None
