"""Terrain-corrected Sentinel-1 as GeoTIFFs of real numbers: OPERA RTC-S1 says by its tags what its pixels are, ASF's HyP3 (GAMMA) by its names.

Written after the processors' published sources and name conventions (opera-adt/RTC; ASFHyP3/hyp3-gamma and its README), never checked on a real file;
every run says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hfd_edge.errors import RadiometryError
from hfd_edge.products.vendor import LAYOUT_ONLY
from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.raster import RasterLimits, RasterSource
from hfd_edge.raster.guard import open_raster
from hfd_edge.spec import Unit

_OPERA = "processing_information_"
_QUANTITIES = ("sigma0", "gamma0", "beta0")
_PRODUCT = r"S1[A-Z]_[A-Z0-9]{2}_\d{8}T\d{6}_[SD][HV][PRO]_RTC\d+_G_(?P<quantity>[gs])(?P<unit>[pad])[uw](?P<filtered>[nf])[ec][dm]_[0-9A-F]{4}"
_HYP3 = re.compile(rf"{_PRODUCT}_(HH|HV|VH|VV)", re.IGNORECASE)
_BESIDE = re.compile(rf"{_PRODUCT}_(ls_map|dem|inc_map|area|rgb)|OPERA_L2_RTC-S1_.*_mask", re.IGNORECASE)
_UNITS = {"p": Unit.INTENSITY, "a": Unit.AMPLITUDE, "d": Unit.DB}


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a file says of itself."""

    what: str
    unit: Unit
    quantity: str
    nodata: tuple[float, ...] = ()
    filtered: str | None = None


def is_beside(path: Path) -> bool:
    """Whether a file is an angle, a mask or a height of a HyP3 product, or a mask of OPERA: no scene by itself."""
    return _BESIDE.fullmatch(path.stem) is not None


def declare_rtc(source: RasterSource, limits: RasterLimits) -> None:
    """Give a raster of OPERA RTC-S1 or HyP3 its radiometry: sets declared, nodata, filtered and notes of it, and of no other.

    Raises RadiometryError: its files differ in what they are, or some of them are none.
    """
    if source.dtype.kind != "f" or source.declared is not None:
        return
    kinds = {file: _kind_of(file, limits) for file in source.files}
    known = {kind for kind in kinds.values() if kind is not None}
    if not known:
        return
    if len(known) > 1 or None in kinds.values():
        said = ", ".join(f"{file.name} ({f'{kind.what}: {kind.quantity} in {kind.unit}' if kind else 'says nothing'})" for file, kind in kinds.items())
        raise RadiometryError(f"{said}: the files of a scene say one and the same; give those of one product, or declare all with --unit")
    kind = known.pop()
    source.nodata = tuple(dict.fromkeys((*source.nodata, *kind.nodata)))
    source.declared = SourceRadiometry(kind.unit, source.scale, source.offset, source.nodata, kind.quantity)
    source.filtered = kind.filtered
    source.notes = (*source.notes, f"{kind.what}: {kind.quantity} in {kind.unit}, flattened by the terrain; layover and shadow as delivered", LAYOUT_ONLY)


def _kind_of(file: Path, limits: RasterLimits) -> _Kind | None:
    named = _HYP3.fullmatch(file.stem)
    if named is not None:
        unit = _UNITS[named["unit"].lower()]
        return _Kind("HyP3 RTC of Sentinel-1 (GAMMA)", unit, "gamma0" if named["quantity"].lower() == "g" else "sigma0",
                     () if unit is Unit.DB else (0.0,), "enhanced Lee, by its name" if named["filtered"].lower() == "f" else None)
    with open_raster(file, limits) as dataset:
        return _opera({str(key).lower(): str(value).strip().lower() for key, value in dataset.tags().items()})


def _opera(tags: Mapping[str, str]) -> _Kind | None:
    """Linear power whose tags say so; another expression states nothing that is known here."""
    quantity, expression = (tags.get(f"{_OPERA}output_backscatter_{what}_convention", "") for what in ("normalization", "expression"))
    if quantity not in _QUANTITIES or "linear" not in expression or not any(word in expression for word in ("intensity", "power")):
        return None
    noise = {"true": ", noise removed", "false": ", noise not removed"}.get(tags.get(f"{_OPERA}noise_correction_applied", ""), "")
    filtered = tags.get(f"{_OPERA}filtering_applied") == "true"
    return _Kind(f"OPERA RTC-S1{noise}", Unit.INTENSITY, quantity, filtered="its processor" if filtered else None)
