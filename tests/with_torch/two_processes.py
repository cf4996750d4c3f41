"""One step after another in as many processes as torchrun starts: `two_processes.py OUTPUT`; the weights of the first are written."""

import sys

import torch

from lessons import config, data, silent
from training.batches import make_batches
from training.config import LoopConfig
from training.loop import Job, fit
from training.processes import Processes
from training.progress import Progress


def trained(batch: int) -> torch.nn.Module:
    """A network without batch norm, so that two half batches say what the whole one says."""
    torch.manual_seed(0)
    net = torch.nn.Conv2d(2, 5, 3)
    batches = make_batches(config(data={"batch": batch}), data(), eo=False, unlabelled=False)
    losses_of = lambda b, done: {"sum": (net(b.sar) - 1).square().mean()}  # noqa: E731
    return fit(Job(net, losses_of, batches), LoopConfig(steps=5, device="cpu"), Progress(5, 100, silent))


if __name__ == "__main__":
    net = trained(4 // Processes.here().count)
    if Processes.here().first:
        torch.save(net.state_dict(), sys.argv[1])
