"""HFD-Net: encoder, heterogeneous feature alignment, classifier. Teacher and student are this one class.

The paper behind the name (heterogeneous feature distillation for SAR segmentation) is known by its abstract; the layers here
are a reconstruction. One deviation is on purpose: all resizing and sampling is half-pixel and relative, so tiles equal the whole.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hfd_edge.network.alignment import SCALE, make_alignment, upsample
from hfd_edge.network.config import NetworkConfig
from hfd_edge.network.encoder import make_encoder
from hfd_edge.network.pretrained import load_imagenet

__all__ = ["HFDNet", "upsample"]


class HFDNet(nn.Module):
    """A segmentation network whose logits leave at its own stride; `upsample` takes them to full resolution.

    Per level a 1x1 lateral; from the coarsest level down each is aligned and added to the next finer; a 3x3 per level; all
    levels side by side (or added up) at the finest stride, a 3x3, a 1x1 classifier. Batch norm only, so everything folds at export; no
    global pooling and no instance norm, so the reach is finite wherever the encoder's is.
    """

    def __init__(self, config: NetworkConfig, load_pretrained: bool = True) -> None:
        """Build the network; `load_pretrained=False` when a checkpoint fills it anyway."""
        super().__init__()
        self.config = config
        self.encoder = make_encoder(config)
        if config.pretrained == "imagenet" and load_pretrained:
            load_imagenet(self.encoder, config)
        width, count = config.width, len(config.strides)
        self.laterals = nn.ModuleList(conv_norm_act(channels, width, 1) for channels in self.encoder.channels)
        self.alignments = nn.ModuleList(make_alignment(config, stride) for stride in config.strides[:-1])
        self.smooths = nn.ModuleList(conv_norm_act(width, width, 3) for _ in config.strides[:-1])
        self.fuse = conv_norm_act(width * (count if config.fuse == "concat" else 1), width, 3)
        self.classifier = nn.Conv2d(width, config.classes, 1)
        self.guesses = nn.ModuleList(guess(channels) for channels in self.encoder.channels) if config.hallucinate else None

    @property
    def stride_px(self) -> int:
        """Total stride; sides of the input are multiples of it."""
        return self.config.max_stride

    @property
    def logit_stride_px(self) -> int:
        """Input pixels per logit and side."""
        return self.config.finest_stride

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_bands, h, w) float32, h and w multiples of stride_px -> logits (n, classes, h / logit_stride_px, w / ...)."""
        return self.classifier(self.features(x)["fused"])

    def features(self, x: Tensor) -> dict[str, Any]:
        """The taps for distillation; `net.classifier(taps["fused"])` are the logits of the same pass.

        Returns:
            "encoder": list of (n, channels_i, h / s_i, w / s_i), finest first, s_i = config.strides;
            "alignment": list of the merged levels P_i, (n, width, h / s_i, w / s_i), finest first;
            "fused": (n, width, h / logit_stride_px, w / logit_stride_px);
            "guessed", with `hallucinate` alone: list like "encoder", what is added to it before the alignment.
        """
        levels, extra = self.encoder(x), {}
        heard = levels
        if self.guesses is not None:
            extra["guessed"] = [say(level) for say, level in zip(self.guesses, levels)]
            heard = [level + more for level, more in zip(levels, extra["guessed"])]
        merged = self._merge([lateral(level) for lateral, level in zip(self.laterals, heard)])
        smooth = [conv(level) for conv, level in zip(self.smooths, merged)] + merged[-1:]
        finest = [upsample(level, SCALE ** i) for i, level in enumerate(smooth)]
        joined = torch.cat(finest, dim=1) if self.config.fuse == "concat" else sum(finest[1:], finest[0])
        return {"encoder": levels, "alignment": merged, "fused": self.fuse(joined), **extra}

    def _merge(self, laterals: list[Tensor]) -> list[Tensor]:
        merged = laterals[-1:]
        for fine, align in zip(reversed(laterals[:-1]), reversed(self.alignments)):
            merged.insert(0, fine + align(fine, merged[0]))
        return merged


def conv_norm_act(channels_in: int, channels_out: int, kernel: int) -> nn.Sequential:
    """Convolution, batch norm, ReLU; same size in and out."""
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False),
                         nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True))


def guess(channels: int) -> nn.Sequential:
    """What a level says of the optical features that are not there: 1x1, batch norm, ReLU, 3x3, batch norm; same size in and out."""
    return nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True),
                         nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))
