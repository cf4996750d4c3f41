"""Windows of a raster: what neighbours share is read once, blocks are decoded once, and the pixels are the file's."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfd_edge.errors import DeviceError, RasterError
from hfd_edge.plan import PlanRequest, SceneShape, plan_tiles
from hfd_edge.raster import RasterSource
from hfd_edge.segmenter import Segmenter
from hfd_edge.source import sample
from tests.engines import levels_engine, make_spec
from tests.rasters import write_tif

ROWS, COLS = 300, 170
VALUES = np.random.default_rng(5).integers(0, 60_000, (2, ROWS, COLS)).astype(np.uint16)
LAYOUTS = {
    "tiles": {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"},
    "tiles, uncompressed": {"tiled": True, "blockxsize": 64, "blockysize": 64},
    "strips": {"blockysize": 13, "compress": "lzw", "interleave": "pixel"},
    "one block": {"blockysize": ROWS, "compress": "zstd"}}


@contextmanager
def counted(source):
    """Every (first row, rows) that is read of the file, in order."""
    reads, read_into = [], source.read_into

    def counting(values, row, col):
        reads.append((row, values.shape[1]))
        return read_into(values, row, col)

    source.read_into = counting
    yield reads
    del source.read_into


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    mask = (VALUES[0] % 7 > 0).astype(np.uint8) * 255
    return {**{name: write_tif(folder / f"{name}.tif", VALUES, nodata=VALUES[0, 250, 3], **layout)
               for name, layout in LAYOUTS.items()},
            "masked": write_tif(folder / "masked.tif", VALUES, mask=mask, **LAYOUTS["tiles"]),
            "plain": write_tif(folder / "plain.tif", VALUES, **LAYOUTS["tiles"])}


@pytest.mark.parametrize("name", [*LAYOUTS, "masked", "plain"])
@pytest.mark.parametrize("threads", [1, 2])
@settings(max_examples=20, deadline=None)
@given(core=st.integers(1, 140), halo=st.integers(0, 90), first=st.integers(0, ROWS - 1),
       cols=st.tuples(st.integers(0, COLS - 1), st.integers(1, COLS)))
def test_windows_hold_the_files_pixels_and_read_no_row_twice(files, name, threads, core, halo, first, cols):
    col, width = cols[0], min(cols[1], COLS - cols[0])
    with RasterSource(files[name], threads=threads) as source:
        whole = source.read(0, ROWS)[1]
        with counted(source) as reads:
            reader = source.reader(col, width)
            for row in range(first, ROWS, core):
                top, bottom = max(0, row - halo), min(ROWS, row + core + halo)
                values, valid = reader.read(top, bottom - top)
                np.testing.assert_array_equal(values, VALUES[:, top:bottom, col:col + width])
                assert (valid is None) == (whole is None)
                if valid is not None:
                    np.testing.assert_array_equal(valid, whole[top:bottom, col:col + width])
    rows = [row for at, count in reads for row in range(at, at + count)]
    assert len(rows) == len(set(rows)) and rows == sorted(rows)
    edges = {at + count for at, count in reads} - {ROWS}
    assert all(edge % source.block_rows == 0 for edge in edges), "a block that is read in two pieces is decoded twice"


def test_only_blocks_that_are_decoded_whole_are_waited_for(files):
    expected = {"tiles": 64, "tiles, uncompressed": 1, "strips": 13, "one block": ROWS, "masked": 64}
    assert {name: RasterSource(files[name]).block_rows for name in expected} == expected
    tall = files["tiles"].with_name("tall.tif")
    write_tif(tall, np.zeros((1, 1100, 8), np.uint8), blockysize=1100, compress="deflate")
    assert RasterSource(tall).block_rows == 1, "a block of more than 1024 rows would make every window huge"


def test_windows_may_skip_rows_and_step_back(files):
    with RasterSource(files["tiles"]) as source:
        reader = source.reader(3, 100)
        for row, rows in ((10, 20), (200, 30), (0, 5), (3, 1), (290, 10), (0, 300)):
            np.testing.assert_array_equal(reader.read(row, rows)[0], VALUES[:, row:row + rows, 3:103])


def test_a_window_stays_as_it_is_when_the_next_ones_are_read(files):
    with RasterSource(files["tiles"]) as source:
        reader = source.reader(0, COLS)
        windows = [(row, reader.read(row, 70)[0]) for row in range(0, 230, 30)]
        for row, values in windows:
            np.testing.assert_array_equal(values, VALUES[:, row:row + 70])


def test_a_read_that_fails_leaves_no_wrong_pixels_for_the_next(files, monkeypatch):
    with RasterSource(files["tiles"]) as source:
        reader, read_into = source.reader(0, COLS), source.read_into
        reader.read(0, 70)

        def failing(values, row, col):
            values[:] = 7
            raise RasterError("the disk is gone")

        monkeypatch.setattr(source, "read_into", failing)
        with pytest.raises(RasterError):
            reader.read(60, 90)
        monkeypatch.setattr(source, "read_into", read_into)
        np.testing.assert_array_equal(reader.read(60, 90)[0], VALUES[:, 60:150])


def test_the_pixels_outside_the_scene_are_refused(files):
    with RasterSource(files["tiles"]) as source:
        for part, words in (((0, 5, 100, 71), "columns 0 to 169"), ((0, 5, -1, 5), "columns 0 to 169"),
                            ((298, 3, 0, 5), "rows 0 to 299")):
            with pytest.raises(RasterError, match=words):
                source.read_part(*part)


def test_a_run_decodes_every_block_once(tmp_path, monkeypatch):
    """The whole run: sampling apart, each row of the file is read once although the halos of the strips overlap."""
    engine = levels_engine(tmp_path / "levels.engine", tile_px=64, reach_px=20, halo_px=20)
    labels = (np.add.outer(np.arange(700), np.arange(90)) // 9 % 7).astype(np.uint16)
    scene = write_tif(tmp_path / "scene.tif", labels[np.newaxis], **LAYOUTS["tiles"])
    reads = []
    read_into = RasterSource.read_into

    def counting(self, values, row, col):
        if values.shape[1] != 4:                                            # the sample of check_values
            reads.append((row, values.shape[1]))
        return read_into(self, values, row, col)

    monkeypatch.setattr(RasterSource, "read_into", counting)
    with Segmenter(engine, tile=(100, 90), threads=2) as segmenter:
        report = segmenter.run_raster(scene, tmp_path / "map.tif", unit="dn")
        assert report.tiles_run > 12
    assert sum(rows for _, rows in reads) == 700 and [row for row, _ in reads] == sorted({row for row, _ in reads})
    assert all(row % 64 == 0 for row, _ in reads)
    monkeypatch.undo()
    with RasterSource(tmp_path / "map.tif") as made:
        np.testing.assert_array_equal(made.read(0, 700)[0][0], labels)


def test_rows_that_wait_are_part_of_the_plan():
    spec = make_spec(2, 5, 16, 4, 100, activation_bytes_per_px=200, tile_px=512)
    plans = [plan_tiles(spec, SceneShape(30000, 9000, 4, 2, below), PlanRequest(memory=1 << 30)) for below in (0, 255)]
    assert plans[0].grid == plans[1].grid and [plan.rows_below for plan in plans] == [0, 255]
    assert plans[1].memory_bytes - plans[0].memory_bytes == 2 * 255 * 9000 * (4 + 1), "two windows, a byte of validity"


@pytest.mark.parametrize("memory, below", [(250 << 20, 0), (2 << 30, 511)])
def test_blocks_are_not_waited_for_where_the_memory_costs_more_halo_than_it_saves(memory, below):
    spec = make_spec(2, 5, 16, 4, 100, activation_bytes_per_px=200, tile_px=512, halo_bounded_px=32)
    scene, request = SceneShape(30000, 12000, 8, 2, 511), PlanRequest(memory=memory)
    plan = plan_tiles(spec, scene, request)
    assert plan.rows_below == below and plan.memory_bytes <= memory
    window = plan_tiles(spec, scene, replace(request, window=(5, 7, 11, 13)))
    assert (window.rows_below, window.halo) == (below, plan.halo)
    if plan.halo == "bounded":
        assert replace(window.grid, window=None) == plan.grid


def test_a_sample_of_a_wide_raster_reads_a_quarter_of_each_block_row_and_sees_every_column(tmp_path, monkeypatch):
    monkeypatch.setattr("hfd_edge.source._DECODED_PX", 8 * 16 * 1024 // 4)
    wide = np.arange(64, dtype=np.uint16).repeat(16)[np.newaxis, np.newaxis].repeat(400, axis=1)          # block number = value
    path = write_tif(tmp_path / "wide.tif", wide, tiled=True, blockxsize=16, blockysize=16, compress="deflate")
    with RasterSource(path) as source, counted(source) as reads:
        values, valid = sample(source)
        assert len(reads) == 8 * 64 // 4 and valid.shape == values.shape[1:]
    assert set(np.unique(values)) == set(range(64))


def test_a_raster_opened_before_a_fork_is_not_read_after_it(files, monkeypatch):
    with RasterSource(files["tiles"]) as source:
        monkeypatch.setattr("os.getpid", lambda: -1)
        with pytest.raises(DeviceError, match="forked.*spawn"):
            source.read(0, 1)
        monkeypatch.undo()
