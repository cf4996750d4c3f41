"""Which device runs, and how many threads: one budget for the operations and the engine together."""

from __future__ import annotations

import os
import re
from pathlib import Path

from hfd_edge.device.limits import memory_left_bytes, quota_cores
from hfd_edge.device.memory import check_device
from hfd_edge.errors import DeviceError

_MEMINFO = Path("/proc/meminfo")


def resolve_device(device: str) -> str:
    """The device that will run: "cpu", or "cuda:0" and so on. "auto" is the CPU: a GPU is used where it is asked for.

    Raises:
        DeviceError: a CUDA device was asked for that cannot be used here; nothing falls back in silence.
    """
    if isinstance(device, str) and device in ("auto", "cpu"):
        return "cpu"
    if isinstance(device, str) and re.fullmatch(r"cuda(:\d+)?", device):
        check_device(cuda_index(device))
        return f"cuda:{cuda_index(device)}"
    raise DeviceError(f"device={device!r} is not known: use 'auto', 'cpu' or 'cuda:0'")


def cuda_index(device: str) -> int:
    """The number in "cuda:1"; 0 where there is none."""
    number = device.partition(":")[2]
    return int(number) if number.isdecimal() else 0


def thread_budget(threads: int | None) -> int:
    """Threads for operations and engine: `threads`, else the cores this process may use (affinity, and the quota of its container or service).

    Raises:
        DeviceError: threads is not a whole number from 1 to 1024.
    """
    if threads is None:
        return max(1, min(len(os.sched_getaffinity(0)), quota_cores()))
    if not is_whole(threads) or not 1 <= threads <= 1024:
        raise DeviceError(f"threads={threads!r}: it must be a whole number from 1 to 1024; leave it out for all cores of this "
                          f"process")
    return int(threads)


def is_whole(value: object) -> bool:
    """Whether it is a whole number, Python's or numpy's; True and False are none."""
    return hasattr(value, "__index__") and not isinstance(value, bool) and getattr(value, "ndim", 0) == 0


def check_threads(threads: int, made_in: int) -> None:
    """Raise DeviceError in a process forked from the one, `made_in`, that made an engine's threads: it inherits their locks but not the
    threads, and would wait for ever. The operations' own threads are made anew in a forked process, so a Segmenter opened there runs."""
    if threads > 1 and made_in != os.getpid():
        raise DeviceError(f"threads={threads} in process {os.getpid()}, forked from process {made_in}: the engine's threads were made there and do "
                          "not exist here; open the Segmenter in the worker, or with threads=1")


def available_memory_bytes() -> int:
    """Main memory that is free or can be freed now: of the machine, or of this container, service or job where that is less.

    Raises:
        DeviceError: the system does not tell.
    """
    for line in _MEMINFO.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return min(int(line.split()[1]) * 1024, memory_left_bytes())
    raise DeviceError(f"{_MEMINFO} names no MemAvailable: the memory budget cannot be found out; give memory= in bytes "
                      f"(--memory)")
