"""A run on a device: the CPU's map, nothing allocated twice, every order asked for by an event. All on the emulated device."""

from __future__ import annotations

import numpy as np
import pytest

from hfd_edge.run import device as run_device
from hfd_edge.errors import DeviceError, EngineError, RadiometryError
from hfd_edge.segmenter import Segmenter
from tests import emulated_cuda
from tests.device_engine import emulated_segmenter
from tests.engines import random_engine

pytestmark = [pytest.mark.skipif(emulated_cuda.why_not() is not None, reason=str(emulated_cuda.why_not())), pytest.mark.usefixtures("gpu")]
POLICIES = [("lazy", 0), ("eager", 0), *(("random", seed) for seed in range(3))]


def with_holes(power: np.ndarray) -> np.ndarray:
    power = power.copy()
    power[0, :33, :50] = np.nan                         # whole tiles without a pixel, and parts of others
    power[1, 60, 7] = -1.0
    return power


def same(one, other) -> None:
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_array_equal(one.confidence, other.confidence)
    for name in ("nodata_share", "nan_pixels", "tiles_run", "tiles_empty"):
        assert getattr(one.report, name) == getattr(other.report, name), name


@pytest.mark.parametrize(("policy", "seed"), POLICIES)
@pytest.mark.parametrize("batch", ["auto", 1, 3])
def test_a_device_gives_the_map_of_the_cpu(db_engine, power, emulated_device, policy, seed, batch):
    scene = with_holes(power)
    with Segmenter(db_engine, tile=48, halo=16) as cpu:
        wanted = cpu.run(scene, unit="intensity")
    with emulated_segmenter(db_engine, emulated_device, tile=48, halo=16, batch=batch) as seg:
        emulated_device.policy(policy, seed)
        same(seg.run(scene, unit="intensity"), wanted)
        assert seg.device == "cuda:0" and seg.run(scene, unit="intensity", confidence=False).confidence is None


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float64", "complex64"])
def test_pixels_go_up_as_they_are_stored(db_engine, power, emulated_device, dtype):
    unit = "complex" if dtype == "complex64" else "amplitude"
    stored = np.sqrt(power) if unit == "complex" else np.sqrt(power) * 3000
    scene = stored.astype(dtype)
    from hfd_edge.radiometry import SourceRadiometry
    declared = SourceRadiometry(unit) if unit == "complex" else SourceRadiometry(unit, scale=1 / 3000, nodata=(0.0,))
    valid = np.random.default_rng(1).random(scene.shape[1:]) < 0.9
    with Segmenter(db_engine, tile=48, halo=16) as cpu, emulated_segmenter(db_engine, emulated_device, tile=48, halo=16) as seg:
        same(seg.run(scene, declared, valid), cpu.run(scene, declared, valid))


def test_nothing_is_allocated_after_the_first_run_and_nothing_is_left_behind(db_engine, power, emulated_device):
    before = emulated_device.counts()["used"]
    with emulated_segmenter(db_engine, emulated_device, tile=48, halo=16) as seg:
        seg.run(power, unit="intensity")
        first = emulated_device.counts()
        for _ in range(3):
            seg.run(power, unit="intensity")
        assert emulated_device.counts()["allocations"] == first["allocations"]
    del seg
    assert emulated_device.counts()["used"] == before


def test_tall_scenes_allocate_no_more_than_short_ones(db_engine, emulated_device):
    made = []
    for rows in (200, 900):
        scene = np.random.default_rng(0).gamma(4.4, 0.01, (2, rows, 60)).astype(np.float32)
        before = emulated_device.counts()["allocations"]
        with emulated_segmenter(db_engine, emulated_device, tile=48, halo=16) as seg:
            seg.run(scene, unit="intensity")
        made.append(emulated_device.counts()["allocations"] - before)
    assert made[0] == made[1]


def test_a_scene_without_a_valid_pixel_asks_the_engine_nothing(db_engine, emulated_device):
    with emulated_segmenter(db_engine, emulated_device, tile=48, halo=16) as seg:
        scene = np.full((2, 50, 60), np.nan, np.float32)
        with pytest.raises(RadiometryError, match="not one of the 50 x 60 pixels is valid"):
            seg.run(scene, unit="intensity")
        result = seg.run(scene, unit="intensity", allow_empty=True)
        assert (result.labels == 255).all() and seg._engine.enqueued == 0 and result.report.tiles_run == 0


@pytest.mark.parametrize("name", ["arrived", "finished"])
def test_a_missing_wait_comes_out_wrong(db_engine, power, emulated_device, monkeypatch, name):
    with Segmenter(db_engine, tile=48, halo=16) as cpu:
        wanted = cpu.run(power, unit="intensity")
    with emulated_segmenter(db_engine, emulated_device, tile=48, halo=16) as seg:
        real = run_device.CudaDevice.wait

        def forgetful(gpu, stream, event):
            down = stream in {pool.down for pool in seg_pools}
            if down != (name == "finished"):
                real(gpu, stream, event)

        seg_pools = []
        made = run_device.DevicePool

        def remembered(*arguments):
            seg_pools.append(made(*arguments))
            return seg_pools[-1]

        monkeypatch.setattr(run_device, "DevicePool", remembered)
        monkeypatch.setattr(run_device.CudaDevice, "wait", forgetful)
        emulated_device.policy("lazy")
        got = seg.run(power, unit="intensity")
    assert (got.labels != wanted.labels).any()


@pytest.mark.parametrize(("call", "code"), [("cudaStreamSynchronize", 700), ("cudaEventQuery", 719), ("cudaMemcpyAsync", 700)])
@pytest.mark.parametrize("after", [0, 2])
def test_a_failing_device_is_an_error_and_the_next_run_is_sound(db_engine, power, emulated_device, call, code, after):
    with emulated_segmenter(db_engine, emulated_device, tile=48, halo=16) as seg:
        wanted = seg.run(power, unit="intensity")
        emulated_device.fail(call, code, after)
        try:
            seg.run(power, unit="intensity")
        except DeviceError as error:
            assert "failed with cudaError" in str(error)
        else:
            assert call == "cudaStreamSynchronize"      # after the last label came down: nothing was lost
        emulated_device.fail("", 0)
        same(seg.run(power, unit="intensity"), wanted)


def test_too_little_device_memory_is_an_error_with_its_way_out(db_engine, power, emulated_device):
    with emulated_segmenter(db_engine, emulated_device, tile=48, halo=16) as seg:
        emulated_device.limit(emulated_device.counts()["used"] + 10000)
        with pytest.raises(DeviceError, match="cudaErrorMemoryAllocation.*batch="):
            seg.run(power, unit="intensity")
        emulated_device.limit()
        seg.run(power, unit="intensity")


def test_a_refused_batch_names_its_tile(db_engine, power, emulated_device):
    with emulated_segmenter(db_engine, emulated_device, tile=48, halo=16) as seg:
        seg._engine.refuses = True
        with pytest.raises(EngineError, match=r"tile at row 0, column 0 \(48 x 48 with halo\): this batch is refused"):
            seg.run(power, unit="intensity")


def test_an_engine_whose_shapes_are_not_the_specs_is_refused(db_engine, power, emulated_device, monkeypatch):
    with emulated_segmenter(db_engine, emulated_device, tile=48, halo=16) as seg:
        slot = seg._engine.slot
        monkeypatch.setattr(seg._engine, "slot", lambda *shape: setattr(s := slot(*shape), "output_shape", (1, 2, 3, 4)) or s)
        with pytest.raises(EngineError, match="graph and spec differ"):
            seg.run(power, unit="intensity")


def test_two_runs_at_once_have_memory_of_their_own(db_engine, power, emulated_device):
    from hfd_edge.radiometry import SourceRadiometry
    from hfd_edge.source import ArraySource
    with emulated_segmenter(db_engine, emulated_device, tile=48, halo=16) as seg:
        wanted = seg.run(power, unit="intensity").labels
        runs = [seg.prepare(ArraySource(power, 2), SourceRadiometry("intensity")) for _ in range(2)]
        strips = [seg.finished_strips(run) for run in runs]
        rows = [[], []]
        for pair in zip(*strips):
            for mine, part in zip(rows, pair):
                mine.append(part.labels)
        for mine in rows:
            np.testing.assert_array_equal(np.concatenate(mine), wanted)


def test_a_run_that_is_left_early_gives_everything_back(db_engine, power, emulated_device):
    from hfd_edge.radiometry import SourceRadiometry
    from hfd_edge.source import ArraySource
    with emulated_segmenter(db_engine, emulated_device, tile=48, halo=16) as seg:
        wanted = seg.run(power, unit="intensity").labels
        run = seg.prepare(ArraySource(power, 2), SourceRadiometry("intensity"))
        strips = seg.finished_strips(run)
        next(strips)
        strips.close()
        assert emulated_device.counts()["waiting"] == 0
        np.testing.assert_array_equal(seg.run(power, unit="intensity").labels, wanted)


def test_a_raster_goes_through_a_device(tmp_path, power, emulated_device):
    import rasterio
    engine = random_engine(tmp_path / "small.engine", bands=1)
    with rasterio.open(tmp_path / "scene.tif", "w", driver="GTiff", width=90, height=70, count=1, dtype="uint16") as file:
        file.write((power[:1] * 5000).astype(np.uint16))
    options = {"unit": "dn"}
    maps = []
    for name, seg in (("cpu", Segmenter(engine)), ("gpu", emulated_segmenter(engine, emulated_device))):
        with seg:
            seg.run_raster(tmp_path / "scene.tif", tmp_path / f"{name}.tif", **options)
        maps.append(rasterio.open(tmp_path / f"{name}.tif").read())
    np.testing.assert_array_equal(*maps)
