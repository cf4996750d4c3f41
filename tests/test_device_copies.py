"""Copies by several threads say what one says, and a run's reading thread tells its errors."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from hfd_edge.device import copies as device_copies
from hfd_edge.run import device as run_device, device_strips as run_device_strips
from hfd_edge.device.copies import HostCopies
from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.source import ArraySource
from tests import emulated_cuda
from tests.device_engine import emulated_segmenter

EMULATED = pytest.mark.skipif(emulated_cuda.why_not() is not None, reason=str(emulated_cuda.why_not()))


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("shape", [(2, 1, 9), (1, 3, 4), (2, 37, 101), (3, 5)])
@pytest.mark.parametrize("dtype", ["uint16", "complex64", "bool"])
def test_every_pixel_is_copied_once(monkeypatch, threads, shape, dtype):
    monkeypatch.setattr(device_copies, "PIECE_BYTES", 8)
    source = np.random.default_rng(1).integers(0, 2 if dtype == "bool" else 999, (*shape[:-1], 2 * shape[-1])).astype(dtype)[..., ::2]
    to = np.full((*shape[:-1], shape[-1] + 3), 77, np.uint8 if dtype == "bool" else dtype)
    copies = HostCopies(threads)
    copies.copy(to[..., :-3], source)
    copies.close()
    np.testing.assert_array_equal(to[..., :-3], source)
    assert (to[..., -3:] == 77).all()


def test_small_copies_wake_no_thread():
    copies = HostCopies(4)
    copies.copy(np.empty((2, 64, 64), np.uint16), np.zeros((2, 64, 64), np.uint16))
    assert copies._pool is None
    with pytest.raises(ValueError, match="broadcast"):
        copies.copy(np.empty((2, 4), np.uint8), np.zeros((3, 4), np.uint8))


class Breaking(ArraySource):
    def read(self, row, rows):
        if row > 40 and threading.current_thread() is not threading.main_thread():
            raise OSError(f"row {row} is broken")
        return super().read(row, rows)


@EMULATED
def test_an_error_of_the_reading_thread_is_raised_and_the_next_run_is_sound(db_engine, power, emulated_device):
    declared = SourceRadiometry("intensity")
    with emulated_device.installed(), emulated_segmenter(db_engine, emulated_device, tile=48, halo=16) as seg:
        wanted, allocated = seg.run(power, declared).labels, emulated_device.counts()["allocations"]
        run = seg.prepare(Breaking(power, 2), declared)
        with pytest.raises(OSError, match="is broken"):
            list(seg.finished_strips(run))
        assert emulated_device.counts()["waiting"] == 0
        np.testing.assert_array_equal(seg.run(power, declared).labels, wanted)
        assert emulated_device.counts()["allocations"] == allocated
        assert not [t for t in threading.enumerate() if t.name == "hfd-read-ahead"]


@EMULATED
def test_strips_are_staged_beside_the_run_and_one_alone_without_a_thread(db_engine, power, emulated_device, monkeypatch):
    seen, real = [], run_device_strips.DeviceStrips.stage

    def stage(strips, window):
        seen.append(threading.current_thread().name)
        return real(strips, window)

    monkeypatch.setattr(run_device_strips.DeviceStrips, "stage", stage)
    with emulated_device.installed(), emulated_segmenter(db_engine, emulated_device, tile=48, halo=16) as seg:
        seg.run(power, SourceRadiometry("intensity"))
        assert set(seen) == {"hfd-read-ahead"} and len(seen) > 2
        seen.clear()
        seg.run(power[:, :16], SourceRadiometry("intensity"))
        assert seen == [threading.main_thread().name]


@EMULATED
def test_what_a_run_allocates_does_not_depend_on_which_thread_is_slower(db_engine, emulated_device, monkeypatch):
    power, made = np.random.default_rng(3).gamma(4.4, 0.01, (2, 400, 60)).astype(np.float32), {}
    stage, answer = run_device_strips.DeviceStrips.stage, run_device.DeviceStages.answer
    for slow in ("neither", "the reader", "the device"):
        monkeypatch.setattr(run_device_strips.DeviceStrips, "stage",
                            lambda *a: (time.sleep(0.01 * (slow == "the reader")), stage(*a))[1])
        monkeypatch.setattr(run_device.DeviceStages, "answer", lambda *a: (time.sleep(0.01 * (slow == "the device")), answer(*a))[1])
        with emulated_device.installed(), emulated_segmenter(db_engine, emulated_device, tile=48, halo=16) as seg:
            before = emulated_device.counts()["allocations"]
            seg.run(power, SourceRadiometry("intensity"))
            made[slow] = emulated_device.counts()["allocations"] - before
    assert len(set(made.values())) == 1, made
