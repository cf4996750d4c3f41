"""What a network is worth on whole pairs it never saw: one confusion matrix, and how much its confidence can be believed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hfd_edge.measure.accuracy import Accuracy, Confusion
from hfd_edge.network import HFDNet, upsample
from hfd_edge.spec import NODATA_LABEL
from training.batches import Data
from training.layouts.files import FileSet
from training.pairs import DataError, Pair
from training.statistics import Normalisation, add_pixels, eo_tensor, sar_tensor

MARGIN_PX = 64                            # of reflection around a pair, as the run-time gives its tiles
WINDOW_PX, CONTEXT_PX = 1536, 256         # larger pairs are judged in windows, each with so much of the pair around it; multiples of every stride
_PIXELS = 4096                            # of a pair, that calibration looks at
Answer = Callable[[Pair], np.ndarray | None]      # a pair to (r, c) uint8 classes, 255 = no answer; None = it cannot see this pair


@dataclass(frozen=True)
class Judged(Accuracy):
    """The figures of a classifier over the pairs that it can see; `of` is how many the split has."""

    pairs: int = 0
    of: int = 0

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "pairs": self.pairs, "of": self.of}

    @property
    def how_many(self) -> str:
        """"45 pairs", or "45 of 48 pairs, those with EO; no pixel of ice": a mean over fewer classes is no mean over all."""
        absent = ", ".join(name for name, present in zip(self.classes, self.present) if not present)
        pairs = f"{self.pairs} pairs" if self.pairs == self.of else f"{self.pairs} of {self.of} pairs, those with EO"
        return f"{pairs}; no pixel of {absent}" if absent else pairs


def pairs_of(data: Data, split: str, eo: bool = True) -> Iterator[Pair]:
    """The pairs of a split.

    Raises:
        DataError: there are none.
    """
    names = data.pairs.names(split)
    if not names:
        raise DataError(f"set {data.info.name}: the split {split} is empty; nothing can be judged; use another split")
    return (data.pairs.read(name, eo=eo) for name in names)


def judged_pixels(data: Data, *splits: str) -> str:
    """Digest of what is judged on: pixels and labels of some splits. "" of a set without files, whose pixels are a function of its description."""
    if not isinstance(data.pairs, FileSet):
        return ""
    digest = hashlib.sha256()
    for split in splits:
        for pair in pairs_of(data, split):
            digest.update(f"{split} {pair.name} {pair.labels.shape}".encode())
            add_pixels(digest, pair)
    return digest.hexdigest()


def judge(answers: dict[str, Answer], data: Data, split: str) -> dict[str, Judged]:
    """Every classifier on the pixels of a split that it can see, each with one confusion matrix over all of them."""
    counts, seen, number = {name: Confusion(data.info.classes) for name in answers}, dict.fromkeys(answers, 0), 0
    for number, pair in enumerate(pairs_of(data, split), 1):
        for name, answer in answers.items():
            if (labels := answer(pair)) is not None:
                asked = pair.labels if pair.eo_seen is None else np.where((labels == NODATA_LABEL) & ~pair.eo_seen, labels, pair.labels)
                counts[name].add(asked, labels)
                seen[name] += 1
    return {name: Judged(own.classes, own.counts, seen[name], number) for name, own in counts.items()}


def judged(answer: Answer, data: Data, split: str) -> Judged:
    """The figures of one classifier on a split.

    Raises:
        DataError: no pair of the split has the optical image that it needs.
    """
    found = judge({"": answer}, data, split)[""]
    if not found.pairs:
        raise DataError(f"set {data.info.name}: none of the {found.of} pairs of the split {split} has an optical image, and this network needs one; "
                        "nothing can be judged; give pairs with EO to this split, or use teachers of kind sar")
    return found


def miou_on(net: HFDNet, kind: str, data: Data, split: str) -> float:
    """Mean IoU of a network on the pairs of a split that it can see; its mode is left as it was. Raises as `judged`."""
    return judged(answer_of(net, kind, data), data, split).miou


def answer_of(net: torch.nn.Module, kind: str, data: Data) -> Answer:
    """A network as a classifier of pairs."""
    return answer_of_all([net], [kind], data)


def answer_of_all(nets: Sequence[torch.nn.Module], kinds: Sequence[str], data: Data, views: Sequence[Normalisation | None] = ()) -> Answer:
    """Several networks as one classifier: the class of the highest mean probability. What needs EO does not answer without: None of a pair, 255 of a
    pixel that has none.

    Args:
        views: the normalisation of each, None = the set's own; () = that for all.
    """
    needs_eo = any("eo" in kind for kind in kinds)

    def answer(pair: Pair) -> np.ndarray | None:
        if pair.eo is None and needs_eo:
            return None
        images = [network_input(pair, kind, data, by) for kind, by in zip(kinds, views or (None,) * len(nets), strict=True)]
        labels = np.empty(pair.labels.shape, np.uint8)
        for core, logits in in_windows(nets, images):
            shares = logits[0] if len(nets) == 1 else sum(own.softmax(dim=0) for own in logits)
            labels[core] = shares.argmax(dim=0).to(torch.uint8).cpu().numpy()
        return labels if pair.eo_seen is None or not needs_eo else np.where(pair.eo_seen, labels, np.uint8(NODATA_LABEL))
    return answer


def network_input(pair: Pair, kind: str, data: Data, by: Normalisation | None = None) -> Tensor:
    """(bands, r, c) float32, what a network of this kind is shown of a pair; `by` None = normalised as the set's own networks."""
    by, parts = by or data.statistics.normalisation, []
    if "eo" in kind:
        parts.append(eo_tensor(pair, by))
    if "sar" in kind:
        parts.append(sar_tensor(pair, data.info.sar_unit, by.sar))
    return torch.cat(parts)


def in_windows(nets: Sequence[torch.nn.Module], images: Sequence[Tensor]) -> Iterator[tuple[tuple[slice, slice], list[Tensor]]]:
    """Where a window lies, and each network's logits (classes, r, c) of it: a whole scene as a pair needs no memory for all its features at once.

    A network that reaches no further than CONTEXT_PX says in windows what it says of the whole.
    """
    rows, cols = images[0].shape[1:]
    for row in range(0, rows, WINDOW_PX):
        for col in range(0, cols, WINDOW_PX):
            top, left = min(row, CONTEXT_PX), min(col, CONTEXT_PX)
            core = slice(row, min(row + WINDOW_PX, rows)), slice(col, min(col + WINDOW_PX, cols))
            seen = slice(row - top, core[0].stop + CONTEXT_PX), slice(col - left, core[1].stop + CONTEXT_PX)
            high, wide = core[0].stop - row, core[1].stop - col
            yield core, [logits_of(net, image[(slice(None), *seen)])[:, top:top + high, left:left + wide] for net, image in zip(nets, images, strict=True)]


@torch.no_grad()
def logits_of(net: torch.nn.Module, image: Tensor) -> Tensor:
    """(bands, r, c) float32 network input to (classes, r, c) logits; reflection around it, sides of any size."""
    rows, cols = image.shape[1:]
    stride = getattr(net, "stride_px", 32)
    right, below = ((-side) % stride + MARGIN_PX for side in (cols, rows))
    padded = reflected(image[None], (MARGIN_PX, right, MARGIN_PX, below)).contiguous(memory_format=torch.channels_last)
    training = net.training
    logits = net.eval()(padded.to(next(net.parameters()).device))
    net.train(training)
    full = upsample(logits, padded.shape[-1] // logits.shape[-1])
    return full[0, :, MARGIN_PX:MARGIN_PX + rows, MARGIN_PX:MARGIN_PX + cols].float()


def reflected(image: Tensor, margins: tuple[int, int, int, int]) -> Tensor:
    """(n, bands, r, c) with margins (left, right, top, bottom) of reflection, in steps where a pair is smaller than its
    margin."""
    while any(margins):
        most = [side - 1 for side in (image.shape[3], image.shape[3], image.shape[2], image.shape[2])]
        if min(most) < 1:
            return F.pad(image, margins, mode="replicate")
        now = tuple(min(m, limit) for m, limit in zip(margins, most))
        image, margins = F.pad(image, now, mode="reflect"), tuple(m - n for m, n in zip(margins, now))
    return image


@dataclass(frozen=True)
class Calibration:
    """How far confidence is from accuracy on one split, before and after division of the logits by `temperature`."""

    temperature: float
    error_before: float                   # expected calibration error, 0..1
    error: float
    bins: list[dict[str, float]]          # after: share of pixels, mean confidence, accuracy


def calibrate(net: HFDNet, data: Data, bins: int, split: str) -> Calibration:
    """The temperature that gives a student's answers on the select split the highest likelihood, and the calibration error on `split` with and without
    it."""
    temperature = fitted_temperature(*_sampled(net, data, "select"))
    scores, truth = _sampled(net, data, split)
    before, after = (reliability(scores / t, truth, bins) for t in (1.0, temperature))
    return Calibration(temperature, before[0], *after)


def fitted_temperature(scores: Tensor, truth: Tensor) -> float:
    """The temperature of lowest cross entropy of (n, classes) logits against (n,) classes; golden section on its logarithm."""
    def entropy(log_temperature: float) -> float:
        return float(F.cross_entropy(scores / float(np.exp(log_temperature)), truth))
    low, high, ratio = -3.0, 3.0, (5 ** 0.5 - 1) / 2
    while high - low > 1e-3:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if entropy(left) <= entropy(right) else (left, high)
    return float(np.exp((low + high) / 2))


def reliability(scores: Tensor, truth: Tensor, bins: int) -> tuple[float, list[dict[str, float]]]:
    """(expected calibration error, its bins) of (n, classes) logits: mean gap of confidence and accuracy, weighted by pixels.

    Source: Guo et al. 2017, bins of equal width.
    """
    confidence, answer = scores.softmax(dim=1).max(dim=1)
    right, place = (answer == truth).double(), (confidence * bins).long().clamp(max=bins - 1)
    error, rows = 0.0, []
    for number in range(bins):
        inside = place == number
        if inside.any():
            means = inside.double().mean(), confidence[inside].double().mean(), right[inside].mean()
            share, sure, hit = map(float, means)
            error += share * abs(sure - hit)
            rows.append({"share": share, "confidence": sure, "accuracy": hit})
    return error, rows


def _sampled(net: HFDNet, data: Data, split: str) -> tuple[Tensor, Tensor]:
    """A student's logits and truth at evenly spaced known pixels of every pair: ((n, classes), (n,))."""
    scores, truth = [], []
    for pair in pairs_of(data, split, eo=False):
        known = np.flatnonzero(pair.labels != NODATA_LABEL)
        asked = np.zeros(pair.labels.shape, bool)
        asked.flat[known[::max(1, len(known) // _PIXELS)]] = True
        for core, (logits,) in in_windows([net], [network_input(pair, "sar", data)]):
            scores.append(logits[:, torch.from_numpy(asked[core]).to(logits.device)].T.cpu())
            truth.append(torch.from_numpy(pair.labels[core][asked[core]].astype(np.int64)))
    if not sum(map(len, truth)):
        raise DataError(f"set {data.info.name}: no pixel of the split {split} has a label; nothing can be judged; check the labels")
    return torch.cat(scores), torch.cat(truth)
