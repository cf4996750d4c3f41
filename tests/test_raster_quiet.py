"""Filters of warnings are the process's: threads that read and write rasters leave them as they were."""

import threading
import warnings

from hfd_edge.raster.georeference import GeoReference
from hfd_edge.raster.quiet import without_place_warning


def test_threads_that_keep_a_warning_away_leave_the_filters_as_they_were():
    """One restored what the other had set: rasterio's warning came for scenes with a georeference, and then never again for anybody's."""
    before, entered, left = list(warnings.filters), threading.Event(), threading.Event()

    def inside():
        with without_place_warning():
            entered.set()
            left.wait(5)

    other = threading.Thread(target=inside)
    with without_place_warning():
        other.start()
        entered.wait(0.2)
    left.set()
    other.join()
    assert entered.is_set() and warnings.filters == before


def test_a_check_of_the_coordinate_system_warns_of_nothing(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GeoReference.north_up("EPSG:32633", 500000.0, 5300000.0, 10.0).check_storable(tmp_path / "map.tif")
