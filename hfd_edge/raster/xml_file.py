"""XML of products, read as data from strangers: size, depth and number of elements are limited, document types are refused."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from xml.parsers import expat

import numpy as np

from hfd_edge.errors import RasterError

LARGEST_BYTES = 64 << 20            # an annotation of a whole Sentinel-1 scene has 2 MB
_DEEPEST = 64
_MOST_ELEMENTS = 2_000_000
_SOURCE = "copy or download the product again"


class _Refused(Exception):
    """Raised inside the parser's handlers; becomes a RasterError with the file's name."""


def read_xml(path: Path, root: str) -> ET.Element:
    """The root element of a file whose root must have this name (without its namespace).

    A first pass of the parser alone looks for a document type, which could declare entities, before any tree is built.

    Raises:
        RasterError: not there, too large, too deep, damaged, with a document type, or of another kind.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise RasterError(f"{path} cannot be read ({error.strerror}): the product is incomplete; {_SOURCE}") from error
    if len(content) > LARGEST_BYTES:
        raise RasterError(f"{path} has more than {LARGEST_BYTES >> 20} MiB: no annotation of a product is that large; {_SOURCE}")
    return parse_xml(content, root, path)


def parse_xml(content: bytes, root: str, path: Path) -> ET.Element:
    """As `read_xml`, of bytes that came from a file at `path`; how many they may be is the caller's business."""
    try:
        _check(content)
        element = ET.fromstring(content)
    except _Refused as error:
        raise RasterError(f"{path} {error}") from error
    except (ET.ParseError, expat.ExpatError, ValueError, LookupError) as error:
        raise RasterError(f"{path} is no sound XML ({error}): it is damaged or truncated; {_SOURCE}") from error
    if plain_name(element) != root:
        raise RasterError(f"{path} is XML of another kind (<{plain_name(element)}>, not <{root}>); {_SOURCE}")
    return element


def _check(content: bytes) -> None:
    parser, counts = expat.ParserCreate(), [0, 0]       # open elements, elements in all

    def refuse_doctype(*_: object) -> None:
        raise _Refused("declares a document type: it could define entities, and no SAR product has one; remove the DOCTYPE")

    def start(*_: object) -> None:
        counts[0] += 1
        counts[1] += 1
        if counts[0] > _DEEPEST or counts[1] > _MOST_ELEMENTS:
            raise _Refused(f"has more than {_DEEPEST} levels or {_MOST_ELEMENTS} elements: no product has; {_SOURCE}")

    def end(*_: object) -> None:
        counts[0] -= 1

    parser.StartDoctypeDeclHandler, parser.StartElementHandler, parser.EndElementHandler = refuse_doctype, start, end
    parser.Parse(content, True)


def plain_name(element: ET.Element) -> str:
    """The name of an element without its namespace."""
    return element.tag.rpartition("}")[2]


def text_of(element: ET.Element, path: str, where: Path) -> str:
    """The text of the element at `path`. Raises RasterError if it is not there or empty."""
    found = element.find(path)
    text = (found.text or "").strip() if found is not None else ""
    if not text:
        raise RasterError(f"{where} has no <{path}>: it is incomplete, or of a version that is not known; {_SOURCE}")
    return text


def number_of(element: ET.Element, path: str, where: Path) -> float:
    """The finite number at `path`. Raises RasterError."""
    values = numbers_of(element, path, where)
    if values.size != 1:
        raise RasterError(f"{where}: <{path}> holds {values.size} numbers and must hold one; {_SOURCE}")
    return float(values[0])


def whole_number_of(element: ET.Element, path: str, where: Path) -> int:
    """The whole number at `path`. Raises RasterError."""
    value = number_of(element, path, where)
    if value != int(value) or abs(value) > 1 << 31:
        raise RasterError(f"{where}: <{path}> is {value:g} and must be a whole number; {_SOURCE}")
    return int(value)


def numbers_of(element: ET.Element, path: str, where: Path) -> np.ndarray:
    """The finite numbers at `path`: (n,) float64. Raises RasterError."""
    text = text_of(element, path, where)
    try:
        values = np.array(text.split(), np.float64)
    except ValueError as error:
        raise RasterError(f"{where}: <{path}> holds something that is no number ({error}); {_SOURCE}") from error
    if not np.isfinite(values).all():
        raise RasterError(f"{where}: <{path}> holds a number that is not finite; {_SOURCE}")
    return values
