"""The protobuf wire format, as far as looking into an ONNX file and changing its input need it. Knows no message types.

Stricter than a protobuf library, so that what is read here is what every library reads: no groups, no overlong numbers.

Source: protobuf.dev, "Encoding".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hfd_edge.errors import EngineError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_FIXED_SIZE = {FIXED64: 8, FIXED32: 4}
_MAX_FIELD = 2**29 - 1

Fields = list[tuple[int, int, "int | bytes"]]


def read_fields(message: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """The fields of one message in file order: (field number, wire type, value).

    Args:
        message: uint8, the message's bytes.
    Yields:
        the value as a non-negative int for VARINT, as a view of the message otherwise.
    Raises:
        EngineError: the bytes are no protobuf message.
    """
    at = 0
    while at < len(message):
        tag, at = _read_varint(message, at)
        number, wire = tag >> 3, tag & 7
        if not 1 <= number <= _MAX_FIELD:
            raise EngineError(f"field number {number} before byte {at}: it must be 1 to {_MAX_FIELD}")
        if wire == VARINT:
            value, at = _read_varint(message, at)
            yield number, wire, value
            continue
        if wire == BYTES:
            size, at = _read_varint(message, at)
        elif wire in _FIXED_SIZE:
            size = _FIXED_SIZE[wire]
        else:
            raise EngineError(f"field {number} has wire type {wire} before byte {at}: only 0, 1, 2 and 5 are in use")
        if size > len(message) - at:
            raise EngineError(f"field {number} wants {size} bytes from byte {at} on, {len(message) - at} are left")
        yield number, wire, message[at:at + size]
        at += size


def fields_of(message: bytes | memoryview) -> Fields:
    """All of `read_fields`, values as bytes: to be compared, and written again."""
    return [(number, wire, value if wire == VARINT else bytes(value)) for number, wire, value in read_fields(memoryview(message))]


def values_of(fields: Fields, wanted: int, kind: int = BYTES) -> list:
    """The values of a field, if they are of this wire type."""
    return [value for number, wire, value in fields if (number, wire) == (wanted, kind)]


def write_fields(fields: Iterable[tuple[int, int, int | bytes | memoryview]]) -> bytes:
    """A message of these fields, as `read_fields` reads them."""
    return b"".join(_field(*field) for field in fields)


def _field(number: int, wire: int, value: int | bytes | memoryview) -> bytes:
    tag = _varint(number << 3 | wire)
    if wire == VARINT:
        return tag + _varint(value)
    return tag + (_varint(len(value)) if wire == BYTES else b"") + bytes(value)


def _varint(value: int) -> bytes:
    """A non-negative number to the base of 128, lowest digits first."""
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])


def _read_varint(message: memoryview, at: int) -> tuple[int, int]:
    """(value, byte behind it) of the base-128 number at `at`, at most 64 bits in at most 10 bytes."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise EngineError(f"a number is cut off at byte {at}")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >= 2**64:
                break
            return value, at
    raise EngineError(f"a number before byte {at} has more than 64 bits")
