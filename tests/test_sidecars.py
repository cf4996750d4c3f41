"""What other programs leave beside a map never becomes part of another map of its name."""

import numpy as np
import pytest
import rasterio

from hfd_edge.errors import RasterError
from hfd_edge.raster import GeoReference, check_output
from tests.rasters import UTM, write_tif
from tests.test_raster_map import labels_of, write_map


def leave_sidecars(path):
    """What gdaladdo -ro, gdal_edit and QGIS leave beside a map: another place, another nodata value, a mask that hides everything."""
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
    assert [p.name for p in tmp_path.iterdir()] == ["map.tif"]
    with rasterio.open(path) as dataset:
        assert (dataset.crs.to_epsg(), dataset.transform, dataset.nodata) == (32633, UTM, 255)
        np.testing.assert_array_equal(dataset.dataset_mask() != 0, labels != 255)
        assert dataset.read(1, out_shape=(350, 265)).min() == 0


@pytest.mark.parametrize("suffix", [".aux.xml", ".ovr", ".msk"])
def test_what_lies_beside_the_name_of_a_map_is_never_removed_unasked(tmp_path, suffix):
    leave_sidecars(tmp_path / "map.tif")
    for path in tmp_path.iterdir():
        if not path.name.endswith(suffix):
            path.unlink()
    with pytest.raises(RasterError, match=f"map.tif{suffix} exists, of an older map.tif.*--overwrite"):
        write_map(tmp_path / "map.tif", labels_of())
    with pytest.raises(RasterError, match=f"map.tif{suffix} is an input"):
        check_output(tmp_path / "map.tif", overwrite=True, inputs=[tmp_path / f"map.tif{suffix}"])
    assert [p.name for p in tmp_path.iterdir()] == [f"map.tif{suffix}"]
