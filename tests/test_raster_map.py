"""Rasters out: a map holds what was written, its blocks are written once, and it says what it is."""

import json
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
import rasterio

from hfd_edge.errors import ArrayError, RasterError
from hfd_edge.raster import GeoReference, MapWriter, RasterProfile, RasterSource, write_raster
from hfd_edge.raster.guard import rasterio_open
from tests.rasters import GCPS, ROTATED, UTM, ramp, write_tif

COLORS = ((0, 0, 255), (0, 255, 0), (200, 30, 30))


@dataclass
class Legend:
    classes: tuple = ("water", "forest", "Straße, groß")
    colors: tuple = COLORS


def labels_of(rows=700, cols=530, seed=0):
    labels = np.random.default_rng(seed).integers(0, 3, (rows, cols)).astype(np.uint8)
    labels[:, :20] = 255
    return labels


def write_map(path, labels, step=64, geo=None, **options):
    with MapWriter(path, *labels.shape, geo=geo, legend=Legend(), tags={"HFD_ENGINE_SHA256": "ab" * 32}, **options) as writer:
        for row in range(0, len(labels), step):
            writer.write(row, labels[row:row + step])
        writer.add_tags({"HFD_HALO": "exact 64 px"})


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (255, 257), (700, 530), (1100, 40)])
@pytest.mark.parametrize("step", [1, 7, 256, 300, 5000])
def test_a_map_holds_what_was_written(tmp_path, shape, step):
    labels = labels_of(*shape)
    write_map(tmp_path / "map.tif", labels, step)
    with RasterSource(tmp_path / "map.tif") as source:
        np.testing.assert_array_equal(source.read(0, shape[0])[0][0], labels)
        assert source.nodata == (255.0,)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["map.tif", "map.tif.aux.xml"]        # no rest


def test_a_map_says_what_it_is(tmp_path):
    write_map(tmp_path / "map.tif", labels_of())
    with rasterio_open(tmp_path / "map.tif") as dataset:
        tags = dataset.tags()
        assert tags["HFD_ENGINE_SHA256"] == "ab" * 32 and tags["HFD_HALO"] == "exact 64 px" and "HFD_EDGE_VERSION" in tags
        assert json.loads(tags["HFD_CLASSES"]) == list(Legend().classes)
        names = {f"CLASS_{i}": name for i, name in enumerate(Legend().classes)}
        assert {k: v for k, v in dataset.tags(1).items() if k.startswith("CLASS_")} == names
        assert [dataset.colormap(1)[i] for i in range(3)] == [(*c, 255) for c in COLORS] and dataset.colormap(1)[255][3] == 0
        assert (dataset.nodata, dataset.dtypes, dataset.block_shapes) == (255, ("uint8",), [(512, 512)])


def test_a_confidence_map_states_its_scale(tmp_path):
    with MapWriter(tmp_path / "c.tif", 2, 2, geo=None, legend="confidence", tags={}) as writer:
        writer.write(0, np.array([[0, 127], [254, 255]], np.uint8))
    with RasterSource(tmp_path / "c.tif") as source:
        assert source.scale == pytest.approx(1 / 254) and source.band_names == ("confidence",)


@pytest.mark.parametrize("place", [{"crs": "EPSG:32633", "transform": UTM}, {"crs": "EPSG:32631", "transform": ROTATED},
                                   {"gcps": GCPS}, {"gcps": GCPS, "tags": {"AREA_OR_POINT": "Point"}},
                                   {"crs": "EPSG:4326", "transform": UTM, "tags": {"AREA_OR_POINT": "Point"}}, {}])
def test_the_georeference_of_the_scene_is_the_maps(tmp_path, place):
    scene = write_tif(tmp_path / "scene.tif", ramp(2, 70, 53), **place)
    with RasterSource(scene) as source:
        geo = source.geo
        write_map(tmp_path / "map.tif", labels_of(70, 53), geo=geo)
    with RasterSource(tmp_path / "map.tif") as copy:
        assert (copy.geo.crs, copy.geo.transform, copy.geo.gcp_crs) == (geo.crs, geo.transform, geo.gcp_crs)
        assert copy.geo.area_or_point == geo.area_or_point
        assert [(g.row, g.col, g.x, g.y, g.z) for g in copy.geo.gcps] == [(g.row, g.col, g.x, g.y, g.z) for g in geo.gcps]


@pytest.mark.parametrize("place", [{}, {"transform": rasterio.Affine(1, 0, 0, 0, -1, 0)}])
def test_a_coordinate_system_without_a_transform_or_of_pixels_is_kept_without_a_word(tmp_path, place):
    with RasterSource(write_tif(tmp_path / "scene.tif", ramp(2, 70, 53), crs="EPSG:32633", **place)) as source, warnings.catch_warnings():
        warnings.simplefilter("error")
        write_map(tmp_path / "map.tif", labels_of(70, 53), geo=source.geo)
    with RasterSource(tmp_path / "map.tif") as copy:
        assert copy.geo.crs.to_epsg() == 32633 and copy.geo.transform == place.get("transform")


def test_a_coordinate_system_that_no_geotiff_holds_is_refused_before_any_work(tmp_path):
    """GDAL writes it beside the file that it makes, which is then renamed: the map had none, and despeckle left .NAME.partial.aux.xml."""
    scene = write_tif(tmp_path / "scene.tif", ramp(2, 70, 53), crs="+proj=ob_tran +o_proj=longlat +o_lat_p=39 +lon_0=10", transform=UTM)
    with RasterSource(scene) as source:
        geo = source.geo
    assert geo.crs is not None
    with pytest.raises(RasterError, match="map.tif: a GeoTIFF cannot hold the scene's coordinate system, .*gdalwarp -t_srs"):
        write_map(tmp_path / "map.tif", labels_of(70, 53), geo=geo)
    with pytest.raises(RasterError, match="quiet.tif: a GeoTIFF cannot hold"):
        write_raster(tmp_path / "quiet.tif", [], RasterProfile(70, 53, 1, "float32", geo=geo))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["scene.tif", "scene.tif.aux.xml"]


def test_each_compressed_block_is_written_once(tmp_path):
    labels = labels_of(1500, 1700)
    strips = ((row, labels[np.newaxis, row:row + 100]) for row in range(0, 1500, 100))     # 100 divides no block
    write_raster(tmp_path / "map.tif", strips, RasterProfile(1500, 1700, 1, "uint8", 255))
    with rasterio_open(tmp_path / "map.tif") as dataset:
        blocks = sum(int(dataset.get_tag_item(f"BLOCK_SIZE_{c}_{r}", "TIFF", bidx=1)) for r in range(3) for c in range(4))
    overhead = (tmp_path / "map.tif").stat().st_size - blocks
    assert overhead < 8000, f"{overhead} bytes beside {blocks} of blocks: a block written twice leaves its first version behind"


def test_many_dtypes_and_tags_of_products_come_back(tmp_path):
    geo = GeoReference.north_up("EPSG:32633", 500_000, 4_600_000, 10)
    for dtype, nodata in (("float32", np.nan), ("uint16", 0), ("complex64", 0), ("int16", -1)):
        values = ramp(2, 33, 44, dtype)
        path = tmp_path / f"{dtype}.tif"
        profile = RasterProfile(33, 44, 2, dtype, nodata, ("VV", "VH"), ("dB", "dB"),
                                tags={"HFD_UNIT": "db", "HFD_QUANTITY": "sigma0"}, geo=geo)
        write_raster(path, ((r, values[:, r:r + 10]) for r in range(0, 33, 10)), profile)
        with RasterSource(path, wanted=("VH", "VV")) as source:
            np.testing.assert_array_equal(source.read(0, 33)[0], values[::-1])
            assert source.geo.same_place(geo, 33, 44) and source.declared.unit == "db" and source.declared.quantity == "sigma0"


@pytest.mark.parametrize("row,shape,dtype", [(1, (2, 53), "uint8"), (0, (2, 52), "uint8"), (0, (71, 53), "uint8"),
                                             (0, (2, 53), "int16")])
def test_rows_out_of_order_or_of_another_kind_are_refused_and_nothing_is_left(tmp_path, row, shape, dtype):
    with pytest.raises(ArrayError), MapWriter(tmp_path / "map.tif", 70, 53, None, Legend(), {}) as writer:
        writer.write(row, np.zeros(shape, dtype))
    assert not list(tmp_path.iterdir())


def test_missing_rows_leave_no_file(tmp_path):
    with pytest.raises(RasterError, match="1 of 70 rows"), MapWriter(tmp_path / "map.tif", 70, 53, None, Legend(), {}) as writer:
        writer.write(0, np.zeros((1, 53), np.uint8))
    assert not list(tmp_path.iterdir())
