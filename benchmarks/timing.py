"""Interleaved timing: all jobs in turns, so that a busy machine slows them alike; medians, and ratios to the first job."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Seconds:
    """Median and fastest wall seconds of a job, its median CPU seconds, and the medians of its rounds' ratios to the first in both."""

    median: float
    fastest: float
    cpu: float
    ratio: float
    cpu_ratio: float = 1.0


def in_turns(jobs: Mapping[str, Callable[[], float | None]], rounds: int) -> dict[str, Seconds]:
    """Run every job once to warm up, then `rounds` times in turns.

    A job may give seconds of its run that are not its own (an engine's): they are taken off the wall time.
    """
    wall: dict[str, list[float]] = {name: [] for name in jobs}
    cpu: dict[str, list[float]] = {name: [] for name in jobs}
    for i in range(rounds + 1):
        for name, job in jobs.items():
            start, start_cpu = time.perf_counter(), time.process_time()
            not_own = job() or 0.0
            if i:
                wall[name].append(time.perf_counter() - start - not_own)
                cpu[name].append(time.process_time() - start_cpu)
    first = next(iter(jobs))

    def ratio(taken: dict[str, list[float]], name: str) -> float:
        return statistics.median(a / b for a, b in zip(taken[name], taken[first]))
    return {name: Seconds(statistics.median(own), min(own), statistics.median(cpu[name]), ratio(wall, name), ratio(cpu, name))
            for name, own in wall.items()}


def forget(_: object) -> None:
    """What a job made; numbers that it gave back would be taken off its time."""


# Idle OpenMP threads of one library must not take the cores from another's; and a stub engine's large answers must not be given back
# to the system and faulted in anew at every call, which no engine with a memory arena does.
_CALM = {"OMP_WAIT_POLICY": "passive", "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 33), "MALLOC_TOP_PAD_": str(1 << 28),
         "OPENBLAS_NUM_THREADS": "2", "OPENBLAS_THREAD_TIMEOUT": "4"}    # of the matrix product that is a bound: its idle thread would spin for
# 27 ms on the core of whoever comes next; nothing else here calls a BLAS


def calm_process() -> None:
    """Start anew, for all competitors alike: idle threads sleep, and freed memory stays in the process."""
    if any(os.environ.get(name) != value for name, value in _CALM.items()):
        os.environ.update(_CALM)
        os.execv(sys.executable, [sys.executable, *sys.argv])


def show(rows: Mapping[str, Seconds], pixels: int) -> None:
    """A table in nanoseconds per pixel."""
    print(f"{'':34}{'median':>9}{'fastest':>9}{'CPU':>9}   ns per pixel   ratio to the first")
    for name, row in rows.items():
        median, fastest, cpu = (1e9 * seconds / pixels for seconds in (row.median, row.fastest, row.cpu))
        print(f"{name:34}{median:9.2f}{fastest:9.2f}{cpu:9.2f}{row.ratio:24.2f}")


def faster(rows: Mapping[str, Seconds], ours: str, baseline: str) -> float:
    """How many times as fast as the baseline, by the fastest round of each: what other programs took from neither."""
    return round(rows[baseline].fastest / rows[ours].fastest, 3)


def tell(found: Mapping[str, object], as_json: bool) -> None:
    """The end of a benchmark: its ratios, higher is better, then with --json everything as one object on the last line."""
    print("ratios (higher is better): " + ", ".join(f"{name} {value:.3g}" for name, value in found["ratios"].items()))
    for name, shares in found.get("roofline", {}).items():
        print(f"  {name}: " + ", ".join(f"{key} {value}" for key, value in shares.items()))
    if as_json:
        print(json.dumps(found))
