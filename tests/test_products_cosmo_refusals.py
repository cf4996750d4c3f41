"""COSMO-SkyMed products that cannot be calibrated or placed, are something else, or are damaged: one line with the way out."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from hfd_edge.errors import RadiometryError, RasterError
from hfd_edge.products import SceneRequest, open_scene
from hfd_edge.raster import RasterLimits
from tests import command
from tests.cosmo_files import COLS, ROWS, MadeUp, amplitude, state

h5py = pytest.importorskip("h5py")


def refused(path, error=RasterError, **request):
    with pytest.raises(error) as caught:
        with open_scene(path, SceneRequest(**request)) as scene:
            scene.read(0, scene.rows)
    text = str(caught.value)
    assert "\n" not in text and "\x1b" not in text and path.name in text, text
    return text


def test_without_h5py_the_extra_is_named(tmp_path, monkeypatch):
    path = MadeUp().write(tmp_path / "x.h5")
    monkeypatch.setitem(sys.modules, "h5py", None)
    text = refused(path)
    assert "COSMO-SkyMed are read through h5py" in text and "'hfd-edge[cosmo]'" in text


@pytest.mark.parametrize(("root", "words"), [
    ({"Mission ID": "CSG"}, "COSMO-SkyMed Second Generation: its flags and factors are others"), ({"Mission ID": "KMPS"}, "KOMPSAT-5"),
    ({"Product Type": "SCS_B"}, "of type SCS_B: DGM_B, GEC_B, GTC_B are read"), ({"Product Type": "SCS_U"}, "of type SCS_U"),
    ({"Product Type": "RAW_B"}, "of type RAW_B"), ({"Product Type": None}, "of type not stated"), ({"Product Type": "DGM_U"}, "of type DGM_U"),
    ({"Product Type": "a\nb\x1b[31m"}, "of type A B[31M"),
    ({"Mission ID": None}, "no NISAR product, nor one of COSMO-SkyMed"), ({"Mission ID": "ERS"}, "nor one of COSMO-SkyMed")])
def test_another_product_is_named(tmp_path, root, words):
    path = MadeUp(root=root).write(tmp_path / "x.h5")
    assert words in refused(path)
    command.failed(command.run("scene", path), words.split("\n")[0])


@pytest.mark.parametrize(("name", "value", "words"), [
    *[(f"{what} Compensation Geometry", value, f"'{what} Compensation Geometry' as {value or 'nothing'}")
      for what in ("Range Spreading Loss", "Incidence Angle", "Range Antenna Pattern") for value in ("NONE", None)],
    ("Calibration Constant Compensation Flag", np.uint8(77), "as 77: 0 (the constant is to be applied) or 1 (it was) is known"),
    ("Calibration Constant Compensation Flag", None, "as nothing"), ("Calibration Constant Compensation Flag", np.nan, "as nan"),
    ("Reference Slant Range", None, "as nothing"), ("Reference Slant Range", 800.0, "above 100000"), ("Reference Slant Range", np.nan, "as nan"),
    ("Reference Slant Range", np.inf, "as inf"), ("Reference Slant Range Exponent", 0.0, "above 0 and below 4"),
    ("Reference Slant Range Exponent", 40.0, "above 0 and below 4"), ("Reference Incidence Angle", 0.7, "above 5 and below 85"),
    ("Reference Incidence Angle", 135.0, "above 5 and below 85"), ("Rescaling Factor", 0.0, "above 0 and below inf"), ("Rescaling Factor", -1.0, "above 0"),
    ("Rescaling Factor", np.nan, "as nan"), ("Rescaling Factor", None, "as nothing"), ("Rescaling Factor", 1e-300, "make sigma0 = 10^"),
    ("Rescaling Factor", 5e-324, "make sigma0 = 10^"), ("Rescaling Factor", 1e300, "make sigma0 = 10^-")])
def test_what_it_needs_to_be_calibrated_must_be_stated(tmp_path, name, value, words):
    text = refused(MadeUp(root={name: value}).write(tmp_path / "x.h5"), RadiometryError)
    assert words in text and "SNAP" in text


@pytest.mark.parametrize("value", [None, 0.0, -2e10, np.nan, np.inf])
def test_a_constant_that_is_none_is_refused_unless_it_was_applied_already(tmp_path, value):
    for applied in (0, 1):
        made = MadeUp(root={"Calibration Constant Compensation Flag": np.uint8(applied), "Rescaling Factor": 1.25e5 if applied else 1.25})
        path = made.write(tmp_path / f"{applied}.h5")
        with h5py.File(path, "r+") as file:
            del file["S01"].attrs["Calibration Constant"]
            state(file["S01"], {"Calibration Constant": value})
        if applied:
            with open_scene(path) as scene:
                np.testing.assert_allclose(scene.read(0, ROWS)[0], made.by_hand(("HH",))[0], rtol=1e-6)
        else:
            assert "'Calibration Constant' of /S01 as" in refused(path, RadiometryError)


@pytest.mark.parametrize(("where", "name", "value", "words"), [
    ("S02", "Calibration Constant", 3e10, "calibration constants from 2.5e+10 to 3e+10"),
    ("S03", "Polarisation", "VV", "beams of the polarisations HH, HH, VV"), ("S01", "Polarisation", None, "beams of the polarisations"),
    ("S02", "Calibration Constant", None, "'Calibration Constant' of /S02 as nothing")])
def test_a_mosaic_of_beams_that_differ_is_refused(tmp_path, where, name, value, words):
    path = MadeUp(mosaic=True).write(tmp_path / "x.h5")
    with h5py.File(path, "r+") as file:
        del file[where].attrs[name]
        state(file[where], {name: value})
    assert words in refused(path, (RasterError, RadiometryError))


def test_an_image_that_cannot_be_told_is_refused(tmp_path):
    path = MadeUp(polarisations=("HH", "VV")).write(tmp_path / "x.h5")

    def edited(change):
        with h5py.File(path, "r+") as file:
            change(file)
        return refused(path)

    assert "of polarisation HH, as another is" in edited(lambda file: state(file["S02"], {"Polarisation": "HH"}))
    assert "of polarisation CIRCULAR" in edited(lambda file: state(file["S02"], {"Polarisation": "circular"}))
    assert "both a mosaic (MBI) and images of single beams" in edited(lambda file: file.create_dataset("MBI", data=amplitude(1)))
    assert "beams of the polarisations nothing" in edited(lambda file: [file.pop("S01"), file.pop("S02")])
    assert "neither MBI nor S01/SBI" in edited(lambda file: file.pop("MBI"))


@pytest.mark.parametrize(("pixels", "words"), [
    (amplitude(2)[:-1], "60 x 83 pixels of uint16"), (amplitude(2).astype(np.uint8), "pixels of uint8"), (amplitude(2).astype(np.float32), "real numbers"),
    (np.zeros((ROWS, COLS, 2), np.uint16), "real numbers"), (np.zeros((0, COLS), np.uint16), "0 x 83 pixels")])
def test_pixels_of_another_kind_or_size_are_refused(tmp_path, pixels, words):
    path = MadeUp(polarisations=("HH", "VV")).write(tmp_path / "x.h5")
    with h5py.File(path, "r+") as file:
        said = dict(file["S02/SBI"].attrs)
        del file["S02/SBI"]
        file["S02"].create_dataset("SBI", data=pixels).attrs.update(said)
    assert words in refused(path)


@pytest.mark.parametrize(("image", "words"), [
    ({"Top Right Geodetic Coordinates": None}, "'Top Right Geodetic Coordinates' as nothing"),
    ({"Bottom Left Geodetic Coordinates": np.array([np.nan, 12.9, 40])}, "latitude, longitude and height"),
    ({"Top Left Geodetic Coordinates": np.array([91.0, 12.9, 40])}, "latitude, longitude and height"),
    ({"Top Left Geodetic Coordinates": np.array([55.8, 12.9])}, "has the shape (2,)"), ({"Top Left Geodetic Coordinates": "north"}, "has the shape ()"),
    ({"Top Left Geodetic Coordinates": np.array([55.7, 12.9, 40])}, "from 'Top Left' to 'Top Right' it is"),
    ({"Line Spacing": 12.5}, "by its lines and their spacing"), ({"Column Spacing": 0.5}, "by its columns and their spacing"),
    ({"Line Spacing": 0.0}, "'Line Spacing' of /S01/SBI as 0"), ({"Column Spacing": np.inf}, "as inf"), ({"Column Spacing": "wide"}, "number(s) are needed")])
def test_corners_that_are_none_are_refused(tmp_path, image, words):
    assert words in refused(MadeUp(image=image).write(tmp_path / "x.h5"))


@pytest.mark.parametrize(("root", "image", "words"), [
    ({"Projection ID": "UPS"}, {}, "lies on UPS"), ({"Projection ID": None}, {}, "no projection"), ({"Ellipsoid Designator": "HAYFORD"}, {}, "of HAYFORD"),
    *[({f"Map Projection {name}": value}, {}, "a zone of UTM of WGS84 is read") for name, value in (
        ("Centre", np.array([0.0, 14.0])), ("Centre", np.array([55.0, 15.0])), ("Centre", np.array([0.0, 183.0])), ("Centre", np.array([0.0, np.nan])),
        ("Centre", None), ("False East-North", np.array([5e5, 5e6])), ("False East-North", None), ("Scale Factor", 1.0), ("Scale Factor", None))],
    *[({}, {"Top Left East-North": value}, "are needed to place it") for value in (None, np.array([np.nan, 6e6]), np.zeros(2), np.full(2, 1e300))],
    ({"Map Projection False East-North": np.array([5e5, 1e7])}, {}, "scene's centre, 55.8191 12.9108, lies outside /S01/SBI by its place in EPSG:32733"),
    ({"Map Projection Centre": np.array([0.0, 9.0])}, {}, "by its place in EPSG:32632"),
    ({"Scene Centre Geodetic Coordinates": np.full(3, np.nan)}, {}, "lies outside"), ({}, {"Column Spacing": 5.0}, "pixels that are not square have no place"),
    ({}, {"Line Spacing": None}, "'Line Spacing' of /S01/SBI as nothing")])
def test_a_map_that_is_no_zone_of_utm_is_refused(tmp_path, root, image, words):
    assert words in refused(MadeUp("GEC_B", root=root, image=image).write(tmp_path / "x.h5"))


@pytest.mark.parametrize("where", ["S01", "S01/SBI"])
@pytest.mark.parametrize("outside", [True, False])
def test_a_link_is_never_followed(tmp_path, where, outside):
    path, other = MadeUp().write(tmp_path / "x.h5"), MadeUp().write(tmp_path / "other.h5")
    with h5py.File(path, "r+") as file:
        file.move(where, "elsewhere")
        file[where] = h5py.ExternalLink(str(other), where) if outside else h5py.SoftLink("/elsewhere")
    assert "is a link" in refused(path)


def test_pixels_in_other_files_and_claims_beyond_the_limits_are_refused(tmp_path):
    path = MadeUp().write(tmp_path / "x.h5")
    assert "limit of 5062" in refused(path, limits=RasterLimits(pixels=ROWS * COLS - 1))
    assert "CHUNK=512x512" in refused(path, limits=RasterLimits(block_bytes=16 * 32 * 2 - 1))
    (tmp_path / "secret").write_bytes(bytes(ROWS * COLS * 2))
    for making, words in ((dict(shape=(ROWS, COLS), external=[(str(tmp_path / "secret"), 0, h5py.h5f.UNLIMITED)]), "stored in other files"),
                          (dict(shape=(1 << 17, 1 << 17), chunks=(512, 512)), "decompression bomb"),
                          (dict(data=amplitude(1), compression="lzf"), "filter 32000")):
        with h5py.File(path, "r+") as file:
            said = dict(file["S01/SBI"].attrs)
            del file["S01/SBI"]
            file["S01"].create_dataset("SBI", dtype="u2", **making).attrs.update(said)
        assert words in refused(path)


@pytest.mark.parametrize("name", ["Product Type", "Projection ID", "Incidence Angle Compensation Geometry"])
def test_a_number_is_no_text(tmp_path, name):
    path = MadeUp("GEC_B", root={name: 1.0}).write(tmp_path / "x.h5")
    assert f"the attribute {name!r} of / is 1.0 (float64): a text is needed" in refused(path)


@pytest.mark.parametrize("value", [np.zeros(9), np.bytes_("x" * 9000), h5py.Empty("f8"), np.zeros((), [("a", "f8")]), np.ones((1, 1, 2))])
@pytest.mark.parametrize("name", ["Mission ID", "Product Type", "Rescaling Factor", "Calibration Constant Compensation Flag"])
def test_an_attribute_of_another_shape_is_refused_before_it_is_read(tmp_path, name, value):
    path = MadeUp().write(tmp_path / "x.h5")
    with h5py.File(path, "r+") as file:
        file.attrs[name] = value
    assert f"the attribute '{name}' of /" in refused(path)


def test_a_damaged_file_is_one_line(tmp_path):
    path = MadeUp().write(tmp_path / "x.h5")
    content = path.read_bytes()
    for damaged in (content[:8], content[:400], content[:3000], content[:len(content) // 2], content[:-200], content[:48] + b"\xff" * 400 + content[448:],
                    content.replace(b"TREE", b"THEE"), content.replace(b"SNOD", b"SNAD"), content.replace(b"x\x5e", b"xx")):
        path.write_bytes(damaged)
        refused(path)
