"""Quantisation-aware fine-tuning: the student learns on the grid that its weights and activations will be rounded to.

Weights: signed, symmetric, one scale per output channel (batch norm folds into that scale, so folding changes nothing).
Activations: unsigned, one scale per tensor, after every ReLU. Gradients pass straight through inside the range. Nothing of it
stays in the network: the result is an ordinary float checkpoint, and the ranges stand in its sidecar under provenance.qat.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hfd_edge.errors import HfdError
from hfd_edge.network import HFDNet
from hfd_edge.network.checkpoint import read_sidecar, weights_digest
from training.batches import Data, make_batches
from training.config import Config, QatConfig, changed
from training.evaluate import load_student
from training.loader import Batch
from training.loop import Job, Losses
from training.losses import segmentation_loss
from training.measures import miou_on
from training.progress import Log
from training.student import class_weights, fit_as, save, weights_on

_FOLLOW = 0.1                   # share of a new batch in a range that follows the data


class QatError(HfdError, ValueError):
    """A network cannot be trained with fake quantisation."""


class Ranges(nn.Module):
    """The largest value after each ReLU, by the ReLU's name; it follows the data while `observing`."""

    def __init__(self, net: nn.Module, options: QatConfig) -> None:
        """Raises QatError: the network has no ReLU, so nothing is unsigned."""
        super().__init__()
        self.names = [name for name, module in net.named_modules() if isinstance(module, (nn.ReLU, nn.ReLU6))]
        if not self.names:
            raise QatError(f"{type(net).__name__} has no ReLU: activations would be signed, which this scheme has no scale "
                           f"for; use an "
                           "encoder with ReLU, e.g. resnet18")
        self.options, self.observing = options, True
        self.register_buffer("largest", torch.zeros(len(self.names)))

    def activation(self, place: int, values: Tensor) -> Tensor:
        """The values on the grid of their range, same shape."""
        if self.observing:
            seen = values.detach().amax().float()
            known = self.largest[place]
            self.largest[place] = seen if known == 0 else known + _FOLLOW * (seen - known)
        top = 2 ** self.options.activation_bits - 1
        scale = (self.largest[place] / top).clamp(min=1e-8)
        return torch.fake_quantize_per_tensor_affine(values, scale, torch.zeros((), dtype=torch.int32, device=scale.device), 0,
                                                     top)

    def weight(self, weight: Tensor) -> Tensor:
        """(out, in, h, w) on the symmetric grid of each output channel."""
        top = 2 ** (self.options.weight_bits - 1) - 1
        scale = (weight.detach().flatten(1).abs().amax(dim=1) / top).clamp(min=1e-12)
        zero = torch.zeros(len(weight), dtype=torch.int32, device=weight.device)
        return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -top, top)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: bits, and the largest value after each ReLU by its name in the network."""
        largest = {name: float(value) for name, value in zip(self.names, self.largest)}
        return {"weight_bits": self.options.weight_bits, "activation_bits": self.options.activation_bits,
                "activation_max": largest,
                "scheme": "weights symmetric per output channel; activations unsigned per tensor after ReLU"}


@contextmanager
def quantised(net: nn.Module, ranges: Ranges) -> Iterator[nn.Module]:
    """The network with weights and activations on their grids while the context lasts; afterwards it is what it was."""
    modules = dict(net.named_modules())
    hooks = [modules[name].register_forward_hook(lambda module, seen, out, place=place: ranges.activation(place, out))
             for place, name in enumerate(ranges.names)]
    layers = [module for module in modules.values() if isinstance(module, nn.Conv2d)]
    for layer in layers:
        layer.forward = lambda x, own=layer: own._conv_forward(x, ranges.weight(own.weight), own.bias)
    try:
        yield net
    finally:
        for hook in hooks:
            hook.remove()
        for layer in layers:
            del layer.forward


def tune(config: Config, data: Data, log: Log = print) -> HFDNet:
    """Fine-tune WORK/student; writes WORK/student-qat.safetensors and says what quantisation costs before and after.

    Raises:
        CheckpointError: there is no student yet. QatError: its encoder has no ReLU.
    """
    source = config.folder / "student"
    net = load_student(source, data, log).to(memory_format=torch.channels_last)
    found = read_sidecar(source)["provenance"]
    run = changed(config, {"loop": {"steps": config.qat.steps, "rate": config.qat.rate, "select_every": 0, "patience": 0,
                                    "precision": "32"}, "teacher": {"checkpoints": []}})
    ranges = Ranges(net, config.qat)
    batches = make_batches(run, data, eo=False, unlabelled=False, seed=config.seed + (2 << 20), log=log)
    _settle(net, ranges, batches)
    plain, before = miou_on(net, "sar", data, "select"), _quantised_miou(net, ranges, data)
    log(f"select mIoU {plain:.4f}; on the grid, untuned {before:.4f}")
    tuned = _fitted(net, ranges, batches, (run, data, log, config.folder / "student-qat"))
    after = _quantised_miou(tuned, ranges, data)
    log(f"on the grid, tuned {after:.4f}; in float {miou_on(tuned, 'sar', data, 'select'):.4f}")
    if after < before:
        log(f"warning: on the grid the tuned student is {100 * (before - after):.2f} points of select mIoU worse than {source} untuned: export that one, or tune "
            f"at a lower qat.rate ({config.qat.rate:g}) or for more qat.steps ({config.qat.steps})")
    record = {**ranges.to_dict(), "select_miou": {"float": plain, "quantised": before, "tuned": after}}
    kept = {key: value for key, value in found.items() if key not in ("data", "config", "versions")}
    log(str(save(config.folder / "student-qat", tuned, config, data, {**kept, "kind": "sar", "qat": record})))
    return tuned


def _fitted(net: HFDNet, ranges: Ranges, batches: Any, rest: tuple[Config, Data, Log, Path]) -> HFDNet:
    """The moving average after fine-tuning. Batch norm uses the statistics it has, as it will when it is folded."""
    run, data, log, folder = rest
    weights, began = class_weights(run, data), weights_digest(net)

    def losses_of(batch: Batch, done: float) -> Losses:
        ranges.observing = done < run.qat.observe
        net.eval()
        with quantised(net, ranges):
            loss = segmentation_loss(net(batch.sar), batch.labels, run.loop.dice_weight, weights_on(weights, batch))
            return {"segmentation": loss}

    role = {"role": "qat", "student": began, "qat": {"bits": [run.qat.weight_bits, run.qat.activation_bits], "observe": run.qat.observe}}
    tuned = fit_as(role, Job(net, losses_of, batches, ranges, seed=run.seed), run, data, log, folder)
    ranges.observing = False
    return tuned.eval()


@torch.no_grad()
def _settle(net: HFDNet, ranges: Ranges, batches: Any, count: int = 8) -> None:
    """First ranges, from a few batches in eval mode."""
    net.eval()
    with quantised(net, ranges):
        for _, batch in zip(range(count), batches(0)):
            net(batch.sar)
    ranges.observing = False


def _quantised_miou(net: HFDNet, ranges: Ranges, data: Data) -> float:
    with quantised(net, ranges):
        return miou_on(net, "sar", data, "select")
