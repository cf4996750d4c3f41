"""The EO teacher: trained once on optical images, frozen from then on."""

from __future__ import annotations

import torch

from hfd_edge.network import HFDNet, NetworkConfig
from hfd_edge.spec import ModelInput
from training.distil import freeze
from training.fit import Log, Schedule, fit
from training.losses import segmentation_loss
from training.pairs import StreamConfig, stream


def train_teacher(config: NetworkConfig, data: StreamConfig, spec: ModelInput, schedule: Schedule, log: Log = print) -> HFDNet:
    """A frozen teacher from random weights (or the encoder's pre-trained ones, where `config` asks for them)."""
    torch.manual_seed(data.seed + 1)
    net = HFDNet(config).to(memory_format=torch.channels_last)
    batches = stream(data, spec, eo=True)
    return freeze(fit(net, batches, lambda batch: segmentation_loss(net(batch.eo), batch.labels), schedule, log=log))
