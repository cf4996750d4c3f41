"""How a report is laid out for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

Lines = Mapping[str, "str | tuple[str, ...]"]           # name to what is said of it; one line each of several


def aligned(lines: Lines) -> Iterator[str]:
    """Name and value, values below each other; a line for each of several values, none for ()."""
    width = max(len(name) for name, values in lines.items() if values != ())
    for name, values in lines.items():
        for value in (values,) if isinstance(values, str) else values:
            yield printable(f"{name:<{width}}  {value}")


def printable(text: str) -> str:
    """The text with control characters spelled out: names in a file must not move the cursor or forge a line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
