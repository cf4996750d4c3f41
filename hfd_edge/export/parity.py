"""The gate: an exported graph must say what the network says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnxruntime
import torch

from hfd_edge.errors import GateError
from hfd_edge.export.onnx import INPUT_NAME
from hfd_edge.network.hfdnet import HFDNet
from hfd_edge.spec import NODATA_LABEL

FP32_TOLERANCE = 1e-4       # largest difference of a logit, relative to the largest logit where that is above 1
CLOSE_CALL = 1e-2           # two best logits nearer than this: engines may disagree, the golden tile does not ask


@dataclass(frozen=True, slots=True)
class Parity:
    """An exported graph beside the network, on one tile."""

    cells: int                  # logits positions compared
    flips: int                  # positions with another best class, close calls left out
    close_calls: int            # positions whose two best logits are within CLOSE_CALL
    max_error: float            # largest difference of a logit
    max_logit: float            # largest absolute logit of the network
    tolerance: float            # what max_error was held against

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready record."""
        return asdict(self)


def open_session(graph: bytes, threads: int = 2, optimised: bool = True) -> onnxruntime.InferenceSession:
    """A CPU session of ONNX Runtime whose threads sleep when they wait."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def check_parity(net: HFDNet, graph: bytes, pixels: np.ndarray) -> tuple[Parity, np.ndarray]:
    """Network and graph on the same tile.

    Args:
        net: on the CPU, in eval mode.
        graph: serialised ONNX made from it.
        pixels: (bands, t, t) float32, network input.
    Returns:
        the comparison, and the graph's labels (t / ls, t / ls) uint8 with 255 at close calls.
    Raises:
        GateError: a logit is not finite, differs by more than the tolerance, or a best class changed.
    """
    with torch.no_grad():
        expected = net(torch.from_numpy(pixels[None]))[0].numpy()
    got = open_session(graph).run(None, {INPUT_NAME: pixels[None]})[0][0]
    if got.shape != expected.shape or not np.isfinite(expected).all() or not np.isfinite(got).all():
        raise GateError(f"logits of the network {expected.shape}, of its graph {got.shape}: both must be finite, of one shape; "
                        "train longer or lower the learning rate if the weights have diverged")
    largest = float(np.abs(expected).max())
    close = _close(expected) | _close(got)
    flips = int(((expected.argmax(0) != got.argmax(0)) & ~close).sum())
    error = float(np.abs(expected - got).max())
    parity = Parity(cells=close.size, flips=flips, close_calls=int(close.sum()), max_error=error,
                    max_logit=largest, tolerance=FP32_TOLERANCE * max(1.0, largest))
    if parity.max_error > parity.tolerance or parity.flips:
        raise GateError(f"FP32 graph differs from the network by {parity.max_error:.2g} and in {flips} of {close.size} "
                        f"labels: at most {parity.tolerance:.2g} and 0 are allowed; no package was written; report the encoder")
    return parity, np.where(_close(got), NODATA_LABEL, got.argmax(0)).astype(np.uint8)


def _close(logits: np.ndarray) -> np.ndarray:
    if len(logits) == 1:
        return np.zeros(logits.shape[1:], bool)
    best = np.partition(logits, -2, axis=0)
    return best[-1] - best[-2] < CLOSE_CALL
