"""What a report says to people, how it is laid out for them, and how programs tell one sentence from another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

Lines = Mapping[str, "str | tuple[str, ...]"]           # name to what is said of it; one line each of several

_OF_THE_SCENE = "scene"         # code of what a file or a product says of itself


class Note(str):
    """A sentence of a report, and the word by which a program knows it: `code` stays where the sentence is worded anew. All: docs/rasters.md."""

    code: str

    def __new__(cls, code: str, sentence: str) -> Note:
        note = super().__new__(cls, sentence)
        note.code = code
        return note

    def __getnewargs__(self) -> tuple[str, str]:            # type: ignore[override]
        return self.code, str(self)


def codes_of(notes: Iterable[str]) -> tuple[str, ...]:
    """The code of each; "scene" of plain sentences."""
    return tuple(getattr(note, "code", _OF_THE_SCENE) for note in notes)


def aligned(lines: Lines) -> Iterator[str]:
    """Name and value, values below each other; a line for each of several values, none for ()."""
    width = max(len(name) for name, values in lines.items() if values != ())
    for name, values in lines.items():
        for value in (values,) if isinstance(values, str) else values:
            yield printable(f"{name:<{width}}  {value}")


def printable(text: str) -> str:
    """The text with control characters spelled out: names in a file must not move the cursor or forge a line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
