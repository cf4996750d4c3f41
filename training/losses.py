"""What a segmentation is worth during training."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hfd_edge.network import upsample
from hfd_edge.spec import NODATA_LABEL


def segmentation_loss(logits: Tensor, labels: Tensor, dice_weight: float = 0.5) -> Tensor:
    """Cross entropy plus soft Dice, both at full resolution: the run-time's bilinear up-sampling is trained through.

    Args:
        logits: (n, classes, h / s, w / s) float32, at the network's own stride.
        labels: (n, h, w) int64; 255 is left out.
        dice_weight: of the Dice term; it looks at classes, so small ones count as much as large ones.
    Returns:
        scalar.
    """
    full = upsample(logits, labels.shape[-1] // logits.shape[-1])
    log_share = F.log_softmax(full, dim=1)
    entropy = F.nll_loss(log_share, labels, ignore_index=NODATA_LABEL)
    if dice_weight == 0:
        return entropy
    known = labels != NODATA_LABEL
    truth = F.one_hot(labels.where(known, torch.zeros_like(labels)), full.shape[1]).permute(0, 3, 1, 2) * known[:, None]
    share = log_share.exp() * known[:, None]
    common, sizes = (share * truth).sum(dim=(0, 2, 3)), (share + truth).sum(dim=(0, 2, 3))
    present = truth.sum(dim=(0, 2, 3)) > 0
    dice = (2 * common + 1) / (sizes + 1)
    return entropy + dice_weight * (1 - dice[present]).sum() / present.sum().clamp(min=1)
