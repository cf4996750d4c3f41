"""On what a benchmark ran: processor, clocks, power mode, versions, memory. No host name, no path."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from hfd_edge.build import __version__

_CPUINFO = Path("/proc/cpuinfo")
_CPUS = Path("/sys/devices/system/cpu")
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def machine() -> dict[str, Any]:
    """A JSON-ready record; what this machine does not tell is "not available here: why"."""
    return {
        "processor": _processor(), "architecture": platform.machine(), "cores_usable": len(os.sched_getaffinity(0)),
        "clock_mhz": _clocks(), "governor": _read(_CPUS / "cpu0/cpufreq/scaling_governor"), "power_mode": _power_mode(),
        "load_average": round(os.getloadavg()[0], 2), "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "versions": {"hfd_edge": __version__, "python": platform.python_version(),
                     **{name: metadata.version(name) for name in ("numpy", "onnxruntime")}}}


def reset_peak() -> bool:
    """Begin anew with this process's peak memory; False where the kernel does not allow it."""
    try:
        _CLEAR.write_text("5")
    except OSError:
        return False
    return True


def peak_bytes() -> int:
    """Highest resident memory of this process since it began, or since `reset_peak`."""
    return _status("VmHWM")


def resident_bytes() -> int:
    """Resident memory of this process now."""
    return _status("VmRSS")


def _status(name: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def _processor() -> str:
    lines = dict(line.split(":", 1) for line in _CPUINFO.read_text().splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in lines.items()}
    name = fields.get("model name") or fields.get("Model") or fields.get("CPU part") or "not named by /proc/cpuinfo"
    where = ", ".join(f"{key} {fields[key]}" for key in ("cpu family", "model", "stepping") if key in fields)
    return f"{name} ({where})" if where else name


def _clocks() -> Any:
    now = [float(line.split(":")[1]) for line in _CPUINFO.read_text().splitlines() if line.startswith("cpu MHz")]
    limit = _read(_CPUS / "cpu0/cpufreq/cpuinfo_max_freq")
    if not now and not limit.isdigit():
        return "not available here: neither /proc/cpuinfo nor cpufreq names a clock"
    return {"now": [round(mhz) for mhz in now], "most": int(limit) // 1000 if limit.isdigit() else limit}


def _power_mode() -> str:
    program = shutil.which("nvpmodel")
    if program is None:
        return "not available here: no nvpmodel (a Jetson has it)"
    done = subprocess.run([program, "-q"], capture_output=True, text=True, timeout=20)
    return " ".join(done.stdout.split()) or f"not available here: nvpmodel -q ended with {done.returncode}"


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        return f"not available here: {path.name}: {error.strerror}"
