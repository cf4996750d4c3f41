"""Repeated timing: warm up, measure in turns, and tell the spread with the median."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hfd_edge.errors import ArrayError


@dataclass(frozen=True, slots=True)
class Spread:
    """Wall milliseconds of repeated calls; a percentile is interpolated between calls, so p99 of 20 calls is near their maximum."""

    calls: int
    mean_ms: float
    min_ms: float
    p25_ms: float
    p50_ms: float
    p75_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    cpu_ms: float               # median user and system time of the whole process

    @classmethod
    def of(cls, wall_s: list[float], cpu_s: list[float]) -> Spread:
        """Raises ArrayError where nothing was measured."""
        if not wall_s or len(wall_s) != len(cpu_s):
            raise ArrayError(f"{len(wall_s)} wall and {len(cpu_s)} CPU times: a spread needs at least one call, timed in both")
        wall = 1e3 * np.array(wall_s)
        shares = (0, 25, 50, 75, 90, 95, 99, 100)
        low, p25, p50, p75, p90, p95, p99, high = (float(value) for value in np.percentile(wall, shares))
        return cls(len(wall_s), float(wall.mean()), low, p25, p50, p75, p90, p95, p99, high, 1e3 * float(np.median(cpu_s)))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready record."""
        return {name: getattr(self, name) for name in self.__slots__}


def in_turns(jobs: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 1,
             before_round: Callable[[int], None] = lambda number: None) -> dict[str, Spread]:
    """Run every job `warm_up` times, then `rounds` times in turns, so that a busy machine slows all alike.

    Args:
        before_round: called with the number of the round, from 0, before each that is timed.
    Raises:
        ArrayError: rounds is not at least 1.
    """
    if rounds < 1:
        raise ArrayError(f"rounds={rounds}: at least one round is needed to measure anything")
    wall: dict[str, list[float]] = {name: [] for name in jobs}
    cpu: dict[str, list[float]] = {name: [] for name in jobs}
    for number in range(warm_up + rounds):
        if number >= warm_up:
            before_round(number - warm_up)
        for name, job in jobs.items():
            start, start_cpu = time.perf_counter(), time.process_time()
            job()
            taken = time.perf_counter() - start, time.process_time() - start_cpu
            if number >= warm_up:
                wall[name].append(taken[0])
                cpu[name].append(taken[1])
    return {name: Spread.of(wall[name], cpu[name]) for name in jobs}
