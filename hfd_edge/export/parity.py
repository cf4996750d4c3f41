"""The gate: an exported graph must say what the network says.

`check_parity` holds the FP32 graph against the network on the golden tile, logit by logit; `compare` judges any graph by what
it does to the map: labels, IoU and confidence over many tiles of real scenes, with bounds from resampling blocks of pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hfd_edge import _native
from hfd_edge.errors import ExportError, GateError
from hfd_edge.export.golden import close_calls
from hfd_edge.export.onnx import INPUT_NAME
from hfd_edge.export.session import open_session
from hfd_edge.measure.flips import BOUND, block_sums, resampled, upper_bound
from hfd_edge.network.hfdnet import HFDNet
from hfd_edge.spec import NODATA_LABEL

if TYPE_CHECKING:
    from hfd_edge.export.calibration_data import Tile

FP32_TOLERANCE = 1e-4       # largest difference of a logit, relative to the largest logit where that is above 1


@dataclass(frozen=True, slots=True)
class Parity:
    """An exported graph beside the network, on one tile."""

    cells: int                  # logits positions compared
    flips: int                  # positions with another best class, close calls left out
    close_calls: int            # positions whose two best logits are within golden.CLOSE_CALL
    max_error: float            # largest difference of a logit
    max_logit: float            # largest absolute logit of the network
    tolerance: float            # what max_error was held against

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready record."""
        return asdict(self)


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
    close = close_calls(expected) | close_calls(got)
    flips = int(((expected.argmax(0) != got.argmax(0)) & ~close).sum())
    error = float(np.abs(expected - got).max())
    parity = Parity(cells=close.size, flips=flips, close_calls=int(close.sum()), max_error=error,
                    max_logit=largest, tolerance=FP32_TOLERANCE * max(1.0, largest))
    if parity.max_error > parity.tolerance or parity.flips:
        raise GateError(f"FP32 graph differs from the network by {parity.max_error:.2g} and in {flips} of {close.size} "
                        f"labels: at most {parity.tolerance:.2g} and 0 are allowed; no package was written; report the encoder")
    return parity, np.where(close_calls(got), NODATA_LABEL, got.argmax(0)).astype(np.uint8)


UNSURE = 0.6                                    # of the best class's probability: whoever is less sure may say either
# (1, bands, rows, cols) float32, and (1, n) where the network is told of the scene -> logits (1, classes, rows / s, cols / s)
Infer = Callable[..., np.ndarray]
_ERROR_QUANTILES = (0.5, 0.95, 0.99, 0.999, 1.0)
_JUDGED_PX = 10_000                             # truth pixels a class needs before its IoU is judged


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a graph must stay under to pass; flips and IoU by their upper 95 % bounds, not their means."""

    flips: float = 0.01             # share of valid pixels with another label
    iou: float = 0.005              # change of any class's IoU, up or down
    logits: float = 0.1             # 99 % quantile of the logits' error over the largest logit: shows ranges that are cut
    min_pixels: int = 1_000_000     # valid pixels that must have been compared

    def __post_init__(self) -> None:
        """Raises ExportError where a threshold would let everything pass: 1 for 1 %, NaN."""
        for name, value in (("flips", self.flips), ("iou", self.iou)):
            if not 0 <= value < 1:
                raise ExportError(f"at most {name}={value:g} (--max-{name}): it is a share, from 0 to below 1; 1 % is 0.01")
        if not 0 <= self.logits < math.inf:
            raise ExportError(f"at most logits={self.logits:g} (--max-logits): it must be 0 or more, over the largest logit")
        if self.min_pixels < 1:
            raise ExportError(f"min_pixels={self.min_pixels} (--min-pixels): at least one pixel is needed to compare anything")


@dataclass(frozen=True, slots=True)
class Case:
    """The tile on which a graph differed most, for a picture."""

    number: int
    flip_rate: float
    pixels: np.ndarray              # (bands, rows, cols) float32 network input
    reference: np.ndarray           # (rows, cols) uint8, 255 = not compared
    candidate: np.ndarray


@dataclass(frozen=True, slots=True)
class GateResult:
    """A graph beside the network over many tiles. Bounds are upper 95 % ends over resampled blocks of BLOCK_PX pixels."""

    pixels: int
    tiles: int
    blocks: int
    flips: int
    flip_rate: float
    flip_bound: float
    flips_unsure: float                         # share of the flips where the reference's own confidence is below UNSURE
    iou_reference: tuple[float, ...] | None     # per class, against labels; None without labels
    iou_candidate: tuple[float, ...] | None
    iou_bound: tuple[float | None, ...] | None  # of the absolute change; None for a class with too few labelled pixels
    logit_error: dict[str, float]               # quantile -> absolute difference
    max_logit: float
    confidence_drift: float                     # mean change of the best class's probability, candidate minus reference
    confidence_error: float                     # mean absolute change
    thresholds: Thresholds
    failures: tuple[str, ...]
    worst: Case

    @property
    def passed(self) -> bool:
        return not self.failures

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready record without the picture."""
        record = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "worst"}
        return {**record, "thresholds": asdict(self.thresholds), "failures": list(self.failures), "passed": self.passed,
                "worst_tile": self.worst.number, "worst_tile_flip_rate": self.worst.flip_rate}


def compare(reference: Infer, candidate: Infer, tiles: Iterable[Tile], thresholds: Thresholds | None = None) -> GateResult:
    """Judge a graph against the network it came from, pixel by pixel at full resolution.

    Args:
        reference, candidate: from one tile to its logits.
        tiles: rows and cols multiples of the stride; counted where their status says so, IoU where they have labels.
        thresholds: None = the defaults.
    Raises:
        GateError: no tile, or logits of another shape or not finite.
    """
    thresholds, sums, worst = thresholds or Thresholds(), _Sums(), None
    for number, tile in enumerate(tiles):
        case = sums.add(number, (reference(*tile.given())[0], candidate(*tile.given())[0]), tile)
        worst = case if worst is None or case.flip_rate > worst.flip_rate else worst
    if worst is None:
        raise GateError("no tile to compare on: the gate needs real scenes; give rasters with --data")
    return sums.result(thresholds, worst)


class _Sums:
    """Counts per block of pixels, so that blocks can be resampled."""

    def __init__(self) -> None:
        self.tiles, self.max_logit, self.blocks, self.confusions = 0, 0.0, [], []
        self.errors: list[np.ndarray] = []

    def add(self, number: int, logits: tuple[np.ndarray, np.ndarray], tile: Tile) -> Case:
        pixels, truth, status = tile.pixels, tile.labels, tile.status
        first, second = logits
        if first.shape != second.shape or not (np.isfinite(first).all() and np.isfinite(second).all()):
            raise GateError(f"tile {number}: logits {first.shape} of the network and {second.shape} of the graph must be "
                            "finite and of one shape; export again, or train longer if the weights have diverged")
        sides = pixels.shape[1:]
        (one, sure), (two, other) = (full_resolution(values, sides, status) for values in logits)
        seen = (one != NODATA_LABEL) & (two != NODATA_LABEL)
        flipped = (one != two) & seen
        drift = np.where(seen, other.astype(np.float32) - sure.astype(np.float32), 0) / 254
        planes = np.stack([seen, flipped, drift, np.abs(drift), flipped & (sure < 254 * UNSURE)]).astype(np.float64)
        self.blocks.append(block_sums(planes))
        if truth is not None:
            self.confusions.append(_block_confusions(truth, (one, two), seen, len(first)))
        self.tiles += 1
        self.max_logit = max(self.max_logit, float(np.abs(first).max()))
        self.errors.append(np.abs(first - second).ravel())
        return Case(number, float(flipped.sum() / max(1, seen.sum())), pixels, one, two)

    def result(self, limit: Thresholds, worst: Case) -> GateResult:
        counts = np.concatenate(self.blocks)
        counts = counts[counts[:, 0] > 0]
        seen, flips, drift, wander, unsure = counts.sum(axis=0)
        if not seen:
            raise GateError("not one valid pixel to compare: check the nodata value and the unit of the scenes")
        bound = upper_bound(counts[:, :2])
        reference, candidate, iou_bound = self._iou()
        errors = np.concatenate(self.errors)
        quantiles = {f"{q:g}": float(v) for q, v in zip(_ERROR_QUANTILES, np.quantile(errors, _ERROR_QUANTILES))}
        failures = _failures(int(seen), bound, iou_bound, limit)
        if quantiles["0.99"] > limit.logits * self.max_logit:
            failures += (f"1 % of the logits are off by more than {quantiles['0.99']:.2g} of {self.max_logit:.2g}, at most "
                         f"{limit.logits:.0%} are allowed: ranges are cut or saturate",)
        return GateResult(int(seen), self.tiles, len(counts), int(flips), float(flips / seen), bound,
                          float(unsure / max(1, flips)), reference, candidate, iou_bound, quantiles, self.max_logit,
                          float(drift / seen), float(wander / seen), limit, failures, worst)

    def _iou(self) -> tuple:
        """IoU of reference and candidate per class, and the bound of the change; Nones without labels."""
        if not self.confusions:
            return None, None, None
        blocks = np.concatenate(self.confusions).astype(np.float64)             # (blocks, 2, classes, 3): hit, truth, answer
        blocks = blocks[blocks[:, 0, :, 1].sum(axis=1) > 0]
        draws = resampled(len(blocks), seed=1)
        both = _iou_of(blocks.sum(axis=0))
        drawn = _iou_of(np.tensordot(draws.astype(np.float64), blocks, axes=1))
        change = np.quantile(np.abs(drawn[:, 1] - drawn[:, 0]), BOUND, axis=0)
        judged = blocks[:, 0, :, 1].sum(axis=0) >= _JUDGED_PX
        return (tuple(map(float, both[0])), tuple(map(float, both[1])),
                tuple(float(value) if enough else None for value, enough in zip(change, judged)))


def full_resolution(logits: np.ndarray, sides: tuple[int, int], status: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels and confidence (rows, cols) uint8 as the run-time makes them: logits (classes, rows / s, cols / s) float32."""
    labels, confidence = np.empty(sides, np.uint8), np.empty(sides, np.uint8)
    _native.finish(np.ascontiguousarray(logits), sides[0] // logits.shape[1], np.ascontiguousarray(status), (0, 0), labels,
                   confidence, 1)
    return labels, confidence


def _failures(pixels: int, flips: float, iou: tuple | None, limit: Thresholds) -> tuple[str, ...]:
    found = []
    if pixels < limit.min_pixels:
        found.append(f"{pixels} valid pixels compared, {limit.min_pixels} are needed: give more scenes")
    if flips > limit.flips:
        found.append(f"label flips up to {flips:.3%}, at most {limit.flips:.3%} are allowed")
    for number, change in enumerate(iou or ()):
        if change is not None and change > limit.iou:
            found.append(f"IoU of class {number} changes by up to {100 * change:.2f} points, at most {100 * limit.iou:.2f}")
    return tuple(found)


def _block_confusions(truth: np.ndarray, answers: tuple[np.ndarray, np.ndarray], seen: np.ndarray, classes: int) -> np.ndarray:
    """(blocks, 2, classes, 3): per answer and class the hits, the truth's pixels and the answer's pixels."""
    known = seen & (truth < classes)
    planes = []
    for answer in answers:
        for index in range(classes):
            here, said = known & (truth == index), known & (answer == index)
            planes += [here & said, here, said]
    return block_sums(np.stack(planes).astype(np.float64)).reshape(-1, 2, classes, 3)


def _iou_of(counts: np.ndarray) -> np.ndarray:
    hit, truth, answer = np.moveaxis(counts, -1, 0)
    union = truth + answer - hit
    return np.divide(hit, union, out=np.ones_like(hit), where=union > 0)
