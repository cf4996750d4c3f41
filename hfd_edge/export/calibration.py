"""One calibration pass: which range every tensor of a graph takes over real network input. It serves every quantised graph.

Calibrators: `minmax` keeps everything that was seen; `percentile` cuts a small share at each end; `entropy` cuts where the
distribution after quantisation differs least from the one before (Kullback-Leibler, after Migacz 2017, 8-bit inference with
TensorRT); here both ends are scaled together, so that it also serves tensors that are not symmetric.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, repeat
from typing import Any

import numpy as np
import onnx

from hfd_edge.errors import ExportError
from hfd_edge.export.calibration_reads import Reads, ReadsOfTiles
from hfd_edge.export.session import open_session, telling
from hfd_edge.spec import SCENE_INPUT, ModelInput, Unit

METHODS = ("minmax", "percentile", "entropy")
SHARE_KEPT = 0.99999            # of the values, by `percentile`; the rest is cut, half at each end
BEYOND_DB = 6.0                 # how far scenes may lie off those that calibrate, as water and cities do
_SHIFTED_EVERY = 3              # of the tiles
_BINS = 4096
_LEVELS = 256
_CUTS = np.linspace(1.0, 0.2, 33)
Seen = list[tuple[np.ndarray, ...]]         # tiles (bands, rows, cols), each with what the network is told of its scene, if it is


@dataclass(frozen=True, slots=True)
class Ranges:
    """Range of every computed tensor, and what it was measured with. `to_dict` is what a package keeps."""

    tensors: dict[str, tuple[float, float]]     # name -> (lowest, highest), in the tensor's own scale
    method: str
    graph_sha256: str
    data_sha256: str                            # over the tiles in their order
    tiles: int
    pixels: int
    trained: tuple[str, ...] = ()               # tensors whose range quantisation-aware training gave, see qat_ranges
    wider: int = 0                              # more tiles, which `shifted` made of those
    reads: Mapping[str, Reads] = field(default_factory=dict, repr=False, compare=False)     # of the convolutions; not in the record

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready record, without `reads`."""
        record = asdict(replace(self, reads={}))
        del record["reads"]
        return {**record, "tensors": {name: list(ends) for name, ends in self.tensors.items()}, "trained": list(self.trained)}

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Ranges:
        """Ranges from `to_dict`'s record.

        Raises:
            ExportError: it is no such record.
        """
        try:
            tensors = {str(name): (float(low), float(high)) for name, (low, high) in record["tensors"].items()}
            return cls(tensors, record["method"], record["graph_sha256"], record["data_sha256"], int(record["tiles"]),
                       int(record["pixels"]), tuple(map(str, record.get("trained", ()))), int(record.get("wider", 0)))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ExportError(f"ranges record cannot be read ({error}): give the JSON that a calibration wrote") from error

    def check_graph(self, graph: bytes) -> None:
        """Raise ExportError where these ranges were measured on another graph."""
        if (found := hashlib.sha256(graph).hexdigest()) != self.graph_sha256:
            raise ExportError(f"the ranges were measured on graph {self.graph_sha256[:12]}, this one is {found[:12]}: "
                              "calibrate again with this graph")


def calibrate(graph: bytes, tiles: Iterable[np.ndarray], method: str = "minmax", statuses: Iterable[np.ndarray | None] | None = None,
              told: Iterable[np.ndarray] | None = None, wider: Iterable[np.ndarray] = ()) -> Ranges:
    """Run a float graph over tiles and keep the range of every tensor, and what its convolutions read.

    Args:
        graph: serialised ONNX, float32, one input (batch, bands, rows, cols).
        tiles: each (bands, rows, cols) float32, network input of real scenes; gone through twice unless method is "minmax".
        method: "minmax", "percentile" or "entropy".
        statuses: per tile (rows, cols) uint8, 1 = no place to see what convolutions read (nodata, or the halo); None = all are.
        told: of a network that is told of the scene, (1, n) float32 for each tile; None = it is not.
        wider: more tiles, which count for the ranges alone; not of a network that is told of the scene.
    Raises:
        ExportError: no tile, a tile of another number of bands or not finite, or an unknown method. Never random numbers.
    """
    if method not in METHODS:
        raise ExportError(f"calibration method {method!r} is not known: use one of {', '.join(METHODS)}")
    tiles = [_checked(tile, _bands(graph)) for tile in tiles]
    if not tiles:
        raise ExportError("no calibration tile: INT8 ranges come from real scenes, never from random numbers; give rasters "
                          "with --calibration")
    names, run = _observer(graph)
    seen: Seen = [(tile,) for tile in tiles] if told is None else list(zip(tiles, told, strict=True))
    more: Seen = [(_checked(tile, _bands(graph)),) for tile in wider]
    reads = ReadsOfTiles(onnx.load_from_string(graph), len(tiles))
    ends = _extremes(names, run, zip([*seen, *more], chain(statuses or repeat(None, len(seen)), map(_no_place, more))), reads)
    if method != "minmax":
        ends = {name: _cut(counts, ends[name], method) for name, counts in _histograms(names, run, [*seen, *more], ends).items()}
    data = hashlib.sha256()
    for given in seen:
        for part in given:
            data.update(json.dumps(part.shape).encode() + part.tobytes())
    return Ranges(ends, method, hashlib.sha256(graph).hexdigest(), data.hexdigest(), len(tiles),
                  sum(tile[0].size for tile in tiles), wider=len(more), reads=reads.result())


def shifted(tiles: Sequence[np.ndarray], model: ModelInput) -> list[np.ndarray]:
    """Some of the tiles darker and brighter by BEYOND_DB, within the network's floor and clip; none of a network of another unit than dB.

    Scenes that come later lie off those that calibrate; what a range cuts there are the labels that the network is sure of.
    """
    if model.unit is not Unit.DB:
        return []
    mean, std = (np.asarray(values, np.float64)[:, None, None] for values in (model.mean, model.std))
    floor = -math.inf if model.floor is None else model.floor
    low, high = np.asarray(model.clip or [(floor, math.inf)] * len(model.mean), np.float64).T[:, :, None, None]
    made = []
    for tile in tiles[::_SHIFTED_EVERY]:
        for step in (-BEYOND_DB, BEYOND_DB):
            values = (np.clip(tile * std + mean + step, np.maximum(low, floor), high) - mean) / std
            made.append(np.where(tile.any(axis=0), values, 0).astype(np.float32))       # nodata is 0 in every band
    return made


def _no_place(given: tuple[np.ndarray, ...]) -> np.ndarray:
    """The status of a tile that does not count for what convolutions read."""
    return np.ones(given[0].shape[1:], np.uint8)


def _bands(graph: bytes) -> int:
    shape = onnx.load_from_string(graph).graph.input[0].type.tensor_type.shape.dim
    return shape[1].dim_value if len(shape) == 4 else 0


def _checked(tile: np.ndarray, bands: int) -> np.ndarray:
    tile = np.asarray(tile)
    if tile.dtype != np.float32 or tile.ndim != 3 or (bands and tile.shape[0] != bands) or 0 in tile.shape:
        raise ExportError(f"calibration tile of {tile.dtype} {tile.shape}: the network takes float32 ({bands}, rows, cols); "
                          "calibrate with scenes of the bands it was trained on")
    if not np.isfinite(tile).all():
        raise ExportError("a calibration tile holds values that are not finite: it is network input, where nodata is 0")
    return np.ascontiguousarray(tile)


def _observer(graph: bytes) -> tuple[list[str], Any]:
    """Names of the float tensors (input first), and a function from a tile, and what it is told with, to their values."""
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(graph))
    source = model.graph.input[0].name
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*model.graph.value_info, *model.graph.output)}
    names = [name for node in model.graph.node for name in node.output
             if kinds.get(name) == onnx.TensorProto.FLOAT and node.op_type != "Constant"]
    session = open_session(telling(model, names))

    def run(tile: np.ndarray, *told: np.ndarray) -> list[np.ndarray]:
        return [tile[None], *session.run(names, {source: tile[None], **dict(zip((SCENE_INPUT,), told))})]
    return [source, *names], run


def _extremes(names: list[str], run: Any, seen: Iterable[tuple[tuple[np.ndarray, ...], np.ndarray | None]],
              reads: ReadsOfTiles) -> dict[str, tuple[float, float]]:
    ends = {name: (math.inf, -math.inf) for name in names}
    for given, status in seen:
        values = dict(zip(names, run(*given)))
        for name, value in values.items():
            if value.size:
                ends[name] = (min(ends[name][0], float(value.min())), max(ends[name][1], float(value.max())))
        if bad := [name for name, pair in ends.items() if not all(map(math.isfinite, pair))]:
            raise ExportError(f"{bad[0]} is not finite on calibration data: the network overflows there; train longer or check "
                              "the unit of the scenes")
        reads.add(values, status)
    return ends


def _histograms(names: list[str], run: Any, seen: Seen,
                ends: dict[str, tuple[float, float]]) -> dict[str, np.ndarray]:
    counts = {name: np.zeros(_BINS, np.int64) for name in names}
    for given in seen:
        for name, value in zip(names, run(*given)):
            low, high = ends[name]
            if high > low:
                counts[name] += np.histogram(value, _BINS, (low, high))[0]
    return counts


def _cut(counts: np.ndarray, ends: tuple[float, float], method: str) -> tuple[float, float]:
    """The range that a calibrator keeps of a histogram over `ends`."""
    low, high = ends
    if not counts.any():
        return ends
    edges = np.linspace(low, high, _BINS + 1)
    if method == "percentile":
        share = np.cumsum(counts) / counts.sum()
        first = int(np.searchsorted(share, (1 - SHARE_KEPT) / 2, side="right"))
        last = int(np.searchsorted(share, (1 + SHARE_KEPT) / 2))
        return float(edges[first]), float(edges[min(last, _BINS - 1) + 1])
    counts, zero = counts.copy(), int(np.clip(np.searchsorted(edges, 0.0, side="right") - 1, 0, _BINS - 1))
    counts[zero] = counts[np.clip((zero - 1, zero + 1), 0, _BINS - 1)].max()        # what Relu set to zero is no distribution
    kept = min(_CUTS, key=lambda cut: (_divergence(counts, edges, cut), -cut))
    return low * float(kept), high * float(kept)


def _divergence(counts: np.ndarray, edges: np.ndarray, cut: float) -> float:
    """KL divergence, in nats, of a histogram from itself after clipping to `cut` times its ends and 256 equal levels."""
    inside = np.clip((edges[:-1] + edges[1:]) / 2, cut * min(edges[0], 0.0), cut * max(edges[-1], 0.0))
    low, high = inside.min(), inside.max()
    level = np.minimum(((inside - low) / max(high - low, 1e-30) * _LEVELS).astype(int), _LEVELS - 1)
    middle = (edges[:-1] + edges[1:]) / 2
    clipped = (middle < low) | (middle > high)
    reference = np.where(clipped, 0, counts).astype(np.float64)
    np.add.at(reference, np.where(middle < low, np.argmax(~clipped), len(counts) - 1 - np.argmax(~clipped[::-1]))[clipped],
              counts[clipped])
    kept = np.where(clipped, 0, counts).astype(np.float64)
    filled = (reference > 0) & ~clipped
    sums, cells = np.bincount(level, kept, _LEVELS), np.bincount(level, filled, _LEVELS)
    spread = np.where(filled, sums[level] / np.maximum(cells[level], 1), 0)
    p, q = reference / reference.sum(), spread / max(spread.sum(), 1e-30)
    seen = p > 0
    return float((p[seen] * np.log(p[seen] / np.maximum(q[seen], 1e-12))).sum())
