"""The central promise: with the exact halo a tiled scene is the whole scene, to the bit."""

import numpy as np
import pytest

from hfd_edge.errors import GridError
from hfd_edge.measure.tiling import stitched_logits, whole_request
from hfd_edge.plan import PlanRequest
from hfd_edge.segmenter import Segmenter
from tests.engines import levels_engine, random_engine, summing_engine

ROWS, COLS = 203, 317           # odd on purpose: no multiple of any stride


@pytest.fixture(scope="module")
def scene():
    pixels = np.random.default_rng(7).normal(size=(2, ROWS, COLS)).astype(np.float32)
    pixels[:, 60:71, 100:140] = np.nan
    return pixels


@pytest.fixture(scope="module")
def engine_path(tmp_path_factory):
    return random_engine(tmp_path_factory.mktemp("engine") / "random.engine")


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("tile", [104, 128, 160, 200, (112, 240)])
def test_tiled_logits_equal_the_whole_scene_at_0_ulp(engine_path, scene, tile, threads):
    with Segmenter(engine_path, threads=1) as one, Segmenter(engine_path, threads=threads) as seg:
        whole = stitched_logits(one, scene, whole_request(one, ROWS, COLS))
        for offset in ((0, 0), (8, 0), (24, 16)):
            for batch in (1, 2, 5):
                tiled = stitched_logits(seg, scene, PlanRequest(tile=tile, batch=batch, offset=offset))
                np.testing.assert_array_equal(tiled, whole, err_msg=f"offset {offset}, batch {batch}")


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_labels_and_confidence_do_not_depend_on_tile_batch_or_threads(engine_path, scene, threads):
    with Segmenter(engine_path, tile=(ROWS + 5 + 80, COLS + 3 + 80), threads=1) as seg:
        whole = seg.run(scene)
    assert whole.report.tiles_run == 1 and whole.halo == "exact"
    for tile in (104, 160, (112, 240)):
        for batch in (1, 2, 3):
            with Segmenter(engine_path, tile=tile, batch=batch, threads=threads) as seg:
                result = seg.run(scene)
            np.testing.assert_array_equal(result.labels, whole.labels)
            np.testing.assert_array_equal(result.confidence, whole.confidence)
    assert ((whole.labels == 255) == np.isnan(scene).any(axis=0)).all(), "nodata in is nodata out, and never bleeds"


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (2, 3), (8, 8), (9, 17), (41, 41)])
def test_scenes_smaller_than_the_halo_equal_the_whole(engine_path, shape):
    pixels = np.random.default_rng(1).normal(size=(2, *shape)).astype(np.float32)
    with Segmenter(engine_path) as seg:
        whole = stitched_logits(seg, pixels, whole_request(seg, *shape))
        tiled = stitched_logits(seg, pixels, PlanRequest(tile=88))
        np.testing.assert_array_equal(tiled, whole)
        assert seg.run(pixels).labels.shape == shape


def test_a_halo_one_stride_short_changes_labels(tmp_path):
    """Negative control: in this network every pixel of the field weighs the same, so a missing one must show."""
    pixels = np.random.default_rng(3).uniform(0, 1, size=(1, 96, 96)).astype(np.float32)
    path = summing_engine(tmp_path / "summing.engine")
    with Segmenter(path) as seg:
        exact_px, stride = seg.spec.halo_px, seg.spec.stride_px
    assert exact_px == seg.spec.reach_px == 12, "this network's reach fills its halo"

    def labels(tile, halo):
        with Segmenter(path, tile=tile, halo=halo) as seg:
            result = seg.run(pixels)
        return result.labels, result.halo

    whole, _ = labels(96 + 2 * exact_px, exact_px)
    tiled, kind = labels(16 + 2 * exact_px, exact_px)
    np.testing.assert_array_equal(tiled, whole)
    assert kind == "exact"
    short, kind = labels(16 + 2 * (exact_px - stride), exact_px - stride)
    assert (short != whole).any()
    assert kind == "custom", "the report must not call a short halo exact"


def test_an_origin_off_the_stride_is_refused_and_would_change_labels(engine_path, scene):
    with Segmenter(engine_path) as seg:
        with pytest.raises(GridError, match="offset=3.*multiple of stride_px=8"):
            stitched_logits(seg, scene, PlanRequest(tile=104, offset=(3, 0)))
        shifted = np.ascontiguousarray(np.nan_to_num(scene)[:, 3:])         # what an origin off the stride would compute
        a = seg.run(np.nan_to_num(scene)).labels[3 + 48:-48, 48:-48]
        b = seg.run(shifted).labels[48:-48, 48:-48]
        assert (a != b).mean() > 1e-3


@pytest.mark.parametrize("tile", [64, 17, (1, 200), (33, 5)])
def test_an_engine_that_returns_its_input_gives_the_raster_back(tmp_path, tile):
    pixels = np.random.default_rng(5).integers(0, 7, size=(131, 97)).astype(np.uint8)
    with Segmenter(levels_engine(tmp_path / "levels.engine"), tile=tile) as seg:
        result = seg.run(pixels, unit="dn")
    np.testing.assert_array_equal(result.labels, pixels)
    assert result.report.nodata_share == 0 and result.report.nan_pixels == 0
