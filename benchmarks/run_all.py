"""A short form of every benchmark, its ratios in one table, and whether they are what they were: `make bench`.

    python benchmarks/run_all.py [--only bench_gather,bench_stitch] [--record] [--out benchmarks/RESULTS.md] [--state state.json]
        [--terratorch tiled_inference.py]

Each runs in a process of its own as `python benchmarks/bench_x.py --quick --json`, its baseline in turns beside it. What is not installed is
named and left out; a benchmark that fails, or a ratio that regressed against ratios.json, makes the exit code 1. --record keeps this run's
ratios as those of machines of this class. With --state finished benchmarks are kept, and a later call runs only what is missing.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import ratios

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
THREADS = 2
SECONDS = 600                   # after which a benchmark has failed
BENCHMARKS = {                  # needs
    "bench_gather": (), "bench_finish": (), "bench_speckle": (), "bench_filtered": (), "bench_products": (), "bench_two_at_once": (),
    "bench_raster": (), "bench_mosaic": (), "bench_feed": (), "bench_stitch": ("torch",),
    "bench_engine": ("torch", "timm", "onnx"), "bench_students": ("torch", "timm", "onnx"), "bench_training": ("torch", "timm", "yaml"),
    "bench_scene": ("torch", "timm", "onnx"), "bench_scene_light": ("torch", "timm", "onnx")}
LIGHT = ["--engine", "runs/bench/light.engine", "--checkpoint", "runs/bench/light.safetensors"]
VARIANTS = {"bench_scene_light": ("bench_scene", LIGHT)}        # the same file with other words
TERRATORCH = ("bench_stitch", "bench_scene", "bench_scene_light")


@dataclass(frozen=True)
class Outcome:
    """What one benchmark gave, or why it gave nothing."""

    name: str
    found: dict[str, Any] = field(default_factory=dict)
    left_out: str = ""
    failed: str = ""
    seconds: float = 0.0


def ratios_of(outcomes: list[Outcome]) -> dict[str, float]:
    """All ratios as BENCHMARK.RATIO."""
    return {f"{o.name}.{name}": value for o in outcomes for name, value in o.found.get("ratios", {}).items()}


def run(name: str, more: list[str]) -> Outcome:
    """One benchmark's short form."""
    lacking = [module for module in BENCHMARKS[name] if importlib.util.find_spec(module) is None]
    if lacking:
        return Outcome(name, left_out=f"needs {', '.join(lacking)}, which this Python lacks (make .venv-train/dev-installed)")
    script, own = VARIANTS.get(name, (name, []))
    start, words = time.monotonic(), [sys.executable, str(HERE / f"{script}.py"), "--quick", "--json", *own, *more]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": str(THREADS)}
    try:
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=environment, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return Outcome(name, failed=f"took longer than {SECONDS} s", seconds=time.monotonic() - start)
    seconds = time.monotonic() - start
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["nothing"]
        return Outcome(name, failed=f"ended with {done.returncode}: {said[-1][:200]}", seconds=seconds)
    return Outcome(name, json.loads(done.stdout.splitlines()[-1]), seconds=seconds)


def this_class() -> str:
    from hfd_edge import build_info
    return ratios.machine_class(build_info()["simd"], Path("/proc/cpuinfo").read_text(), THREADS)


def commit() -> str:
    """Of the checkout, and whether it was changed since."""
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    return (git("rev-parse", "--short", "HEAD") or "not a git checkout") + (" and changes" if git("status", "--porcelain", "-uno") else "")


def report(outcomes: list[Outcome], verdict: ratios.Verdict, of_class: str, recorded: dict, at: str) -> str:
    """RESULTS.md of the commit `at`."""
    from hfd_edge.measure.benchmark_machine import machine
    known, here = recorded.get(of_class, {}), machine()
    versions = ", ".join(f"{name} {version}" for name, version in here["versions"].items())
    lines = ["# Results of `make bench`", "", "Short forms: they show what regressed, not how fast it is at best. Higher is better; beside a bound "
             "(copy, engine) 1 is the most.", "",
             f"{datetime.date.today()}, commit {at}, {here['processor']}, {here['cores_usable']} cores, class `{of_class}`, load "
             f"{here['load_average']}, {versions}; {sum(o.seconds for o in outcomes):.0f} s.", "",
             "| benchmark | ratio | measured | recorded | may fall to |", "|---|---|---|---|---|"]
    for name, value in ratios_of(outcomes).items():
        old = known.get(name)
        lines.append(f"| {' | '.join(name.split('.', 1))} | {value:.3g} | "
                     + (f"{old['ratio']:.3g} | {old['ratio'] / old['tolerance']:.3g} |" if old else "not recorded | |"))
    lines += ["", "| beside the machine's own limits | GB/s | of a copy | Gop/s | of a product |", "|---|---|---|---|---|"]
    for o in outcomes:
        for job, share in o.found.get("roofline", {}).items():
            if job != "bounds":
                lines.append(f"| {o.name} {job} | {share['gb_per_s']} | {share['share_of_memory']:.0%} | {share['gop_per_s']} | "
                             f"{share['share_of_operations']:.0%} |")
    said = [f"{o.name} was left out: {o.left_out}" for o in outcomes if o.left_out]
    said += [f"**{o.name} failed**: {o.failed}" for o in outcomes if o.failed]
    said += [f"{o.name} without {peer}: {why}" for o in outcomes for peer, why in o.found.get("missing", {}).items()]
    said += [f"**regressed**: {text}" for text in verdict.regressed]
    said += [] if known else [f"nothing is recorded for the class `{of_class}`, so nothing was checked (--record keeps this run's)"]
    said += [f"not measured this time: {name}" for name in verdict.not_measured]
    return "\n".join([*lines, "", *(f"- {text}" for text in said), ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(BENCHMARKS), help="names, separated by commas")
    parser.add_argument("--record", action="store_true", help="keep this run's ratios for this class of machine")
    parser.add_argument("--out", type=Path, default=HERE / "RESULTS.md")
    parser.add_argument("--state", type=Path, help="file of finished benchmarks; delete it to begin anew")
    parser.add_argument("--terratorch", type=Path, help="TerraTorch's tiled_inference.py")
    options = parser.parse_args()
    names, outcomes, kept, at = options.only.split(","), [], {}, commit()
    if options.state and options.state.is_file():
        kept = {each["name"]: Outcome(**each) for each in json.loads(options.state.read_text())}
    unknown = sorted(set(names) - set(BENCHMARKS))
    if unknown:
        parser.error(f"{', '.join(unknown)}: no such benchmark; there are {', '.join(BENCHMARKS)}")
    for name in names:
        more = ["--terratorch", str(options.terratorch)] if options.terratorch and name in TERRATORCH else []
        outcomes.append(last := kept.get(name) or run(name, more))
        if options.state and not last.failed:
            kept[name] = last
            options.state.write_text(json.dumps([asdict(each) for each in kept.values()]))
        print(f"{name}: " + (last.left_out or last.failed or f"{last.seconds:.0f} s"), flush=True)
    measured, of_class = ratios_of(outcomes), this_class()
    if options.record:
        ratios.record(measured, of_class)
    recorded = ratios.records()
    asked = {name: value for name, value in recorded.get(of_class, {}).items() if name.split(".")[0] in names}
    verdict = ratios.check(measured, asked)
    options.out.write_text(report(outcomes, verdict, of_class, recorded, at))
    print(options.out.read_text())
    return 1 if verdict.regressed or any(o.failed for o in outcomes) else 0


if __name__ == "__main__":
    raise SystemExit(main())
