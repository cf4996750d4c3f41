"""GeoTIFFs of commercial SAR satellites: their metadata say how amplitude becomes power, or that it cannot.

Written after published descriptions of the layouts and never checked on a real image; every run says so.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hfd_edge.errors import RadiometryError, RasterError
from hfd_edge.raster.xml_file import read_xml
from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.raster import RasterLimits, RasterSource
from hfd_edge.raster.guard import open_raster
from hfd_edge.raster.opened import printable
from hfd_edge.spec import Unit

LAYOUT_ONLY = "layout only: this reader was written after the published description and never checked on a real file"
COMPARED = "layout only: this reader was compared with the metadata of a published real product and never checked on a real file"
METADATA_RUN = "this reader was checked on the metadata of published real products; the pixels were made up"
_LARGEST_JSON = 16 << 20
_QUANTITY = {"sigma_nought": "sigma0", "gamma_nought": "gamma0", "beta_nought": "beta0"}
_BY_HAND = "if its calibration is known from elsewhere: --unit amplitude --scale sqrt(CF), for power = CF DN^2"


def declare_vendor(source: RasterSource, limits: RasterLimits) -> None:
    """Give a raster of Capella, ICEYE or Umbra its radiometry: sets declared, scale, nodata and notes of it, and of no other.

    Raises:
        RadiometryError: it is such a product and cannot be calibrated.
        RasterError: its metadata are damaged.
    """
    if source.dtype.kind != "u" or len(source.files) != 1:      # what has been converted to real numbers is no product any more
        return
    path = source.files[0]
    with open_raster(path, limits) as dataset:
        tags = {str(key).lower(): str(value) for key, value in dataset.tags().items()}
    for reader, status in ((_capella, METADATA_RUN), (_iceye, COMPARED), (_umbra, LAYOUT_ONLY)):
        found = reader(path, tags)
        if found is not None:
            declared, about = found
            source.declared = replace(declared, saturation=float(np.iinfo(source.dtype).max))
            source.scale, source.nodata = source.declared.scale, source.declared.nodata
            source.notes = (*source.notes, about, status)
            return


def _capella(path: Path, tags: Mapping[str, str]) -> tuple[SourceRadiometry, str] | None:
    """Capella GEO and GEC: power = (scale_factor DN)^2, from the extended JSON in the TIFF's description or beside the file."""
    text = tags.get("tifftag_imagedescription", "")
    record = _json_text(text, path) if "capella" in text.lower() else {}
    collect = record.get("collect")
    if not isinstance(collect, dict) or not str(collect.get("platform", "")).lower().startswith("capella"):
        beside = path.with_name(f"{path.stem}_extended.json")
        if not path.name.upper().startswith("CAPELLA_"):
            return None
        if not beside.is_file():
            raise RadiometryError(f"{path} is named as a Capella product is and says nothing of its pixels: they are calibrated by its extended metadata; "
                                  f"put {beside.name} beside it, or, {_BY_HAND}")
        record = _json_text(_small_text(beside), beside)
        collect = record.get("collect")
    kind, image = record.get("product_type"), collect.get("image") if isinstance(collect, dict) else None
    if kind not in ("GEO", "GEC") or not isinstance(image, dict):
        raise RadiometryError(f"{path} is a Capella product of type {kind!r}: only GEO and GEC with their extended metadata "
                              f"are read; take one of those, or, {_BY_HAND}")
    factor, stated = _positive(image.get("scale_factor")), image.get("radiometry")
    if factor is None or stated not in _QUANTITY:
        raise RadiometryError(f"{path} (Capella {kind}) states scale_factor={image.get('scale_factor')!r}, "
                              f"radiometry={stated!r}: a factor above 0 and one of {', '.join(_QUANTITY)} are needed; order "
                              f"it calibrated, or, {_BY_HAND}")
    return (SourceRadiometry(Unit.AMPLITUDE, factor, 0.0, (0.0,), _QUANTITY[stated]),
            f"Capella {kind}: {_QUANTITY[stated]} = ({factor:g} DN)^2, DN 0 is nodata, calibration "
            f"{printable(str(image.get('calibration') or 'not stated'))[:40]} by its own word")


def _iceye(path: Path, tags: Mapping[str, str]) -> tuple[SourceRadiometry, str] | None:
    """ICEYE GRD: sigma nought = CF A^2 of the amplitude A, from the TIFF's tags or the XML beside the file; A is DN where no mapping is stated."""
    named = path.name.upper().startswith("ICEYE_") or "iceye" in tags.get("satellite_name", "").lower()
    if not named and "iceye_properties" not in tags:
        return None
    record = _json_text(tags.get("iceye_properties", ""), path)
    _check_iceye_kind(path, record)
    stated: Any = next((found for found in (tags.get("calibration_factor"), record.get("iceye:calibration_factor"), record.get("calibration_factor"))
                        if found is not None), None)
    beside = path.with_suffix(".xml")
    if stated is None and beside.is_file():
        stated = read_xml(beside, "Metadata").findtext(".//calibration_factor")
    factor = _positive(stated)
    if factor is None:
        raise RadiometryError(f"{path} (ICEYE) states calibration_factor={stated!r}: it must be above 0, and 0 marks a "
                              f"satellite that is not calibrated; order the calibrated product, or, {_BY_HAND}")
    stored = _iceye_amplitude(path, record)
    return (SourceRadiometry(Unit.AMPLITUDE, math.sqrt(factor) / stored, 0.0, (0.0,), "sigma0"),
            f"ICEYE GRD: sigma0 = {factor:g} {'DN' if stored == 1 else f'(DN / {stored:g})'}^2, DN 0 is nodata")


def _check_iceye_kind(path: Path, record: Mapping[str, Any]) -> None:
    kind = str(record.get("sar:product_type") or "")
    if "SLC" in kind.upper() or (not kind and re.search(r"_SLC(_|$)", path.stem, re.IGNORECASE)):
        raise RadiometryError(f"{path} is an ICEYE SLC: its bands are amplitude and phase, no backscatter of two polarisations; take the GRD of the "
                              "same collect")


def _iceye_amplitude(path: Path, record: Mapping[str, Any]) -> float:
    """By what the stored numbers are larger than the amplitude; products that state no iceye:amplitude_mapping store it as it is."""
    mapping = record.get("iceye:amplitude_mapping")
    if mapping is None:
        return 1.0
    numbers = mapping.get("parameters") if isinstance(mapping, dict) else None
    numbers = numbers if isinstance(numbers, dict) else {}
    scale, exponent = _positive(numbers.get("scale", 1)), _positive(numbers.get("exponent", 1))
    if not isinstance(mapping, dict) or mapping.get("function") not in ("power", "linear") or scale is None or exponent != 1:
        raise RadiometryError(f"{path} (ICEYE) stores its amplitude by the mapping {str(mapping)[:120]}, not as it is: one factor cannot calibrate it; "
                              "for function power, DN = (scale A)^exponent, write sigma0 = CF A^2 in float32 first (gdal_calc.py) and give that "
                              "with --unit intensity")
    return scale


def _umbra(path: Path, tags: Mapping[str, str]) -> tuple[SourceRadiometry, str] | None:
    """Umbra GEC: made for looking at; its calibration is in the SICD of the same collect, so it is always refused."""
    named = re.search(r"UMBRA-?\d+.*_(GEC|CSI)", path.stem, re.IGNORECASE)
    if not named and "umbra" not in tags.get("tifftag_software", "").lower():
        return None
    raise RadiometryError(f"{path} is an Umbra GEC: it holds amplitude for display without a calibration factor, which only "
                          f"the SICD of the same collect has: give that .nitf instead; {_BY_HAND}")


def _positive(value: Any) -> float | None:
    """The number a metadata field holds if it is finite and above 0."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 and not isinstance(value, bool) else None


def _small_text(path: Path) -> str:
    if path.stat().st_size > _LARGEST_JSON:
        raise RasterError(f"{path} has {path.stat().st_size} bytes: metadata of a product have at most {_LARGEST_JSON}; remove it")
    return path.read_text(encoding="utf-8", errors="replace")


def _json_text(text: str, where: Path) -> dict[str, Any]:
    """The JSON object in a text; {} if it is no JSON object at all. Raises RasterError if it begins like one and is damaged."""
    if not text.lstrip().startswith("{"):
        return {}
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RasterError(f"{where}: its metadata begin like JSON and cannot be read ({str(error)[:80]}): copy or download it "
                          "again, or declare the pixels with --unit and --scale") from error
    return record if isinstance(record, dict) else {}
