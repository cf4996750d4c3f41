"""The gate's evidence as files: gate.json, one HTML page that needs nothing else, and the worst tile of every graph as PNG."""

from __future__ import annotations

import base64
import html
import json
from pathlib import Path

import numpy as np

from hfd_edge.errors import RasterError
from hfd_edge.export.gate_report import GateReport
from hfd_edge.export.parity import Case, GateResult
from hfd_edge.export.png import png
from hfd_edge.raster import write_bytes
from hfd_edge.spec import NODATA_LABEL, ModelSpec

_GREY, _RED, _GAP_PX = 128, (255, 60, 60), 8
_MOST_SENSITIVE = 12            # rows of the page's table
_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem;color:#1c2430}
table{border-collapse:collapse;margin:.5rem 0 1.5rem}td,th{padding:.25rem .8rem;text-align:right;
border-bottom:1px solid #d8dde4}
td:first-child,th:first-child{text-align:left}.passed{color:#0a7a3d}.failed{color:#b3261e;font-weight:600}
img{max-width:100%;image-rendering:pixelated;border:1px solid #d8dde4}small{color:#5a6572}"""


def write_page(folder: Path, report: GateReport, spec: ModelSpec) -> list[Path]:
    """Write the evidence into a folder, made if it is not there; files of the same names are replaced.

    Raises:
        RasterError: the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RasterError(f"{folder} cannot be made ({error.strerror}): give a folder for the report") from error
    pictures = {name: png(worst_tile(result.worst, spec)) for name, result in report.graphs.items()}
    files = {"gate.json": json.dumps(report.to_dict(), indent=1).encode(), "gate.html": page(report, spec, pictures).encode(),
             **{f"worst-{name.removesuffix('.onnx')}.png": data for name, data in pictures.items()}}
    for name, data in files.items():
        write_bytes(folder / name, data, overwrite=True)
    return [folder / name for name in files]


def page(report: GateReport, spec: ModelSpec, pictures: dict[str, bytes]) -> str:
    """One HTML page with its pictures inside."""
    verdict = "passed" if report.passed else "failed"
    parts = [f"<!doctype html><html lang=en><meta charset=utf-8><title>Gate: {_text(spec.name)}</title><style>{_STYLE}</style>",
             f"<h1>{_text(spec.name)}: the gate <span class={verdict}>{verdict}</span></h1>",
             f"<p>The network in PyTorch against each graph, pixel by pixel, on {len(report.data)} scenes "
             f"({_text(', '.join(report.data[:6]))}{', ...' if len(report.data) > 6 else ''}). Bounds are upper 95 % ends over "
             "resampled blocks of 64 x 64 pixels; a graph passes by its bounds, not its means.</p>", _overview(report)]
    for name, result in report.graphs.items():
        source = base64.b64encode(pictures[name]).decode()
        parts += [f"<h2>{_text(name)}</h2>", _accuracy(result, spec),
                  f"<p>Worst tile: {result.worst.flip_rate:.3%} of its labels flip. Left to right: first band of the input, "
                  "labels of the network, labels of the graph, and where they differ in red.</p>",
                  f"<img alt='worst tile of {_text(name)}' src='data:image/png;base64,{source}'>"]
    if report.scenes:
        parts.append(_table(("tiled scene", "graph", "pixels", "tiles", "halo", "labels that flip"), [
            (s.scene, s.graph, s.pixels, s.tiles, s.halo, f"{s.flip_rate:.3%}") for s in report.scenes]))
    parts += [_speeds(report), _sensitivity(report)]
    parts += [f"<p class=failed>Refused: {_text(name)}: {_text(why)}</p>" for name, why in report.refused.items()]
    for what in report.not_verified:
        parts.append(f"<p><b>Not verified here:</b> {_text(what)}</p>")
    for note in (*report.sureness, *report.scenes_told, *report.notes, *report.slow):
        parts.append(f"<p{' class=failed' * note.startswith('WARNING')}>{_text(note)}</p>")
    return "\n".join(parts)


def worst_tile(case: Case, spec: ModelSpec) -> np.ndarray:
    """(rows, cols, 3) uint8: input, reference, candidate and their difference side by side."""
    band = case.pixels[0]
    low, high = np.percentile(band, (2, 98))
    grey = np.clip((band - low) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8)
    table = np.full((256, 3), _GREY, np.uint8)
    table[:len(spec.colors)] = spec.colors
    different = np.repeat((grey // 5)[..., None], 3, axis=2)
    different[(case.reference != case.candidate) & (case.reference != NODATA_LABEL)] = _RED
    panels = [np.repeat(grey[..., None], 3, axis=2), table[case.reference], table[case.candidate], different]
    gap = np.full((grey.shape[0], _GAP_PX, 3), 255, np.uint8)
    inside = np.argwhere(case.reference != NODATA_LABEL)            # the halo is not worth looking at
    (top, left), (bottom, right) = (inside.min(axis=0), inside.max(axis=0) + 1) if len(inside) else ((0, 0), grey.shape)
    cut = [panel[top:bottom, left:right] for panel in panels]
    return np.concatenate([part for panel in cut for part in (panel, gap[top:bottom])][:-1], axis=1)


def _overview(report: GateReport) -> str:
    rows = []
    for name, r in report.graphs.items():
        verdict = "passed" if r.passed else "failed: " + "; ".join(r.failures)
        rows.append((name, r.pixels, f"{r.flip_rate:.3%}", f"{r.flip_bound:.3%}", f"{r.thresholds.flips:.3%}",
                     f"{r.logit_error['0.5']:.2g} / {r.logit_error['0.99']:.2g} / {r.logit_error['1']:.2g}",
                     f"{r.max_logit:.1f}", f"{r.confidence_drift:+.4f}", verdict))
    return _table(("graph", "pixels", "labels that flip", "bound", "allowed", "logit error: median / 99 % / largest",
                   "largest logit", "confidence drift", "verdict"), rows)


def _accuracy(result: GateResult, spec: ModelSpec) -> str:
    if result.iou_reference is None:
        return "<p><small>No labels came with the data: no IoU.</small></p>"
    rows = [(name, f"{a:.4f}", f"{b:.4f}", f"{100 * (b - a):+.2f}", "too few labels" if bound is None else f"{100 * bound:.2f}")
            for name, a, b, bound in zip(spec.classes, result.iou_reference, result.iou_candidate, result.iou_bound)]
    allowed = f"bound (allowed {100 * result.thresholds.iou:.2f})"
    return _table(("class", "IoU network", "IoU graph", "change, points", allowed), rows)


def _speeds(report: GateReport) -> str:
    if not report.speeds:
        return ""
    rows = [(name, f"{s.tile_px[0]} x {s.tile_px[1]}", f"{s.ms:.1f}", "-" if s.over_fp32 is None else f"{s.over_fp32:.2f}")
            for name, s in report.speeds.items()]
    return "<h2>Speed on this machine</h2>" + _table(("graph", "tile", "ms, median", "times FP32's speed"), rows)


def _sensitivity(report: GateReport) -> str:
    """The convolutions that suffer most when they alone are quantised."""
    if not report.sensitivity:
        return ""
    rows = [(name, f"{error:.2%}") for name, error in list(report.sensitivity.items())[:_MOST_SENSITIVE]]
    more = len(report.sensitivity) - len(rows)
    rest = f"<p><small>{more} more are in gate.json. Any of these names can be given to --keep-float.</small></p>" if more else ""
    return ("<h2>What INT8 costs, convolution by convolution</h2>"
            + _table(("quantised alone", "error of the logits over their spread"), rows) + rest)


def _table(head: tuple[str, ...], rows: list[tuple]) -> str:
    lines = ["<tr>" + "".join(f"<th>{_text(cell)}</th>" for cell in head) + "</tr>"]
    for row in rows:
        cells = "".join(f"<td{_mark(cell)}>{_text(cell)}</td>" for cell in row)
        lines.append(f"<tr>{cells}</tr>")
    return "<table>" + "\n".join(lines) + "</table>"


def _mark(cell: object) -> str:
    return " class=passed" if cell == "passed" else " class=failed" if str(cell).startswith("failed") else ""


def _text(value: object) -> str:
    return html.escape(str(value))
