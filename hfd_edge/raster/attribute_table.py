"""The classes of a map as GDAL's raster attribute table, which QGIS, ArcGIS and R's terra take for its legend.

A GeoTIFF has no place for it that GDAL below 3.12 reads, so it lies beside: NAME.aux.xml. Without it a legend has the 256 numbers of the
colour table, most of them black. Source: GDALRasterAttributeTable in GDAL's gdal_pam.h and gdal_rat.h, its codes of types and usages.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence

_INTEGER, _TEXT = "0", "2"
_COLUMNS = (("Value", _INTEGER, "5"), ("Class", _TEXT, "2"), ("Red", _INTEGER, "6"), ("Green", _INTEGER, "7"), ("Blue", _INTEGER, "8"))


def attribute_table(rows: Sequence[tuple[int, str, tuple[int, int, int]]]) -> bytes:
    """The .aux.xml of a map whose classes are rows of value, name and RGB."""
    root = ET.Element("PAMDataset")
    table = ET.SubElement(ET.SubElement(root, "PAMRasterBand", band="1"), "GDALRasterAttributeTable", tableType="thematic")
    for index, column in enumerate(_COLUMNS):
        field = ET.SubElement(table, "FieldDefn", index=str(index))
        for tag, text in zip(("Name", "Type", "Usage"), column):
            ET.SubElement(field, tag).text = text
    for index, (value, name, color) in enumerate(rows):
        row = ET.SubElement(table, "Row", index=str(index))
        for cell in (value, _printable(name), *color):
            ET.SubElement(row, "F").text = str(cell)
    ET.indent(root)
    return ET.tostring(root, "utf-8")


def _printable(name: str) -> str:
    """XML has no control characters, not even escaped ones."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)
