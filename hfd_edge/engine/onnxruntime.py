"""ONNX Runtime on the CPU: the engine that is always there."""

from __future__ import annotations

import copy
import ctypes
import queue
import threading
import weakref
from typing import TYPE_CHECKING

import numpy as np

from hfd_edge.engine.base import RunMemory, TwoAtOnce
from hfd_edge.engine.golden import check_golden
from hfd_edge.engine.graph_scan import check_graph, scan
from hfd_edge.engine.onnx_bytes import as_bytes, with_byte_input
from hfd_edge.errors import ArrayError, DeviceError, EngineError
from hfd_edge.forks import keep_in_children, no_fork
from hfd_edge.package import Golden, Package
from hfd_edge.spec import SCENE_INPUT

if TYPE_CHECKING:
    import onnxruntime

HELD_TIMES = 3          # a session holds a graph's weights that many times at most: as they are, and as its kernels want them
MIXED_HOLD = 1.5        # of its largest batch's memory a session holds at most, whatever sizes it met (measured: 1.13 to 1.35 after sixty)
_OTHERS = 0, 0, 0       # stands for all sizes but the largest
_NO_MEMORY = ", for which this process may take no more memory (give a smaller tile, --tile or --memory, or raise its limit)"


class OnnxRuntimeEngine:
    """Runs one graph of a package on the CPU. Several threads may call `infer` at once.

    The graph's operators are checked before ONNX Runtime sees it. Idle threads do not spin: the cores belong to the operations between two calls.
    """

    name = "onnxruntime"
    device = "cpu"
    takes_scene = True

    def __init__(self, package: Package, graph: str, threads: int) -> None:
        """Raises EngineError if the graph is unsafe, or ONNX Runtime refuses it."""
        import onnxruntime

        self.graph, self._package, self._threads = graph, package, threads
        self._second, self._making, self._seconds = None, threading.RLock(), weakref.WeakSet()
        self.version = onnxruntime.__version__
        data = bytes(package.read(graph))
        found = scan(data, f"{graph} of {package.path}")
        check_graph(found)
        self.two_at_once = None if threads == 1 else TwoAtOnce(HELD_TIMES * len(data))
        image = found.inputs[0].name if found.inputs else ""
        self._data, self.pixel_bytes = with_byte_input(data, image, len(package.spec.bands)) or (data, None)
        self._golden = Golden(package.golden.input.copy(), {graph: package.golden.labels[graph].copy()})     # the file may be written over
        self._held: dict[tuple[int, int, int], int] = {}        # bytes that batches of each size took since the session was made
        self._session: onnxruntime.InferenceSession | None = self._new_session()
        self._input = self._session.get_inputs()[0].name
        self._output = self._session.get_outputs()[0].name
        self._scene = _scene_input(self._session, package, graph)

    def _new_session(self) -> onnxruntime.InferenceSession:
        """Of the bytes that were checked, whatever became of the file."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4              # its errors come as exceptions, and need not be on the standard error too
        options.enable_mem_pattern = False          # a plan per shape: 1.2x slower and 1.5x the memory, for edge tiles differ
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        _check_startable(self._threads - 1)
        try:
            with no_fork():
                session = onnxruntime.InferenceSession(self._data, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            if not _is_its_own(error):
                raise
            raise EngineError(f"ONNX Runtime {self.version} refused {self.graph} of {self._package.path}: {_one_line(error)}; "
                              "export the package again with this version of hfd_edge") from error
        if self._threads > 1:
            keep_in_children(session)
        return session

    def infer(self, batch: np.ndarray, scene: np.ndarray | None = None) -> np.ndarray:
        """Logits (n, classes, rows / s, cols / s) float32 of a batch (n, bands, rows, cols) float32 of network input, or of one in the
        engine's `pixel_bytes`."""
        session = self._session                     # another thread may close the engine meanwhile
        if session is None:
            raise EngineError(self._closed())
        try:
            given = batch if self.pixel_bytes is None or batch.dtype != np.float32 else as_bytes(batch, self.pixel_bytes, self._threads)
        except ArrayError as error:
            raise EngineError(f"{self.graph} takes cells of 2 x 2 pixels, which a batch of shape {batch.shape} has not: {error}") from error
        try:
            return session.run([self._output], {self._input: given, **({} if scene is None else {self._scene: scene})})[0]
        except Exception as error:
            if not _is_its_own(error):
                raise
            said = _one_line(error)
            way = next((_NO_MEMORY for word in ("bad_alloc", "Failed to allocate") if word in said), "")
            raise EngineError(f"ONNX Runtime failed on {self.graph} with a batch of shape {batch.shape}{way}: {said}") from error

    def make_room(self, run: RunMemory) -> None:
        """Begin with new memory where what earlier runs left and what this one takes may be more than its budget: a session keeps what its
        tiles took, and another size takes more. What was made for two calls at once goes too, or where it turned out not to pay.
        """
        with no_fork(), self._making:
            if self._session is None:
                raise EngineError(self._closed())
            beside = self.two_at_once.held_bytes if self._second is not None and run.at_once == 1 else 0
            held = self._held_with(run)
            if (beside or len(self._held) > 1) and held + beside > run.bytes + run.spare_bytes:
                self._second, self._held = None, {run.batch: run.bytes}
                self._session = self._new_session()
                _give_back_heap()
            elif self._second is not None and self.two_at_once.pays is False:
                self._second = None

    def _held_with(self, run: RunMemory) -> int:
        """Bytes that the session holds at most once it answered this run too."""
        self._held[run.batch] = max(run.bytes, self._held.get(run.batch, 0))
        largest = max(self._held, key=self._held.__getitem__)
        others = int((MIXED_HOLD - 1) * self._held[largest])
        if sum(self._held.values()) - self._held[largest] > others:             # no more, whatever else comes: thousands need not be remembered
            self._held = {largest: self._held[largest], _OTHERS: others}
        return sum(self._held.values())

    def for_two(self) -> OnnxRuntimeEngine:
        """This engine for two calls at once, which share its threads and answer alike; made at the first call. It is closed with this one.

        Where a call has a core to itself it waits for no other core; whether that pays is the run's to try (run.pace).
        """
        with no_fork(), self._making:
            if self._session is None:
                raise EngineError(self._closed())
            if self._second is None:
                self._second = self._made_for_two()
                self._seconds.add(self._second)
            return self._second

    def _made_for_two(self) -> OnnxRuntimeEngine:
        second = copy.copy(self)
        second._threads, second.two_at_once = self._threads - 1, None       # one fewer: each of the two callers is one
        second._making, second._seconds = threading.RLock(), weakref.WeakSet()
        second._session = second._new_session()
        keep_in_children(second._session)                   # a fork may come while it answers
        check_golden(self._package, second, self._golden)
        return second

    def close(self) -> None:
        """Free the session; the engine cannot be used afterwards."""
        with no_fork(), self._making:
            self._session = self._second = None
            for second in list(self._seconds):
                second.close()

    def _closed(self) -> str:
        return f"the engine of {self.graph} is closed: open the package again (Segmenter is a context manager)"


def _give_back_heap() -> None:
    """Give freed memory back to the system, which glibc keeps for later; another C library has no word for that."""
    getattr(ctypes.CDLL(None), "malloc_trim", lambda _: 0)(0)


def _check_startable(count: int) -> None:
    """Raise DeviceError where the system refuses so many threads more: a session that gets some of its threads and not all waits for ever."""
    held: queue.SimpleQueue = queue.SimpleQueue()
    started: list[threading.Thread] = []
    try:
        for _ in range(count):
            started.append(threading.Thread(target=held.get, name="hfd-startable", daemon=True))
            started[-1].start()
    except RuntimeError as error:
        raise DeviceError(f"the engine's {count} threads beside its caller cannot be started ({error} after {len(started) - 1}): this process has all the "
                          "memory or threads that it may take; raise its limit (ulimit -v, ulimit -u, a container's memory or pids), or give fewer "
                          "threads (--threads 1 needs none)") from error
    finally:
        for _ in range(count):
            held.put(None)
        for thread in started:
            if thread.ident is not None:                    # the refused one never began
                thread.join()


def _scene_input(session: onnxruntime.InferenceSession, package: Package, graph: str) -> str:
    """Name of the second input; "" where the spec names none. Raises EngineError where spec and graph contradict each other."""
    wanted = package.spec.scene_numbers
    if not wanted:
        return ""
    found = next((list(value.shape) for value in session.get_overridable_initializers() if value.name == SCENE_INPUT), None)
    if found != [1, wanted]:
        raise EngineError(f"{graph} of {package.path} takes {found or 'no second input'} and the spec's scene_percentiles and bands "
                          f"make {[1, wanted]}: they must agree; package the network again")
    return SCENE_INPUT


def _is_its_own(error: Exception) -> bool:
    """Whether ONNX Runtime raised it (its exceptions share no public base), and not the handler of a signal, such as a caller's deadline."""
    return type(error).__module__.startswith("onnxruntime") or type(error) in (RuntimeError, ValueError, TypeError, MemoryError)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:400]
