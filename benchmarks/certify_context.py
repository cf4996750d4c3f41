"""What the parts of certify_gpu.py share; not in the script itself, which as a script is another module than the one that parts import."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BUDGET_S = 8 * 60


class NotHere(Exception):
    """A part cannot run on this machine; the text says what it lacks."""


@dataclass
class Context:
    """What the parts share: the device, how much to do, and where the clock stands."""

    gpu: Any
    calls: int                                  # random calls of each operation
    side: int                                   # of the images that are timed, in pixels
    repeats: int
    budget_s: float = BUDGET_S                  # of all parts together
    started: float = field(default_factory=time.monotonic)

    @property
    def left_s(self) -> float:
        return self.budget_s - (time.monotonic() - self.started)


def need_torch() -> None:
    """Raises NotHere: torch is not installed, or sees no CUDA device."""
    try:
        import torch
    except ImportError as error:
        raise NotHere(f"torch, which is the engine here, is not installed ({error})") from error
    if not torch.cuda.is_available():
        raise NotHere("torch, which is the engine here, sees no CUDA device")


Part = Callable[[Context], dict[str, Any]]


def require(condition: bool, said: str) -> None:
    """Fail the part, with figures in the text."""
    if not condition:
        raise AssertionError(said)
