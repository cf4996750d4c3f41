"""The SAR student: the segmentation loss, and the distillation loss beside it where there is a teacher."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hfd_edge.network import HFDNet, NetworkConfig
from hfd_edge.spec import ModelInput
from training.distil import Distillation
from training.fit import Log, Schedule, fit
from training.losses import segmentation_loss
from training.pairs import Batch, StreamConfig, stream


@dataclass(frozen=True, slots=True)
class Lesson:
    """Everything of a student's training but its teacher."""

    network: NetworkConfig
    data: StreamConfig
    input: ModelInput
    schedule: Schedule


def train_student(lesson: Lesson, teacher: HFDNet | None = None, weight: float = 1.0, log: Log = print) -> HFDNet:
    """A student in eval mode.

    Args:
        teacher: frozen here; None trains on SAR and labels alone, which a weight of 0 equals bit for bit.
        weight: of the distillation loss.
    """
    torch.manual_seed(lesson.data.seed + 2)
    net = HFDNet(lesson.network).to(memory_format=torch.channels_last)
    distillation = None if teacher is None else Distillation(teacher, net, weight)

    def loss_of(batch: Batch) -> Tensor:
        taps = net.features(batch.sar)
        loss = segmentation_loss(net.classifier(taps["fused"]), batch.labels)
        if distillation is not None:
            loss = loss + distillation.loss(taps["encoder"], batch.eo, batch.labels)
        return loss

    batches = stream(lesson.data, lesson.input, eo=distillation is not None)
    return fit(net, batches, loss_of, lesson.schedule, None if distillation is None else distillation.adapters, log)
