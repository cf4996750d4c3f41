"""What TensorRT says, kept for our errors: its calls answer None or False, or raise a few words, and put the reason into the log."""

from __future__ import annotations

import re
import threading
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from hfd_edge.engine.tensorrt_capabilities import TensorRT
from hfd_edge.errors import DeviceError, EngineError, HfdError

_KEPT, _SHOWN = 200, 6
_MEMORY = re.compile(r"out ?of ?memory|OutOfMemory|\bOOM\b|insufficient (device )?memory|memory allocation", re.IGNORECASE)
_LOST = re.compile(r"illegal memory access|unspecified launch failure|device.{0,20}(lost|fell off|unavailable)|"
                   r"(cuda|error)[^\n]{0,40}\b(46|700|702|709|710|713|714|715|716|717|718|719)\b", re.IGNORECASE)
_VERSION = re.compile(r"version tag does not match|serialization (version|error)|incompatible.{0,40}version|magic ?tag|"
                      r"different version of TensorRT|stdVersionRead", re.IGNORECASE)
_GPU = re.compile(r"expecting compute|different (GPU )?model|compute capability|different device|hardware.{0,20}compatib", re.IGNORECASE)
_BEGIN = re.compile(r"CUDA initialization failure", re.IGNORECASE)
# TensorRT's words where it takes another type than the file's; the engine would be wrong and nothing else would say so.
_OTHER_TYPE = re.compile(r"defaulting to int8|UINT8.{0,40}only on DLA", re.IGNORECASE)


_loggers: dict[ModuleType, Any] = {}            # one a library, never freed: see _logger_of
_making = threading.Lock()


class Log:
    """The newest lines that TensorRT said since this was made; `logger` is what TensorRT takes."""

    def __init__(self, trt: TensorRT) -> None:
        self._lines: deque[tuple[str, str]] = deque(maxlen=_KEPT)
        self.logger = _logger_of(trt.module)
        with _making:
            self.logger.logs = (*(log for log in self.logger.logs if log() is not None), weakref.ref(self))

    def keep(self, severity: str, text: str) -> None:
        """A line of TensorRT's, from whichever thread."""
        self._lines.append((severity, text))

    def mark(self) -> None:
        """Forget what was said so far, before a call whose failure is to be explained."""
        self._lines.clear()

    def last(self) -> str:
        """The newest warnings and errors on one line; where there are none, the newest lines of any kind."""
        lines = list(self._lines)
        loud = [text for severity, text in lines if severity in ("INTERNAL_ERROR", "ERROR", "WARNING")]
        shown = (loud or [text for _, text in lines])[-_SHOWN:]
        return " | ".join(" ".join(text.split())[:300] for text in shown) or "it said nothing"

    def other_types(self) -> list[str]:
        """Lines in which TensorRT says that it takes another type than the file's."""
        return [text for _, text in list(self._lines) if _OTHER_TYPE.search(text)]     # a copy: another thread's engine may speak

    def warnings(self) -> list[str]:
        """Warnings, each once."""
        return list(dict.fromkeys(text for severity, text in list(self._lines) if severity == "WARNING"))

    @contextmanager
    def told(self, what: str, way_out: str) -> Iterator[None]:
        """What the bindings raise inside the block becomes `error`: RuntimeError where other calls answer False, TypeError where the library
        made no object."""
        try:
            yield
        except (RuntimeError, TypeError) as error:
            raise self.error(f"{what} ({' '.join(str(error).split())[:200]})", way_out) from error

    def error(self, what: str, way_out: str) -> HfdError:
        """The error for a failed call, with the log's last lines: a DeviceError where memory or the device is the reason."""
        said = self.last()
        if _BEGIN.search(said):
            return DeviceError(f"{what}: TensorRT cannot begin with CUDA; TensorRT said: {said}; error 35 is a driver older than the CUDA of this "
                               "TensorRT: update the driver, or install the TensorRT of its CUDA (pip install tensorrt-cu12), see hfd-edge doctor")
        if _MEMORY.search(said):
            return DeviceError(f"{what}: not enough device memory; TensorRT said: {said}; use a smaller batch or tile, or free memory "
                               "on the GPU")
        if _LOST.search(said):
            return DeviceError(f"{what}: the device was lost; TensorRT said: {said}; close this process, look at dmesg for the driver's "
                               "reason (Xid), and open the engine again")
        if _VERSION.search(said):
            return EngineError(f"{what}: it was built by another version of TensorRT; TensorRT said: {said}; {way_out}")
        if _GPU.search(said):
            return EngineError(f"{what}: it was built for another GPU; TensorRT said: {said}; {way_out}")
        return EngineError(f"{what}; TensorRT said: {said}; {way_out}")


def _logger_of(module: ModuleType) -> Any:
    """The library's one logger of this process, which tells every Log. TensorRT keeps the first logger that it is given for as long as a
    builder or runtime is there, ignores every other one, and does not know when it is gone."""
    with _making:
        if module not in _loggers:
            _loggers[module] = _made(module.ILogger)
        return _loggers[module]


def _made(base: type) -> Any:
    """A logger of the library's own class; which one is known only when it is loaded."""

    class Telling(base):
        def __init__(self) -> None:
            base.__init__(self)
            self.logs: tuple[weakref.ref[Log], ...] = ()

        def log(self, severity: Any, msg: str) -> None:
            if severity != base.Severity.VERBOSE:
                for log in filter(None, (each() for each in self.logs)):
                    log.keep(severity.name, msg)

    return Telling()
