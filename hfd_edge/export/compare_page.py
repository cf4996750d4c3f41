"""An A/B comparison as files: report.html (needs nothing else), report.md, report.json, and a picture of where labels flip."""

from __future__ import annotations

import base64
import html
import json
import re
import statistics
from itertools import repeat
from pathlib import Path

import numpy as np

from hfd_edge.errors import RasterError
from hfd_edge.export.compare import Comparison, SceneFlips
from hfd_edge.export.compare_accuracy import points
from hfd_edge.export.png import png
from hfd_edge.raster import write_bytes

_NODATA, _SAME, _FLIP = np.array([128.0] * 3), np.array([246.0] * 3), np.array([200.0, 20.0, 30.0])
_FULL_SHARE = 0.25          # a cell with this share of flips is full red; the colour grows with the root, so that few show too
_MOST_DIFFERENCES = 200
_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem;color:#1c2430}
table{border-collapse:collapse;margin:.5rem 0 1.5rem}td,th{padding:.25rem .8rem;border-bottom:1px solid #d8dde4;text-align:left}
td{overflow-wrap:anywhere}img{max-width:100%;image-rendering:pixelated;border:1px solid #d8dde4}small{color:#5a6572}"""

Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]       # title, head, rows


def write_report(folder: Path, comparison: Comparison, overwrite: bool = False) -> list[Path]:
    """Write the report into a folder, made if it is not there.

    Raises:
        RasterError: the folder cannot be written to, or a file is there and overwrite is off.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RasterError(f"{folder} cannot be made ({error.strerror}): give a folder for the report") from error
    pictures = {_file_name(i, scene): png(flip_map(scene)) for i, scene in enumerate(comparison.scenes)}
    tables = make_tables(comparison)
    files = {**pictures, "report.json": json.dumps(comparison.to_dict(), indent=1).encode(),
             "report.md": _markdown(comparison, tables, list(pictures)).encode(),
             "report.html": _page(comparison, tables, pictures).encode()}
    for name, data in files.items():
        write_bytes(folder / name, data, overwrite)
    return [folder / name for name in files]


def headline(c: Comparison) -> str:
    """The comparison in one line."""
    text = f"{c.flip_rate:.3%} of {c.pixels} labels flip; the new one takes {c.speed.new_over_old:.2f} times the old one's "
    text += f"time and {c.bytes[1] / c.bytes[0]:.2f} times its size"
    if c.accuracy is None or c.change is None:
        return f"{text}; no labels lie beside the scenes, so which of the two is more accurate is not known"
    old, new = c.accuracy
    return f"{text}; mIoU {old.miou:.4f} -> {new.miou:.4f} ({points(c.change.miou, c.change.miou_within)})"


def less_accurate(c: Comparison) -> str:
    """One sentence where the new one lost accuracy beyond what these scenes leave open; "" where it did not, or nothing is known of it."""
    worse = () if c.change is None else c.change.worse(c.classes)
    return f"LESS ACCURATE than {c.old} on these scenes, beyond their uncertainty (95 %): {', '.join(worse)}" if worse else ""


def make_tables(c: Comparison) -> list[Table]:
    """Every figure as tables of text, for both forms of the report."""
    runs = len(c.speed.old_s)
    times = [f"{statistics.median(s):.3f} ({min(s):.3f} to {max(s):.3f})" for s in (c.speed.old_s, c.speed.new_s)]
    tables: list[Table] = [("Both", ("", "old", "new"), [
        ("file", c.old, c.new), ("ran", *c.graphs), ("bytes", *map(str, c.bytes)),
        (f"seconds over {c.speed.scene} ({c.speed.megapixels:.2f} Mpx), {runs} runs in turns: median (range)", *times)]),
        ("Scenes", ("scene", "pixels", "labels that flip"), [(s.name, str(s.pixels), f"{s.flip_rate:.3%}") for s in c.scenes])]
    if c.accuracy is not None:
        old, new = c.accuracy
        changes = zip((*c.change.iou, c.change.miou), (*c.change.iou_within, c.change.miou_within)) if c.change else repeat((None, None))
        named = zip((*c.classes, "mean over classes present"), (*old.iou, old.miou), (*new.iou, new.miou), changes)
        rows = [(name, "-", "-", "not in the labels") if change is None else (name, f"{a:.4f}", f"{b:.4f}", points(change, within))
                for name, a, b, (change, within) in named]
        tables.append((f"Accuracy (IoU) over {new.pixels} pixels with a label", ("class", "old", "new", "change"), rows))
    names = (*c.classes, "nodata")
    moved = [(int(c.moves[i, j]), i, j) for i, j in np.argwhere(c.moves) if i != j]
    rows = [(names[i], names[j], str(count)) for count, i, j in sorted(moved, reverse=True)[:20]]
    tables.append(("What became what", ("old label", "new label", "pixels"), rows))
    rows = [(d.where, d.old or "-", d.new or "-") for d in c.differences[:_MOST_DIFFERENCES]]
    tables.append((f"Differences of the packages ({len(c.differences)})", ("what", "old", "new"), rows))
    return tables


def flip_map(scene: SceneFlips) -> np.ndarray:
    """(r, c, 3) uint8: light where labels agree, red where they flip, grey for nodata."""
    weight = np.sqrt(np.clip(np.nan_to_num(scene.share) / _FULL_SHARE, 0, 1))[..., None]
    image = _SAME * (1 - weight) + _FLIP * weight
    return np.rint(np.where(np.isnan(scene.share)[..., None], _NODATA, image)).astype(np.uint8)


def _file_name(number: int, scene: SceneFlips) -> str:
    return f"flips-{number}-{re.sub(r'[^A-Za-z0-9._-]+', '-', Path(scene.name).stem)[:60]}.png"


def _caption(scene: SceneFlips) -> str:
    return (f"{scene.name}: {scene.flip_rate:.3%} of the labels flip; a cell is {scene.cell_px} x {scene.cell_px} px, full red "
            f"from {_FULL_SHARE:.0%} of it on, grey is nodata")


def _markdown(c: Comparison, tables: list[Table], pictures: list[str]) -> str:
    def cell(text: str) -> str:
        return html.escape(text, quote=False).replace("|", "\\|").replace("\n", " ")
    lines = ["# Old against new", "", f"{cell(headline(c))}.", "", *([f"**The new one is {cell(worse)}.**", ""] if (worse := less_accurate(c)) else []),
             f"{cell(c.relation)}.", "", *(line for note in c.notes for line in (f"{cell(note)}.", ""))]
    for title, head, rows in tables:
        lines += [f"## {cell(title)}", "", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}",
                  *(f"| {' | '.join(map(cell, row))} |" for row in rows), ""]
    for scene, picture in zip(c.scenes, pictures):
        lines += [f"![where labels flip]({picture})", "", cell(_caption(scene)), ""]
    return "\n".join(lines)


def _page(c: Comparison, tables: list[Table], pictures: dict[str, bytes]) -> str:
    parts = [f"<!doctype html><html lang=en><meta charset=utf-8><title>Old against new</title><style>{_STYLE}</style>",
             f"<h1>Old against new</h1><p>{html.escape(headline(c))}.</p>",
             *([f"<p><b>The new one is {html.escape(worse)}.</b></p>"] if (worse := less_accurate(c)) else []), f"<p>{html.escape(c.relation)}.</p>",
             *(f"<p>{html.escape(note)}.</p>" for note in c.notes)]
    for scene, data in zip(c.scenes, pictures.values()):
        parts.append(f"<p>{html.escape(_caption(scene))}</p><img alt='where labels flip' "
                     f"src='data:image/png;base64,{base64.b64encode(data).decode()}'>")
    for title, head, rows in tables:
        body = "\n".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
        names = "".join(f"<th>{html.escape(name)}</th>" for name in head)
        parts.append(f"<h2>{html.escape(title)}</h2><table><tr>{names}</tr>{body}</table>")
    return "\n".join(parts)
