"""The container of a `.engine` file: a zip reduced to the one layout that docs/engine-format.md describes.

Members lie back to back, stored, each one's data on a 64-byte boundary; the directory follows the last member and ends the
file. Every byte outside the data follows from the members' names, sizes and CRC-32s, so the reader accepts exactly what the
writer writes, and nothing can hide between members, overlap, be compressed, be a link or be encrypted.

Source of the record layouts: PKWARE APPNOTE 6.3, sections 4.3.7, 4.3.12 and 4.3.16.
"""

from __future__ import annotations

import re
import stat
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from hfd_edge.errors import PackageError

ALIGNMENT = 64                     # bytes; a cache line, and what numpy and the engines like best
MAX_MEMBERS = 64
MAX_NAME_BYTES = 128
MAX_MEMBER_BYTES = 2**31 - 1       # a protobuf message, hence an ONNX graph, cannot be larger
MAX_FILE_BYTES = 2**32 - 2         # above it a zip needs its 64-bit records, which this format does not use
AGAIN = "copy the file again from where it came from, or export it anew"

_LOCAL = struct.Struct("<4s5H3I2H")
_DIRECTORY = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_PADDING = struct.Struct("<3H")    # the extra field 0xD935 of Android's zipalign: id, length, alignment; zeros follow
_NEEDED, _MADE_BY = 20, 3 << 8 | 20
_DATE, _TIME = 0x0021, 0           # 1980-01-01 00:00, the earliest date a zip can say
_FILE_MODE = (stat.S_IFREG | 0o644) << 16
_NAME = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")


@dataclass(frozen=True, slots=True)
class Entry:
    """Where one member's data lies in the file."""

    name: str
    start: int      # byte offset of the data, a multiple of ALIGNMENT
    size: int       # bytes
    crc32: int
    header: int     # byte offset of the local header


def write_container(file: BinaryIO, members: Sequence[tuple[str, memoryview]]) -> None:
    """Write the members in the given order. The bytes depend on names and contents alone.

    Args:
        file: binary, empty, positioned at 0.
        members: (name, data); data is contiguous and of item size 1.
    Raises:
        PackageError: a name is unsafe or given twice, or a limit of the format is passed.
    """
    entries: list[Entry] = []
    at = 0
    for name, data in members:
        check_name(name)
        entry = Entry(name, at + _LOCAL.size + len(name) + _extra_size(at, name), data.nbytes, zlib.crc32(data), at)
        at = entry.start + entry.size
        _check_limits(name, entry.size, at)
        file.write(_local_record(entry))
        file.write(data)
        entries.append(entry)
    _check_count(len(entries))
    _check_unique(entries)
    directory = b"".join(map(_directory_record, entries))
    file.write(directory + _END.pack(b"PK\x05\x06", 0, 0, len(entries), len(entries), len(directory), at, 0))


def read_container(data: memoryview) -> tuple[Entry, ...]:
    """The members of a container, in file order. Reads headers only; `verify_crc` looks at the data.

    Args:
        data: the whole file.
    Raises:
        PackageError: any byte outside the members' data differs from what `write_container` would have written.
    """
    at, count = _find_directory(data)
    directory_at = at
    entries: list[Entry] = []
    for _ in range(count):
        if at + _DIRECTORY.size > len(data) - _END.size:
            raise PackageError(f"the zip directory ends before its entry {len(entries) + 1} of {count}: {AGAIN}")
        entry = _read_entry(data, at, entries[-1].start + entries[-1].size if entries else 0, directory_at)
        at += _DIRECTORY.size + len(entry.name)
        entries.append(entry)
    last = entries[-1].start + entries[-1].size
    if last != directory_at or at != len(data) - _END.size:
        raise PackageError(f"{directory_at - last} bytes behind the last member and {len(data) - _END.size - at} behind the "
                           f"directory belong to nothing: a package holds no hidden bytes; {AGAIN}")
    _check_unique(entries)
    return tuple(entries)


def verify_crc(data: memoryview, entry: Entry) -> None:
    """Refuse a member whose data does not have the CRC-32 that the zip gives, as every other zip reader would.

    Raises:
        PackageError: it differs.
    """
    found = zlib.crc32(data[entry.start:entry.start + entry.size])
    if found != entry.crc32:
        raise PackageError(f"member {entry.name} has CRC-32 {found:08x}, the zip says {entry.crc32:08x}: it is damaged; {AGAIN}")


def check_name(name: str) -> None:
    """Refuse a member name that is not a plain relative path of letters, digits, dot, dash and underscore.

    Raises:
        PackageError: it is absolute, empty, a folder, too long, or holds "..", a backslash or another character.
    """
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME_BYTES or {".", ".."} & set(name.split("/")):
        raise PackageError(f"member name {name[:200]!r} is not safe: only relative paths of letters, digits, '.', '-', '_' of at "
                           f"most {MAX_NAME_BYTES} characters, without '..', are read; do not use this file, ask its maker for another")


def _extra_size(header: int, name: str) -> int:
    unpadded = header + _LOCAL.size + len(name) + _PADDING.size
    return _PADDING.size + -unpadded % ALIGNMENT


def _local_record(entry: Entry) -> bytes:
    extra = _extra_size(entry.header, entry.name)
    head = _LOCAL.pack(b"PK\x03\x04", _NEEDED, 0, 0, _TIME, _DATE, entry.crc32, entry.size, entry.size, len(entry.name), extra)
    return head + entry.name.encode("ascii") + _PADDING.pack(0xD935, extra - 4, ALIGNMENT) + bytes(extra - _PADDING.size)


def _directory_record(entry: Entry) -> bytes:
    return _DIRECTORY.pack(b"PK\x01\x02", _MADE_BY, _NEEDED, 0, 0, _TIME, _DATE, entry.crc32, entry.size, entry.size,
                           len(entry.name), 0, 0, 0, 0, _FILE_MODE, entry.header) + entry.name.encode("ascii")


def _find_directory(data: memoryview) -> tuple[int, int]:
    """(byte offset of the directory, number of entries) from the record that ends the file."""
    if len(data) > MAX_FILE_BYTES:
        raise PackageError(f"the file has {len(data)} bytes: a package has at most {MAX_FILE_BYTES}; leave plans out of it")
    end = len(data) - _END.size
    if end < 0 or data[end:end + 4] != b"PK\x05\x06":
        tail = bytes(data[-70000:])
        found = tail.rfind(b"PK\x05\x06")
        what = "something was appended to it" if 0 <= found < len(tail) - _END.size else "it was cut short"
        raise PackageError(f"the file does not end with its zip directory, so {what}: {AGAIN}")
    _, disk, first_disk, count, total, size, at, comment = _END.unpack_from(data, end)
    if disk or first_disk or comment or count != total or at + size != end:
        raise PackageError(f"the zip's end record is wrong (disk {disk}, {count} of {total} entries, directory {at}+{size}, "
                           f"comment {comment}): a package is one part, without comment, its directory last; {AGAIN}")
    _check_count(count)
    return at, count


def _read_entry(data: memoryview, at: int, expected: int, limit: int) -> Entry:
    """The entry whose directory record lies at `at`; its header must be at `expected` and its data end at `limit` or before."""
    (magic, made_by, _, flags, method, _, _, crc, packed, size, name_size, _, _, _, _, attributes, header) = \
        _DIRECTORY.unpack_from(data, at)
    name = bytes(data[at + _DIRECTORY.size:at + _DIRECTORY.size + name_size]).decode("latin-1")
    if magic != b"PK\x01\x02":
        raise PackageError(f"the zip directory is damaged at byte {at}: {AGAIN}")
    check_name(name)
    if flags & 1:
        raise PackageError(f"member {name} is encrypted: packages are not; ask its maker for a plain one")
    if method or packed != size:
        raise PackageError(f"member {name} is compressed (method {method}, {packed} of {size} bytes): members are stored as they "
                           "are, so that they can be mapped; write packages with hfd-edge export, not with a zip tool")
    if made_by >> 8 == 3 and stat.S_IFMT(attributes >> 16) not in (0, stat.S_IFREG):
        raise PackageError(f"member {name} is a link, folder or device (mode {attributes >> 16:o}): only plain files are read; "
                           "do not use this file, ask its maker for another")
    if header != expected:
        raise PackageError(f"member {name} starts at byte {header}, the one before it ends at {expected}: members must follow "
                           f"each other without overlap or gap; {AGAIN}")
    return _checked_entry(data, at, Entry(name, _data_start(data, name, header, limit), size, crc, header), limit)


def _data_start(data: memoryview, name: str, header: int, limit: int) -> int:
    if header + _LOCAL.size > limit:
        raise PackageError(f"member {name} starts at byte {header}, inside the zip directory at {limit}: {AGAIN}")
    name_size, extra_size = struct.unpack_from("<2H", data, header + _LOCAL.size - 4)
    return header + _LOCAL.size + name_size + extra_size


def _checked_entry(data: memoryview, at: int, entry: Entry, limit: int) -> Entry:
    end = entry.start + entry.size
    _check_limits(entry.name, entry.size, end)
    if end > limit:
        raise PackageError(f"member {entry.name} ends at byte {end}, behind the zip directory at {limit}: {AGAIN}")
    if entry.start % ALIGNMENT:
        raise PackageError(f"member {entry.name} has its data at byte {entry.start}: data starts on {ALIGNMENT}-byte boundaries; "
                           "write packages with hfd-edge export, not with a zip tool")
    record = _directory_record(entry)
    if data[entry.header:entry.start] != _local_record(entry) or data[at:at + len(record)] != record:
        raise PackageError(f"member {entry.name} has a header that hfd_edge does not write: it was changed by another tool or damaged; {AGAIN}")
    return entry


def _check_limits(name: str, size: int, end: int) -> None:
    if size > MAX_MEMBER_BYTES or end > MAX_FILE_BYTES:
        raise PackageError(f"member {name} has {size} bytes and ends at byte {end}: a member has at most {MAX_MEMBER_BYTES} and "
                           f"a package at most {MAX_FILE_BYTES}; use a smaller network or leave members out")


def _check_count(count: int) -> None:
    if not 1 <= count <= MAX_MEMBERS:
        raise PackageError(f"the package has {count} members: it must have 1 to {MAX_MEMBERS}; leave plans out of it")


def _check_unique(entries: Sequence[Entry]) -> None:
    seen: set[str] = set()
    for entry in entries:
        if entry.name.lower() in seen:
            raise PackageError(f"member {entry.name} is there twice (case does not count): which one is meant cannot be told; {AGAIN}")
        seen.add(entry.name.lower())
