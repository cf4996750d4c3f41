"""What a Segmenter holds on a device stays bounded: over failed starts, over many kinds of scenes, and where memory is short."""

from __future__ import annotations

import numpy as np
import pytest

from hfd_edge.errors import DeviceError, EngineError
from tests import emulated_cuda
from tests.device_engine import emulated_segmenter
from tests.test_tiled_equals_whole import engine_path  # a fixture

pytestmark = pytest.mark.skipif(emulated_cuda.why_not() is not None, reason=str(emulated_cuda.why_not()))
TILES = {"tile": 104, "halo": 32}


@pytest.fixture(autouse=True)
def installed(emulated_device):
    with emulated_device.installed():
        yield
        emulated_device.limit()


def scene(cols: int, dtype: str = "float32") -> np.ndarray:
    return (100 * np.random.default_rng(cols).random((2, 120, cols))).astype(dtype)


def open_slots(seg) -> int:
    return sum(not slot.closed for slot in seg._engine.slots)


def test_a_start_that_fails_leaves_nothing_behind_and_a_smaller_scene_runs(engine_path, emulated_device):
    with emulated_segmenter(engine_path, emulated_device, stitch="hann", batch=2, **TILES) as seg:
        before = emulated_device.counts()["used"]
        seg.run(scene(150))
        enough = emulated_device.counts()["used"]
    with emulated_segmenter(engine_path, emulated_device, stitch="hann", batch=2, **TILES) as seg:
        emulated_device.limit(enough + 50_000)
        for _ in range(3):
            with pytest.raises(DeviceError, match="cudaErrorMemoryAllocation"):
                seg.run(scene(20_000))
            assert emulated_device.counts()["used"] == before and open_slots(seg) == 0
        assert seg.run(scene(150)).report.tiles_run > 0 and open_slots(seg) == 3


@pytest.mark.parametrize("fails", [1, 2])
def test_slots_that_fail_half_way_are_closed(engine_path, emulated_device, monkeypatch, fails):
    with emulated_segmenter(engine_path, emulated_device, **TILES) as seg:
        slot, made = seg._engine.slot, []

        def failing(*key):
            made.append(key)
            if len(made) == fails + 1:
                raise EngineError("no more contexts")
            return slot(*key)

        monkeypatch.setattr(seg._engine, "slot", failing)
        with pytest.raises(EngineError, match="no more contexts"):
            seg.run(scene(150))
        assert open_slots(seg) == 0


@pytest.mark.parametrize("stitch", ["crop", "hann"])
def test_scenes_of_many_kinds_hold_no_more_than_a_few_of_them(engine_path, emulated_device, stitch):
    with emulated_segmenter(engine_path, emulated_device, stitch=stitch, batch=2, **TILES) as seg:
        seg.run(scene(900))
        alone = emulated_device.counts()["used"]
    with emulated_segmenter(engine_path, emulated_device, stitch=stitch, batch=2, **TILES) as seg:
        for cols in range(100, 901, 100):
            for dtype in ("uint16", "float32"):
                seg.run(scene(cols, dtype))
        assert emulated_device.counts()["used"] <= 3 * alone          # eighteen kinds of them
        seg.run(scene(900)), seg.run(scene(100, "uint16"))
        made = emulated_device.counts()["allocations"]
        seg.run(scene(900)), seg.run(scene(100, "uint16")), seg.run(scene(500, "int16"))
        assert emulated_device.counts()["allocations"] == made


def test_a_field_that_grows_is_freed_before_a_larger_one_is_made(engine_path, emulated_device):
    from hfd_edge.device.memory import CudaDevice
    from hfd_edge.device.pool import DevicePool
    pool, before = DevicePool(CudaDevice(0), None, 2, 5, 4), emulated_device.counts()["used"]
    pool.fields(100_000, 10_000)
    emulated_device.limit(before + 250_000)             # enough for two larger ones, not beside the two that are there
    first, second = pool.fields(110_000, 11_000)
    assert emulated_device.counts()["used"] - before < 250_000 and first.logits[0] != second.logits[0]
    pool.close()
    assert emulated_device.counts()["used"] == before


def test_memory_that_no_run_uses_makes_room_for_the_one_that_needs_it(engine_path, emulated_device):
    with emulated_segmenter(engine_path, emulated_device, batch=2, **TILES) as seg:
        wanted = seg.run(scene(900)).labels
        largest = emulated_device.counts()["used"]
    with emulated_segmenter(engine_path, emulated_device, batch=2, **TILES) as seg:
        seg.run(scene(700, "float64"))
        emulated_device.limit(largest + 5_000)
        np.testing.assert_array_equal(seg.run(scene(900)).labels, wanted)
