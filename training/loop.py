"""The one training loop: AdamW, a learning-rate cycle, a moving average, an exact state to go on from; Lightning moves it
about.

Lightning brings devices, mixed precision, gradient accumulation and processes. What decides the numbers is here.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from typing import Any, NoReturn

import torch
from lightning import LightningModule
from torch import Tensor, nn

from hfd_edge.errors import HfdError
from training.average import MovingAverage
from training.config import LoopConfig
from training.loader import Batch, View
from training.processes import Processes, make_trainer
from training.progress import Progress
from training.state import StateFile

Losses = dict[str, Tensor]                                    # by name; their sum is what is lowered


class DivergedError(HfdError, ArithmeticError):
    """The loss or its gradient is no finite number any more: every weight behind it would be none either."""


@dataclass(frozen=True)
class Job:
    """What is trained, on what, towards what."""

    net: nn.Module
    losses_of: Callable[[Batch, float], Losses]               # of a batch and the share of the run that is done
    batches: Callable[[int], Iterator[Batch]]                 # from batch number k on, without end
    extra: nn.Module | None = None                            # trained beside (adapters); clipped apart, never in the average
    judge: Callable[[nn.Module], float] | None = None         # of the moving average; higher is better
    seed: int = 0


def fit(job: Job, options: LoopConfig, progress: Progress, state: StateFile | None = None) -> nn.Module:
    """Train a network in place.

    Args:
        state: where the run's state is kept; a run that was stopped goes on from it, to the bits it would have reached.
    Returns:
        the moving average of the network, in eval mode, on the CPU: the last one, or where it is judged on the way the best.
    Raises:
        DivergedError: the loss or its gradient is not finite; the state is left as it was last kept.
        StateError: the state is damaged or of another run, or another process trains there.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    with state.held() if state is not None and Processes.here().first else nullcontext():
        return _fit(_Run(job, options, progress, state), options, progress, state)


def _fit(run: _Run, options: LoopConfig, progress: Progress, state: StateFile | None) -> nn.Module:
    saved = state.read() if state is not None else None
    done = run.restore(saved)
    if saved is not None:
        ended = done >= options.steps or run.stopped
        progress.log(f"  {state.path}: {f'ended at step {done}, nothing is trained; delete it to train anew' if ended else f'goes on from step {done}'}")
        if remark := state.remark(saved):
            progress.log(remark)
    progress.begin(done, progress.recent)
    if done < options.steps and not run.stopped:
        trainer = make_trainer(options, options.steps - done)
        try:
            trainer.fit(run, train_dataloaders=_From(run.job.batches, done * options.accumulate))
        except SystemExit as stop:                      # what Lightning makes of Ctrl-C and of SIGTERM
            raise KeyboardInterrupt from stop
    progress.end()
    return (run.kept.net or run.average.net).cpu()


@dataclass
class Kept:
    """The best moving average so far, its score, and how many judgements passed without a better one."""

    net: nn.Module | None = None
    score: float = -math.inf
    waited: int = 0


class _From:
    """Batches from number k on, as something Lightning can iterate."""

    def __init__(self, batches: Callable[[int], Iterator[Batch]], start: int) -> None:
        self.batches, self.start = batches, start

    def __iter__(self) -> Iterator[Batch]:
        return self.batches(self.start)


class _Run(LightningModule):
    """Lightning's view of a job."""

    def __init__(self, job: Job, options: LoopConfig, progress: Progress, state: StateFile | None) -> None:
        super().__init__()
        self.net, self.extra = job.net, job.extra
        self.job, self.options, self.progress, self.state = job, options, progress, state
        self.average = MovingAverage(job.net, options.average)
        self.step, self.stopped, self.kept = 0, False, Kept()
        self._saved, self._here = None, Processes.here()
        self._seen: dict[str, float] = {}
        self.train()

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        return on_device(batch, device)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        here = self._here       # random numbers of a step (dropout) are a function of seed, step and process: no state to keep
        number = (self.step * self.options.accumulate + index % self.options.accumulate) * here.count + here.rank
        torch.manual_seed((self.job.seed * 1_000_003 + number) % (1 << 62))
        losses = self.job.losses_of(batch, self.step / self.options.steps)
        self._seen = {name: float(value.detach()) for name, value in losses.items()}
        return sum(losses.values())

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer, schedule = make_optimizer(self.net, self.extra, self.options)
        if self._saved is not None:
            optimizer.load_state_dict(self._saved["optimizer"])
            schedule.load_state_dict(self._saved["schedule"])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_fit_start(self) -> None:
        self.average.net.to(self.device)
        if self._saved is not None and self._saved["precision"]:
            self.trainer.precision_plugin.load_state_dict(self._saved["precision"])

    def configure_gradient_clipping(self, optimizer: Any, gradient_clip_val: Any = None,
                                    gradient_clip_algorithm: Any = None) -> None:
        norms = [nn.utils.clip_grad_norm_(list(part.parameters()), self.options.clip_norm)
                 for part in (self.net, self.extra) if part is not None]
        # in half precision a gradient may overflow: its scaler leaves that step out and scales less
        if not all(map(math.isfinite, self._seen.values() if self.options.precision == "16" else map(float, norms))):
            self._diverged(f"step {self.step + 1}: the gradient's norm is {float(norms[0]):.4g}")

    def _diverged(self, what: str) -> NoReturn:
        losses = ", ".join(f"{name} {value:.4g}" for name, value in self._seen.items())
        kept = self.state is not None and self.state.path.exists()
        raise DivergedError(f"{what} (loss: {losses}), so nothing can be learnt from here on. Lower loop.rate "
                            f"({self.options.rate:g}) or loop.clip_norm, or raise loop.warm_up; where no rate helps, look for optical values far beyond "
                            f"all others" + (f". {self.state.path} is from before it; delete it to start anew" if kept else ""))

    def on_train_batch_end(self, outputs: Any, batch: Batch, index: int) -> None:
        if (index + 1) % self.options.accumulate:
            return
        self.step += 1
        self.average.update(self.net)
        if self._here.first:
            rate = self.optimizers(use_pl_optimizer=False).param_groups[0]["lr"]
            self.progress.step(self.step, sum(self._seen.values()), self._seen, rate)
        last = self.step == self.options.steps
        if self.job.judge is not None and self.options.select_every and (last or self.step % self.options.select_every == 0):
            self._judge()
        if last or self.stopped or self.step % self.options.save_every == 0:
            if not all(bool(value.isfinite().all()) for value in self.average.net.state_dict().values()):
                self._diverged(f"step {self.step}: weights or batch-norm statistics are not finite")
            if self.state is not None:
                self._save()

    def _judge(self) -> None:
        """The first process judges, all hear of it: their decisions must agree."""
        score = self.job.judge(self.average.net) if self._here.first else 0.0
        score = self.trainer.strategy.broadcast(score)
        if self._here.first:
            self.progress.judged(self.step, score)
        if score > self.kept.score:
            self.kept = Kept(copy.deepcopy(self.average.net), score)
        else:
            self.kept.waited += 1
        if self.options.patience and self.kept.waited >= self.options.patience:
            self.stopped = self.trainer.should_stop = True

    def _save(self) -> None:
        if self._here.first:
            def weights(net: nn.Module | None) -> dict[str, Any] | None:
                return None if net is None else net.state_dict()
            self.state.write({
                "step": self.step, "net": weights(self.net), "extra": weights(self.extra), "best": weights(self.kept.net),
                "average": weights(self.average.net), "average_steps": self.average.steps, "recent": self.progress.recent,
                "optimizer": self.optimizers(use_pl_optimizer=False).state_dict(),
                "schedule": self.lr_schedulers().state_dict(), "precision": self.trainer.precision_plugin.state_dict(),
                "best_score": self.kept.score, "waited": self.kept.waited, "stopped": self.stopped})

    def restore(self, saved: dict[str, Any] | None) -> int:
        """Take a state over; gives the steps it has behind it."""
        if saved is None:
            return 0
        self.net.load_state_dict(saved["net"])
        if self.extra is not None:
            self.extra.load_state_dict(saved["extra"])
        self.average.net.load_state_dict(saved["average"])
        self.average.steps, self.progress.recent = saved["average_steps"], saved["recent"]
        self.kept = Kept(None, saved["best_score"], saved["waited"])
        if saved["best"] is not None:
            self.kept.net = copy.deepcopy(self.average.net)
            self.kept.net.load_state_dict(saved["best"])
        self.step, self.stopped, self._saved = saved["step"], saved["stopped"], saved
        return self.step


def make_optimizer(net: nn.Module, extra: nn.Module | None, options: LoopConfig) -> tuple[Any, Any]:
    """AdamW over the network and what is trained beside it, and the schedule of its rate."""
    own = list(net.parameters())
    groups = [{"params": own, "lr": options.rate}]
    if options.encoder_rate != 1 and hasattr(net, "encoder"):
        slow = {id(p) for p in net.encoder.parameters()}
        groups = [{"params": [p for p in own if id(p) not in slow], "lr": options.rate},
                  {"params": [p for p in own if id(p) in slow], "lr": options.rate * options.encoder_rate}]
    if extra is not None and (more := list(extra.parameters())):
        groups.append({"params": more, "lr": options.rate})
    optimizer = torch.optim.AdamW(groups, lr=options.rate, weight_decay=options.weight_decay)
    if options.schedule == "one-cycle":
        rates = [group["lr"] for group in groups]
        share = 0.0 if options.warm_up * options.steps == 1 else options.warm_up    # torch divides by the steps after the first
        return optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=options.steps, pct_start=share)
    warm = max(1, round(options.warm_up * options.steps))

    def factor(step: int) -> float:
        falling = (1 - step / options.steps) ** 0.9 if options.schedule == "poly" else 1.0
        return min(1.0, (step + 1) / warm) * max(falling, 0.0)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def on_device(batch: Batch, device: torch.device) -> Batch:
    """The same batch elsewhere."""
    def moved(part: Batch | View) -> Any:
        values = {f.name: getattr(part, f.name) for f in fields(part)}
        return replace(part, **{name: value.to(device) for name, value in values.items() if isinstance(value, Tensor)})
    return replace(moved(batch), views={by: moved(view) for by, view in batch.views.items()})
