"""Networks behind a speckle filter on a device: filtered there, with the CPU's bits."""

from __future__ import annotations

import numpy as np
import pytest

from hfd_edge.run import device as run_device
from hfd_edge.source import filter as source_filter
from hfd_edge.device.memory import CudaDevice
from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.segmenter import Segmenter
from hfd_edge.speckle import FILTERS
from tests import emulated_cuda
from tests.device_engine import emulated_segmenter, filled
from tests.engines import plain_input, random_engine
from tests.rasters import write_tif
from tests.test_device_run import POLICIES, same

pytestmark = [pytest.mark.skipif(emulated_cuda.why_not() is not None, reason=str(emulated_cuda.why_not())), pytest.mark.usefixtures("gpu")]
DB = {"unit": "db", "floor": -40.0, "mean": (-12.0, -15.0), "std": (4.0, 5.0)}
TILES = {"tile": 104}


@pytest.fixture(scope="module")
def scene():
    power = np.random.default_rng(5).gamma(3.0, 0.03, size=(2, 131, 157)).astype(np.float32)
    power[:, 40:, 90:] *= 6
    power[:, 60:71, 100:140] = np.nan
    power[1, 5, 7], power[0, 100, 30] = np.nan, 0.0
    return power


def engine(folder, name, **changes):
    bright = {"filter_bright": (0.5, 0.6)} if name == "lee_sigma" else {}
    model = plain_input(2, **{**DB, "speckle_filter": name, "filter_looks": 3.0, "filter_radius": 3, **bright, **changes})
    return random_engine(folder / f"{name}.engine", input=model)


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize(("policy", "seed"), POLICIES[:3])
def test_a_device_filters_as_the_cpu_does(tmp_path, scene, emulated_device, name, policy, seed):
    path = engine(tmp_path, name)
    with Segmenter(path, **TILES) as cpu:
        wanted = cpu.run(scene, "intensity")
    with emulated_segmenter(path, emulated_device, **TILES) as seg:
        emulated_device.policy(policy, seed)
        got = seg.run(scene, "intensity")
        same(got, wanted)
        assert any(f"filtered by {name}" in note for note in got.report.notes)


@pytest.mark.parametrize("border", ["mask", "nearest"])
@pytest.mark.parametrize("masked", [False, True])
def test_stored_pixels_are_calibrated_and_filtered_on_the_device(tmp_path, scene, emulated_device, border, masked):
    path = engine(tmp_path, "lee", filter_border=border)
    stored = (np.sqrt(np.nan_to_num(scene, nan=0.0)) * 3000).astype(np.uint16)
    declared = SourceRadiometry("amplitude", scale=1 / 3000, nodata=(0.0,))
    valid = np.random.default_rng(1).random(scene.shape[1:]) < 0.9 if masked else None
    with Segmenter(path, **TILES) as cpu, emulated_segmenter(path, emulated_device, **TILES) as seg:
        same(seg.run(stored, declared, valid), cpu.run(stored, declared, valid))


@pytest.mark.parametrize("window", [None, (40, 33, 71, 97), (0, 120, 20, 37)])
def test_windows_of_a_raster(tmp_path, scene, emulated_device, window):
    path = engine(tmp_path, "kuan")
    write_tif(tmp_path / "scene.tif", scene)
    maps = []
    for name, seg in (("cpu", Segmenter(path, **TILES)), ("gpu", emulated_segmenter(path, emulated_device, **TILES))):
        with seg:
            seg.run_raster(tmp_path / "scene.tif", tmp_path / f"{name}.tif", unit="intensity", window=window)
            maps.append((tmp_path / f"{name}.tif").read_bytes())
    assert maps[0] == maps[1]


@pytest.mark.parametrize(("name", "stitch"), [("lee", "crop"), ("lee", "hann"), ("lee_sigma", "crop")])
def test_a_scene_on_the_device_is_filtered_where_it_lies(tmp_path, scene, emulated_device, name, stitch):
    """Lee sigma's bright level is counted there too."""
    path = engine(tmp_path, name, filter_looks=4.0, filter_bright=None)
    there = filled(CudaDevice(0), scene)
    with emulated_segmenter(path, emulated_device, stitch=stitch, **TILES) as seg:
        wanted, got = seg.run(scene, "intensity"), seg.run(there, "intensity")
        np.testing.assert_array_equal(got.labels.numpy(), wanted.labels)
        np.testing.assert_array_equal(got.confidence.numpy(), wanted.confidence)


def test_nothing_is_allocated_after_the_first_run(tmp_path, scene, emulated_device):
    path = engine(tmp_path, "lee")
    with emulated_segmenter(path, emulated_device, **TILES) as seg:
        seg.run(scene, "intensity")
        first = emulated_device.counts()["allocations"]
        seg.run(scene, "intensity")
        seg.run(scene[:, :90], "intensity")
        assert emulated_device.counts()["allocations"] == first


def test_an_image_too_wide_for_a_kernels_numbers_is_refused_before_it_is_read(emulated_device):
    with emulated_device.installed():
        gpu = CudaDevice(0)
        nowhere, shape = (64, 4 << 31), (1, 1, (1 << 30) + 1)
        with pytest.raises(ValueError, match="1 x 1073741825 pixels: .* takes at most 1073741824 rows and columns"):
            gpu.native.Speckle("lee", "mask", 3, 4.4, 2.0, 0.4, 1.8, 0.1).run(nowhere, shape, None, [0.1], (0, 1), nowhere, (0, gpu.stream().handle))


def test_a_filter_halo_one_pixel_short_differs(tmp_path, scene, emulated_device, monkeypatch):
    path = engine(tmp_path, "lee")
    with emulated_segmenter(path, emulated_device, tile=104, halo=0) as seg:
        wanted = seg.run(scene, "intensity").confidence
        monkeypatch.setattr(source_filter.SpeckleFilter, "halo_px", property(lambda self: self.radius - 1))
        assert (seg.run(scene, "intensity").confidence != wanted).any()


def test_tiles_that_do_not_wait_for_the_filter_come_out_wrong(tmp_path, scene, emulated_device, monkeypatch):
    path = engine(tmp_path, "lee")
    with emulated_segmenter(path, emulated_device, **TILES) as seg:
        wanted = seg.run(scene, "intensity").labels
        monkeypatch.setattr(run_device.CudaDevice, "wait", lambda *_: None)
        emulated_device.policy("lazy")
        assert (seg.run(scene, "intensity").labels != wanted).any()
