"""Proves everything of hfd_edge that needs a GPU, on the GPU at hand, in under eight minutes:  make certify

Parts run one after the other; one that fails is told and the rest goes on, in a new process where CUDA is lost to this one. What cannot run here (no torch, no TensorRT, no
compute-sanitizer) is told as not run, never as passed. Writes certify-<GPU>.json and .md; ends with 1 if anything failed.
Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from certify_context import BUDGET_S, ROOT, Context, NotHere, Part

sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
AGAIN = [sys.executable, str(Path(__file__).resolve())]


@dataclass
class Outcome:
    """What became of one part."""

    name: str
    state: str                                  # "passed", "failed" or "not run"
    seconds: float
    found: dict[str, Any] = field(default_factory=dict)     # figures, JSON-ready
    said: str = ""                              # why it failed or did not run


def run_part(name: str, part: Part, context: Context) -> Outcome:
    """One part; whatever it raises is its outcome."""
    start = time.monotonic()
    if context.left_s <= 0:
        return Outcome(name, "not run", 0.0, said=f"the {context.budget_s:.0f} s were used up by the parts before")
    try:
        found, state, said = part(context), "passed", ""
    except NotHere as reason:
        found, state, said = {}, "not run", str(reason)
    except AssertionError as wrong:
        found, state, said = getattr(wrong, "found", {}), "failed", str(wrong)
    except Exception as error:  # noqa: BLE001 - a broken part must not hide the others
        found, state, said = {}, "failed", f"{type(error).__name__}: {error}\n{traceback.format_exc(limit=-6)}"
    return Outcome(name, state, time.monotonic() - start, found, said)


def machine() -> dict[str, Any]:
    """The GPU, its driver, and what was built."""
    from hfd_edge.build import build_info

    info = build_info()
    module = info["cuda_module"]
    versions = {}
    for name in ("torch", "tensorrt", "tensorrt_rtx", "onnxruntime", "numpy"):
        try:
            versions[name] = __import__(name).__version__
        except Exception as error:  # noqa: BLE001 - a library may be broken in any way
            versions[name] = f"not usable: {type(error).__name__}"
    return {"devices": module["devices"], "driver": module["driver_version"], "runtime": module["runtime_version"],
            "built": info["cuda"], "hfd_edge": info["version"], "simd": info["simd"], "python": platform.python_version(),
            "machine": platform.machine(), "libraries": versions}


def write_report(folder: Path, about: dict[str, Any], outcomes: list[Outcome]) -> Path:
    """JSON and Markdown side by side; gives the Markdown."""
    name = about["devices"][0]["name"] if about["devices"] else "no GPU"
    stem = "certify-" + re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    folder.mkdir(parents=True, exist_ok=True)
    record = {"machine": about, "parts": [vars(outcome) for outcome in outcomes]}
    (folder / f"{stem}.json").write_text(json.dumps(record, indent=1, default=str) + "\n")
    page = folder / f"{stem}.md"
    page.write_text(markdown(name, about, outcomes))
    return page


def markdown(name: str, about: dict[str, Any], outcomes: list[Outcome]) -> str:
    """The page that people read: one line a part, then its figures."""
    lines = [f"# hfd_edge {about['hfd_edge']} on {name}", "", f"{about['built']}; driver {about['driver']}; " +
             ", ".join(f"{library} {version}" for library, version in about["libraries"].items()), "",
             "| part | outcome | s |", "|---|---|---|"]
    lines += [f"| {o.name} | {o.state}{': ' + o.said.splitlines()[0] if o.said else ''} | {o.seconds:.1f} |" for o in outcomes]
    for outcome in outcomes:
        if outcome.found:
            lines += ["", f"## {outcome.name}", "", "| figure | value |", "|---|---|"]
            lines += [f"| {key} | {_shown(value)} |" for key, value in outcome.found.items()]
    return "\n".join(lines) + "\n"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(each)}" for key, each in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def parts() -> dict[str, Part]:
    """Every part by name, in order."""
    import certify_arrays
    import certify_engines
    import certify_operations

    return {**certify_operations.PARTS, **certify_arrays.PARTS, **certify_engines.PARTS}


def run_parts(left: list[str], context: Context, given: argparse.Namespace) -> tuple[list[Outcome], Path | None]:
    """The parts of these names, one after the other, and the page about them."""
    outcomes, about, page = [], machine(), None
    while left:
        name, *left = left
        outcomes.append(run_part(name, parts()[name], context))
        print(f"{outcomes[-1].state:8} {name:28} {outcomes[-1].seconds:6.1f} s  {outcomes[-1].said.splitlines()[0] if outcomes[-1].said else ''}",
              flush=True)
        page = write_report(given.out, about, outcomes)         # after each part: a machine may be taken away before the last
        if left and outcomes[-1].state == "failed" and is_lost(context.gpu):
            outcomes += in_new_process(left, given, context.left_s)
            return outcomes, write_report(given.out, about, outcomes)
    return outcomes, page


def is_lost(gpu: Any) -> bool:
    """Whether a kernel's fault ended CUDA for this process: every later part would fail for it."""
    from hfd_edge.errors import DeviceError

    try:
        gpu.synchronize(gpu.stream().handle)
    except DeviceError:
        return True
    return False


def in_new_process(names: list[str], given: argparse.Namespace, left_s: float) -> list[Outcome]:
    """The parts of these names, run where CUDA works, in the seconds that are left; those of which nothing is known have not run."""
    print("CUDA is lost to this process; the other parts go on in a new one", flush=True)
    with tempfile.TemporaryDirectory(prefix="after-a-fault-", dir=given.out) as folder:         # stays if both are killed
        numbers = [f"--seconds={max(0, int(left_s))}", *(f"--{name}={getattr(given, name)}" for name in ("calls", "side", "repeats"))]
        code = subprocess.run([*AGAIN, *numbers, "--out", folder, "--only", *names], check=False).returncode
        told = [Outcome(**part) for file in Path(folder).glob("certify-*.json") for part in json.loads(file.read_text())["parts"]]
    known = {outcome.name for outcome in told}
    return told + [Outcome(name, "not run", 0.0, said=f"the process that went on ended with {code}") for name in names if name not in known]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the reports")
    parser.add_argument("--only", nargs="*", help="names of parts; the others are left out")
    parser.add_argument("--calls", type=int, default=400, help="random calls of each operation")
    parser.add_argument("--side", type=int, default=8192, help="side of the timed images in pixels")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--seconds", type=int, default=BUDGET_S, help="that all parts may take together: none begins after them")
    given = parser.parse_args(arguments)
    from hfd_edge.device.memory import CudaDevice
    from hfd_edge.errors import DeviceError

    try:
        gpu = CudaDevice(0)
    except DeviceError as error:
        print(f"nothing can be certified here: {error}", file=sys.stderr)
        return 2
    fits = int((gpu.memory_info()[0] / 100) ** 0.5) // 64 * 64          # images in four sets, and copies of them, in free memory
    context = Context(gpu, given.calls, max(64, min(given.side, fits)), given.repeats, given.seconds)
    outcomes, page = run_parts([name for name in parts() if not given.only or name in given.only], context, given)
    if not outcomes:
        print(f"no part is called {' or '.join(given.only)}: there are {', '.join(parts())}", file=sys.stderr)
        return 2
    print(f"\n{page.read_text()}\nwritten: {page}")
    return int(any(outcome.state == "failed" for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
