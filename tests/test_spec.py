"""Numbers of a spec that cannot be meant are refused wherever a spec is made: by hand, from a checkpoint, out of a package."""

import pytest
from engines import make_spec
from hfd_edge.errors import SpecError
from hfd_edge.spec import MAX_TILE_PX, ModelInput, Unit


@pytest.mark.parametrize("mean, std, clip", [
    (0.0, 1e-30, None), (0.0, 1e-40, None), (0.0, 1e30, None), (5000.0, 1e-3, None), (-12.0, 1e-6, (-30.0, 5.0)), (0.0, 1.0, (-1e30, 5.0)), (1e30, 4.0, None)])
def test_a_spread_that_cannot_be_meant_is_refused(mean, std, clip):
    with pytest.raises(SpecError, match=r"input.std=.*of band 1 it must be 1e-12 to 1e\+12, and at least 1 / 1e\+06 of the distance"):
        ModelInput(Unit.DN, (0.0, mean), (1.0, std), clip and ((-1.0, 1.0), clip))


@pytest.mark.parametrize("unit, mean, std, clip", [
    (Unit.INTENSITY, 3e-4, 2e-5, None), (Unit.DN, 21000.0, 0.5, None), (Unit.DB, -12.0, 1e-3, ((-30.0, 5.0),)), (Unit.DN, 0.0, 1e9, None),
    (Unit.DN, 0.0, 1.0, ((float("-inf"), 5.0),))])
def test_spreads_of_any_real_sensor_pass(unit, mean, std, clip):
    assert ModelInput(unit, (mean,), (std,), clip, floor=-35.0 if unit is Unit.DB else None).std == (std,)


def test_a_tile_that_no_machine_holds_is_refused_with_the_halo_that_asked_for_it():
    assert make_spec(2, 3, 8, 4, 16, halo_px=16, tile_px=MAX_TILE_PX).tile_px == MAX_TILE_PX
    with pytest.raises(SpecError, match=r"tile_px=400000 \(halo_px=100000\): at most 32768"):
        make_spec(2, 3, 8, 4, 16, halo_px=100_000, tile_px=400_000)
