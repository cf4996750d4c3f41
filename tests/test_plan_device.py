"""Tiles for a GPU: one size a run, of two sizes in all, and the one that reads fewer pixels."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from hfd_edge.errors import DeviceError
from hfd_edge.plan import PlanRequest, SceneShape
from hfd_edge.plan.device import MOST_TILES, plan_on_device, usual_batch, usual_tile_px, wide_tile_px
from hfd_edge.segmenter import Segmenter
from tests import emulated_cuda
from tests.device_engine import emulated_segmenter
from tests.engines import make_spec, random_engine

ANY = SimpleNamespace()


@pytest.fixture(scope="module")
def spec():
    """Of the demo engine's numbers."""
    return make_spec(2, 5, 16, 4, 112, tile_px=512)


def plan(spec, rows, cols, engine=ANY, device_bytes=1 << 36, **request):
    return plan_on_device(spec, SceneShape(rows, cols, 8, 0), PlanRequest(**request), engine, device_bytes)


def side(planned):
    return planned.grid.tile_px[0]


def test_large_scenes_take_wide_tiles_and_small_ones_the_usual(spec):
    assert (usual_tile_px(spec), wide_tile_px(spec)) == (512, 1440) and usual_batch(spec, 1440, 1440) == 1 and usual_batch(spec, 512, 512) == MOST_TILES
    large, small = plan(spec, 16000, 16000), plan(spec, 288, 300)
    assert (side(large), large.batch, large.halo) == (1440, 1, "exact") and (side(small), small.batch) == (512, 2)
    assert large.compute_ratio < 1.6 < 3.1 < plan(spec, 16000, 16000, tile=512).compute_ratio
    for rows, cols in ((1, 1), (700, 700), (289, 5000), (4096, 4096), (1217, 1217)):
        chosen = plan(spec, rows, cols)
        assert chosen.grid.input_px <= 1.1 * min(plan(spec, rows, cols, tile=each).grid.input_px for each in (512, 1440))


def test_a_tile_a_batch_or_an_engine_of_one_size_decide_by_themselves(spec):
    assert side(plan(spec, 16000, 16000, tile=768)) == 768
    given = plan(spec, 16000, 16000, batch=4)
    assert (side(given), given.batch) == (512, 4)
    built = plan(spec, 16000, 16000, SimpleNamespace(batch_of=lambda *size: 1 if size == (1440, 1440) else 8))
    assert (side(built), built.batch) == (1440, 1)
    asked = []
    refusing = SimpleNamespace(batch_of=lambda *_: 8, takes=lambda *size: asked.append(size))
    assert (side(plan(spec, 16000, 16000, refusing)), plan(spec, 16000, 16000, refusing).batch) == (512, 8) and set(asked) == {(1440, 1440)}
    fixed = make_spec(2, 5, 16, 4, 112, tile_px=512, fixed_tile=True)
    assert side(plan(fixed, 16000, 16000)) == 512 and wide_tile_px(fixed) is None


def test_tiles_that_only_fill_a_batch_count(spec):
    built = SimpleNamespace(batch_of=lambda *size: 1 if size == (1440, 1440) else 8)
    one, few = plan(spec, 288, 288, built), plan(spec, 400, 400, built)
    assert (side(one), one.batch, one.compute_ratio) == (512, 1, 512**2 / 288**2)
    assert (side(few), few.batch) == (512, 1) and few.compute_ratio == 4 * 512**2 / 400**2
    for rows in (600, 1000, 1500):
        chosen = plan(spec, rows, rows, built)
        strips = [len(strip.tiles) for strip in chosen.grid.strips()]
        assert chosen.compute_ratio == sum(-(-n // chosen.batch) * chosen.batch for n in strips) * side(chosen) ** 2 / rows**2
    assert plan(spec, 300, 2200, built, tile=512).batch == 8            # eight tiles across


def test_halo_and_overlap_take_the_sizes_that_engines_are_built_for():
    spec = make_spec(2, 5, 16, 4, 240, tile_px=512, halo_bounded_px=32)
    assert usual_tile_px(spec) == 720 and {side(plan(spec, 200, 200, halo=halo)) for halo in ("exact", "bounded", 64)} == {720}
    assert side(plan(spec, 200, 200, halo=320)) == 960                  # leaves 720 no core as wide as itself
    assert plan(spec, 20000, 30000, memory=1 << 31).halo == plan(spec, 20000, 30000).halo          # whatever the main memory
    narrow = make_spec(2, 5, 16, 4, 112, tile_px=256)
    small, large = (plan(narrow, rows, rows, stitch="hann", overlap=224) for rows in (200, 9000))
    assert small.blend.overlap_px == large.blend.overlap_px == 224 and side(large) == wide_tile_px(narrow) > side(small) >= 448


def test_an_engine_is_asked_for_wide_tiles_only_where_they_would_be_taken(spec):
    asked = []
    engine = SimpleNamespace(takes=lambda *size: asked.append(size) or True)
    plan(spec, 288, 288, engine)
    assert not asked and side(plan(spec, 16000, 16000, engine)) == 1440 and asked


def test_wide_strips_keep_to_the_memory(spec):
    needed = 6 * 1440 * 16000 * 10
    assert side(plan(spec, 16000, 16000, memory=needed)) == 1440 and side(plan(spec, 16000, 16000, memory=needed - 1)) == 512
    assert side(plan(spec, 16000, 16000, device_bytes=4 * needed)) == 1440 and side(plan(spec, 16000, 16000, device_bytes=4 * needed - 1)) == 512
    windowed = plan(spec, 16000, 16000, window=(0, 0, 2000, 2000))
    assert side(windowed) == 1440 and windowed.memory_bytes == 2 * 1440 * windowed.grid.read_cols[1] * 10 < needed / 18


def test_strips_that_the_memory_does_not_hold_are_refused(spec, monkeypatch):
    needed = 6 * 512 * 16000 * 10
    assert plan(spec, 16000, 16000, memory=needed).memory_bytes == needed
    said = f"tiles of 512 rows over 16000 columns take {needed}.*--memory.*--tile.*--window"
    for tile in ("auto", 512, (512, 1024)):
        with pytest.raises(DeviceError, match=f"memory={needed - 1}, and strips of {said}"):
            plan(spec, 16000, 16000, memory=needed - 1, tile=tile)
    assert side(plan(spec, 16000, 16000, memory=needed - 1, tile=256)) == 256
    monkeypatch.setattr("hfd_edge.plan.device.available_memory_bytes", lambda: 1)       # what is free hangs on the run before
    assert side(plan(spec, 16000, 16000)) == 512
    there = plan_on_device(spec, SceneShape(16000, 16000, 0, 0), PlanRequest(memory=1 << 20), ANY, 1 << 36)
    assert there.memory_bytes == 0 and side(there) == 1440                              # nothing of a scene on the device is pinned


@pytest.mark.skipif(emulated_cuda.why_not() is not None, reason=str(emulated_cuda.why_not()))
@pytest.mark.parametrize("stitch", ["crop", "hann"])
def test_wide_tiles_give_the_usual_ones_map(tmp_path, emulated_device, stitch):
    path = random_engine(tmp_path / "random.engine")
    scene = np.random.default_rng(0).normal(size=(2, 400, 400)).astype(np.float32)
    scene[:, 100:300, 50:350] = np.nan
    with emulated_device.installed(), emulated_segmenter(path, emulated_device, stitch=stitch, overlap=16 if stitch != "crop" else "auto",
                                                         halo=48) as seg:
        wide = seg.run(scene)
        assert wide.report.tile_px == (wide_tile_px(seg.spec),) * 2
    with Segmenter(path, halo=48) as cpu:
        np.testing.assert_array_equal(wide.labels, cpu.run(scene).labels)


@pytest.mark.skipif(emulated_cuda.why_not() is not None, reason=str(emulated_cuda.why_not()))
def test_scenes_of_both_sizes_in_turn_allocate_nothing_after_the_first_and_little_memory_holds_one(tmp_path, emulated_device):
    path = random_engine(tmp_path / "random.engine")
    large = np.random.default_rng(0).normal(size=(2, 400, 400)).astype(np.float32)
    with emulated_device.installed(), emulated_segmenter(path, emulated_device, halo=48) as seg:
        sizes = [seg.run(scene).report.tile_px[0] for scene in (large, large[:, :40, :40])]
        assert len(set(sizes)) == 2
        before = emulated_device.counts()
        seg.run(large), seg.run(large[:, :40, :40])
        assert emulated_device.counts()["allocations"] == before["allocations"]
        seg.run(large[:, :40, :40], unit=None, confidence=False)
    with emulated_device.installed(), emulated_segmenter(path, emulated_device, halo=48) as seg:
        wanted, used = seg.run(large).labels, emulated_device.counts()["used"]
        emulated_device.limit(used + 200_000)                           # not enough for the usual tiles too
        assert seg.run(large[:, :40, :40]).report.tile_px[0] == min(sizes)
        emulated_device.limit()
        np.testing.assert_array_equal(seg.run(large).labels, wanted)
