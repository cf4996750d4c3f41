"""Energy, power and temperature where a machine tells them: RAPL on the CPU, tegrastats on a Jetson, NVML on a GPU.

What a machine does not tell is recorded as not available, with the reason; nothing is estimated.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Protocol

from hfd_edge.device import cuda_index
from hfd_edge.device.memory import cuda_module

_POWERCAP = Path("/sys/class/powercap")
_THERMAL = Path("/sys/class/thermal")
_CPUS = Path("/sys/devices/system/cpu")
_RAIL = re.compile(r"\b((?:VDD|POM|VIN)_\w+) (\d+)(?:mW)?/")
_HEAT = re.compile(r"\b([\w-]+)@(-?[\d.]+)C")
_TOTAL_RAILS = ("VDD_IN", "POM_5V_IN", "VIN_SYS_5V0")
_HW_SLOWDOWN = 0x8 | 0x20 | 0x40 | 0x80      # hardware slowdown, software thermal, hardware thermal, power brake


class EnergyMeter(Protocol):
    """Started before the measured work and stopped after it."""

    source: str

    def start(self) -> None: ...

    def stop(self) -> dict[str, Any]:
        """{"joules": of the span, "temperature_c": highest known, "throttled": bool or None}; keys that are not known are None."""


class Rapl:
    """Joules of all processor packages, by the counters of the kernel's powercap."""

    source = "RAPL (/sys/class/powercap, all packages)"

    def __init__(self, folder: Path = _POWERCAP) -> None:
        """Raises OSError, saying why, where no counter can be read."""
        self._zones = [zone for zone in sorted(folder.glob("intel-rapl:*")) if zone.name.count(":") == 1]
        if not self._zones:
            raise OSError(f"no RAPL counter under {folder} (a virtual machine hides them)")
        self._read()

    def start(self) -> None:
        self._before, self._throttles = self._read(), _throttle_count()

    def stop(self) -> dict[str, Any]:
        used = 0
        for zone, before, after in zip(self._zones, self._before, self._read()):
            limit = int((zone / "max_energy_range_uj").read_text())
            used += after - before if after >= before else after - before + limit      # the counter began anew
        throttles = _throttle_count()
        return {"joules": used / 1e6, "temperature_c": zone_temperature_c(),
                "throttled": None if throttles is None or self._throttles is None else throttles > self._throttles}

    def _read(self) -> list[int]:
        return [int((zone / "energy_uj").read_text()) for zone in self._zones]


class Tegrastats:
    """Joules of a Jetson's input rail, from the samples that tegrastats prints ten times a second."""

    source = "tegrastats (input rail)"

    def __init__(self) -> None:
        """Raises OSError where there is no tegrastats."""
        found = shutil.which("tegrastats")
        if found is None:
            raise OSError("no tegrastats on PATH (it comes with JetPack)")
        self._program = found

    def start(self) -> None:
        self._log = tempfile.TemporaryFile("w+")
        self._begin = time.perf_counter()
        self._process = subprocess.Popen([self._program, "--interval", "100"], stdout=self._log, stderr=subprocess.DEVNULL)

    def stop(self) -> dict[str, Any]:
        seconds = time.perf_counter() - self._begin
        self._process.terminate()
        self._process.wait()
        self._log.seek(0)
        with self._log as log:
            return tegrastats_account(log.read(), seconds)


def tegrastats_account(text: str, seconds: float) -> dict[str, Any]:
    """What tegrastats printed in so many seconds: mean power of the input rail times the time, and the highest temperature.

    Raises:
        OSError: not one sample names an input rail.
    """
    watts, heat = [], []
    for line in text.splitlines():
        rails = {name: int(milliwatts) / 1e3 for name, milliwatts in _RAIL.findall(line)}
        watts += [rails[name] for name in _TOTAL_RAILS if name in rails][:1]
        heat += [float(degrees) for _, degrees in _HEAT.findall(line) if float(degrees) > -100]    # -256: a sensor that is off
    if not watts:
        raise OSError(f"tegrastats named no input rail ({', '.join(_TOTAL_RAILS)}) in {seconds:.1f} s: measure for longer")
    return {"joules": sum(watts) / len(watts) * seconds, "temperature_c": max(heat, default=None), "throttled": None}


class Nvml:
    """Joules, temperature and slowdowns of one NVIDIA GPU, by its driver's own library."""

    source = "NVML (whole GPU board)"

    def __init__(self, pci_bus_id: str) -> None:
        """The GPU is named by its place on the bus: CUDA counts the GPUs that CUDA_VISIBLE_DEVICES lets it see, the fastest first, NVML all.

        Raises:
            OSError: the driver or its energy counter is missing, with the reason.
        """
        self._library = ctypes.CDLL("libnvidia-ml.so.1")
        self._check(self._library.nvmlInit_v2(), "nvmlInit_v2")
        self._gpu = ctypes.c_void_p()
        self._check(self._library.nvmlDeviceGetHandleByPciBusId_v2(pci_bus_id.encode(), ctypes.byref(self._gpu)),
                    f"nvmlDeviceGetHandleByPciBusId_v2({pci_bus_id!r})")
        self._millijoules()

    def start(self) -> None:
        self._before = self._millijoules()

    def stop(self) -> dict[str, Any]:
        heat, reasons = ctypes.c_uint(), ctypes.c_ulonglong()
        joules = (self._millijoules() - self._before) / 1e3
        self._check(self._library.nvmlDeviceGetTemperature(self._gpu, 0, ctypes.byref(heat)), "nvmlDeviceGetTemperature")
        self._check(self._library.nvmlDeviceGetCurrentClocksThrottleReasons(self._gpu, ctypes.byref(reasons)),
                    "nvmlDeviceGetCurrentClocksThrottleReasons")
        return {"joules": joules, "temperature_c": float(heat.value), "throttled": bool(reasons.value & _HW_SLOWDOWN)}

    def _millijoules(self) -> int:
        used = ctypes.c_ulonglong()
        self._check(self._library.nvmlDeviceGetTotalEnergyConsumption(self._gpu, ctypes.byref(used)),
                    "nvmlDeviceGetTotalEnergyConsumption")
        return used.value

    @staticmethod
    def _check(code: int, call: str) -> None:
        if code:
            raise OSError(f"{call} answered {code}")


def open_meter(device: str) -> tuple[EnergyMeter | None, str]:
    """The meter for a device, or None and why there is none."""
    wanted = [Tegrastats, (lambda: Nvml(_pci_bus_id(device))) if device.startswith("cuda") else Rapl]
    reasons = []
    for make in wanted:
        try:
            return make(), ""
        except (OSError, AttributeError) as error:
            reasons.append(str(error))
    return None, "; ".join(reasons)


def _pci_bus_id(device: str) -> str:
    return cuda_module().devices()["devices"][cuda_index(device)]["pci_bus_id"]


def zone_temperature_c() -> float | None:
    """The hottest thermal zone that the kernel names; None where it names none."""
    heat = []
    for zone in sorted(_THERMAL.glob("thermal_zone*/temp")):
        try:
            heat.append(int(zone.read_text()) / 1e3)
        except OSError:         # a zone whose sensor is off answers with an error
            continue
    return max(heat, default=None)


def _throttle_count() -> int | None:
    counts = [int(file.read_text()) for file in _CPUS.glob("cpu*/thermal_throttle/core_throttle_count")]
    return sum(counts) if counts else None
