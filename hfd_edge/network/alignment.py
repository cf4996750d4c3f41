"""Heterogeneous feature alignment: laying a coarse level onto a level twice as fine.

Variants: `flow` moves the sampling position of every output cell by a predicted, clamped offset; `local` blends a 3x3
neighbourhood with predicted weights (plain operators, finite reach by construction); `none` is bilinear up-sampling. All are
half-pixel (align_corners=False) and relative to the tile, so nothing depends on where a tile lies or how large it is.
Source: flow after the semantic-flow alignment of Li et al. 2020 (SFNet), with half-pixel sampling and source-cell offsets.
"""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hfd_edge.network.config import NetworkConfig

SCALE = 2                                                   # neighbouring levels differ by this factor
SHIFTS = (slice(0, -2), slice(1, -1), slice(2, None))       # of a level padded by one cell; constants in the exported graph


def upsample(x: Tensor, factor: int) -> Tensor:
    """Half-pixel bilinear up-sampling, clamped at the edge: (n, c, h, w) -> (n, c, h * factor, w * factor).

    The scale factor, never a size, is given to torch, so that an exported Resize has constant scales. Same maths as the
    run-time's `finish`: training and inference see the same full-resolution logits.
    """
    if factor == 1:
        return x
    return F.interpolate(x, scale_factor=float(factor), mode="bilinear", align_corners=False)


class BilinearAlignment(nn.Module):
    """`none`: the coarse level, bilinearly up-sampled."""

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """(n, c, 2h, 2w), (n, c, h, w) -> (n, c, 2h, 2w); `fine` is not looked at."""
        return upsample(coarse, SCALE)


class LocalAlignment(nn.Module):
    """`local`: the up-sampled coarse level plus what predicted softmax weights over its 3x3 neighbourhood add.

    out(p) = up(p) + sum_k (w_k(p) - 1/9) up(p + k), w = softmax over the nine neighbours k. The effective weights sum to
    one; equal weights, which a prediction of zero gives, make it exactly bilinear up-sampling, so that is how training starts.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fine = nn.Conv2d(width, width // 2, 1, bias=False)
        self.coarse = nn.Conv2d(width, width // 2, 1, bias=False)
        self.weights = nn.Conv2d(2 * (width // 2), 9, 3, padding=1, bias=False)
        nn.init.zeros_(self.weights.weight)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """(n, c, 2h, 2w), (n, c, h, w) -> (n, c, 2h, 2w)."""
        up = upsample(coarse, SCALE)
        guide = torch.cat([self.fine(fine), upsample(self.coarse(coarse), SCALE)], dim=1)
        weights = (torch.softmax(self.weights(guide), dim=1) - 1 / 9).split(1, dim=1)
        padded = F.pad(up, (1, 1, 1, 1))
        for weight, (row, col) in zip(weights, product(SHIFTS, SHIFTS)):
            up = up + weight * padded[:, :, row, col]
        return up


class FlowAlignment(nn.Module):
    """`flow`: the coarse level sampled where a predicted offset points, in coarse cells, clamped to +-max_flow_cells."""

    def __init__(self, width: int, max_flow_cells: float) -> None:
        super().__init__()
        self.max_flow_cells = float(max_flow_cells)
        self.fine = nn.Conv2d(width, width // 2, 1, bias=False)
        self.coarse = nn.Conv2d(width, width // 2, 1, bias=False)
        self.flow = nn.Conv2d(2 * (width // 2), 2, 3, padding=1, bias=False)
        nn.init.zeros_(self.flow.weight)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """(n, c, 2h, 2w), (n, c, h, w) -> (n, c, 2h, 2w)."""
        guide = torch.cat([self.fine(fine), upsample(self.coarse(coarse), SCALE)], dim=1)
        return sample(coarse, self.flow(guide).clamp(-self.max_flow_cells, self.max_flow_cells))


def sample(coarse: Tensor, flow: Tensor) -> Tensor:
    """The coarse level at positions moved by `flow`; a flow of zero is bilinear up-sampling.

    Args:
        coarse: (n, c, h, w) float32.
        flow: (n, 2, 2h, 2w) float32, channel 0 along columns, 1 along rows, in coarse cells.
    Returns:
        (n, c, 2h, 2w) float32; positions beyond the edge take the edge's value.
    """
    rows, cols = coarse.shape[-2:]
    x = (torch.arange(SCALE * cols, device=flow.device, dtype=flow.dtype) + 0.5) / SCALE    # coarse cells, 0 at the tile's edge
    y = (torch.arange(SCALE * rows, device=flow.device, dtype=flow.dtype) + 0.5) / SCALE
    grid_x = (flow[:, 0] + x) * (2 / cols) - 1
    grid_y = (flow[:, 1] + y[:, None]) * (2 / rows) - 1
    grid = torch.stack([grid_x, grid_y], dim=-1)
    return F.grid_sample(coarse, grid, mode="bilinear", padding_mode="border", align_corners=False)


def make_alignment(config: NetworkConfig, stride: int) -> nn.Module:
    """The module that lays the next coarser level onto the level of this stride."""
    if stride not in config.aligned_strides:
        return BilinearAlignment()
    return FlowAlignment(config.width, config.max_flow_cells) if config.align == "flow" else LocalAlignment(config.width)
