"""What every engine can do. The rest of hfd_edge knows engines by this protocol alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np


@dataclass(frozen=True, slots=True)
class PixelBytes:
    """Network input as bytes, in cells of 2 x 2 pixels: (n, rows / 2, cols / 2, 4 * bands) uint8.

    Channel (2 * row + col) * bands + band of a cell is the pixel at (row, col) in it: round(value / scale) + zero_point within 0..255,
    halves to the even number, as ONNX's QuantizeLinear.
    """

    scale: float
    zero_point: int


@dataclass(slots=True)
class TwoAtOnce:
    """What is known of an engine that answers two batches beside each other."""

    held_bytes: int                 # what it holds for that, without the batches
    pays: bool | None = None        # whether that is faster here than one after the other; None = not tried yet, see run.pace


@dataclass(frozen=True, slots=True)
class RunMemory:
    """What a run is going to need of an engine, and what it leaves to what earlier runs left there."""

    batch: tuple[int, int, int]     # the largest: tiles, rows and columns of input
    bytes: int                      # with which it is answered, or two at once
    spare_bytes: int                # of the run's budget, besides
    at_once: int = 1


@runtime_checkable
class Engine(Protocol):
    """One graph of one package, loaded on one device, ready to answer. Several threads may call `infer` at once.

    An engine has answered the package's golden tile before anyone else sees it. It never moves to another device or precision
    by itself: what it cannot run is an EngineError.

    One that keeps memory from call to call has `make_room(RunMemory)`, which a run calls before its first tile.

    One with an attribute `two_at_once` that is a TwoAtOnce gives with `for_two()` an engine of the same answers for two callers at once.

    One with an attribute `pixel_bytes` that is not None takes a batch as PixelBytes too, which `gather` writes in a quarter of the memory.
    """

    name: str       # the library, e.g. "onnxruntime"
    device: str     # where it runs: "cpu" or "cuda:0"
    graph: str      # member of the package that it runs, e.g. "graph-fp32.onnx"
    version: str    # version of the library, e.g. "1.23.2"

    def infer(self, batch: np.ndarray, scene: np.ndarray | None = None) -> np.ndarray:
        """Logits of a batch of tiles.

        Args:
            batch: (n, bands, h, w) float32, C order, network input (normalised, no unit, invalid pixels 0); h and w are
                multiples of the spec's stride_px.
            scene: (1, n) float32, what a network with scene_percentiles is told of the whole scene; None = zeros. Engines that
                take it say so with takes_scene = True; others are not used for such a network.
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


@runtime_checkable
class DeviceSlot(Protocol):
    """One execution context of a DeviceEngine with fixed shapes. A slot serves one stream at a time; slots run side by side.

    One of an engine with takes_scene = True has `scene_memory = (address, bytes)`: device memory of its own for what the network is told of
    the whole scene, (1, n) float32, the same as long as the slot lives, zeros at first. Whoever runs the slot writes there, in order with
    the stream that it enqueues on; what stands there when the network comes to it counts, in a replayed CUDA graph too.
    """

    tiles: int                          # of one call; a call with fewer tiles leaves the rest of its input as it is
    input_shape: tuple[int, ...]        # (tiles, bands, rows, cols) float32, C order
    output_shape: tuple[int, ...]       # (tiles, classes, rows / s, cols / s) float32, C order

    def enqueue(self, input_ptr: int, output_ptr: int, stream: int) -> None:
        """Enqueue the network on a stream; asynchronous. It allocates nothing and synchronises nothing.

        Args:
            input_ptr, output_ptr: device addresses of float32 in the shapes above, 256-byte aligned; the same pair in every call
                lets an engine replay a CUDA graph.
            stream: a cudaStream_t as a whole number, never the default stream.
        Raises:
            EngineError: the library refused or failed, or the slot is closed. What fails on the device later shows at the next synchronisation.
        """
        ...

    def prepare(self, input_ptr: int, output_ptr: int, stream: int) -> None:
        """Get ready for `enqueue` with these, before a run begins and other threads work on the device; nothing runs. An engine that has
        nothing to get ready does nothing."""
        ...

    def close(self) -> None:
        """Free the context once the device no longer uses it. Closing twice does nothing."""
        ...


@runtime_checkable
class DeviceEngine(Engine, Protocol):
    """An engine on a CUDA device. `infer` stays, host in and host out, for golden tile and gate.

    What it may say besides, and the plan keeps to (plan/device.py): `takes(rows, cols)`, whether it takes a size; `batch_of(rows, cols)`, the
    only number of tiles of that size in a batch besides one.
    """

    def slot(self, tiles: int, rows: int, cols: int) -> DeviceSlot:
        """A new execution context for batches of `tiles` tiles of rows x cols; after this, `enqueue` allocates nothing.

        Raises:
            EngineError: the engine was not built for this shape.
            DeviceError: not enough device memory.
        """
        ...
