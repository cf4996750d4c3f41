"""Plans with two tiles at once: within the memory budget, never expected to be slower, and never another map."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hfd_edge.plan
from hfd_edge.errors import DeviceError
from hfd_edge.plan import PlanRequest, SceneShape, plan_tiles
from tests.engines import make_spec

ALONE, TWO = PlanRequest(), PlanRequest(second_bytes=1 << 20)
SPEC = make_spec(2, 5, 16, 4, 32, activation_bytes_per_px=80, tile_px=512)


def test_two_are_taken_where_they_cost_less_and_memory_has_room():
    large = SceneShape(8000, 8000, 8)
    alone, two = (plan_tiles(SPEC, large, request) for request in (ALONE, TWO))
    assert (alone.at_once, two.at_once) == (1, 2) and two.memory_bytes > alone.memory_bytes
    tight = plan_tiles(SPEC, large, replace(TWO, memory=alone.memory_bytes))
    assert tight == plan_tiles(SPEC, large, replace(ALONE, memory=alone.memory_bytes)) or tight.at_once == 2
    assert tight.memory_bytes <= alone.memory_bytes
    for few in (SceneShape(500, 500, 8), SceneShape(2000, 2000, 8)):
        assert plan_tiles(SPEC, few, TWO) == plan_tiles(SPEC, few, ALONE)
    weights = replace(TWO, second_bytes=1 << 40)
    assert plan_tiles(SPEC, large, weights).at_once == 1, "an engine of a terabyte is not held twice"


@pytest.mark.parametrize("request_", [PlanRequest(halo=16), PlanRequest(tile=512), PlanRequest(halo="bounded"), PlanRequest(halo=32, stitch="hann")])
def test_tiles_stay_where_they_are_where_another_grid_would_make_another_map(request_):
    """So a map does not hang on the number of threads."""
    spec = replace(SPEC, halo_bounded_px=16)
    alone, two = (plan_tiles(spec, SceneShape(8000, 8000, 8), replace(request_, second_bytes=second)) for second in (None, 1 << 20))
    assert two.grid == alone.grid and two.blend == alone.blend and two.at_once == 2


@settings(deadline=None)
@given(rows=st.integers(1, 20000), cols=st.integers(1, 20000), memory=st.integers(20 << 20, 2 << 30), reach=st.sampled_from([0, 32, 112]))
def test_a_plan_for_two_keeps_to_the_budget_and_is_never_expected_to_be_slower(rows, cols, memory, reach):
    spec, shape = make_spec(2, 5, 16, 4, reach, activation_bytes_per_px=80), SceneShape(rows, cols, 8)
    try:
        alone = plan_tiles(spec, shape, replace(ALONE, memory=memory))
    except DeviceError:
        return
    two = plan_tiles(spec, shape, replace(TWO, memory=memory))
    assert two.memory_bytes <= memory and two.halo == alone.halo
    expected = hfd_edge.plan._expected(two) * (1.0 if two.grid == alone.grid else hfd_edge.plan.OTHER_GRID_WORTH)
    assert expected <= hfd_edge.plan._expected(alone)
