"""What a segmentation is worth during training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from hfd_edge.network import upsample
from hfd_edge.spec import NODATA_LABEL


def segmentation_loss(logits: Tensor, labels: Tensor, dice_weight: float = 0.5, class_weights: Tensor | None = None) -> Tensor:
    """Cross entropy plus soft Dice, both at full resolution: the run-time's bilinear up-sampling is trained through.

    Args:
        logits: (n, classes, h / s, w / s) float32, at the network's own stride.
        labels: (n, h, w) int64; 255 is left out. Without any label the loss is 0.
        dice_weight: of the Dice term; it looks at classes, so small ones count as much as large ones.
        class_weights: (classes,) float32 on the cross entropy; None = all alike.
    Returns:
        scalar.
    """
    full = upsample(logits, labels.shape[-1] // logits.shape[-1])
    known = labels != NODATA_LABEL
    if not known.any():
        return full.sum() * 0
    log_share = F.log_softmax(full, dim=1)
    weighed = class_weights is None or bool((class_weights[labels[known]] > 0).any())        # else the mean would be 0 / 0
    entropy = F.nll_loss(log_share, labels, class_weights, ignore_index=NODATA_LABEL) if weighed else full.sum() * 0
    if dice_weight == 0:
        return entropy
    truth = F.one_hot(labels.where(known, torch.zeros_like(labels)), full.shape[1]).permute(0, 3, 1, 2) * known[:, None]
    share = log_share.exp() * known[:, None]
    common, sizes = (share * truth).sum(dim=(0, 2, 3)), (share + truth).sum(dim=(0, 2, 3))
    present = truth.sum(dim=(0, 2, 3)) > 0
    dice = (2 * common + 1) / (sizes + 1)
    return entropy + dice_weight * (1 - dice[present]).sum() / present.sum().clamp(min=1)


def balanced(counts: Sequence[int]) -> Tensor:
    """(classes,) float32, proportional to the root of the inverse frequency, mean 1 over the pixels; a class never seen weighs
    1."""
    seen = torch.tensor(counts, dtype=torch.float64)
    weights = torch.where(seen > 0, (seen.sum() / seen.clamp(min=1)).sqrt(), 1.0)
    return (weights * (seen.sum() / (weights * seen).sum().clamp(min=1))).where(seen > 0, torch.ones_like(seen)).float()
