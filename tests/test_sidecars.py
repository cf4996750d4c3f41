"""What lies beside a map: the table of its classes, and never what other programs left beside another map of its name."""

import os
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import rasterio
from rasterio.shutil import copy

from hfd_edge.errors import RasterError
from hfd_edge.raster import GeoReference, MapWriter, check_output, select_classes
from hfd_edge.raster.attribute_table import attribute_table
from hfd_edge.raster.cog import CogWriter
from hfd_edge.segmenter import Segmenter
from tests.engines import random_engine
from tests.rasters import UTM, write_tif
from tests.test_raster_map import COLORS, Legend, labels_of, write_map


def leave_sidecars(path):
    """What gdaladdo -ro, gdal_edit, QGIS and ArcGIS leave beside a map: another place, nodata value and table, a mask that hides everything."""
    path.with_name(path.name + ".vat.dbf").write_bytes(b"\x03")
    path.with_name(path.name + ".aux.xml").write_text(
        "<PAMDataset><SRS>EPSG:3857</SRS><GeoTransform>1,2,0,3,0,-2</GeoTransform><PAMRasterBand band=\"1\"><NoDataValue>0</NoDataValue>"
        "</PAMRasterBand></PAMDataset>")
    for suffix, values, tags in ((".ovr", np.full((1, 350, 265), 2, np.uint8), {}),
                                 (".msk", np.zeros((1, 700, 530), np.uint8), {"INTERNAL_MASK_FLAGS_1": "2"})):
        write_tif(path.with_name(path.name + suffix), values, tags=tags)


def test_what_lies_beside_an_older_map_is_not_taken_for_the_new_ones(tmp_path):
    path, geo, labels = tmp_path / "map.tif", GeoReference.north_up("EPSG:32633", 500_000, 4_600_000, 10), labels_of()
    write_map(path, labels[::-1])
    leave_sidecars(path)
    write_map(path, labels, geo=geo, overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["map.tif", "map.tif.aux.xml"]
    with rasterio.open(path) as dataset:
        assert (dataset.crs.to_epsg(), dataset.transform, dataset.nodata) == (32633, UTM, 255)
        np.testing.assert_array_equal(dataset.dataset_mask() != 0, labels != 255)
        assert dataset.read(1, out_shape=(350, 265)).min() == 0


def test_what_an_older_map_that_is_gone_left_is_not_taken_for_the_new_ones(tmp_path):
    leave_sidecars(tmp_path / "map.tif")
    write_map(tmp_path / "map.tif", labels_of())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["map.tif", "map.tif.aux.xml"]
    with rasterio.open(tmp_path / "map.tif") as dataset:
        assert dataset.crs is None and dataset.nodata == 255


def test_a_run_stopped_as_the_map_gets_its_name_leaves_it_without_what_the_older_one_left(tmp_path, monkeypatch):
    path, labels, replace = tmp_path / "map.tif", labels_of(), os.replace
    write_map(path, labels[::-1])
    leave_sidecars(path)

    def stop(partial, target):
        replace(partial, target)
        if target == path:
            raise KeyboardInterrupt
    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        write_map(path, labels, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["map.tif"]
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(dataset.read(1), labels)


@pytest.mark.parametrize("fails", [0, 1])
def test_a_map_is_not_named_before_its_confidence_is_whole(tmp_path, monkeypatch, fails):
    scene = write_tif(tmp_path / "scene.tif", np.random.default_rng(0).normal(size=(2, 60, 70)).astype(np.float32))
    older, joined = {"map.tif": b"the older map", "confidence.tif": b"and its confidence"}, []
    for name, data in older.items():
        (tmp_path / name).write_bytes(data)

    def join(self, whole=CogWriter._join):
        if len(joined) == fails:
            raise KeyboardInterrupt
        joined.append(whole(self))
    monkeypatch.setattr(CogWriter, "_join", join)
    with Segmenter(random_engine(tmp_path / "random.engine")) as seg, pytest.raises(KeyboardInterrupt):
        seg.run_raster(scene, tmp_path / "map.tif", confidence=tmp_path / "confidence.tif", unit="dn", overwrite=True)
    assert len(joined) == fails and {name: (tmp_path / name).read_bytes() for name in older} == older
    assert sorted(p.name for p in tmp_path.iterdir()) == ["confidence.tif", "map.tif", "random.engine", "scene.tif"]


@pytest.mark.parametrize("suffix", [".aux.xml", ".ovr", ".msk", ".vat.dbf"])
def test_a_folder_of_the_name_of_a_sidecar_is_refused_before_any_work(tmp_path, suffix):
    (tmp_path / f"map.tif{suffix}").mkdir()
    with pytest.raises(RasterError, match=f"map.tif{suffix} is a folder.*rename it"):
        check_output(tmp_path / "map.tif", overwrite=True)


@pytest.mark.parametrize("suffix", [".aux.xml", ".ovr", ".msk", ".vat.dbf"])
def test_an_input_is_never_taken_for_what_an_older_map_left(tmp_path, suffix):
    leave_sidecars(tmp_path / "map.tif")
    with pytest.raises(RasterError, match=f"map.tif{suffix} is an input"):
        check_output(tmp_path / "map.tif", overwrite=True, inputs=[tmp_path / f"map.tif{suffix}"])


def test_gis_programs_find_names_and_colours_of_the_classes(tmp_path):
    """GDAL reads the table that lies beside the map, and copies it into a VRT."""
    write_map(tmp_path / "map.tif", labels_of())
    copy(tmp_path / "map.tif", tmp_path / "copy.vrt", driver="VRT")
    table = ET.parse(tmp_path / "copy.vrt").find("VRTRasterBand/GDALRasterAttributeTable")
    assert [(field.findtext("Name"), field.findtext("Usage")) for field in table.iter("FieldDefn")] == [
        ("Value", "5"), ("Class", "2"), ("Red", "6"), ("Green", "7"), ("Blue", "8")]
    rows = [[cell.text for cell in row] for row in table.iter("Row")]
    assert rows == [[str(value), name, *map(str, color)] for value, (name, color) in enumerate(zip(Legend().classes, COLORS))]


def test_of_some_classes_the_table_holds_these_and_other(tmp_path):
    selection = select_classes(Legend(), ["forest"])
    with MapWriter(tmp_path / "map.tif", 2, 2, None, selection, {}) as writer:
        writer.write(0, np.full((2, 2), 254, np.uint8))
    rows = ET.parse(tmp_path / "map.tif.aux.xml").iter("Row")
    assert [[cell.text for cell in row][:2] for row in rows] == [["1", "forest"], ["254", "other"]]


def test_a_name_that_no_xml_can_hold_leaves_a_table_that_can_be_read():
    (row,) = ET.fromstring(attribute_table([(3, "a<b> & \x07 Straße", (1, 2, 3))])).iter("Row")
    assert [cell.text for cell in row] == ["3", "a<b> & \N{REPLACEMENT CHARACTER} Straße", "1", "2", "3"]


def test_a_confidence_map_and_a_failed_map_have_no_table(tmp_path):
    with MapWriter(tmp_path / "c.tif", 2, 2, None, "confidence", {}) as writer:
        writer.write(0, np.zeros((2, 2), np.uint8))
    with pytest.raises(KeyboardInterrupt), MapWriter(tmp_path / "m.tif", 2, 2, None, Legend(), {}) as writer:
        raise KeyboardInterrupt
    assert [p.name for p in tmp_path.iterdir()] == ["c.tif"]
