"""What every engine can do. The rest of hfd_edge knows engines by this protocol alone."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Engine(Protocol):
    """One graph of one package, loaded on one device, ready to answer. Two threads may call `infer` at once.

    An engine has answered the package's golden tile before anyone else sees it. It never moves to another device or precision
    by itself: what it cannot run is an EngineError.
    """

    name: str       # the library, e.g. "onnxruntime"
    device: str     # where it runs: "cpu" or "cuda:0"
    graph: str      # member of the package that it runs, e.g. "graph-fp32.onnx"
    version: str    # version of the library, e.g. "1.23.2"

    def infer(self, batch: np.ndarray) -> np.ndarray:
        """Logits of a batch of tiles.

        Args:
            batch: (n, bands, h, w) float32, C order, network input (normalised, no unit, invalid pixels 0); h and w are
                multiples of the spec's stride_px.
        Returns:
            (n, classes, h / ls, w / ls) float32, C order, before softmax, with ls the spec's logit_stride_px; the caller's to
            keep. NaN stays NaN: counting it is the stitching's business.
        Raises:
            EngineError: the library failed or refused the batch, or the engine is closed.
        """
        ...

    def close(self) -> None:
        """Free device memory and threads. Closing twice does nothing; `infer` afterwards is an EngineError."""
        ...
