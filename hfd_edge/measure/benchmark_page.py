"""A benchmark as one HTML page that needs nothing else: tables, and plots as SVG inside it; light and dark, wide and narrow."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from hfd_edge.measure.benchmark import Record, of_kind, winner
from hfd_edge.measure.benchmark_table import machine_rows, not_available, tables
from hfd_edge.raster import write_bytes

_STYLE = """:root{color-scheme:light dark;--ink:#1c2430;--soft:#5a6572;--line:#d8dde4;--paper:#fff;--card:#f5f7fa;--bar:#2b6cb0;--other:#b7791f}
@media(prefers-color-scheme:dark){:root{--ink:#e6eaf0;--soft:#9aa6b5;--line:#333c49;--paper:#12161c;--card:#1b212a;--bar:#63a4e8;
--other:#e0ad55}}
*{box-sizing:border-box}body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:0 auto;padding:1rem;color:var(--ink);
background:var(--paper)}h1{font-size:1.5rem;margin:.5rem 0}h2{font-size:1.1rem;margin:1.8rem 0 .4rem}
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
td,th{padding:.25rem .8rem .25rem 0;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
td:first-child,th:first-child{text-align:left}th{color:var(--soft);font-weight:500}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:.6rem;margin:1rem 0}
.card{background:var(--card);border-radius:8px;padding:.6rem .8rem}.card b{display:block;font-size:1.3rem}.card span{color:var(--soft)}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:1rem}figure{margin:0}
figcaption{color:var(--soft);margin-bottom:.3rem}svg{width:100%;height:auto;display:block}svg text{font:13px system-ui,sans-serif;fill:var(--ink)}
svg .soft{fill:var(--soft)}.bar{fill:var(--bar)}.other{fill:var(--other)}dl{display:grid;grid-template-columns:auto 1fr;gap:.1rem .8rem}
@media(max-width:480px){svg text{font-size:15px}}dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}li{overflow-wrap:anywhere}"""
_WIDTH, _ROW, _LABEL, _VALUE = 440, 26, 96, 92


def write_page(path: Path, records: list[Record], overwrite: bool = False) -> None:
    """Write the page; it appears when it is complete. Raises RasterError where the file exists or cannot be written."""
    write_bytes(path, page(records).encode(), overwrite)


def page(records: list[Record]) -> str:
    """The whole page."""
    first = records[0]
    parts = ["<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content='width=device-width,initial-scale=1'>",
             f"<title>Benchmark: {_text(first['name'])}</title><style>{_STYLE}</style></head><body>",
             f"<h1>{_text(first['name'])}: benchmark</h1><p>{_text(first['scene'])}; tile sizes and precisions on "
             f"{_text(first.get('sweeps_on', first['scene']))}. Medians of up to {first['rounds']} rounds in turns, the engine alone of up to "
             f"{first['calls']} calls: as many as about two minutes allow.</p>", _cards(records), f"<div class=plots>{''.join(_plots(records))}</div>"]
    engine = of_kind(records, "engine")
    if engine:
        parts.append(_table("The engine alone", ("batch", "calls", "qps", "median ms", "p95 ms", "p99 ms", "first call ms", "input Mpx/s"), [
            (str(r["batch"]), str(r["calls"]), f"{r['throughput_qps']:.2f}", f"{r['p50_ms']:.2f}", f"{r['p95_ms']:.2f}", f"{r['p99_ms']:.2f}",
             f"{r['first_call_ms']:.1f}", f"{r['input_mpx_per_s']:.2f}") for r in engine]))
    parts += [_table(title, head, rows) for title, head, rows in tables(records)]
    missing = not_available(records)
    if missing:
        parts.append(f"<h2>Not available here</h2><ul>{''.join(f'<li>{_text(why)}</li>' for why in missing)}</ul>")
    parts.append("<h2>Machine</h2><dl>" + "".join(f"<dt>{_text(k)}</dt><dd>{_text(v)}</dd>" for k, v in machine_rows(first)) + "</dl>")
    return "\n".join(parts) + "</body></html>\n"


def _cards(records: list[Record]) -> str:
    cards = []
    for r in of_kind(records, "end_to_end"):
        cards += [(f"{r['mpx_per_s']:.2f} Mpx/s", "scene, end to end"), (f"{r['around_engine_over_engine']:.3f}", "around the engine / in it")]
    for r in of_kind(records, "engine")[:1]:
        cards.append((f"{r['p50_ms']:.1f} ms", f"engine, tile of {r['tile_px'][0]} px, p99 {r['p99_ms']:.1f}"))
    for r in of_kind(records, "memory"):
        cards.append((f"{r['peak_host_bytes'] / 1e6:.0f} MB", "peak host memory"))
        if not isinstance(r["peak_device_bytes"], str):
            cards.append((f"{r['peak_device_bytes'] / 1e6:.0f} MB", "peak memory of the device, all programs"))
    best, factors = winner(records)
    if factors:
        cards.append((best, "fastest: " + ", ".join(f"{f:.2f}x {name}" for name, f in factors.items())))
    return "<div class=cards>" + "".join(f"<div class=card><b>{_text(a)}</b><span>{_text(b)}</span></div>" for a, b in cards) + "</div>"


def _plots(records: list[Record]) -> list[str]:
    plots = []
    stages = of_kind(records, "stage")
    if stages:
        plots.append(bars("Stages, ns per scene pixel (blue: alone, amber: in the run)", [
            (r["stage"], r["alone_ns_per_px"], r["overlapped_ns_per_px"]) for r in stages], "ns"))
    for kind, title in (("tile", "Tile side with halo, Mpx/s of scene"), ("precision", "Precision, Mpx/s of scene")):
        found = of_kind(records, kind)
        if found:
            plots.append(bars(title, [(r["setting"], r["mpx_per_s"], None) for r in found], "Mpx/s"))
    tiles = of_kind(records, "tile")
    if tiles:
        plots.append(bars("Tile side with halo, share of the work that is halo", [(r["setting"], 100 * r["halo_share"], None) for r in tiles], "%"))
    engine = of_kind(records, "engine")
    if engine:
        plots.append(bars("Engine alone, ms per tile (blue: median, amber: p99)", [
            (f"batch {r['batch']}", r["p50_ms"] / r["batch"], r["p99_ms"] / r["batch"]) for r in engine], "ms"))
    return plots


def bars(title: str, rows: Sequence[tuple[str, float, float | None]], unit: str) -> str:
    """Horizontal bars from 0 as one figure: (name, value, a second value beside it or None)."""
    most = max((value for _, *values in rows for value in values if value is not None), default=0) or 1
    room, parts = _WIDTH - _LABEL - _VALUE, []
    for number, (name, value, second) in enumerate(rows):
        top, thick = number * _ROW, 9 if second is not None else 18
        parts += [f"<text x=0 y={top + 17}>{_text(name)}</text>",
                  f"<rect class=bar x={_LABEL} y={top + 3} width={room * value / most:.1f} height={thick} rx=2 />"]
        if second is not None:
            parts.append(f"<rect class=other x={_LABEL} y={top + 13} width={room * second / most:.1f} height={thick} rx=2 />")
        end = _LABEL + room * max(value, second or 0) / most + 6
        parts.append(f"<text class=soft x={end:.1f} y={top + 17}>{value:.3g} {_text(unit)}</text>")
    return (f"<figure><figcaption>{_text(title)}</figcaption><svg viewBox='0 0 {_WIDTH} {_ROW * len(rows) + 4}' role=img "
            f"aria-label='{_text(title)}'>{''.join(parts)}</svg></figure>")


def _table(title: str, head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    cells = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    names = "".join(f"<th>{_text(name)}</th>" for name in head)
    return f"<h2>{_text(title)}</h2><div class=wide><table><thead><tr>{names}</tr></thead><tbody>{cells}</tbody></table></div>"


def _text(value: object) -> str:
    return html.escape(str(value), quote=True)
