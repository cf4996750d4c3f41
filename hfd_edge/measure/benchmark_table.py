"""A benchmark for people, in trtexec's words where it has them: throughput, latency, percentiles, host memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hfd_edge.measure.benchmark import Record, of_kind, winner

Rows = list[tuple[str, ...]]


def summary_lines(records: list[Record]) -> list[str]:
    """The whole benchmark as text."""
    first = records[0]
    lines = ["=== Device Information ===", *(f"{name}: {value}" for name, value in machine_rows(first)), "",
             "=== Performance summary: the engine alone ==="]
    for record in of_kind(records, "engine"):
        lines += [f"Batch {record['batch']}, tile {record['tile_px'][0]} x {record['tile_px'][1]}, {record['calls']} calls",
                  f"  Throughput: {record['throughput_qps']:.3f} qps, {record['input_mpx_per_s']:.2f} Mpx/s of input",
                  f"  Latency: min = {record['min_ms']:.3f} ms, max = {record['max_ms']:.3f} ms, mean = {record['mean_ms']:.3f} ms, "
                  f"median = {record['p50_ms']:.3f} ms, percentile(90%) = {record['p90_ms']:.3f} ms, percentile(95%) = "
                  f"{record['p95_ms']:.3f} ms, percentile(99%) = {record['p99_ms']:.3f} ms",
                  f"  First call: {record['first_call_ms']:.3f} ms"]
    for title, head, rows in tables(records):
        lines += ["", f"=== {title} ===", *aligned(head, rows)]
    missing = not_available(records)
    return lines + (["", "=== Not available here ===", *missing] if missing else [])


def machine_rows(first: Record) -> list[tuple[str, str]]:
    """On what it ran."""
    found = first["machine"]
    clock = found["clock_mhz"]
    return [("Engine", f"{first['name']}, {first['engine']}"), ("Engine hash", first["engine_hash"]),
            ("Device", f"{first['device']}, {first['threads']} threads"), ("Processor", f"{found['processor']}, {found['architecture']}"),
            ("Clock rate", clock if isinstance(clock, str) else f"now {', '.join(map(str, clock['now']))} MHz; most {clock['most']}"),
            ("Governor", found["governor"]), ("Power mode", found["power_mode"]), ("Load average", str(found["load_average"])),
            ("Versions", ", ".join(f"{name} {version}" for name, version in found["versions"].items())), ("Scene", first["scene"]),
            ("Tile sizes and precisions on", first.get("sweeps_on", first["scene"]))]


def tables(records: list[Record]) -> list[tuple[str, tuple[str, ...], Rows]]:
    """(title, head, rows) of what concerns a scene."""
    found = [("Stages", ("stage", "alone s", "ns/px", "in the run s", "ns/px"), [
        (r["stage"], f"{r['alone_s']:.3f}", f"{r['alone_ns_per_px']:.2f}", f"{r['overlapped_s']:.3f}", f"{r['overlapped_ns_per_px']:.2f}")
        for r in of_kind(records, "stage")])]
    for r in of_kind(records, "end_to_end"):
        found.append(("End to end", ("Mpx/s", "ns/px", "median s", "p25..p75 s", "rounds", "around engine / engine", "tile", "halo",
                                     "work in halo"), [
            (f"{r['mpx_per_s']:.2f}", f"{r['ns_per_px']:.1f}", f"{r['p50_ms'] / 1e3:.3f}", f"{r['p25_ms'] / 1e3:.3f}..{r['p75_ms'] / 1e3:.3f}",
             str(r["calls"]), f"{r['around_engine_over_engine']:.3f}", _size(r), f"{r['halo']} {r['halo_px']} px", f"{r['halo_share']:.0%}")]))
    for kind, title in (("tile", "Tile sizes"), ("precision", "Precisions")):
        rows = [_sweep_row(r) for r in records if r["kind"] == kind and "not_available" not in r]
        if rows:
            found.append((title, (kind, "Mpx/s", "ns/px", "median s", "p25..p75 s", "rounds", "tile", "halo", "work in halo",
                                  "labels unlike first"), rows))
    best, factors = winner(records)
    if factors:
        found.append(("Which precision won", ("winner", "times as fast as"), [
            (best, ", ".join(f"{name} {factor:.2f}" for name, factor in factors.items()))]))
    for r in of_kind(records, "memory"):
        found.append(("Memory", ("peak host", "before the scene", "peak device"), [
            (f"{r['peak_host_bytes'] / 1e6:.0f} MB", f"{r['resident_before_bytes'] / 1e6:.0f} MB", _bytes(r["peak_device_bytes"]))]))
    for r in of_kind(records, "energy"):
        heat, slowed = r["temperature_c"], r["throttled"]
        found.append(("Energy", ("J/Mpx", "mean W", "temperature", "throttled", "source"), [
            (f"{r['joules_per_mpx']:.3f}", f"{r['mean_watts']:.1f}", "not known" if heat is None else f"{heat:.0f} C",
             "not known" if slowed is None else "yes" if slowed else "no", r["source"])]))
    return found


def compare_lines(rows: list[dict[str, Any]], unlike: list[str]) -> list[str]:
    """Ratios of two benchmarks as a table."""
    cells = [(row["figure"], _number(row["first"]), _number(row["second"]),
              "not in both" if row["ratio"] is None else f"{row['ratio']:.3f}x") for row in rows]
    return [*aligned(("figure", "first", "second", "second is better by"), cells), *(f"differs: {text}" for text in unlike)]


def not_available(records: list[Record]) -> list[str]:
    """What could not be measured, and why."""
    return [f"{' '.join(str(r[key]) for key in ('kind', 'setting', 'batch') if key in r)}: {r['not_available']}"
            for r in records if "not_available" in r]


def aligned(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Lines with the first column to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows)]
    return ["  ".join(cell.ljust(width) if number == 0 else cell.rjust(width) for number, (cell, width) in enumerate(zip(row, widths)))
            for row in (head, *rows)]


def _sweep_row(r: Record) -> tuple[str, ...]:
    tiles = _size(r), f"{r['halo']} {r['halo_px']} px", f"{r['halo_share']:.0%}"
    if "not_measured" in r:
        return (r["setting"], "-", "-", "-", "-", "0", *tiles, f"not measured: {r['not_measured']}")
    unlike = r.get("labels_unlike_first")
    return (r["setting"], f"{r['mpx_per_s']:.2f}", f"{r['ns_per_px']:.1f}", f"{r['p50_ms'] / 1e3:.3f}",
            f"{r['p25_ms'] / 1e3:.3f}..{r['p75_ms'] / 1e3:.3f}", str(r["calls"]), *tiles,
            "not compared" if unlike is None else f"{unlike:.2e}")


def _bytes(value: int | str) -> str:
    return value if isinstance(value, str) else f"{value / 1e6:.0f} MB of the device"


def _size(r: Record) -> str:
    return f"{r['tile_px'][0]} x {r['tile_px'][1]}"


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, (int, float)) else "none" if value is None else str(value)
