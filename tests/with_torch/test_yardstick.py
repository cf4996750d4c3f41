"""The yardsticks of the gate against networks whose answer is known by hand."""

import numpy as np
import pytest

from hfd_edge.export.calibration_data import Tile
from hfd_edge.export.yardstick import NEAR_PX, STEP_DB, beside_nodata, brighter_flips
from hfd_edge.spec import ModelInput, ModelSpec, Unit

SIDE, RIM, STD = 64, 8, 5.0


def _spec(unit: Unit = Unit.DB) -> ModelSpec:
    given = ModelInput(unit, mean=(0.0,), std=(STD,), floor=-35.0 if unit is Unit.DB else None)
    return ModelSpec("yard", ("VV",), given, ("low", "high"), ((0, 0, 0), (9, 9, 9)), stride_px=1, logit_stride_px=1, reach_px=RIM, halo_px=RIM,
                     tile_px=SIDE, activation_bytes_per_px=8)


def _tile(pixels: np.ndarray) -> Tile:
    status = np.ones((SIDE, SIDE), np.uint8)                    # the halo is not counted
    status[RIM:-RIM, RIM:-RIM] = 0
    return Tile("scene", np.broadcast_to(pixels, (1, SIDE, SIDE)).astype(np.float32), status, None)


def _two(high: np.ndarray) -> np.ndarray:
    """Logits (1, 2, rows, cols) whose second class wins where `high`."""
    return np.stack([np.zeros(high.shape), np.where(high, 1.0, -1.0)])[None].astype(np.float32)


def pixelwise(batch: np.ndarray) -> np.ndarray:
    """Looks at one pixel at a time: what lies beside it changes nothing."""
    return _two(batch[0, 0] > 0.5)


def afraid_of_edges(batch: np.ndarray) -> np.ndarray:
    """The second class wherever one of the four neighbours holds nothing: an edge of nodata looks like an object."""
    nothing = np.pad(batch[0, 0] == 0, 1, mode="edge")
    return _two(nothing[:-2, 1:-1] | nothing[2:, 1:-1] | nothing[1:-1, :-2] | nothing[1:-1, 2:])


def test_a_pixelwise_network_changes_nothing_beside_nodata() -> None:
    pixels = np.random.default_rng(0).standard_normal((SIDE, SIDE))
    assert beside_nodata(pixelwise, [_tile(pixels)] * 3) == 0


def test_a_network_that_takes_nodata_for_an_object_is_found_out() -> None:
    """The first edge is upright: one of the NEAR_PX columns beside it touches nodata."""
    assert beside_nodata(afraid_of_edges, [_tile(np.ones(()))]) == pytest.approx(1 / NEAR_PX)


def test_edges_lie_at_other_angles_in_every_tile() -> None:
    found = [beside_nodata(afraid_of_edges, [_tile(np.ones(()))] * n) for n in (1, 2, 3)]
    assert len(set(found)) == 3 and all(0.2 < share < 0.5 for share in found)


def test_pixels_that_are_not_counted_are_not_counted() -> None:
    tile = _tile(np.ones(()))
    assert beside_nodata(afraid_of_edges, [Tile("scene", tile.pixels, np.ones_like(tile.status), None)]) is None
    assert beside_nodata(afraid_of_edges, []) is None


def test_a_brighter_scene_changes_the_labels_near_the_threshold() -> None:
    """Pixels of 0.5 less two hundredths of a step, and of far below: a tenth of a decibel lifts the first over it."""
    pixels = np.where(np.arange(SIDE) % 4 == 0, 0.5 - 0.02 * STEP_DB / STD, -2.0)
    assert brighter_flips(pixelwise, [_tile(pixels)], _spec()) == pytest.approx(0.25)


def test_what_has_no_decibels_has_no_brightness() -> None:
    assert brighter_flips(pixelwise, [_tile(np.ones(()))], _spec(Unit.DN)) is None
