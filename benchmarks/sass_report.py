"""What the compiler made of the kernels, without a GPU:  python benchmarks/sass_report.py [sm_87 sm_90 ...]

Registers, spills and shared memory as ptxas tells them, and what the machine code holds: wide loads and stores, local memory (which
means spills), fused multiply-adds. Kernels are compiled with -fmad=false, and the PTX is checked to hold no contraction, no
approximation and no flush to zero but those that a logarithm asks for by name: FFMA then stands there and in ptxas's own correctly rounded
division and square root alone.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("gather", "finish", "speckle", "scene_counts", "saturation", "blend", "validity")
FLAGS = ["-std=c++17", "-fmad=false", f"-I{ROOT / 'csrc'}"]
INEXACT = re.compile(r"\b(?:fma\.(?:rn|rz|rp|rm)(?:\.ftz)?\.f32|(?:mul|add|sub)\.f32|\w+\.approx\S*|\w+(?:\.\w+)*\.ftz\S*)")
# log2_of_normal (csrc/common/log_cuda.h) asks for these by name, so many of each: its bits are those of the CPU all the same.
LOGARITHM = {"rcp.approx.ftz.f32": 1, "fma.rp.f32": 1, "fma.rn.f32": 4}
COUNTED = {"LDG.128": r"LDG\.E\.128", "LDG.64": r"LDG\.E\.64", "STG.128": r"STG\.E\.128", "LDL/STL": r"\b(?:LDL|STL)\b", "FFMA": r"\bFFMA\b"}


@dataclass
class Kernel:
    """One kernel on one architecture."""

    name: str
    registers: int = 0
    shared_bytes: int = 0
    spill_bytes: int = 0
    found: Counter | None = None


def compiler() -> str | None:
    """nvcc, or None."""
    return shutil.which("nvcc") or next(map(str, sorted(Path("/usr/local").glob("cuda*/bin/nvcc"))), None)


def disassembler() -> str | None:
    """cuobjdump from the toolkit, or from triton's wheel."""
    spec = find_spec("triton")
    folders = [] if spec is None or not spec.submodule_search_locations else [Path(p) / "backends/nvidia/bin" for p in spec.submodule_search_locations]
    folders += sorted(ROOT.glob(".venv*/lib/python3*/site-packages/triton/backends/nvidia/bin"))
    return shutil.which("cuobjdump") or next((str(f / "cuobjdump") for f in folders if (f / "cuobjdump").exists()), None)


def compiled(name: str, arch: str) -> tuple[str, str]:
    """What nvcc makes of one operation, and what ptxas said: PTX of compute_90 and the like, machine code of sm_90 (empty without cuobjdump).

    It takes nvcc many seconds, so it lies in build/ until a source, a header or a flag changes.
    """
    source, tool, ptx = ROOT / f"csrc/ops/{name}_cuda.cu", disassembler(), arch.startswith("compute")
    command = [compiler(), *FLAGS, f"-arch={arch}", *(["-ptx"] if ptx else ["-cubin", "-Xptxas=-v"]), str(source)]
    about = [*command, tool, Path(command[0]).resolve().stat().st_mtime_ns]
    seen = [str(about).encode(), source.read_bytes(), *(header.read_bytes() for header in sorted((ROOT / "csrc").rglob("*.h")))]
    kept = ROOT / "build" / "sass" / f"{name}-{arch}-{hashlib.sha256(b''.join(seen)).hexdigest()[:16]}.json"
    if kept.exists():
        return tuple(json.loads(kept.read_text()))
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
        made, part = Path(folder) / "made", Path(folder) / "part"
        said = subprocess.run([*command, "-o", str(made)], check=True, text=True, capture_output=True).stderr
        if ptx:
            text = made.read_text()
        else:
            text = "" if tool is None else subprocess.run([tool, "-sass", str(made)], check=True, text=True, capture_output=True).stdout
        part.write_text(json.dumps([text, said]))
        part.replace(kept)
    return text, said


def ptx_of(name: str, arch: str = "compute_90") -> str:
    """The PTX of one operation's kernels."""
    return compiled(name, arch)[0]


def inexact(ptx: str) -> list[str]:
    """Instructions that would round otherwise than the CPU does."""
    found = Counter(INEXACT.findall(ptx))
    logarithms = found["rcp.approx.ftz.f32"]
    if all(found[name] == times * logarithms for name, times in LOGARITHM.items()):
        found -= Counter({name: times * logarithms for name, times in LOGARITHM.items()})
    return sorted(found.keys())


TYPES = {"h": "u1", "a": "i1", "t": "u2", "s": "i2", "j": "u4", "i": "i4", "f": "f4", "d": "f8"}
WORDS = {"gather": ["intensity", "amplitude", "db", "complex", "dn"], "speckle": ["sums", "rings", "halves", "range"]}


def plain_name(operation: str, mangled: str) -> str:
    """What a mangled kernel is, e.g. "finish 4 x 2" from FinishBody<4, 2>; enumerations by name."""
    body = re.search(r"[A-Z][a-z]+Body", mangled)
    numbers = [int(n) for n in re.findall(r"L(?:i|N\w+?E|S\d*_)(\d+)E", mangled[body.end():])] if body else []
    words, typed = WORDS.get(operation, []), re.match(r"I([a-z])L", mangled[body.end():]) if body else None
    named = [TYPES[typed.group(1)]] if typed else []
    named += [words[n] if words and (i == 0 or operation == "gather") else str(n) for i, n in enumerate(numbers)]
    return f"{operation} {' '.join(named)}" if named else f"{operation} {body.group(0)[:-4].lower() if body else mangled}"


def kernels(name: str, arch: str) -> list[Kernel]:
    """Every kernel of one operation."""
    sass, said = compiled(name, arch)
    code = {part.split()[0]: Counter({what: len(re.findall(pattern, part)) for what, pattern in COUNTED.items()})
            for part in sass.split("Function : ")[1:]}
    found, current = [], None
    for line in said.splitlines():
        if match := re.search(r"Compiling entry function '(\w+)'", line):
            current = Kernel(plain_name(name, match.group(1)), found=code.get(match.group(1)))
            found.append(current)
        elif current is not None and (match := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line)):
            current.spill_bytes = int(match.group(1)) + int(match.group(2))
        elif current is not None and (match := re.search(r"Used (\d+) registers", line)):
            current.registers = int(match.group(1))
            current.shared_bytes = int(m.group(1)) if (m := re.search(r"(\d+) bytes smem", line)) else 0
    return found


def main() -> int:
    if compiler() is None:
        print("needs nvcc", file=sys.stderr)
        return 2
    bad = 0
    for name in SOURCES:
        wrong = inexact(ptx_of(name))
        bad += bool(wrong)
        print(f"{name}: {'no contraction, approximation or flush to zero in its PTX' if not wrong else f'NOT EXACT: {wrong}'}")
    for arch in sys.argv[1:] or ["sm_87", "sm_90"]:
        print(f"\n{arch}\n\n| kernel | registers | shared bytes | spilled bytes | {' | '.join(COUNTED)} |\n|---|---|---|---|{'---|' * len(COUNTED)}")
        for name in SOURCES:
            for kernel in kernels(name, arch):
                bad += kernel.spill_bytes > 0
                counts = " | ".join(str(kernel.found[what]) if kernel.found is not None else "?" for what in COUNTED)
                print(f"| {kernel.name} | {kernel.registers} | {kernel.shared_bytes} | {kernel.spill_bytes} | {counts} |")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
