"""GeoTIFFs as SNAP writes them, byte by byte: no library that hfd_edge uses has a part in them."""

import struct
from pathlib import Path

import numpy as np

SHORT, LONG, ASCII, LONG8 = 3, 4, 2, 16


def band_info(index: int, name: str, unit: str = "", more: str = "") -> str:
    return (f"<Spectral_Band_Info><BAND_INDEX>{index}</BAND_INDEX><BAND_DESCRIPTION /><BAND_NAME>{name}</BAND_NAME>"
            f"<DATA_TYPE>float32</DATA_TYPE>{f'<PHYSICAL_UNIT>{unit}</PHYSICAL_UNIT>' if unit else ''}<SCALING_FACTOR>1.0</SCALING_FACTOR>"
            f"<SCALING_OFFSET>0.0</SCALING_OFFSET><LOG10_SCALED>false</LOG10_SCALED>{more}</Spectral_Band_Info>")


def header(*bands: str) -> bytes:
    """A header of SNAP with these bands."""
    return ('<?xml version="1.0" encoding="ISO-8859-1"?>\n<Dimap_Document name="made.dim"><Metadata_Id><METADATA_FORMAT version="2.12.1">DIMAP'
            f"</METADATA_FORMAT></Metadata_Id><Image_Interpretation>{''.join(bands)}</Image_Interpretation></Dimap_Document>\n").encode("iso-8859-1")


def write_snap(path: Path, values: np.ndarray, text: bytes | None, order: str = "<", big: bool = False, changed: dict | None = None) -> Path:
    """values (bands, rows, cols) float32 in one strip, pixel by pixel; text goes into tag 65000.

    `changed` replaces fields of the tag's entry: kind, count, value (where the text lies).
    """
    count, rows, cols = values.shape
    pixels = np.ascontiguousarray(values.transpose(1, 2, 0)).astype(f"{order}f4").tobytes()
    offset = "Q" if big else "I"
    entries: list[tuple[int, int, bytes, int]] = [
        (256, LONG, _pack(order, "I", cols), 1), (257, LONG, _pack(order, "I", rows), 1), (258, SHORT, _pack(order, "H", *[32] * count), count),
        (259, SHORT, _pack(order, "H", 1), 1), (262, SHORT, _pack(order, "H", 1), 1), (273, LONG8 if big else LONG, b"", 1),
        (277, SHORT, _pack(order, "H", count), 1), (278, LONG, _pack(order, "I", rows), 1), (279, LONG, _pack(order, "I", len(pixels)), 1),
        (284, SHORT, _pack(order, "H", 1), 1),
        *([(338, SHORT, _pack(order, "H", *[0] * (count - 1)), count - 1)] if count > 1 else []),
        (339, SHORT, _pack(order, "H", *[3] * count), count)]
    if text is not None:
        entries.append((65000, ASCII, text + b"\0", len(text) + 1))
    head = 16 if big else 8
    entry = struct.Struct(f"{order}HH{offset}{8 if big else 4}s")
    end = head + struct.calcsize(order + ("Q" if big else "H")) + len(entries) * entry.size + struct.calcsize(order + offset)
    directory, after = b"", b""
    for tag, kind, value, number in entries:
        if tag == 273:
            value = _pack(order, offset, end)
        elif len(value) > (8 if big else 4):
            after += value
            value = _pack(order, offset, end + len(pixels) + len(after) - len(value))
        if tag == 65000 and changed:
            kind, number = changed.get("kind", kind), changed.get("count", number)
            value = _pack(order, offset, changed["value"]) if "value" in changed else value
        directory += entry.pack(tag, kind, number, value)
    mark = b"II" if order == "<" else b"MM"
    first = mark + (_pack(order, "HHH", 43, 8, 0) + _pack(order, "Q", head) if big else _pack(order, "H", 42) + _pack(order, "I", head))
    path.write_bytes(first + _pack(order, "Q" if big else "H", len(entries)) + directory + _pack(order, offset, 0) + pixels + after)
    return path


def _pack(order: str, codes: str, *values: int) -> bytes:
    return struct.pack(order + (codes if len(codes) == len(values) else codes * len(values)), *values)
