"""Two benchmarks side by side: ratios, never seconds; what was not measured in both is named."""

from __future__ import annotations

from typing import Any

from hfd_edge.measure.benchmark import Record

# (kind, what tells its records apart, figure, whether more is better)
_FIGURES = (("engine", "batch", "p50_ms", False), ("engine", "batch", "p99_ms", False), ("stage", "stage", "alone_ns_per_px", False),
            ("end_to_end", None, "mpx_per_s", True), ("end_to_end", None, "around_engine_over_engine", False),
            ("memory", None, "peak_host_bytes", False), ("memory", None, "peak_device_bytes", False),
            ("energy", None, "joules_per_mpx", False),
            ("tile", "setting", "mpx_per_s", True), ("precision", "setting", "mpx_per_s", True))


def compare_records(first: list[Record], second: list[Record]) -> list[dict[str, Any]]:
    """One row per figure of both: {"figure", "first", "second", "ratio"}; ratio above 1 = the second is better.

    A figure that one side lacks has ratio None.
    """
    rows = []
    for kind, key, figure, more in _FIGURES:
        a, b = (_values(records, kind, key, figure) for records in (first, second))
        for name in dict.fromkeys([*a, *b]):
            one, other = a.get(name), b.get(name)
            both = isinstance(one, (int, float)) and isinstance(other, (int, float)) and one > 0 and other > 0
            ratio = (other / one if more else one / other) if both else None
            rows.append({"figure": " ".join(part for part in (kind, name, figure) if part), "first": one, "second": other,
                         "ratio": ratio})
    return rows


def differences(first: list[Record], second: list[Record]) -> list[str]:
    """Why a ratio of these two may not be the engine's: what else differs between them."""
    a, b = first[0], second[0]
    found = [f"{name}: {a.get(name)} against {b.get(name)}" for name in ("device", "threads", "scene", "sweeps_on", "engine_hash")
             if a.get(name) != b.get(name)]
    for name in ("processor", "power_mode", "versions"):
        one, other = (side["machine"].get(name) for side in (a, b))
        if one != other:
            found.append(f"{name}: {one} against {other}")
    return found


def _values(records: list[Record], kind: str, key: str | None, figure: str) -> dict[str, Any]:
    return {str(record[key]) if key else "": record[figure] for record in records if record["kind"] == kind and figure in record}
