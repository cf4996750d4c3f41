"""One report per run: the same blocks as Markdown and as HTML."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hfd_edge.durable import write_whole

_STYLE = ("body{font-family:sans-serif;max-width:60em;margin:2em auto}table{border-collapse:collapse}img{max-width:100%}"
          "td,th{border:1px solid #ccc;padding:.2em .6em;text-align:right}td:first-child,th:first-child{text-align:left}")


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a report. `kind`: heading, text, table (its first line is the head) or picture (a file beside the report)."""

    kind: str
    text: str = ""
    lines: tuple[tuple[str, ...], ...] = ()


def heading(text: str) -> Block:
    return Block("heading", text)


def text(words: str) -> Block:
    return Block("text", words)


def table(head: Sequence[str], lines: Sequence[Sequence[object]]) -> Block:
    return Block("table", lines=(tuple(head), *(tuple(map(str, line)) for line in lines)))


def picture(file: str) -> Block:
    return Block("picture", file)


def write_report(folder: Path, title: str, blocks: Sequence[Block]) -> Path:
    """FOLDER/report.md and FOLDER/report.html; gives the first."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n\n".join(map(_markdown, blocks))
    write_whole(folder / "report.md", f"# {title}\n\n{text}\n".encode())
    page = (f"<!doctype html><html><head><meta charset=\"utf-8\"><title>{html.escape(title)}</title><style>{_STYLE}</style></head>"
            f"<body><h1>{html.escape(title)}</h1>{''.join(map(_html, blocks))}</body></html>")
    write_whole(folder / "report.html", f"{page}\n".encode())
    return folder / "report.md"


def _markdown(block: Block) -> str:
    if block.kind == "table":
        head, *lines = (["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in block.lines])
        return "\n".join([head, "|" + "---|" * len(block.lines[0]), *lines])
    return {"heading": f"## {block.text}", "picture": f"![{block.text}]({block.text})"}.get(block.kind, block.text)


def _html(block: Block) -> str:
    if block.kind == "table":
        head, *lines = block.lines
        rows = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in line) + "</tr>" for line in lines)
        return "<table><tr>" + "".join(f"<th>{html.escape(cell)}</th>" for cell in head) + f"</tr>{rows}</table>"
    inner = html.escape(block.text)
    parts = {"heading": f"<h2>{inner}</h2>", "picture": f'<p><img src="{inner}" alt="{inner}"></p>'}
    return parts.get(block.kind, f"<p>{inner}</p>")
