"""Names and units of bands that ESA's SNAP leaves in a GeoTIFF: its own XML header in a private tag, which GDAL does not read.

SNAP describes all bands of a product there and stores those that are neither virtual nor filters, in the same order. Source:
DimapHeaderWriter and the GeoTIFF writers of github.com/senbox-org/snap-engine.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

from hfd_edge.errors import RasterError
from hfd_edge.raster.tiff_tag import text_of_tag
from hfd_edge.raster.xml_file import number_of, parse_xml, plain_name, text_of, whole_number_of
from hfd_edge.spec import Unit

_TAG, _ROOT = 65000, "Dimap_Document"
_LARGEST_BYTES = 16 << 20           # a header with the metadata of a Sentinel-1 product has 1 to 3 MB
_LONGEST_NAME = 255
_DECIBELS = re.compile(r"_db(?![a-z])", re.IGNORECASE)
_UNITS = {"intensity": Unit.INTENSITY, "amplitude": Unit.AMPLITUDE, "intensity_db": Unit.DB, "db": Unit.DB}     # "amplitude_db" is half of a power's


@dataclass(frozen=True, slots=True)
class SnapBand:
    """One stored band of a SNAP product."""

    name: str                       # such as Sigma0_VV_db
    unit: Unit | None               # None = not stated, stated in contradiction, or of numbers that were scaled to be stored
    scaled: bool


def snap_bands(path: Path, count: int) -> tuple[tuple[SnapBand, ...], tuple[str, ...]]:
    """The bands of a GeoTIFF that SNAP wrote, in the order in which they are stored, and what a report says of them.

    Args:
        count: bands that the file holds.
    Returns:
        () where there is no such header; () and a sentence with the reason where it cannot be used: it never is a reason to refuse.
    """
    try:
        text = text_of_tag(path, _TAG, _LARGEST_BYTES)
        if text is None or f"<{_ROOT}".encode() not in text:
            return (), ()
        bands = _stored_bands(parse_xml(text, _ROOT, path), path)
        if len(bands) != count:
            raise RasterError(f"it names {len(bands)} stored bands ({', '.join(band.name for band in bands[:8])}) and the file holds {count}")
    except RasterError as error:
        return (), (f"the bands' names in SNAP's header of {path.name} (TIFF tag {_TAG}) are not used: {error}",)
    scaled = ", ".join(band.name for band in bands if band.scaled)
    return bands, (f"SNAP's header of {path.name} scales {scaled}, which is not applied: export it as float32, or give --unit, --scale and "
                   "--offset",) if scaled else ()


def _stored_bands(root: Element, path: Path) -> tuple[SnapBand, ...]:
    found: dict[int, SnapBand] = {}
    for item in root.iterfind("Image_Interpretation/*"):
        if plain_name(item) != "Spectral_Band_Info" or item.find("Filter_Band_Info") is not None or _is_true(item, "VIRTUAL_BAND"):
            continue
        index = whole_number_of(item, "BAND_INDEX", path)
        if index in found:
            raise RasterError(f"two of its bands have the index {index}")
        found[index] = _band(item, path)
    bands = tuple(found[index] for index in sorted(found))
    if len({band.name for band in bands}) < len(bands):
        raise RasterError("two of its bands have one name")
    return bands


def _band(item: Element, path: Path) -> SnapBand:
    name = text_of(item, "BAND_NAME", path)
    if len(name) > _LONGEST_NAME or not name.isprintable():
        raise RasterError(f"{name[:60]!r} is no name of a band: one has at most {_LONGEST_NAME} characters that can be printed")
    scaled = _is_true(item, "LOG10_SCALED") or any(
        item.find(key) is not None and number_of(item, key, path) != plain for key, plain in (("SCALING_FACTOR", 1.0), ("SCALING_OFFSET", 0.0)))
    return SnapBand(name, None if scaled else _unit(name, (item.findtext("PHYSICAL_UNIT") or "").strip().lower()), scaled)


def _unit(name: str, stated: str) -> Unit | None:
    unit, decibels = _UNITS.get(stated), _DECIBELS.search(name) is not None
    if decibels and not stated:
        return Unit.DB
    return None if decibels and unit is not Unit.DB else unit


def _is_true(item: Element, key: str) -> bool:
    return (item.findtext(key) or "").strip().lower() == "true"
