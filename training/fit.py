"""The one training loop: AdamW, one cosine cycle, an exponential moving average of the weights, and a log with an ETA."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.pairs import Batch

Log = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast."""

    steps: int
    rate: float = 3e-3
    weight_decay: float = 1e-2
    warm_up: float = 0.1                  # share of the steps until the rate is highest
    average: float = 0.995                # decay of the moving average per step
    clip_norm: float = 2.0
    log_every: int = 50


class MovingAverage:
    """A copy of a network whose weights and batch-norm statistics trail those of the original."""

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.net, self.decay, self.steps = copy.deepcopy(net).eval().requires_grad_(False), decay, 0

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))     # the random start is forgotten quickly
        for mean, value in zip(self.net.state_dict().values(), net.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)


def fit(net: nn.Module, batches: Iterator[Batch], loss_of: Callable[[Batch], Tensor], schedule: Schedule,
        adapters: nn.Module | None = None, log: Log = print) -> nn.Module:
    """Train a network in place.

    Args:
        net: the network; afterwards it holds the last weights.
        batches: endless.
        loss_of: the scalar to lower; it calls the network itself.
        adapters: further weights to train; their gradients do not count in the clipping of the network's.
    Returns:
        the moving average of the network, in eval mode.
    """
    groups = [list(net.parameters())] + ([list(adapters.parameters())] if adapters is not None else [])
    optimizer = torch.optim.AdamW([{"params": group} for group in groups], lr=schedule.rate, weight_decay=schedule.weight_decay)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, schedule.rate, total_steps=schedule.steps, pct_start=schedule.warm_up)
    average, recent, start = MovingAverage(net, schedule.average), 0.0, time.monotonic()
    net.train()
    for step in range(1, schedule.steps + 1):
        loss = loss_of(next(batches))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for group in groups:
            nn.utils.clip_grad_norm_(group, schedule.clip_norm)
        optimizer.step()
        cycle.step()
        average.update(net)
        recent = loss.item() if step == 1 else recent + (loss.item() - recent) / min(step, schedule.log_every)
        if step % schedule.log_every == 0 or step == schedule.steps:
            seconds = time.monotonic() - start
            log(f"  step {step:5d} of {schedule.steps}  loss {recent:.4f}  {seconds / step:.3f} s a step  "
                f"{seconds * (schedule.steps - step) / step:5.0f} s to go")
    return average.net
