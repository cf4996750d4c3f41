"""The engine alone, through the Engine protocol: first call, latency percentiles, batches; no scene, no stitching."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from hfd_edge.engine.base import Engine
from hfd_edge.engine.onnx_bytes import as_taken
from hfd_edge.errors import HfdError
from hfd_edge.measure.benchmark_times import Spread, in_turns
from hfd_edge.measure.benchmark_timetable import Timetable


def tile_input(bands: int, batch: int, shape: tuple[int, int]) -> np.ndarray:
    """A batch of network input, normal with mean 0 and deviation 1: (batch, bands, rows, cols) float32."""
    return np.random.default_rng(0).standard_normal((batch, bands, *shape), np.float32)


def engine_records(engine: Engine, bands: int, shape: tuple[int, int], batches: Sequence[int], rounds: int,
                   timetable: Timetable) -> Iterator[dict[str, Any]]:
    """One record a batch size, in turns with each other; the first call of each apart, for it makes what later calls reuse.

    Args:
        shape: rows and columns of the tiles, multiples of the network's stride.
        rounds: at most; as many as the timetable's seconds allow.
    A batch that the engine refuses is a record that says so. An engine of bytes gets them: in a run it is gather that makes them.
    """
    jobs, first_ms, refused = {}, {}, {}
    for batch in batches:
        values = tile_input(bands, batch, shape)
        try:
            values = as_taken(values, engine)
            start = time.perf_counter()
            engine.infer(values)
        except HfdError as error:
            refused[batch] = str(error)
            continue
        first_ms[batch] = 1e3 * (time.perf_counter() - start)
        jobs[str(batch)] = lambda values=values: engine.infer(values)
    turn_s = sum(first_ms.values()) / 1e3
    rounds = timetable.rounds(turn_s, rounds)
    timetable.tell(f"{rounds} calls of batch {', '.join(jobs)}", rounds * turn_s)
    spreads = in_turns(jobs, rounds) if jobs else {}
    for batch in batches:
        record = {"kind": "engine", "batch": batch, "tile_px": list(shape)}
        if batch in refused:
            yield {**record, "not_available": refused[batch]}
            continue
        yield {**record, "first_call_ms": first_ms[batch], **figures(spreads[str(batch)], batch, shape)}


def figures(spread: Spread, batch: int, shape: tuple[int, int]) -> dict[str, Any]:
    """Spread, calls a second, and engine input in pixels: of the median call."""
    pixels = batch * shape[0] * shape[1]
    return {**spread.to_dict(), "throughput_qps": 1e3 / spread.p50_ms, "input_mpx_per_s": pixels / 1e3 / spread.p50_ms,
            "ns_per_input_px": 1e6 * spread.p50_ms / pixels}
