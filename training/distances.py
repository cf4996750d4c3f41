"""How far the student's features are from the teacher's: four distances over the cells that count. All of one size, (n, c, h, w)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_LEAST = 1e-6


def normalised(features: Tensor, how: str) -> Tensor:
    """Same shape. `channel`: each cell's vector to length 1; `batch`: each channel to mean 0 and spread 1 over the batch; `none`."""
    if how == "channel":
        return F.normalize(features, dim=1)
    if how == "batch":
        spread, mean = torch.std_mean(features, dim=(0, 2, 3), keepdim=True, correction=0)
        return (features - mean) / (spread + _LEAST)
    return features


def mse(own: Tensor, theirs: Tensor, cells: Tensor) -> Tensor:
    """Squared distance of the vectors, mean over the cells; with vectors of length 1 it is 2 - 2 cos.

    Args:
        own, theirs: (n, c, h, w). cells: (n, h, w) in 0..1, how much each cell counts.
    """
    return mean_over((own - theirs).square().sum(dim=1), cells)


def cosine(own: Tensor, theirs: Tensor, cells: Tensor) -> Tensor:
    """1 - cos of the angle between the vectors, mean over the cells."""
    return mean_over(1 - F.cosine_similarity(own, theirs, dim=1), cells)


def channel_wise(own: Tensor, theirs: Tensor, cells: Tensor, temperature: float) -> Tensor:
    """KL divergence between the channels' distributions over space, mean over channels and images with a cell that counts.

    Source: Shu et al. 2021, channel-wise knowledge distillation; the mask enters as the logarithm of a cell's weight.
    """
    mask = cells.clamp(min=_LEAST).log().flatten(1)[:, None]
    log_own = F.log_softmax(own.flatten(2) / temperature + mask, dim=2)
    log_theirs = F.log_softmax(theirs.flatten(2) / temperature + mask, dim=2)
    apart = (log_theirs.exp() * (log_theirs - log_own)).sum(dim=2).mean(dim=1)
    counts = (cells.flatten(1).sum(dim=1) > 0).float()
    return temperature ** 2 * (apart * counts).sum() / counts.sum().clamp(min=1)


def relational(own: Tensor, theirs: Tensor, cells: Tensor, side: int) -> Tensor:
    """Squared difference of the similarities (cosines) of all cells of an image with each other, on a grid of at most side x side.

    Source: pair-wise distillation, Liu et al. 2019. It compares relations and needs no adapter where channels differ.
    """
    size = (min(side, own.shape[2]), min(side, own.shape[3]))
    weight = F.adaptive_avg_pool2d(cells[:, None], size).flatten(1)
    first, second = (_similarity(F.adaptive_avg_pool2d(part, size)) for part in (own, theirs))
    both = weight[:, :, None] * weight[:, None]
    return mean_over((first - second).square(), both)


def mean_over(values: Tensor, cells: Tensor) -> Tensor:
    """Weighted mean; 0 where nothing counts."""
    return (values * cells).sum() / cells.sum().clamp(min=1)


def _similarity(features: Tensor) -> Tensor:
    flat = F.normalize(features.flatten(2), dim=1)
    return flat.transpose(1, 2) @ flat
