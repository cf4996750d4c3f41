"""TerraSAR-X, TanDEM-X and PAZ products that are no detected image, cannot be calibrated, are damaged, or meant to do harm: one clear line each."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from rasterio.transform import Affine

from hfd_edge.errors import RadiometryError, RasterError
from hfd_edge.products import SceneRequest, open_scene
from tests.rasters import UTM, write_tif
from tests.terrasar_files import CRS, MadeUp

GEOREF, MAPPING = "ANNOTATION/GEOREF.xml", "AUXRASTER/MAPPING_GRID.bin"


def refused(path, error=RasterError, **request):
    with pytest.raises(error) as caught:
        with open_scene(path, SceneRequest(**request)):
            pass
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000, caught.value
    return str(caught.value)


def changed(folder, file, *pairs, made=None):
    """A product in one of whose XML files texts are replaced."""
    made = made or MadeUp()
    product = made.write(folder)
    path = product / (file or f"{made.name}.xml")
    text = path.read_text()
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text)
    return product


def test_what_is_complex_is_refused_by_name_with_the_way_out(tmp_path):
    said = refused(MadeUp("SSC", sample="COMPLEX").write(tmp_path))
    assert "a SSC product (complex)" in said and "MGD, GEC, EEC" in said and "--unit" in said
    assert "(complex)" in refused(MadeUp("MGD", sample="COMPLEX").write(tmp_path))
    pair = tmp_path / "TDM1_SAR__COS_BIST_SM_S_SRA_20160229T223018_20160229T223023"
    pair.mkdir()
    (pair / f"{pair.name}.xml").write_text("<cossc_product/>")
    assert "CoSSC" in refused(pair)


def test_a_polarisation_that_is_not_there_or_chosen_by_number_is_refused(tmp_path):
    folder = MadeUp().write(tmp_path)
    assert "it holds HH, VV" in refused(folder, wanted=("VV", "VH"))
    assert "choose by name" in refused(folder, bands=(1, 2))
    assert "in this order; leave --bands out" in refused(folder, bands=("VV", "HH"), wanted=("HH", "VV"))


@pytest.mark.parametrize(("pairs", "words"), [
    ([("RADAR BRIGHTNESS", "DIGITAL NUMBER")], "'digital number'"), ([("<calFactor>1.1e-05", "<calFactor>0")], "calFactor 0 for HH"),
    ([("<calFactor>1.1e-05", "<calFactor>-1")], "calFactor -1 for HH"), ([("<calFactor>1.1e-05", "<calFactor>4.4")], "calFactor 4.4 for HH"),
    ([("<calibration>", "<other>"), ("</calibration>", "</other>")], "calFactor nowhere for HH"),
    ([("</calibration>", "<calibrationConstant><polLayer>HH</polLayer><calFactor>2e-5</calFactor></calibrationConstant></calibration>")],
     "1.1e-05, 2e-05 for HH"),
    ([("<start><timeUTC>2016-02-29", "<start><timeUTC>2007-12-31")], "before 2008-01-07")])
def test_what_has_no_factor_to_trust_is_refused(tmp_path, pairs, words):
    assert words in refused(changed(tmp_path, "", *pairs), RadiometryError)


@pytest.mark.parametrize(("file", "pairs", "words"), [
    ("", [("<numberOfRows>61", "<numberOfRows>62")], "do not belong together"), ("", [("<numberOfRows>61", "<numberOfRows>99999999")], "no image has"),
    ("", [("<numberOfRows>61", "<numberOfRows>x")], "no number"), ("", [("<rowSpacing units=\"m\">2.5", "<rowSpacing units=\"m\">-1")], "no image has"),
    ("", [("<imageData layer", "<image layer"), ("</imageData>", "</image>")], "productComponents/imageData"),
    ("", [("<polLayer>VV</polLayer><file>", "<polLayer>HH</polLayer><file>")], "several images of HH"),
    ("", [("<productVariant>MGD</productVariant>", "")], "productVariant"), ("", [("<level1Product", "<!DOCTYPE x><level1Product")], "document type"),
    ("", [("</level1Product>", "")], "no sound XML"), ("", [("level1Product", "product")], "another kind"),
    ("", [("<type>GEOREF</type>", "<type>OTHER</type>")], "names no GEOREF"),
    ("", [("<type>MAPPING_GRID</type>", "<type>OTHER</type>")], "names no MAPPING_GRID"),
    ("", [("<rowSpacing>17.5", "<rowSpacing>1.0")], "do not cover the image of"),
    ("", [("<rowSpacing>17.5", "<rowSpacing>-17.5")], "do not cover the image of"),
    ("", [("<numberOfRows>10", "<numberOfRows>1000000")], "do not belong together"),
    ("", [("22:30:18.75Z", "22:30:28.75Z")], "in azimuth"),
    ("", [("22:30:18.75Z", "yesterday")], "must be a time"),
    ("", [("<incidenceAngle>3", "<incidenceAngle>4")], "by its own word"), ("", [("<firstPixel>0.0044", "<firstPixel>0.0043")], "in range"),
    ("", [("<rangeTime>", "<other>"), ("</rangeTime>", "</other>")], "rangeTime/firstPixel"),
    (GEOREF, [("<azimuth>6", "<azimuth>7")], "7 x 8 points and has 48"),
    (GEOREF, [("<azimuth>6<", "<azimuth>8<"), ("<range>8<", "<range>6<")], "not those of a grid"),
    (GEOREF, [("<tauReferenceTime>0.00439", "<tauReferenceTime>0.00539")], "in range"),
    (GEOREF, [("<inc>2", "<inc>nan2")], "no number"), (GEOREF, [("<elev>28.0</elev><height>", "<elev/><height>1234567")], "no time, place or angle"),
    (GEOREF, [("<inc>30", "<inc>930")], "no image of the Earth"),
    (GEOREF, [("<geolocationGrid>", "<geolocationGrid/><geolocationGrid>")], "has 2 <geolocationGrid>"),
    (GEOREF, [("<geoReference>", "<!DOCTYPE x [<!ENTITY a 'b'>]><geoReference>")], "document type"),
    (GEOREF, [("</geoReference>", "")], "no sound XML"), (GEOREF, [("<lat>", "<other>"), ("</lat>", "</other>")], "lat")])
def test_damaged_and_contradicting_files_are_refused(tmp_path, file, pairs, words):
    assert words in refused(changed(tmp_path, file, *pairs))


@pytest.mark.parametrize(("content", "words"), [
    (lambda nodes: nodes[:-1], "bytes"),
    (lambda nodes: nodes.astype("<f4"), "s in "),
    (lambda nodes: np.where(nodes == nodes.max(), np.nan, nodes).astype(">f4"), "nan"),
    (lambda nodes: np.where(np.indices(nodes.shape)[0] == 4, nodes[2], nodes).astype(">f4"), "neither rise nor fall"),
    (lambda nodes: nodes[..., ::-1], "s in "), (lambda nodes: nodes * 1e6, "s in ")])
def test_a_mapping_grid_that_is_not_that_of_the_product_is_refused(tmp_path, content, words):
    product = MadeUp().write(tmp_path)
    nodes = np.fromfile(product / MAPPING, ">f4").reshape(10, 11, 2)
    np.ascontiguousarray(content(nodes)).tofile(product / MAPPING)
    assert words in refused(product)


def test_a_mapping_grid_that_covers_the_image_in_either_order_is_refused(tmp_path):
    made = MadeUp(rows=61, cols=61, node_px=(7, 7))
    assert "in either order cover the image" in refused(changed(tmp_path, "", ("<rowSpacing>17.5", "<rowSpacing>18.0"), made=made))


def test_an_image_on_a_map_must_lie_there(tmp_path):
    made = MadeUp("GEC")
    product = made.write(tmp_path)
    image = product / made.image("VV")
    write_tif(image, made.dn["VV"][np.newaxis], transform=Affine(10.0, 0.0, 500_010.0, 0.0, -10.0, 4_600_000.0), crs=CRS)
    assert "lies elsewhere" in refused(product)
    write_tif(product / made.image("HH"), made.dn["HH"][np.newaxis])
    assert "no coordinate system" in refused(product)
    for pol in made.pols:
        write_tif(product / made.image(pol), made.dn[pol][np.newaxis], transform=UTM, crs="EPSG:32634")
    assert "do not cover the image" in refused(product)


def test_angles_on_no_smooth_surface_are_refused(tmp_path):
    rng = np.random.default_rng(5)
    made = MadeUp("GEC", angle=lambda row, col: 33 + float(rng.uniform(-4, 4) if col < 0 or row > 61 else 0))
    assert "off a smooth surface" in refused(made.write(tmp_path))


def test_files_outside_the_product_are_never_read(tmp_path):
    made = MadeUp()
    product = made.write(tmp_path)
    xml = product / f"{made.name}.xml"
    write_tif(tmp_path / "outside.tif", made.dn["HH"][np.newaxis])
    shutil.copy(product / GEOREF, tmp_path / "GEOREF.xml")
    for old, new in (("<path>IMAGEDATA</path>", "<path>..</path>"), ("<path>IMAGEDATA</path>", f"<path>{tmp_path}</path>"),
                     ("IMAGE_HH_SRA_strip_007.tif", "../../outside.tif"),
                     ("IMAGE_HH_SRA_strip_007.tif", "https://x/y.tif"), ("<path>ANNOTATION</path>", "<path>..</path>"),
                     ("<path>AUXRASTER</path>", "<path>..\\..</path>")):
        xml.write_text(made.product_xml().replace(old, new))
        assert "own folder only" in refused(product)
    xml.write_text(made.product_xml())
    image = product / made.image("HH")
    image.unlink()
    image.symlink_to(tmp_path / "outside.tif")
    assert "own folder only" in refused(product)
    image.unlink()
    assert "is missing" in refused(product)


def test_a_folder_of_several_main_files_or_of_none_is_refused(tmp_path):
    made = MadeUp()
    product = made.write(tmp_path)
    xml = product / f"{made.name}.xml"
    xml.rename(tmp_path / "kept")
    assert f"has no {xml.name}" in refused(product)
    (tmp_path / "kept").rename(xml)
    other = tmp_path / "renamed"
    product.rename(other)
    open_scene(other).close()
    shutil.copy(other / f"{made.name}.xml", other / MadeUp("GEC").name).rename(other / f"{MadeUp('GEC').name}.xml")
    assert "2 main XML files" in refused(other)


@pytest.mark.parametrize(("change", "words"), [(lambda gim: gim // 10, "local incidences about .* degrees and .* states"), (lambda gim: gim[:-1], "do not belong together"),
                                               (lambda gim: gim.astype(np.float32), "of float32")])
def test_local_angles_that_are_not_those_of_the_image_are_refused(tmp_path, change, words):
    made = MadeUp("EEC", gim=change(np.full((61, 83), 3210, np.uint16)))
    with pytest.raises(RasterError, match=words):
        open_scene(made.write(tmp_path), SceneRequest(quantity="sigma0"))


def test_local_angles_of_another_place_are_refused_and_only_an_eec_has_some(tmp_path):
    gim = np.full((61, 83), 3210, np.uint16)
    folder = MadeUp("EEC", gim=gim).write(tmp_path / "eec")
    write_tif(folder / "AUXRASTER" / "GIM.tif", gim[np.newaxis], transform=Affine(10, 0, 5e5, 0, -10, 4.6e6 - 10), crs=CRS)
    with pytest.raises(RasterError, match="GIM.tif lies elsewhere than the images"):
        open_scene(folder, SceneRequest(quantity="sigma0"))
    with open_scene(MadeUp("GEC", gim=gim).write(tmp_path / "gec"), SceneRequest(quantity="sigma0")) as scene:
        assert "without the slopes of the terrain" in scene.notes[0]
