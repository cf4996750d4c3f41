"""What others would train on the same pairs: U-Net and DeepLabV3+ of segmentation-models-pytorch, same encoder, same budget.

For comparison alone: nothing exports them from here.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from hfd_edge.errors import HfdError
from hfd_edge.network.pretrained import load_imagenet
from training.batches import Data, make_batches
from training.config import Config
from training.loader import Batch
from training.loop import Job, Losses
from training.losses import segmentation_loss
from training.pretrained import fill_encoder
from training.progress import Log
from training.student import class_weights, fit_as, judge_of, network_of, weights_on

BASELINES = {"unet": "Unet", "deeplabv3plus": "DeepLabV3Plus"}


class Baseline(nn.Module):
    """A network of another library, with logits at full resolution."""

    stride_px = 32

    def __init__(self, name: str, config: Config, bands: int, classes: int, log: Log = print) -> None:
        """Raises HfdError: the library is not installed, or the name is not known."""
        super().__init__()
        if name not in BASELINES:
            raise HfdError(f"ablate.baselines: {name!r} is not known; use {', '.join(BASELINES)}")
        try:
            import segmentation_models_pytorch as library
        except ImportError as error:
            raise HfdError(f"ablate.baselines={name} needs segmentation-models-pytorch, which is not here ({error}): pip install "
                           "segmentation-models-pytorch, or leave baselines out") from error
        make = getattr(library, BASELINES[name])
        self.net = make(f"tu-{config.network.encoder}", encoder_weights=None, in_channels=bands, classes=classes)
        if config.network.pretrained == "imagenet":
            load_imagenet(self.net.encoder.model, network_of(config, bands, classes))
        fill_encoder(self.net.encoder.model, config, bands, log)

    def forward(self, x: Tensor) -> Tensor:
        """(n, bands, h, w), sides multiples of 32 -> (n, classes, h, w)."""
        return self.net(x)


def train_baseline(name: str, config: Config, data: Data, log: Log = print, folder: Path | None = None) -> nn.Module:
    """A baseline after the same steps, batches, loss and average as the SAR-only student."""
    torch.manual_seed(config.seed + 2)
    weights = class_weights(config, data)
    net = Baseline(name, config, len(data.info.bands), len(data.info.classes), log).to(memory_format=torch.channels_last)

    def losses_of(batch: Batch, done: float) -> Losses:
        return {"segmentation": segmentation_loss(net(batch.sar), batch.labels, config.loop.dice_weight, weights_on(weights, batch))}

    batches = make_batches(config, data, eo=False, unlabelled=False, log=log)
    job = Job(net, losses_of, batches, judge=judge_of(config, data, "sar"), seed=config.seed)
    return fit_as({"role": name}, job, config, data, log, folder)
