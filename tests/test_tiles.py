"""The grid: integers that must add up."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfd_edge.errors import DeviceError, GridError
from hfd_edge.plan import PlanRequest, SceneShape, plan_tiles
from hfd_edge.plan.notes import costly
from hfd_edge.tiles import TileGrid, equal_core, reflect101, reflected_range
from tests.engines import make_spec


@settings(deadline=None)          # the machine may be busy
@given(size=st.integers(1, 40), first=st.integers(-100, 100), count=st.integers(1, 200))
def test_reflected_range_holds_every_reflected_index(size, first, count):
    indices = [reflect101(i, size) for i in range(first, first + count)]
    low, high = reflected_range(first, count, size)
    assert (low, high) == (min(indices), max(indices) + 1) or (count >= 2 * size and (low, high) == (0, size))


def test_reflection_is_numpys_and_a_single_pixel_is_constant():
    assert [reflect101(i, 5) for i in range(-6, 11)] == list(np.pad(np.arange(5), (6, 6), mode="reflect"))
    assert {reflect101(i, 1) for i in range(-3, 4)} == {0}


grids = st.builds(
    lambda rows, cols, core, halo, stride, offset, fixed: TileGrid(
        rows, cols, core[0] * stride, core[1] * stride, halo * stride, stride, (offset[0] % core[0] * stride, offset[1] % core[1] * stride), fixed),
    rows=st.integers(1, 120), cols=st.integers(1, 120), core=st.tuples(st.integers(1, 5), st.integers(1, 5)), halo=st.integers(0, 3),
    stride=st.sampled_from([1, 2, 4, 8, 16]), offset=st.tuples(st.integers(0, 9), st.integers(0, 9)), fixed=st.booleans())


@settings(deadline=None)          # the machine may be busy
@given(grids)
def test_every_pixel_is_kept_by_exactly_one_tile_and_every_tile_lies_on_the_stride(grid):
    seen = np.zeros((grid.scene_rows, grid.scene_cols), int)
    input_px = 0
    for strip in grid.strips():
        for tile in strip.tiles:
            seen[tile.row:tile.row + tile.rows, tile.col:tile.col + tile.cols] += 1
            input_px += tile.in_rows * tile.in_cols
            assert all(v % grid.stride_px == 0 for v in (tile.in_row, tile.in_col, tile.in_rows, tile.in_cols))
            assert min(tile.crop) >= grid.halo_px
            assert tile.crop[0] + tile.rows + grid.halo_px <= tile.in_rows and tile.crop[1] + tile.cols + grid.halo_px <= tile.in_cols
            needed = {reflect101(i, grid.scene_rows) for i in range(tile.in_row, tile.in_row + tile.in_rows)}
            assert strip.read_row <= min(needed) and max(needed) < strip.read_row + strip.read_rows <= grid.scene_rows
            if grid.fixed_shape:
                assert (tile.in_rows, tile.in_cols) == (grid.core_rows + 2 * grid.halo_px, grid.core_cols + 2 * grid.halo_px)
    assert (seen == 1).all()
    assert input_px == grid.input_px


@pytest.mark.parametrize("change, words", [
    ({"core_rows": 12}, "core_rows=12.*multiple of stride_px=8.*use 16"), ({"halo_px": 4}, "halo_px=4"), ({"offset": (3, 0)}, "row offset=3"),
    ({"offset": (0, 64)}, "column offset=64"), ({"scene_rows": 0}, "at least one row")])
def test_a_grid_off_the_stride_is_refused_with_the_way_out(change, words):
    with pytest.raises(GridError, match=words):
        TileGrid(**{"scene_rows": 100, "scene_cols": 100, "core_rows": 64, "core_cols": 64, "halo_px": 16, "stride_px": 8, **change})


@settings(deadline=None)          # the machine may be busy
@given(size=st.integers(1, 5000), largest=st.integers(1, 600), stride=st.sampled_from([1, 8, 16]))
def test_equal_cores_need_no_more_pieces_than_the_largest_core_allows(size, largest, stride):
    core = equal_core(size, largest, stride)
    most = max(stride, largest // stride * stride)
    assert core % stride == 0 and stride <= core <= max(most, stride)
    assert -(-size // core) == -(-size // most)


SPEC = make_spec(2, 5, 16, 4, 100, activation_bytes_per_px=200, tile_px=512)


def test_a_plan_keeps_to_the_memory_budget_and_a_larger_budget_costs_less_compute():
    ratios = []
    for memory in (200 << 20, 400 << 20, 1 << 30):
        plan = plan_tiles(SPEC, SceneShape(30000, 20000, 8), PlanRequest(memory=memory))
        assert plan.memory_bytes <= memory
        ratios.append(plan.compute_ratio)
    assert ratios[0] > ratios[1] > ratios[2] > 1


def test_the_tile_does_not_depend_on_the_height_of_the_scene():
    short, tall = (plan_tiles(SPEC, SceneShape(rows, 4096, 8), PlanRequest(memory=1 << 30)) for rows in (4096, 40960))
    assert (short.grid.core_rows, short.grid.core_cols) == (tall.grid.core_rows, tall.grid.core_cols)
    assert short.memory_bytes == tall.memory_bytes


def test_a_budget_too_small_for_one_tile_names_what_would_do():
    with pytest.raises(DeviceError, match=r"memory=1000 bytes is not enough.*give at least \d+ bytes") as caught:
        plan_tiles(SPEC, SceneShape(3000, 2000, 8), PlanRequest(memory=1000))
    least = int(str(caught.value).split("at least ")[1].split()[0])
    assert plan_tiles(SPEC, SceneShape(3000, 2000, 8), PlanRequest(memory=least)).memory_bytes <= least


@pytest.mark.parametrize("request_, words", [
    (PlanRequest(tile=500), "tile=500.*multiple of the network's stride 16.*at least 240"), (PlanRequest(tile=224), "at least 240"),
    (PlanRequest(tile="big"), "tile='big'"), (PlanRequest(halo=10), "halo=10"), (PlanRequest(halo="bounded"), "no measured bounded halo"),
    (PlanRequest(batch=0), "batch=0")])
def test_an_impossible_request_is_refused(request_, words):
    with pytest.raises(GridError, match=words):
        plan_tiles(SPEC, SceneShape(3000, 2000, 8), request_)


def test_a_tile_that_the_memory_does_not_hold_is_refused_with_what_it_takes():
    request_ = PlanRequest(tile=1024, memory=100 << 20)
    with pytest.raises(DeviceError, match=r"tile=1024 takes about \d+ bytes.*memory=104857600"):
        plan_tiles(SPEC, SceneShape(3000, 2000, 8), request_)
    assert plan_tiles(SPEC, SceneShape(3000, 2000, 8), PlanRequest(tile=1024)).memory_bytes > 100 << 20


def test_tiles_that_are_mostly_halo_are_noted():
    scene = SceneShape(3000, 2000, 8)
    assert "3.3 times" in costly(plan_tiles(SPEC, scene, PlanRequest(tile=512)))[0]
    assert not costly(plan_tiles(SPEC, scene, PlanRequest()))
    for size in ((224, 224), (300, 400), (256, 512)):                               # one tile, which no --tile makes larger
        alone = plan_tiles(SPEC, SceneShape(*size, 8), PlanRequest())
        assert alone.compute_ratio > 2 and not costly(alone)


def test_the_halo_is_named_for_what_it_promises():
    bounded = make_spec(2, 5, 16, 4, 100, halo_bounded_px=32, tile_px=512)
    scene = SceneShape(3000, 2000, 8)
    assert plan_tiles(SPEC, scene, PlanRequest(halo="exact")).halo == "exact"
    assert plan_tiles(bounded, scene, PlanRequest(halo="bounded")).halo == "bounded"
    assert plan_tiles(SPEC, scene, PlanRequest(halo=16)).halo == "custom"
    tight = plan_tiles(bounded, SceneShape(9000, 9000, 8), PlanRequest(memory=75 << 20))
    assert tight.halo == "bounded", "where the exact halo costs more than 1.5x, the bounded one is the default"
    assert plan_tiles(bounded, SceneShape(9000, 9000, 8), PlanRequest(memory=2 << 30)).halo == "exact"


@pytest.mark.parametrize("request_", [PlanRequest(tile=160), PlanRequest(tile=208), PlanRequest(memory=25 << 20)])
def test_the_bounded_halo_is_taken_where_the_exact_one_has_no_tile_or_no_memory(request_):
    spec, scene = make_spec(2, 5, 16, 4, 100, halo_bounded_px=32, tile_px=512), SceneShape(9000, 9000, 8)
    with pytest.raises((GridError, DeviceError)):
        plan_tiles(spec, scene, replace(request_, halo="exact"))
    plan = plan_tiles(spec, scene, request_)
    assert plan.halo == "bounded" and (request_.tile == "auto" or plan.grid.tile_px == (request_.tile,) * 2)
    with pytest.raises(GridError, match="with a halo of 32 px: each side must be a multiple of the network's stride 16 px and leave a core, so at least 80"):
        plan_tiles(spec, scene, PlanRequest(tile=64))


def test_what_is_free_is_asked_for_once_a_plan(monkeypatch):
    asked = []
    monkeypatch.setattr("hfd_edge.plan.available_memory_bytes", lambda: asked.append(1) or 8 << 30)
    for size in ((128, 128), (9000, 9000)):                                         # it reads a dozen files: as long as a small chip takes
        asked.clear()
        plan_tiles(SPEC, SceneShape(*size, 8, rows_below=64), PlanRequest(second_bytes=1 << 20))
        assert asked == [1]
