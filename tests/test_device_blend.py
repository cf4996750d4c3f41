"""Overlapping tiles fused on a device give the CPU's map: labels, confidence and counts, for any order in which streams run."""

from __future__ import annotations

import numpy as np
import pytest

from hfd_edge.run import device as run_device, device_stitch as run_device_stitch
from hfd_edge.device.memory import CudaDevice
from hfd_edge.errors import GridError
from hfd_edge.plan import PlanRequest
from hfd_edge.score import OWN_CLASS
from hfd_edge.segmenter import Segmenter
from hfd_edge.source import ArraySource
from hfd_edge.tiles.shares import MODES
from tests import emulated_cuda
from tests.device_engine import emulated_segmenter, filled
from tests.engines import random_engine
from tests.test_device_run import POLICIES, same

pytestmark = [pytest.mark.skipif(emulated_cuda.why_not() is not None, reason=str(emulated_cuda.why_not())), pytest.mark.usefixtures("gpu")]
EDGE_ERROR = (3.0, 2.0, 0.9, 0.5, 0.25, 0.1, 0.01)          # of random_engine's 10 logit cells of halo
BLENDED = [mode for mode in MODES if mode != "crop"]
TILES = {"tile": 104, "halo": 32}


@pytest.fixture(scope="module")
def engine_path(tmp_path_factory):
    """Of one size of tile: there the CPU's tiles end where the device's do, at the scene's last rows too."""
    return random_engine(tmp_path_factory.mktemp("engine") / "fixed.engine", edge_error=EDGE_ERROR, tile_px=104, fixed_tile=True)


@pytest.fixture(scope="module")
def scene():
    """Odd sides; a hole that leaves tiles of two rows without a pixel, another that touches a tile's middle."""
    pixels = np.random.default_rng(7).normal(size=(2, 203, 317)).astype(np.float32)
    pixels[:, 30:150, 100:215] = np.nan
    pixels[0, 10:20, 250:300] = np.nan
    return pixels


@pytest.mark.parametrize("stitch", BLENDED)
@pytest.mark.parametrize(("policy", "seed"), POLICIES)
def test_a_device_fuses_as_the_cpu_does(engine_path, scene, emulated_device, stitch, policy, seed):
    with Segmenter(engine_path, stitch=stitch, **TILES) as cpu:
        wanted = cpu.run(scene)
    assert wanted.report.tiles_empty > 0
    with emulated_segmenter(engine_path, emulated_device, stitch=stitch, batch=3, **TILES) as seg:
        emulated_device.policy(policy, seed)
        got = seg.run(scene)
        same(got, wanted)
        assert (got.report.stitch, got.report.overlap_px, got.report.halo) == (wanted.report.stitch, wanted.report.overlap_px, wanted.report.halo)
        same(seg.run(scene), wanted)                        # its memory is used again


@pytest.mark.parametrize("overlap", [16, 32])
@pytest.mark.parametrize("batch", [1, 2, "auto"])
@pytest.mark.parametrize("offset", [(0, 0), (24, 8)])
def test_any_overlap_batch_and_offset(engine_path, scene, emulated_device, overlap, batch, offset):
    maps = []
    for seg in (Segmenter(engine_path, stitch="hann", overlap=overlap, **TILES),
                emulated_segmenter(engine_path, emulated_device, stitch="hann", overlap=overlap, batch=batch, **TILES)):
        with seg:
            request = PlanRequest(104, 32, batch, offset=offset, stitch="hann", overlap=overlap)
            run = seg.prepare(ArraySource(scene, 2), seg.declared(None, scene.dtype), score=OWN_CLASS, request=request)
            strips = list(seg.finished_strips(run))
            maps.append([np.concatenate([getattr(part, name) for part in strips]) for name in ("labels", "score")])
    np.testing.assert_array_equal(*maps)


def test_a_scene_on_the_device_is_fused_where_it_lies(engine_path, scene, emulated_device):
    there = filled(CudaDevice(0), scene)
    with Segmenter(engine_path, stitch="precision", **TILES) as cpu, \
            emulated_segmenter(engine_path, emulated_device, stitch="precision", **TILES) as seg:
        wanted, got = cpu.run(scene), seg.run(there)
        np.testing.assert_array_equal(got.labels.numpy(), wanted.labels)
        np.testing.assert_array_equal(got.confidence.numpy(), wanted.confidence)
        assert got.report.nodata_share == wanted.report.nodata_share


def test_precision_with_a_margin_of_the_reach_equals_crop(engine_path, scene, emulated_device):
    wide = {"tile": 104, "halo": 40}
    with Segmenter(engine_path, **wide) as cpu, emulated_segmenter(engine_path, emulated_device, stitch="precision", **wide) as seg:
        got = seg.run(scene)
        assert got.report.halo == "exact"
        np.testing.assert_array_equal(got.labels, cpu.run(scene).labels)


def test_nothing_is_allocated_after_the_first_run_and_nothing_is_left_behind(engine_path, scene, emulated_device):
    before = emulated_device.counts()["used"]
    with emulated_segmenter(engine_path, emulated_device, stitch="hann", **TILES) as seg:
        seg.run(scene)
        first = emulated_device.counts()["allocations"]
        seg.run(scene)
        seg.run(scene[:, :150])
        assert emulated_device.counts()["allocations"] == first
    del seg
    assert emulated_device.counts()["used"] == before


@pytest.mark.parametrize("forgotten", ["answered", "finished", "fused"])
def test_a_missing_wait_comes_out_wrong(engine_path, scene, emulated_device, monkeypatch, forgotten):
    """Of the engine's answer, of the batch before in a slot, and of the map before it goes down."""
    with Segmenter(engine_path, stitch="hann", **TILES) as cpu:
        wanted = cpu.run(scene)
    pools, made, real = [], run_device.DevicePool, run_device.CudaDevice.wait

    def remembered(*arguments):
        pools.append(made(*arguments))
        return pools[-1]

    def forgetful(gpu, stream, event):
        waits = {"fuse" if stream == pool.fuse else "down" if stream == pool.down else "slot" for pool in pools}
        finished = any(event is slot.finished for pool in pools for slots in pool._slots.values() for slot in slots)
        which = {"answered": waits == {"fuse"}, "finished": waits == {"slot"} and finished, "fused": waits == {"down"}}
        if not which[forgotten]:
            real(gpu, stream, event)

    monkeypatch.setattr(run_device, "DevicePool", remembered)
    monkeypatch.setattr(run_device.CudaDevice, "wait", forgetful)
    wrong = 0
    for seed in range(6):                                   # a slot's next batch must come before its logits were read
        with emulated_segmenter(engine_path, emulated_device, stitch="hann", batch=1, **TILES) as seg:
            emulated_device.policy("random" if forgotten == "finished" else "lazy", seed)
            wrong += bool((seg.run(scene).labels != wanted.labels).any())
        emulated_device.policy("lazy")
    assert wrong > 0


def test_states_that_forget_the_left_neighbour_come_out_wrong(engine_path, scene, emulated_device, monkeypatch):
    with Segmenter(engine_path, stitch="hann", **TILES) as cpu:
        wanted = cpu.run(scene)
    of = run_device_stitch._Tables.of
    monkeypatch.setattr(run_device_stitch._Tables, "of", lambda tables, in_col, beside: of(tables, in_col, False))
    with emulated_segmenter(engine_path, emulated_device, stitch="hann", **TILES) as seg:
        assert (seg.run(scene).labels != wanted.labels).any()


def test_a_strip_that_lacks_a_tile_is_refused(engine_path, scene, emulated_device, monkeypatch):
    put = run_device_stitch.DeviceBlend.put

    def losing(stitch, slot, part, tiles, seen):
        put(stitch, slot, part, tiles, seen)
        part.run -= 1

    monkeypatch.setattr(run_device_stitch.DeviceBlend, "put", losing)
    with emulated_segmenter(engine_path, emulated_device, stitch="hann", **TILES) as seg:
        with pytest.raises(GridError, match="of its .* tiles were given"):
            seg.run(scene)
