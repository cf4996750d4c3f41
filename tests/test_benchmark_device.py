"""The benchmark on a device: its peak memory as the driver tells it, and every precision asked for. All on the emulated device."""

import threading

import numpy as np
import pytest

from hfd_edge.device.memory import CudaDevice
from hfd_edge.engine.choose import PRECISIONS
from hfd_edge.measure import benchmark_device, benchmark_energy, benchmark_sweep
from hfd_edge.measure.benchmark import PRECISIONS_ASKED as SWEPT
from hfd_edge.measure.benchmark import winner
from hfd_edge.measure.benchmark_device import DevicePeak
from hfd_edge.measure.benchmark_page import page
from hfd_edge.measure.benchmark_scene import BenchScene, scene_records
from hfd_edge.measure.benchmark_sweep import Setting, sweep
from hfd_edge.measure.benchmark_table import tables
from hfd_edge.segmenter import Segmenter
from tests import emulated_cuda
from tests.device_engine import emulated_segmenter

needs_emulation = pytest.mark.skipif(emulated_cuda.why_not() is not None, reason=str(emulated_cuda.why_not()))


def scene_of(power):
    return BenchScene("power", np.ascontiguousarray(power), "intensity")


@needs_emulation
def test_peak_memory_of_a_run_on_a_device_is_what_the_driver_saw(db_engine, power, emulated_device, monkeypatch):
    monkeypatch.setattr(benchmark_device, "INTERVAL_S", 1e6)        # the emulated driver calls Python with its lock held: no look meanwhile
    with emulated_device.installed(), emulated_segmenter(db_engine, emulated_device, tile=48, halo=16) as segmenter:
        free, total = CudaDevice(0).memory_info()
        records = list(scene_records(segmenter, scene_of(power), rounds=1))
    (memory,) = (r for r in records if r["kind"] == "memory")
    assert memory["peak_device_bytes"] >= memory["used_device_bytes_before"] > total - free + power.nbytes
    first = {"kind": "benchmark", "name": "n", "scene": "s", "rounds": 1, "calls": 1, "engine": "e", "engine_hash": "h", "device": "cuda:0",
             "threads": 1, "machine": {"clock_mhz": "?", "processor": "?", "architecture": "?", "governor": "?", "power_mode": "?",
                                       "load_average": 0, "versions": {}}}
    table = next(rows for title, _, rows in tables(records) if title == "Memory")
    assert "MB of the device" in table[0][2] and "peak memory of the device" in page([first, *records])


def test_the_highest_of_many_looks_counts_and_the_end_too():
    looks = [(90, 100), (40, 100)]                                  # as it begins, and from the thread; then freed again
    seen = threading.Event()

    def info():
        if looks:
            return looks.pop(0)
        seen.set()
        return 70, 100
    with DevicePeak("cuda:0", info) as device:
        assert seen.wait(20)
    assert device.record == {"peak_device_bytes": 60, "used_device_bytes_before": 10}
    free = [50]
    with DevicePeak("cuda:0", lambda: (free[0], 100)) as device:
        free[0] = 20                            # between two looks, and still there at the end
    assert device.record == {"peak_device_bytes": 80, "used_device_bytes_before": 50}


def test_without_a_device_it_says_why(db_engine, power):
    with DevicePeak("cpu") as on_cpu, DevicePeak("cuda:7") as nowhere:
        pass
    assert on_cpu.record["peak_device_bytes"] == "not available here: the run is on the CPU"
    assert nowhere.record["peak_device_bytes"].startswith("not available here: ")
    with Segmenter(db_engine, device="cpu", tile=48, halo=16) as segmenter:
        records = list(scene_records(segmenter, scene_of(power), rounds=1))
    assert next(r for r in records if r["kind"] == "memory")["peak_device_bytes"] == on_cpu.record["peak_device_bytes"]


@needs_emulation
def test_half_precision_is_swept_on_a_device_and_refused_with_a_reason_on_the_cpu(db_engine, power, emulated_device, monkeypatch):
    asked = []

    def opened(path, device, threads, precision):
        asked.append((device, precision))
        return emulated_segmenter(path, emulated_device, tile=48, halo=16)

    settings = [Setting(name, {"device": "cuda:0", "threads": 1, "precision": name}) for name in SWEPT]
    monkeypatch.setattr(benchmark_sweep, "Segmenter", opened)
    with emulated_device.installed():
        found = sweep("precision", db_engine, scene_of(power), settings, 1)
    assert asked == [("cuda:0", name) for name in ("fp32", "fp16", "int8")]
    assert all(r["mpx_per_s"] > 0 and r["labels_unlike_first"] == 0 for r in found) and len(winner(found)[1]) == 2
    monkeypatch.undo()
    settings = [Setting(name, {"device": "cpu", "threads": 1, "precision": name, "tile": 48, "halo": 16}) for name in SWEPT]
    found = {r["setting"]: r for r in sweep("precision", db_engine, scene_of(power), settings, 1)}
    assert "fp16" in found["fp16"]["not_available"] and "mpx_per_s" in found["fp32"] and "fp16" not in PRECISIONS


def test_a_watch_whose_start_is_interrupted_ends(monkeypatch):
    begun, start = [], threading.Thread.start

    def stopped(thread):
        begun.append(thread)
        start(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", stopped)
    with pytest.raises(KeyboardInterrupt), DevicePeak("cuda:0", lambda: (1, 2)):
        pass
    begun[0].join(5)
    assert not begun[0].is_alive()


class Boards:
    """NVML on a machine with two boards; every call but these answers 0 and fills nothing."""

    def __init__(self):
        self.asked = []

    def nvmlDeviceGetHandleByPciBusId_v2(self, name, board):  # noqa: N802 - NVML's own name
        self.asked.append(name)
        return 0 if name in (b"0000:C1:00.0", b"0000:C0:00.0") else 6

    def __getattr__(self, name):
        return lambda *_: 0


@needs_emulation
@pytest.mark.parametrize(("device", "name"), [("cuda:0", b"0000:C1:00.0"), ("cuda:1", b"0000:C0:00.0")])
def test_the_energy_is_that_of_the_board_that_runs_whatever_its_number_elsewhere(emulated_device, monkeypatch, device, name):
    boards = Boards()
    monkeypatch.setattr(benchmark_energy.Tegrastats, "__init__", lambda _: (_ for _ in ()).throw(OSError("no Jetson")))
    monkeypatch.setattr(benchmark_energy.ctypes, "CDLL", lambda library: boards)
    emulated_device.devices(2)
    with emulated_device.installed():
        meter, why = benchmark_energy.open_meter(device)
        emulated_device.fail("cudaDeviceGetPCIBusId", 1, after=int(device[-1]))
        assert benchmark_energy.open_meter(device)[0] is None           # a driver that tells no bus: no board is guessed
    assert meter is not None and not why and boards.asked == [name, b""]
