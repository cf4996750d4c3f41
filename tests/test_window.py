"""A window of a scene: its map is the crop of the scene's map, to the bit, and lies on the ground where the crop lies."""

from dataclasses import replace

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.rpc import RPC
from rasterio.transform import xy

from hfd_edge.errors import GridError, RasterError
from hfd_edge.plan import PlanRequest, SceneShape, check_window, plan_tiles
from hfd_edge.raster import GeoReference, RasterSource
from hfd_edge.segmenter import Segmenter
from hfd_edge.tiles import TileGrid
from tests.engines import random_engine
from tests.rasters import GCPS, ROTATED, write_tif

ROWS, COLS = 301, 417
NODATA = -9999.0
WINDOWS = [(0, 0, ROWS, COLS), (13, 27, 101, 99), (0, 0, 1, 1), (300, 416, 1, 1), (7, 200, 3, 217), (250, 0, 51, 417),
           (5, 400, 296, 17)]


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return random_engine(tmp_path_factory.mktemp("engine") / "random.engine", halo_bounded_px=16)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    values = np.random.default_rng(2).normal(size=(2, ROWS, COLS)).astype(np.float32)
    values[0, 40:77, 90:131] = NODATA
    values[1, :, 380:] = NODATA
    values[0, 290:, 100] = np.nan
    return write_tif(tmp_path_factory.mktemp("scene") / "scene.tif", values, nodata=NODATA, crs="EPSG:32633",
                     transform=ROTATED, tiled=True, blockxsize=64, blockysize=64, compress="deflate")


def maps(segmenter, scene, folder, window=None):
    out, scores = folder / "map.tif", folder / "scores.tif"
    report = segmenter.run_raster(scene, out, unit="dn", window=window, confidence=scores, overwrite=True)
    with RasterSource(out) as labels, RasterSource(scores) as confidence:
        return labels.read(0, labels.rows)[0][0], confidence.read(0, labels.rows)[0][0], labels.geo, report


@pytest.mark.parametrize("options", [{}, {"tile": 120, "halo": "exact"}, {"tile": (96, 184), "halo": "bounded"},
                                     {"tile": (64, 416), "halo": 8}, {"tile": 128, "batch": 3, "halo": "exact"}])
def test_the_map_of_a_window_is_the_crop_of_the_scenes_map(engine, scene, tmp_path, options):
    with Segmenter(engine, threads=2, **options) as segmenter:
        whole, scores, geo, report = maps(segmenter, scene, tmp_path)
        assert (whole == 255).any() and len(np.unique(whole)) > 3
        for window in WINDOWS:
            row, col, rows, cols = window
            labels, confidence, place, part = maps(segmenter, scene, tmp_path, window)
            crop = slice(row, row + rows), slice(col, col + cols)
            np.testing.assert_array_equal(labels, whole[crop])
            np.testing.assert_array_equal(confidence, scores[crop])
            corner = (500_000 + 8 * col + 3 * row, 4_600_000 + 3 * col - 8 * row)
            assert xy(place.transform, 0, 0, offset="ul") == corner == xy(geo.transform, row, col, offset="ul")
            assert place.transform[:2] == geo.transform[:2] == (8, 3)
            assert (part.rows, part.cols, part.halo) == (rows, cols, report.halo)
            assert part.nodata_share == pytest.approx((whole[crop] == 255).mean())


def test_a_small_window_costs_little_of_a_large_scene(engine, scene, tmp_path):
    with Segmenter(engine, threads=2, halo="exact") as segmenter:
        *_, part = maps(segmenter, scene, tmp_path, (100, 101, 8, 8))
        assert part.tiles_run == 1 and part.tile_px == (96, 96)     # rows 96 to 112, and the halo of 40 twice


grids = st.builds(
    lambda stride, core, halo, rows, cols, at, own: TileGrid(
        rows, cols, core[0] * stride, core[1] * stride, halo * stride, stride, window=at(rows, cols), own_cores=own),
    st.sampled_from([1, 4, 16]), st.tuples(st.integers(1, 5), st.integers(1, 5)), st.integers(0, 5),
    st.integers(1, 150), st.integers(1, 150),
    st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)).map(lambda f: lambda rows, cols: (
        int(f[0] * (rows - 1)), int(f[1] * (cols - 1)), 1 + int(f[2] * (rows - 1 - int(f[0] * (rows - 1)))),
        1 + int(f[3] * (cols - 1 - int(f[1] * (cols - 1)))))), st.booleans())


@settings(deadline=None)
@given(grids)
def test_every_pixel_of_a_window_is_kept_once_and_every_tile_lies_on_the_stride(grid):
    row, col, rows, cols = grid.window
    kept = np.zeros((grid.scene_rows, grid.scene_cols), int)
    first_col, read_cols = grid.read_cols
    assert 0 <= first_col and first_col + read_cols <= grid.scene_cols
    for strip in grid.strips():
        assert 0 <= strip.read_row and strip.read_row + strip.read_rows <= grid.scene_rows
        for tile in strip.tiles:
            kept[tile.row:tile.row + tile.rows, tile.col:tile.col + tile.cols] += 1
            assert all(value % grid.stride_px == 0 for value in (tile.in_row, tile.in_col, tile.in_rows, tile.in_cols))
            assert min(tile.crop) >= grid.halo_px and tile.crop[0] + tile.rows + grid.halo_px <= tile.in_rows
    assert (kept[row:row + rows, col:col + cols] == 1).all() and kept.sum() == rows * cols


@pytest.mark.parametrize("window", [(-1, 0, 5, 5), (0, 0, 0, 5), (0, 0, 302, 5), (0, 400, 5, 18), (301, 0, 1, 1)])
def test_a_window_outside_the_raster_is_refused_before_a_file_is_made(engine, scene, tmp_path, window):
    with Segmenter(engine, threads=1) as segmenter:
        with pytest.raises(RasterError, match="inside 301 x 417"):
            segmenter.run_raster(scene, tmp_path / "map.tif", unit="dn", window=window)
        with pytest.raises(GridError, match="inside the scene of 301 x 417"):
            plan_tiles(segmenter.spec, SceneShape(ROWS, COLS, 8), PlanRequest(window=window))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("window", ["0,0,5,5", (0, 0, 5), (0, 0, 5.0, 5), (0, 0, True, 5), 5])
def test_what_is_no_window_is_refused(window):
    with pytest.raises(GridError, match="row, col, rows, cols"):
        check_window(window)


def test_control_points_and_rpcs_count_from_the_windows_first_pixel():
    rpcs = RPC(0, 1, 0, 1, [1.0] * 20, [1.0] * 20, 150.0, 100.0, 0, 1, [1.0] * 20, [1.0] * 20, 80.0, 90.0)
    geo = GeoReference(gcps=tuple(GCPS), rpcs=rpcs)
    moved = geo.shifted(30, 7)
    assert [(g.row, g.col, g.x, g.y, g.z) for g in moved.gcps] == [(g.row - 30, g.col - 7, g.x, g.y, g.z) for g in GCPS]
    assert (moved.rpcs.line_off, moved.rpcs.samp_off) == (120, 73) and (rpcs.line_off, rpcs.samp_off) == (150, 80)
    assert GeoReference().shifted(3, 4) == GeoReference() == replace(geo, gcps=(), rpcs=None).shifted(1, 1)


def test_the_map_of_a_window_says_which(engine, scene, tmp_path):
    with Segmenter(engine, threads=1) as segmenter:
        maps(segmenter, scene, tmp_path, (1, 2, 30, 40))
    with rasterio.open(tmp_path / "map.tif") as made:
        assert made.tags()["HFD_WINDOW"] == "1,2,30,40" and made.shape == (30, 40)
