"""Which of several equal processes this is (torchrun says so), and what Lightning is told of it."""

from __future__ import annotations

import logging
import os
import warnings
from dataclasses import dataclass
from typing import Any

import torch

from hfd_edge.errors import DeviceError
from training.config import LoopConfig


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among all of a run."""

    rank: int = 0
    count: int = 1
    per_machine: int = 1

    @classmethod
    def here(cls) -> Processes:
        """From the variables that torchrun sets; one process without them."""
        count = int(os.environ.get("WORLD_SIZE", 1))
        return cls(int(os.environ.get("RANK", 0)), count, int(os.environ.get("LOCAL_WORLD_SIZE", count)))

    @property
    def first(self) -> bool:
        return self.rank == 0


def make_trainer(options: LoopConfig, steps: int) -> Any:
    """A Lightning trainer for so many optimizer steps. Logs, states and the progress line are the loop's own.

    Raises:
        DeviceError: CUDA was asked for and is not there.
    """
    import lightning
    from lightning.pytorch.strategies import DDPStrategy
    here, device = Processes.here(), device_of(options)
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    strategy = "auto" if here.count == 1 else DDPStrategy(process_group_backend="nccl" if device == "cuda" else "gloo",
                                                          find_unused_parameters=True)
    return lightning.Trainer(
        accelerator="gpu" if device == "cuda" else "cpu", devices=here.per_machine, num_nodes=here.count // here.per_machine,
        strategy=strategy, precision={"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}[options.precision],
        max_steps=steps,
        max_epochs=-1, accumulate_grad_batches=options.accumulate, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, use_distributed_sampler=False,
        sync_batchnorm=options.sync_batch_norm and here.count > 1, deterministic="warn" if device == "cuda" else None)


def device_of(options: LoopConfig) -> str:
    """"cpu" or "cuda"."""
    if options.device == "cpu" or (options.device == "auto" and not torch.cuda.is_available()):
        if options.precision == "16":
            raise DeviceError("loop.precision=16 on a CPU: half precision needs a GPU; use bf16 or 32")
        return "cpu"
    if not torch.cuda.is_available():
        raise DeviceError("loop.device=cuda: torch finds no CUDA device; use loop.device=cpu, or install a CUDA build of torch")
    return "cuda"
