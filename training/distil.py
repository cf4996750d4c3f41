"""Heterogeneous feature distillation: the SAR student's features, through adapters, are pulled towards the EO teacher's.

A training-time branch only. The adapters live here and not in the network, so no checkpoint and no engine ever holds them.
Source: HFD-Net (arXiv 2210.08988); layers and distance are a reconstruction from its abstract.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hfd_edge.network import HFDNet, upsample
from hfd_edge.spec import NODATA_LABEL


class Adapters(nn.Module):
    """One small network per encoder level from the student's channels to the teacher's."""

    def __init__(self, student_channels: tuple[int, ...], teacher_channels: tuple[int, ...]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Sequential(nn.Conv2d(own, theirs, 1, bias=False), nn.BatchNorm2d(theirs), nn.ReLU(inplace=True),
                          nn.Conv2d(theirs, theirs, 3, padding=1, bias=False), nn.BatchNorm2d(theirs))
            for own, theirs in zip(student_channels, teacher_channels, strict=True))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Per level (n, own, h, w) -> (n, theirs, h, w)."""
        return [adapt(level) for adapt, level in zip(self.levels, features, strict=True)]


class Distillation:
    """A frozen teacher, the adapters that reach for its features, and how much they weigh."""

    def __init__(self, teacher: HFDNet, student: HFDNet, weight: float, only_where_right: bool = True) -> None:
        """The adapters start from numbers of their own: the student's initialisation and the global generator are not touched."""
        self.teacher, self.weight, self.only_where_right = freeze(teacher), weight, only_where_right
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.adapters = Adapters(student.encoder.channels, teacher.encoder.channels).to(memory_format=torch.channels_last)

    def loss(self, student_levels: list[Tensor], eo: Tensor, labels: Tensor) -> Tensor:
        """weight * sum over levels of the mean squared distance of channel-normalised features.

        Args:
            student_levels: the student's encoder levels, finest first.
            eo: (n, 4, h, w) float32, what the teacher sees of the same ground.
            labels: (n, h, w) int64; with only_where_right, cells whose pixels the teacher gets wrong count accordingly less.
        """
        with torch.no_grad():
            taps = self.teacher.features(eo)
            right = self._right(taps["fused"], labels) if self.only_where_right else (labels != NODATA_LABEL).float()
        total = labels.new_zeros((), dtype=torch.float32)
        for own, theirs in zip(self.adapters(student_levels), taps["encoder"], strict=True):
            distance = (F.normalize(own, dim=1) - F.normalize(theirs, dim=1)).square().sum(dim=1)
            cells = F.avg_pool2d(right[:, None], labels.shape[-1] // own.shape[-1])[:, 0]
            total = total + (distance * cells).sum() / cells.sum().clamp(min=1)
        return self.weight * total

    def _right(self, fused: Tensor, labels: Tensor) -> Tensor:
        """(n, h, w) float32, 1 where the teacher's answer is the truth."""
        logits = self.teacher.classifier(fused)
        return (upsample(logits, labels.shape[-1] // logits.shape[-1]).argmax(dim=1) == labels).float()


def freeze(net: HFDNet) -> HFDNet:
    """The same network in eval mode without gradients: neither weights nor batch-norm statistics can move."""
    return net.eval().requires_grad_(False)
