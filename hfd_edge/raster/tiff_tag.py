"""The text of one tag in a TIFF's first directory, where GDAL does not give it: no offset and no count of the file is believed."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hfd_edge.errors import RasterError

_MOST_ENTRIES = 4096            # of a directory; SNAP writes about 20
_ASCII = 2                      # type of a value, TIFF 6.0


@dataclass(frozen=True, slots=True)
class _Layout:
    """How wide the numbers of a TIFF are, as codes of struct; the order of their bytes comes with each."""

    order: str                  # "<" or ">"
    entries: str                # how many entries a directory has
    offset: str                 # where something lies, and how many values an entry has
    start: int                  # where the head says where the first directory lies

    @property
    def entry(self) -> struct.Struct:
        """Tag, type, number of values; the values, or where they lie."""
        return struct.Struct(f"{self.order}HH{self.offset}{struct.calcsize('<' + self.offset)}s")


def text_of_tag(path: Path, tag: int, most_bytes: int) -> bytes | None:
    """The bytes of an ASCII tag in the first directory of a classic TIFF or a BigTIFF, without the zeros at its end.

    Returns:
        None where the directory has no such tag, or one that is no text.
    Raises:
        RasterError: the head, the directory or the tag is damaged, or the text is longer than `most_bytes`.
    """
    try:
        with open(path, "rb") as file:
            return _text(file, tag, most_bytes)
    except OSError as error:
        raise RasterError(f"{path} cannot be read: {error.strerror}; check its permissions") from error
    except _Damaged as error:
        raise RasterError(f"{path}: tag {tag} {error}") from error


class _Damaged(Exception):
    """Becomes a RasterError with the file's name."""


def _text(file: BinaryIO, tag: int, most_bytes: int) -> bytes | None:
    layout = _layout(_part(file, 0, 8))
    at = _number(file, layout, layout.offset, layout.start)
    count = _number(file, layout, layout.entries, at)
    if count > _MOST_ENTRIES:
        raise _Damaged(f"cannot be looked for: the directory claims {count} entries and {_MOST_ENTRIES} are the most that are read")
    directory = _part(file, at + struct.calcsize("<" + layout.entries), count * layout.entry.size)
    for number, kind, length, value in layout.entry.iter_unpack(directory):
        if number == tag:
            return _value(file, layout, (kind, length, value), most_bytes)
    return None


def _value(file: BinaryIO, layout: _Layout, entry: tuple[int, int, bytes], most_bytes: int) -> bytes | None:
    kind, length, value = entry
    if kind != _ASCII:
        return None
    if length > most_bytes:
        raise _Damaged(f"claims {length} bytes and {most_bytes} are the most that are read")
    if length > len(value):
        value = _part(file, struct.unpack(layout.order + layout.offset, value)[0], length)
    return value[:length].rstrip(b"\0")


def _layout(head: bytes) -> _Layout:
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    version, = struct.unpack(f"{order or '<'}H", head[2:4])
    if order is not None and version == 42:
        return _Layout(order, "H", "I", 4)
    if order is not None and version == 43 and head[4:] == struct.pack(f"{order}HH", 8, 0):
        return _Layout(order, "Q", "Q", 8)
    raise _Damaged(f"cannot be looked for: the file begins with {head!r}, which no TIFF does")


def _number(file: BinaryIO, layout: _Layout, code: str, at: int) -> int:
    return struct.unpack(layout.order + code, _part(file, at, struct.calcsize("<" + code)))[0]


def _part(file: BinaryIO, at: int, length: int) -> bytes:
    size = os.fstat(file.fileno()).st_size
    if at + length > size:
        raise _Damaged(f"or its directory lies at byte {at} and has {length}, and the file has {size}")
    file.seek(at)
    part = file.read(length)
    if len(part) != length:
        raise _Damaged(f"or its directory cannot be read: the file ends after {len(part)} of {length} bytes at {at}")
    return part
