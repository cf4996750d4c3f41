"""A raster of more than 2^31 pixels, from file to file: no offset of reader, native module, plan or COG overflows."""

import shutil

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

from hfd_edge.plan import PlanRequest, SceneShape, plan_tiles
from hfd_edge.raster_run import RasterOptions
from hfd_edge.segmenter import Segmenter
from hfd_edge.tiles import TileGrid
from tests.engines import levels_engine, make_spec
from tests.rasters import UTM

ROWS, COLS = 60_000, 40_000                     # 2.4e9 pixels
BLOCK_PX = 512
FILLED = ((0, 0), (53_760, 512), (59_904, 39_936), (30_208, 39_424))    # first pixels of the blocks with values; 0 is nodata
DISK_BYTES = 10 << 30


def write_sparse(path, values):
    """A tiled GeoTIFF of ROWS x COLS, of which only the FILLED blocks are on the disk."""
    with rasterio.open(path, "w", driver="GTiff", width=COLS, height=ROWS, count=1, dtype="uint8", nodata=0, tiled=True,
                       blockxsize=BLOCK_PX, blockysize=BLOCK_PX, sparse_ok=True, bigtiff="YES", crs="EPSG:32633",
                       transform=UTM) as out:
        for row, col in FILLED:
            window = Window(col, row, min(BLOCK_PX, COLS - col), min(BLOCK_PX, ROWS - row))
            out.write(values[:window.height, :window.width], 1, window=window)


@pytest.mark.slow
def test_a_raster_of_more_than_two_to_the_31_pixels_becomes_a_cog_with_every_pixel_in_its_place(tmp_path):
    if shutil.disk_usage(tmp_path).free < DISK_BYTES:
        pytest.skip(f"needs {DISK_BYTES >> 30} GiB free in {tmp_path}")
    assert ROWS * COLS > 2**31
    values = np.random.default_rng(0).integers(1, 7, (BLOCK_PX, BLOCK_PX)).astype(np.uint8)
    write_sparse(tmp_path / "scene.tif", values)
    assert (tmp_path / "scene.tif").stat().st_size < 8 << 20
    with Segmenter(levels_engine(tmp_path / "levels.engine"), threads=2) as segmenter:
        report = segmenter.run_raster(tmp_path / "scene.tif", tmp_path / "map.tif", RasterOptions(unit="dn"))
    filled = sum(min(BLOCK_PX, ROWS - row) * min(BLOCK_PX, COLS - col) for row, col in FILLED)
    assert report.nodata_share == pytest.approx(1 - filled / (ROWS * COLS), abs=1e-12)
    assert report.nan_pixels == 0 and 0 < report.tiles_run < report.tiles_empty / 20
    with rasterio.open(tmp_path / "map.tif") as made:
        assert made.shape == (ROWS, COLS) and made.overviews(1) == [2, 4, 8, 16, 32, 64, 128]
        for row, col in FILLED:
            part = made.read(1, window=Window(col, row, BLOCK_PX, BLOCK_PX))
            np.testing.assert_array_equal(part, values[:part.shape[0], :part.shape[1]])
            before = made.read(1, window=Window(max(col - BLOCK_PX, 0), max(row - 9, 0), BLOCK_PX, 9))
            assert row == 0 or (before == 255).all()
    with rasterio.open(tmp_path / "map.tif", OVERVIEW_LEVEL=2) as level:
        found = np.argwhere(level.read(1) != 255)
    expected = {(row // 8, col // 8) for row, col in FILLED}
    assert {(row // 64 * 64, col // 64 * 64) for row, col in found.tolist()} == expected and len(found) == filled // 64


@pytest.mark.parametrize("rows, cols", [(3, 2**31 + 5), (2**31 + 5, 3), (2**20, 2**20)])
def test_the_plan_counts_beyond_two_to_the_31(rows, cols):
    spec = make_spec(2, 5, 16, 4, 100, activation_bytes_per_px=200, tile_px=512)
    grid = TileGrid(rows, cols, 2**24, 2**24, 112, 16)
    last = None
    for last in grid.strips():
        continue
    assert last.row + last.rows == rows and last.tiles[-1].col + last.tiles[-1].cols == cols and grid.input_px > 2**31
    if cols < 2**21:
        plan = plan_tiles(spec, SceneShape(rows, cols, 8), PlanRequest(memory=1 << 40, window=(rows - 3, cols - 3, 3, 3)))
        strip, = plan.grid.strips()
        assert (strip.row, strip.tiles[0].col, strip.tiles[0].rows) == (rows - 3, cols - 3, 3)
        assert strip.read_row + strip.read_rows == rows
