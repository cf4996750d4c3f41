"""Heterogeneous feature distillation: the SAR student's features, through adapters, are pulled towards the EO teacher's.

A training-time branch only. The adapters live here and not in the network, so no checkpoint and no engine ever holds them (but
for `hallucinate`, where the guessing layers are the network's own). Source: HFD-Net (arXiv 2210.08988); where the features are
tapped and how they are compared is a reconstruction from its abstract, and a key each.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hfd_edge.network import HFDNet, upsample
from hfd_edge.spec import NODATA_LABEL
from training.config import DistilConfig
from training.distances import channel_wise, cosine, mean_over, mse, normalised, relational
from training.loader import Batch
from training.schema import ConfigError
from training.teacher import Lesson, Teacher


class Adapters(nn.Module):
    """One small network per level from the student's channels to the teacher's."""

    def __init__(self, kind: str, student_channels: tuple[int, ...], teacher_channels: tuple[int, ...]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(_adapter(kind, own, theirs)
                                    for own, theirs in zip(student_channels, teacher_channels, strict=True))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Per level (n, own, h, w) -> (n, theirs, h, w)."""
        return [adapt(level) for adapt, level in zip(self.levels, features, strict=True)]


class Distillation:
    """A frozen teacher, the adapters that reach for its features, and how much they weigh."""

    def __init__(self, teacher: Teacher, student: HFDNet, options: DistilConfig) -> None:
        """The adapters start from numbers of their own: the student's initialisation and the global generator are not touched.

        Raises:
            ConfigError: teacher and student have no level in common, or channels differ and there is no adapter.
        """
        self.teacher, self.options = teacher, options
        own, theirs = (_levels_of(net, options.tap) for net in (student, teacher.leader))
        self._strides = [stride for stride in own if stride in theirs]
        if not self._strides:
            raise ConfigError(f"distil.tap={options.tap}: student has levels of stride {sorted(own)}, teacher of {sorted(theirs)}; give "
                              "both the same finest_stride or max_stride")
        self._places = [(list(own).index(s), list(theirs).index(s)) for s in self._strides]
        channels = [tuple(levels[s] for s in self._strides) for levels in (own, theirs)]
        kind = options.adapter if not options.hallucinate else "linear" if channels[0] != channels[1] else "none"
        if kind == "none" and options.distance != "relational" and channels[0] != channels[1]:
            raise ConfigError(f"distil.adapter=none: student channels {channels[0]} are not the teacher's {channels[1]}; use conv or "
                              "linear, or distance=relational, which compares relations")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.adapter_seed)
            self.adapters = Adapters(kind, *channels).to(memory_format=torch.channels_last)

    def losses(self, taps: dict, logits: Tensor, batch: Batch, done: float) -> dict[str, Tensor]:
        """The weighted losses "features" and "logits" (those whose weight is above 0; "features" always).

        Args:
            taps: of the student, as HFDNet.features. logits: its answer at its own stride, (n, classes, h / s, w / s).
            done: share of the run that is behind.
        """
        lesson = self.teacher.teach(batch)
        counts = self.counts(lesson, batch)
        factor = schedule(self.options, done)
        losses = {"features": factor * self.options.weight * self._features(taps, lesson, counts)}
        if self.options.logit_weight > 0:
            losses["logits"] = factor * self.options.logit_weight * self._soft_labels(logits, lesson, counts)
        return losses

    def counts(self, lesson: Lesson, batch: Batch) -> Tensor:
        """(n, h, w) float32, 1 where the teacher is listened to: where it saw something, SAR exists, and `mask` lets it speak."""
        known, heard = batch.labels != NODATA_LABEL, lesson.knows & batch.valid
        if self.options.mask == "all":
            return heard.float()
        confidence, answer = lesson.shares().max(dim=1)
        sure = confidence >= self.options.confidence
        if self.options.mask == "right":
            # a crop without any label: nobody can say who is right
            untold = ~known.flatten(1).any(dim=1)[:, None, None]
            sure = torch.where(untold, sure, (answer == batch.labels) & known)
        return (heard & sure).float()

    def _features(self, taps: dict, lesson: Lesson, counts: Tensor) -> Tensor:
        options, total = self.options, counts.new_zeros(())
        name = "guessed" if options.hallucinate else options.tap
        own, theirs = (_as_list(levels) for levels in (taps[name], lesson.taps[options.tap]))
        adapted = self.adapters([own[place] for place, _ in self._places])
        for level, (_, place) in zip(adapted, self._places):
            cells = F.avg_pool2d(counts[:, None], counts.shape[-1] // level.shape[-1])[:, 0]
            total = total + self._distance(level.float(), theirs[place].float(), cells)
        return total

    def _distance(self, own: Tensor, theirs: Tensor, cells: Tensor) -> Tensor:
        options = self.options
        own, theirs = normalised(own, options.normalise), normalised(theirs, options.normalise)
        if options.distance == "channel-wise":
            return channel_wise(own, theirs, cells, options.channel_temperature)
        if options.distance == "relational":
            return relational(own, theirs, cells, options.relation_cells)
        return (mse if options.distance == "mse" else cosine)(own, theirs, cells)

    def _soft_labels(self, logits: Tensor, lesson: Lesson, counts: Tensor) -> Tensor:
        """KL divergence from the teacher's softened probabilities to the student's at full resolution, times temperature squared."""
        temperature = self.options.temperature
        full = upsample(logits.float(), counts.shape[-1] // logits.shape[-1])
        shares = lesson.shares(temperature)
        apart = F.kl_div((full / temperature).log_softmax(dim=1), shares, reduction="none").sum(dim=1)
        return temperature ** 2 * mean_over(apart, counts)


def schedule(options: DistilConfig, done: float) -> float:
    """The factor on the weights at a share of the run."""
    if options.schedule == "warm-up":
        return min(1.0, done / options.warm_up) if options.warm_up > 0 else 1.0
    return 0.5 * (1 + math.cos(math.pi * done)) if options.schedule == "cosine" else 1.0


def _levels_of(net: HFDNet, tap: str) -> dict[int, int]:
    """Stride -> channels of a tap's levels, finest first."""
    if tap == "fused":
        return {net.logit_stride_px: net.config.width}
    channels = net.encoder.channels if tap == "encoder" else (net.config.width,) * len(net.config.strides)
    return dict(zip(net.config.strides, channels, strict=True))


def _adapter(kind: str, own: int, theirs: int) -> nn.Module:
    if kind == "none":
        return nn.Identity()
    if kind == "linear":
        return nn.Conv2d(own, theirs, 1)
    return nn.Sequential(nn.Conv2d(own, theirs, 1, bias=False), nn.BatchNorm2d(theirs), nn.ReLU(inplace=True),
                         nn.Conv2d(theirs, theirs, 3, padding=1, bias=False), nn.BatchNorm2d(theirs))


def _as_list(levels: Tensor | list[Tensor]) -> list[Tensor]:
    return levels if isinstance(levels, list) else [levels]
