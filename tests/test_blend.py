"""Blended tiles against the float64 reference, and what blending must share with crop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import reference_blend as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from hfd_edge import _native
from hfd_edge.errors import ArrayError, GridError
from hfd_edge.measure.tiling import stitched_logits, tile_logits, whole_request
from hfd_edge.plan import PlanRequest
from hfd_edge.score import OWN_CLASS
from hfd_edge.segmenter import Segmenter
from hfd_edge.source import ArraySource
from hfd_edge.stitch import MapRows, PixelCounts
from hfd_edge.stitch.blend import BlendFrame, BlendStitch
from hfd_edge.tiles import TileGrid
from hfd_edge.tiles.shares import MODES, SHARE_ONE, Band, Blend, shares
from tests.engines import levels_engine, random_engine
from tests.test_tiled_equals_whole import COLS, ROWS, scene  # the last one a fixture

BLENDED = [mode for mode in MODES if mode != "crop"]
EDGE_ERROR = (3.0, 2.0, 0.9, 0.5, 0.25, 0.1, 0.01)          # of random_engine's 10 logit cells of halo


@pytest.fixture(scope="module")
def engine_path(tmp_path_factory):
    return random_engine(tmp_path_factory.mktemp("engine") / "random.engine", edge_error=EDGE_ERROR)


def used_tiles(grid, stride, axis):
    """(first used cell, cells used, first cell of the core) of every tile along an axis."""
    strips = list(grid.strips())
    if axis == 0:
        spans = [(s.tiles[0].row, s.tiles[0].rows, s.tiles[0].in_row) for s in strips]
    else:
        spans = [(t.col, t.cols, t.in_col) for t in strips[0].tiles]
    return [(first // stride, count // stride, (read + grid.halo_px) // stride) for first, count, read in spans]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(BLENDED), st.integers(1, 30), st.integers(0, 20), st.integers(0, 40),
       st.lists(st.just(0.0) | st.floats(1e-30, 1e6), min_size=1, max_size=60))
def test_shares_mirror_each_other_and_match_the_reference(mode, half, margin, more, edge_error):
    band = Band(2 * half, margin, 2 * half + more)
    table = shares(mode, band, tuple(edge_error))
    assert all(left + right == SHARE_ONE and 0 <= left <= SHARE_ONE for left, right in zip(table, reversed(table)))
    for t, value in enumerate(table):
        expected = reference.share(mode, band.cells, t, band.core + band.cells, margin, tuple(edge_error))
        assert abs(value - SHARE_ONE * expected) <= 0.5 + 1e-6


def test_precision_gives_nothing_to_a_tile_that_is_wrong_where_the_other_is_right():
    table = shares("precision", Band(8, 4, 40), (9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0))
    assert table == (0, 0, 0, 0, SHARE_ONE, SHARE_ONE, SHARE_ONE, SHARE_ONE)
    with pytest.raises(GridError, match="precision needs"):
        shares("precision", Band(8, 4, 40))
    with pytest.raises(GridError, match="even number"):
        shares("hann", Band(3, 0, 40))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_the_weights_of_every_cell_add_up_to_one(data):
    """For any scene, core, overlap, offset and window; counted tile by tile as a reader of the grid would."""
    stride, logit = data.draw(st.sampled_from([(8, 4), (4, 4), (2, 1), (16, 8)]))
    spread = data.draw(st.integers(1, 4)) * stride
    core = tuple(2 * spread + stride * data.draw(st.integers(0, 5)) for _ in "rc")
    rows, cols = (data.draw(st.integers(1, 5 * side)) for side in core)
    offset = tuple(stride * data.draw(st.integers(0, side // stride - 1)) for side in core)
    window = None
    if data.draw(st.booleans()):
        row, col = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, cols - 1))
        window = (row, col, data.draw(st.integers(1, rows - row)), data.draw(st.integers(1, cols - col)))
    grid = TileGrid(rows, cols, *core, spread + stride, stride, offset, data.draw(st.booleans()), window, spread_px=spread)
    table = shares("hann", Band(2 * spread // logit, 0, core[0] // logit))
    for axis, (first, count) in enumerate(zip(grid.kept[:2], grid.kept[2:])):
        sums: dict[int, int] = {}
        for own in reference.axis_weights(used_tiles(grid, logit, axis), table):
            for cell, value in own.items():
                sums[cell] = sums.get(cell, 0) + value
        wanted = range(first // logit - 1, (first + count - 1) // logit + 2)        # with one cell for up-sampling
        assert all(sums[cell] == SHARE_ONE for cell in wanted)
        assert set(sums.values()) == {SHARE_ONE}


def logits_and_places(segmenter, scene, request):
    """Every tile's own logits, where they lie, and the run's grid and blend."""
    source, s = ArraySource(scene, 2), segmenter.spec.logit_stride_px
    run = segmenter.prepare(source, segmenter.declared(None, source.dtype), request=request)
    logits, origin, strips = {}, {}, list(run.plan.grid.strips())
    places = {tile: (i, j) for i, strip in enumerate(strips) for j, tile in enumerate(strip.tiles)}
    for tile, made in tile_logits(segmenter, run):
        logits[places[tile]], origin[places[tile]] = made.copy(), (tile.in_row // s, tile.in_col // s)
    return logits, origin, run.plan


@pytest.mark.parametrize("mode", BLENDED)
@pytest.mark.parametrize("request_", [PlanRequest(tile=96, halo=16), PlanRequest(tile=(64, 104), halo=24, overlap=16, offset=(8, 16)),
                                      PlanRequest(tile=96, halo=24, overlap=48, offset=(40, 8))])
def test_fused_logits_match_the_reference(engine_path, scene, mode, request_):
    with Segmenter(engine_path) as segmenter:
        request = replace(request_, stitch=mode)
        found = stitched_logits(segmenter, scene, request)
        logits, origin, plan = logits_and_places(segmenter, scene, request)
    rows, cols = (reference.axis_weights(used_tiles(plan.grid, 4, axis), table)
                  for axis, table in enumerate((plan.blend.rows, plan.blend.cols)))
    expected = reference.fused(logits, rows, cols, origin, found.shape)
    np.testing.assert_allclose(found, expected, rtol=0, atol=4e-6 * np.abs(expected).max())


@pytest.mark.parametrize("mode", BLENDED)
def test_threads_and_batch_do_not_change_a_byte(engine_path, scene, mode):
    maps = []
    for threads, batch in ((1, 1), (2, 3), (7, 2)):
        with Segmenter(engine_path, tile=96, halo=16, stitch=mode, threads=threads, batch=batch) as segmenter:
            result = segmenter.run(scene)
        maps.append((result.labels.tobytes(), result.confidence.tobytes()))
        assert ((result.labels == 255) == np.isnan(scene).any(axis=0)).all(), "nodata in is nodata out, and never bleeds"
        assert result.report.stitch == mode and result.report.overlap_px == 32 and result.halo == "custom"
        assert 0 < result.report.halo_share < 1
    assert len(set(maps)) == 1


def test_the_order_in_which_tiles_arrive_does_not_change_a_byte():
    grid = TileGrid(150, 203, 40, 48, 16, 8, (16, 8), spread_px=16)
    blend = Blend("hann", 32, *(shares("hann", Band(8, 0, core // 4)) for core in (40, 48)))
    frame, rng = BlendFrame(grid, blend, 5, 4, MapRows(203, OWN_CLASS), 2), np.random.default_rng(0)
    made = {(t.row, t.col): rng.normal(size=(5, t.in_rows // 4, t.in_cols // 4)).astype(np.float32)
            for strip in grid.strips() for t in strip.tiles}

    def map_of(order) -> bytes:
        stitch, bytes_ = BlendStitch(frame, PixelCounts()), b""
        for strip in grid.strips():
            part = stitch.open(strip)
            for number in order(len(strip.tiles)):
                tile = strip.tiles[number]
                part.put(tile, made[tile.row, tile.col], np.zeros((tile.in_rows, tile.in_cols), np.uint8))
            bytes_ += b"".join(each.field.tobytes() + each.labels.tobytes() for each in stitch.close(part))
        return bytes_ + b"".join(each.field.tobytes() + each.labels.tobytes() for each in stitch.end())

    assert len({map_of(range), map_of(lambda n: range(n)[::-1]), *(map_of(rng.permutation) for _ in range(5))}) == 1


@pytest.mark.parametrize("mode", BLENDED)
def test_where_no_used_pixel_saw_the_end_of_its_tile_the_map_is_the_whole_one_to_the_bit(engine_path, scene, mode):
    with Segmenter(engine_path) as segmenter:
        exact = segmenter.spec.halo_px
        whole = stitched_logits(segmenter, np.nan_to_num(scene), whole_request(segmenter, ROWS, COLS))
        for request in (PlanRequest(tile=152, halo=exact + 8, overlap=16), PlanRequest(tile=176, halo=exact + 16, overlap=32)):
            fused = stitched_logits(segmenter, np.nan_to_num(scene), replace(request, stitch=mode))
            np.testing.assert_array_equal(fused, whole)
    with Segmenter(engine_path, tile=176, halo=exact + 16, overlap=32, stitch=mode) as segmenter:
        assert segmenter.run(scene).halo == "exact"


def test_precision_with_the_exact_halo_is_crop_to_the_bit_and_hann_is_not(engine_path, scene):
    with Segmenter(engine_path) as segmenter:
        requests = [PlanRequest(tile=160, halo="exact", stitch=mode) for mode in ("crop", "precision", "hann")]
        crop, precision, hann = (stitched_logits(segmenter, np.nan_to_num(scene), request) for request in requests)
    np.testing.assert_array_equal(precision, crop)
    assert (hann != crop).any()
    for halo, noted in (("exact", True), (16, False)):
        with Segmenter(engine_path, tile=160, halo=halo, stitch="precision") as segmenter:
            report = segmenter.run(scene).report
        assert any("precision is crop" in note for note in report.notes) is noted and (report.halo == "exact") is noted


@pytest.mark.parametrize("mode", BLENDED)
@pytest.mark.parametrize("window", [(0, 0, 50, 60), (61, 97, 33, 41), (150, 250, 53, 67), (40, 40, 1, 1), (0, 0, ROWS, COLS)])
def test_a_window_is_the_crop_of_the_scenes_map(engine_path, scene, mode, window):
    row, col, rows, cols = window
    with Segmenter(engine_path, tile=96, halo=16, stitch=mode) as segmenter:
        whole = segmenter.run(scene)
        got, radiometry = [], segmenter.declared(None, np.dtype(np.float32))
        report = segmenter.run_source(ArraySource(scene, 2), radiometry, lambda *made: got.append(made), confidence=True, window=window)
    np.testing.assert_array_equal(np.concatenate([labels for _, labels, _ in got]), whole.labels[row:row + rows, col:col + cols])
    np.testing.assert_array_equal(np.concatenate([sure for *_, sure in got]), whole.confidence[row:row + rows, col:col + cols])
    assert (report.rows, report.cols) == (rows, cols) and [r for r, *_ in got] == [0, *np.cumsum([len(m) for _, m, _ in got])[:-1]]


def test_beside_nodata_too_a_window_is_the_crop_of_the_scenes_map(engine_path):
    """A tile without a valid pixel inside the window was left out of the last logits that it shares, from which valid pixels beside it are up-sampled."""
    pixels = np.random.default_rng(2).normal(size=(2, 240, 400)).astype(np.float32)
    pixels[:, 60:180, :208] = np.nan                        # where the tile whose core begins at column 128 ends
    window = (80, 200, 40, 60)
    with Segmenter(engine_path, tile=(272, 96), halo=16, stitch="constant") as segmenter:
        whole, got = segmenter.run(pixels, confidence=True), []
        segmenter.run_source(ArraySource(pixels, 2), segmenter.declared(None, pixels.dtype), lambda *made: got.append(made), confidence=True, window=window)
    crop = np.s_[window[0]:window[0] + window[2], window[1]:window[1] + window[3]]
    np.testing.assert_array_equal(np.concatenate([sure for *_, sure in got]), whole.confidence[crop])
    np.testing.assert_array_equal(np.concatenate([labels for _, labels, _ in got]), whole.labels[crop])


@pytest.mark.parametrize("shape", [(1, 1), (1, 150), (150, 1), (8, 8), (97, 33)])
def test_scenes_smaller_than_a_tile_equal_the_whole(engine_path, shape):
    pixels = np.random.default_rng(1).normal(size=(2, *shape)).astype(np.float32)
    with Segmenter(engine_path) as segmenter:
        whole = segmenter.run(pixels)
    with Segmenter(engine_path, stitch="hann", halo="exact", tile=240, overlap=16) as segmenter:
        np.testing.assert_array_equal(segmenter.run(pixels).labels, whole.labels)


def test_empty_tiles_leave_their_neighbours_as_they_are(engine_path):
    pixels = np.full((2, 200, 400), np.nan, np.float32)
    pixels[:, 30:60, 20:50] = pixels[:, 120:180, 300:330] = 1.0
    with Segmenter(engine_path, tile=96, halo=16, stitch="hann") as segmenter:
        result = segmenter.run(pixels)
    assert result.report.tiles_empty > 10 and ((result.labels == 255) == np.isnan(pixels[0])).all()
    assert result.report.nan_pixels == 0 and result.report.nodata_share == pytest.approx(np.isnan(pixels[0]).mean())


def test_an_engine_that_returns_its_input_gives_the_raster_back(tmp_path):
    pixels = np.random.default_rng(5).integers(0, 7, size=(131, 97)).astype(np.uint8)
    path = levels_engine(tmp_path / "levels.engine")
    for mode in ("hann", "gaussian", "constant"):
        with Segmenter(path, tile=(24, 33), halo=4, stitch=mode) as segmenter:
            np.testing.assert_array_equal(segmenter.run(pixels, unit="dn").labels, pixels)


def test_what_cannot_be_blended_is_refused(engine_path, tmp_path):
    plain, big = random_engine(tmp_path / "plain.engine"), np.zeros((2, 300, 300), np.float32)
    with pytest.raises(GridError, match="hfd-edge seams SCENE MODEL.engine --profile"):
        Segmenter(plain, stitch="precision")
    with pytest.raises(GridError, match="one of crop, precision, hann, gaussian, constant"):
        Segmenter(plain, stitch="feather")
    for arguments, words in (({"stitch": "hann", "halo": 0}, "nothing to fuse"), ({"overlap": 16}, "crop fuses nothing"),
                             ({"stitch": "hann", "halo": 16, "overlap": 24}, "multiple of twice.*at most 32"),
                             ({"stitch": "hann", "halo": 40, "overlap": 80}, "at most 16")):
        with Segmenter(plain, tile=96, **arguments) as segmenter, pytest.raises(GridError, match=words):
            segmenter.run(big)
    with pytest.raises(GridError, match="three tiles would share"):
        TileGrid(100, 100, 32, 32, 24, 8, spread_px=24)


def test_a_broken_grid_or_table_is_noticed():
    grid = TileGrid(64, 128, 32, 32, 16, 8, spread_px=16)
    table = shares("hann", Band(8, 0, 8))
    frame, strip = BlendFrame(grid, Blend("hann", 32, table, table), 2, 4, MapRows(128, None), 1), next(grid.strips())
    torn = replace(strip, tiles=(strip.tiles[0], strip.tiles[-1]))
    with pytest.raises(GridError, match="do not add up"):
        BlendStitch(frame, PixelCounts()).open(torn)
    stitch = BlendStitch(frame, PixelCounts())
    part = stitch.open(strip)
    part.put_empty(strip.tiles[0])
    with pytest.raises(GridError, match="given twice"):
        part.put_empty(strip.tiles[0])
    with pytest.raises(GridError, match="3 of its 4 tiles were not given"):
        stitch.close(part)


def test_a_nan_of_the_engine_is_counted_where_its_share_is_not_zero():
    nan = np.float32(np.nan)
    field = np.array([[[1, nan, nan, 5]]], np.float32)
    _native.blend_tile(np.array([[[nan, 2, 2, nan]]], np.float32), (0, 0), field, 0, np.array([0, SHARE_ONE, 100, 200], np.int32),
                       np.array([1, 1, 1, 2], np.uint8), 1)
    np.testing.assert_array_equal(field, [[[1, 2, nan, nan]]])


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_native_loops_match_the_reference(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    classes, rows, cols, used = (data.draw(st.integers(1, n)) for n in (6, 9, 40, 30))
    used = min(used, cols)
    row, col, at = (data.draw(st.integers(0, n)) for n in (3, 3, cols - used))
    tile = rng.normal(size=(classes, rows + row, used + col)).astype(np.float32)
    field = rng.normal(size=(classes, rows, cols)).astype(np.float32)
    share, state = rng.integers(0, SHARE_ONE + 1, used).astype(np.int32), rng.integers(0, 3, used).astype(np.uint8)
    expected = field.astype(np.float64)
    for c, r, x in np.ndindex(classes, rows, used):
        held, made = field[c, r, at + x], tile[c, row + r, col + x]
        expected[c, r, at + x] = [made, reference.fuse(held, made, share[x]), reference.fuse(made, held, share[x])][state[x]]
    _native.blend_tile(tile, (row, col), field, at, share, state, data.draw(st.sampled_from([1, 2, 7])))
    np.testing.assert_allclose(field, expected, rtol=0, atol=1e-6)


def test_native_loops_refuse_what_does_not_fit():
    field, share, state = np.zeros((2, 4, 8), np.float32), np.zeros(3, np.int32), np.zeros(3, np.uint8)
    for tile, first, col, numbers, words in (
            ((3, 4, 3), (0, 0), 0, share, "2 classes|3 and 2"), ((2, 3, 3), (0, 0), 0, share, "leaves the tile"),
            ((2, 4, 3), (0, 1), 0, share, "leaves the tile"), ((2, 4, 3), (0, 0), 6, share, "leaves the field"),
            ((2, 4, 3), (0, 0), 0, share - 1, r"share\[0\]=-1")):
        with pytest.raises(ArrayError, match=words):
            _native.blend_tile(np.zeros(tile, np.float32), first, field, col, numbers, state, 1)
    with pytest.raises(ArrayError, match="share has 5 rows"):
        _native.blend_strips(field, field.copy(), np.zeros(5, np.int32), np.ones(8, np.uint8), np.ones(8, np.uint8), 1)
