"""Are the ratios what they were? Ratios of one interleaved run against those recorded for machines of this class; never seconds.

`ratios.json` holds, per class (instruction sets, maker and threads, for AVX2, AVX-512 and VNNI gain differently), {"BENCHMARK.RATIO": {"ratio",
"tolerance"}}. Higher is better for all ratios, so one that fell below recorded / tolerance is a regression. A tolerance is wide
enough for a shared machine and below 2, so that what became twice as bad always fails.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

RECORDS = Path(__file__).resolve().parent / "ratios.json"
TOLERANCE, WIDEST = 1.7, 1.9
_MAKERS = {"GenuineIntel": "intel", "AuthenticAMD": "amd"}


@dataclass(frozen=True)
class Verdict:
    """What became of every recorded ratio."""

    regressed: tuple[str, ...]          # sentences
    not_measured: tuple[str, ...]       # recorded, and not measured now: a peer is missing
    new: tuple[str, ...]                # measured, and not recorded


def machine_class(simd: str, cpuinfo: str, threads: int) -> str:
    """For example "avx512 vnni amd, 2 threads"; `simd` as hfd_edge.build_info() names it, `cpuinfo` the text of /proc/cpuinfo.

    The maker counts: OpenCV's boxes take 9 times Lee's time on an Intel Xeon and 5 times on an AMD EPYC with the same instructions.
    """
    vnni = " vnni" if cpu_flags(cpuinfo) & {"avx512_vnni", "avx_vnni", "asimddp"} else ""
    maker = next((f" {short}" for name, short in _MAKERS.items() if name in cpuinfo), "")
    return f"{simd}{vnni}{maker}, {threads} threads"


def cpu_flags(text: str) -> frozenset[str]:
    """Of the first processor in /proc/cpuinfo; aarch64 calls them Features."""
    line = next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), ":")
    return frozenset(line.split(":", 1)[1].split())


def check(measured: Mapping[str, float], recorded: Mapping[str, Mapping[str, float]]) -> Verdict:
    """Compare by name.

    Raises:
        ValueError: a recorded tolerance is not between 1 and WIDEST.
    """
    regressed = []
    for name, record in recorded.items():
        if not 1 <= record["tolerance"] <= WIDEST:
            raise ValueError(f"{name}: tolerance={record['tolerance']}: a ratio that became twice as bad must fail; use 1 to {WIDEST}")
        if name in measured and not measured[name] >= record["ratio"] / record["tolerance"]:
            regressed.append(f"{name} is {measured[name]:.3g}, was {record['ratio']:.3g} (may fall to {record['ratio'] / record['tolerance']:.3g})")
    return Verdict(tuple(regressed), tuple(sorted(set(recorded) - set(measured))), tuple(sorted(set(measured) - set(recorded))))


def records(path: Path = RECORDS) -> dict[str, dict[str, dict[str, float]]]:
    """All classes."""
    return json.loads(path.read_text()) if path.is_file() else {}


def record(measured: Mapping[str, float], of_class: str, path: Path = RECORDS) -> None:
    """Keep these ratios for a class, with the tolerances that are there."""
    known = records(path)
    old = known.get(of_class, {})
    known[of_class] = {**old, **{name: {"ratio": round(value, 3), "tolerance": old.get(name, {}).get("tolerance", TOLERANCE)}
                                 for name, value in sorted(measured.items())}}
    path.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
