"""What a run says on its way: a line with an ETA, or a bar on a terminal; log.csv; TensorBoard where asked for."""

from __future__ import annotations

import csv
import io
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hfd_edge.durable import write_whole
from hfd_edge.errors import HfdError

Log = Callable[[str], None]
COLUMNS = ("step", "loss", "segmentation", "features", "logits", "rate", "seconds")


def silent(line: str) -> None:
    """A log for whom nobody listens."""


class Progress:
    """Counts steps, smooths the loss over `every` of them, writes a line for each `every`."""

    def __init__(self, steps: int, every: int, log: Log, folder: Path | None = None, tensorboard: bool = False) -> None:
        self.steps, self.every, self.log, self.folder = steps, every, log, folder
        self.recent, self._first, self._start = 0.0, 0, time.monotonic()
        self._board = _board(folder) if tensorboard and folder is not None else None
        self._bar = _Bar() if log is print and sys.stdout.isatty() else None

    def begin(self, step: int, recent: float) -> None:
        """Go on behind `step`; lines of the log behind it, left by a run that was killed, are taken out."""
        self.recent, self._first, self._start = recent, step, time.monotonic()
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            for name, columns in (("log.csv", COLUMNS), ("select.csv", ("step", "miou"))):
                _keep(self.folder / name, columns, step)

    def step(self, step: int, loss: float, parts: dict[str, float], rate: float) -> None:
        """One optimizer step is done."""
        self.recent = loss if step == 1 else self.recent + (loss - self.recent) / min(step, self.every)
        if self._bar is not None:
            self._bar.show(step, self.steps, self.recent, *self._pace(step))
        if step % self.every and step != self.steps:
            return
        pace, left = self._pace(step)
        if self._bar is None:
            self.log(f"  step {step:5d} of {self.steps}  loss {self.recent:.4f}  {pace:.3f} s a step  {left:5.0f} s to go")
        self._row("log.csv", step, {"loss": loss, **parts, "rate": rate, "seconds": time.monotonic() - self._start})

    def judged(self, step: int, score: float) -> None:
        """The moving average was judged on the select split."""
        self.log(f"  step {step:5d}  mIoU on select {score:.4f}")
        self._row("select.csv", step, {"miou": score})

    def end(self) -> None:
        if self._bar is not None:
            self._bar.end()
        if self._board is not None:
            self._board.close()

    def _pace(self, step: int) -> tuple[float, float]:
        pace = (time.monotonic() - self._start) / max(step - self._first, 1)
        return pace, pace * (self.steps - step)

    def _row(self, name: str, step: int, values: dict[str, float]) -> None:
        if self.folder is None:
            return
        columns = COLUMNS if name == "log.csv" else ("step", "miou")
        with (self.folder / name).open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow([step, *(f"{values[c]:.6g}" if c in values else "" for c in columns[1:])])
        if self._board is not None:
            for key, value in values.items():
                self._board.add_scalar(key, value, step)


class _Bar:
    """One line that is written over and over."""

    def show(self, step: int, steps: int, loss: float, pace: float, left: float) -> None:
        full = 30 * step // steps
        text = f"[{'#' * full}{'.' * (30 - full)}] {step}/{steps}  loss {loss:.4f}  {pace:.3f} s a step  {left:.0f} s to go"
        print(f"\r{text:100s}", end="", flush=True)

    def end(self) -> None:
        print()


def read_log(path: Path) -> list[dict[str, float]]:
    """The rows of a log.csv or select.csv; empty fields are left out."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def _keep(path: Path, columns: tuple[str, ...], step: int) -> None:
    rows = []
    if path.exists() and step > 0:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.reader(file) if row and row[0].isdecimal() and int(row[0]) <= step
                    and len(row) == len(columns)]
    text = io.StringIO()
    csv.writer(text).writerows([columns, *rows])
    write_whole(path, text.getvalue().encode())


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise HfdError(f"loop.tensorboard=true: the package tensorboard is not here ({error}); pip install tensorboard, or leave it "
                       "out: log.csv holds the same numbers") from error
    return SummaryWriter(str(folder / "tensorboard"))
