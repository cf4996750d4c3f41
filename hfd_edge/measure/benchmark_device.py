"""How much of a device's memory a run takes: what the driver says is used, looked at every few milliseconds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from hfd_edge.device import cuda_index
from hfd_edge.device.memory import CudaDevice
from hfd_edge.errors import HfdError

INTERVAL_S = 0.002


class DevicePeak:
    """Watches from a thread of its own between `with` and its end; `record` holds what it saw.

    The driver tells of the whole device, so other programs' memory is in it, and on a board whose GPU has no memory of its own (Jetson) the
    CPU's too: `used_device_bytes_before` is what was used as it began, with the engine
    open and the memory that earlier runs left it. A peak between two looks is missed.
    """

    def __init__(self, device: str, memory_info: Callable[[], tuple[int, int]] | None = None) -> None:
        """
        Args:
            device: "cpu" or "cuda:0" and so on.
            memory_info: gives free and total bytes; None = the driver, of `device`.
        """
        self.record: dict[str, Any] = {"peak_device_bytes": "not available here: the run is on the CPU"}
        self._ask, self._stop, self._most = memory_info, threading.Event(), 0
        self._thread = threading.Thread(target=self._watch, name="device memory", daemon=True)
        if device == "cpu" or self._ask is not None:
            return
        try:
            self._ask = CudaDevice(cuda_index(device)).memory_info
        except HfdError as error:
            self.record = {"peak_device_bytes": f"not available here: {error}"}

    def __enter__(self) -> DevicePeak:
        if self._ask is not None:
            self._before = self._most = self._used()
            try:
                self._thread.start()
            except BaseException:
                self._stop.set()                    # an interrupted start may leave it running
                raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._ask is None:
            return
        self._stop.set()
        self._thread.join()
        self._most = max(self._most, self._used())
        self.record = {"peak_device_bytes": self._most, "used_device_bytes_before": self._before}

    def _used(self) -> int:
        free, total = self._ask()
        return total - free

    def _watch(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            self._most = max(self._most, self._used())
