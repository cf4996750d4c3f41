"""ONNX Runtime on the CPU: the engine that is always there."""

from __future__ import annotations

import numpy as np

from hfd_edge.engine.graph_scan import check_graph, scan
from hfd_edge.errors import EngineError
from hfd_edge.package import Package


class OnnxRuntimeEngine:
    """Runs one graph of a package on the CPU. Several threads may call `infer` at once.

    The graph's operators are checked before ONNX Runtime sees it. Idle threads do not spin: the cores belong to the
    operations between two calls.
    """

    name = "onnxruntime"
    device = "cpu"

    def __init__(self, package: Package, graph: str, threads: int) -> None:
        """Raises EngineError if the graph is unsafe, or ONNX Runtime refuses it."""
        import onnxruntime

        self.graph = graph
        self.version = onnxruntime.__version__
        data = package.read(graph)
        check_graph(scan(data, f"{graph} of {package.path}"))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.enable_mem_pattern = False          # a plan per shape: 1.2x slower and 1.5x the memory, for edge tiles differ
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(bytes(data), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own exceptions share no public base
            raise EngineError(f"ONNX Runtime {self.version} refused {graph} of {package.path}: {_one_line(error)}; "
                              "export the package again with this version of hfd_edge") from error
        self._input = self._session.get_inputs()[0].name
        self._output = self._session.get_outputs()[0].name

    def infer(self, batch: np.ndarray) -> np.ndarray:
        """Logits (n, classes, rows / s, cols / s) float32 of a batch (n, bands, rows, cols) float32 of network input."""
        session = self._session                     # another thread may close the engine meanwhile
        if session is None:
            raise EngineError(f"the engine of {self.graph} is closed: open the package again (Segmenter is a context manager)")
        try:
            return session.run([self._output], {self._input: batch})[0]
        except Exception as error:  # as above
            raise EngineError(f"ONNX Runtime failed on {self.graph} with a batch of shape {batch.shape}: "
                              f"{_one_line(error)}") from error

    def close(self) -> None:
        """Free the session; the engine cannot be used afterwards."""
        self._session = None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:400]
