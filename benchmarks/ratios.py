"""Are the ratios what they were? Ratios of one interleaved run against those recorded for machines of this class; never seconds.

`ratios.json` holds, per class (the processor's maker, family and model, instruction sets, threads), {"BENCHMARK.RATIO": {"ratio", "tolerance"}}. Higher is better for all ratios, so one that fell below recorded / tolerance is a regression. A tolerance is wide
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
_NAMES = (("vendor_id", ""), ("cpu family", "family "), ("model", "model "), ("CPU implementer", "arm maker "), ("CPU part", "part "))
_SETS = {"vnni": {"avx512_vnni", "avx_vnni", "asimddp"}, "amx": {"amx_int8"}}


@dataclass(frozen=True)
class Verdict:
    """What became of every recorded ratio."""

    regressed: tuple[str, ...]          # sentences
    not_measured: tuple[str, ...]       # recorded, and not measured now: a peer is missing
    new: tuple[str, ...]                # measured, and not recorded


def machine_class(simd: str, cpuinfo: str, threads: int) -> str:
    """For example "intel family 6 model 207, avx512 vnni amx, 2 threads"; `simd` as hfd_edge.build_info() names it, `cpuinfo` the text of
    /proc/cpuinfo.

    The model counts: on two Intel Xeons with the same instructions NumPy's cropping takes 12.5 and 7.3 to 8.9 times our time (bench_stitch).
    """
    fields = _first_processor(cpuinfo)
    words = [f"{word}{_MAKERS.get(fields[key], fields[key])}" for key, word in _NAMES if key in fields]
    flags = {*fields.get("flags", fields.get("Features", "")).split()}
    sets = [simd, *(name for name, any_of in _SETS.items() if flags & any_of)]
    return f"{' '.join(words) or 'a processor without a name'}, {' '.join(sets)}, {threads} threads"


def _first_processor(text: str) -> dict[str, str]:
    """Field to value in /proc/cpuinfo."""
    pairs = (line.split(":", 1) for line in text.strip().split("\n\n")[0].splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


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
