"""GeoTIFFs of JAXA's L-band radars PALSAR and PALSAR-2: the name says what they are, and JAXA publishes the factor that turns amplitude into power.

Written after published descriptions and never checked on a real file; every run says so. Factors: JAXA's calibration results of PALSAR-2 standard products
(-83.0 dB; -79.0 dB for products of ScanSAR beam W2 ordered before 28 September 2016), its notice on PALSAR of 9 January 2009, and its descriptions of the
mosaics and of the terrain-flattened scenes (level 2.2), whose summary states the formula itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hfd_edge.errors import RadiometryError
from hfd_edge.products.vendor import LAYOUT_ONLY
from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.raster import RasterLimits, RasterSource
from hfd_edge.raster.xml_file import read_xml
from hfd_edge.spec import Unit

FACTOR_DB = -83.0
_SCALE = 10 ** (FACTOR_DB / 20)
_POLS = "(?:HH|HV|VH|VV)"
_STANDARD = re.compile(rf"IMG-{_POLS}-ALOS2\d{{9}}-(?P<date>\d{{6}})-(?P<mode>[A-Z]{{3}})[LR](?P<level>\d\.\d)[A-Z_]{{3}}(-F\d)?", re.IGNORECASE)
_PALSAR = re.compile(rf"IMG-{_POLS}-ALPSR[A-Z]\d{{9}}-[A-Z](?P<level>\d\.\d)[A-Z_]{{3}}", re.IGNORECASE)
_FLATTENED = re.compile(rf"(?P<scene>ALOS2\d{{9}}-(?P<date>\d{{6}})_(?P<mode>[A-Z]{{3}})[LR]2\.2[A-Z_]{{3}})_{_POLS}_SLP", re.IGNORECASE)
_MOSAIC = re.compile(rf"(?P<tile>[NS]\d\d[EW]\d\d\d_(?P<year>\d\d))_sl_{_POLS}(?P<mode>_[A-Z0-9]{{6}})?", re.IGNORECASE)
_BESIDE = re.compile(r"[NS]\d\d[EW]\d\d\d_\d\d(_sl)?_(mask|linci|date)(_[A-Z0-9]{6})?|ALOS2\d{9}-\d{6}_[A-Z]{3}[LR]2\.2[A-Z_]{3}_(MSK|LIN)", re.IGNORECASE)
_SCANSAR_SETTLED = "160928"             # ScanSAR observed from that day on cannot have been ordered before
_FORMULA = "10*log10(DN^2)-83.0"
_BY_HAND = "if its factor CF in dB is known: --unit amplitude --scale 10^(CF/20) --nodata 0 (7.0795e-05 for -83.0 dB)"


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a file is, by its name."""

    what: str
    quantity: str
    mask: tuple[Path, ...] = ()         # where its mask may lie, the first that is there counts
    invalid: tuple[int, ...] = ()       # numbers of the mask
    remark: str = ""


def is_beside(path: Path) -> bool:
    """Whether a file is a mask, a date or an angle of a mosaic or a scene of JAXA's: no scene by itself."""
    return _BESIDE.fullmatch(path.stem) is not None


def declare_alos(source: RasterSource, limits: RasterLimits) -> None:
    """Give a raster of PALSAR or PALSAR-2 its radiometry: sets declared, scale, nodata and notes of it and the mask beside it, and of no other.

    Raises:
        RadiometryError: it is such a product and cannot be calibrated, or stands among files that are none.
        RasterError: the summary or the mask beside it is damaged, or the mask is none of this image.
    """
    unsaid = source.dtype == np.uint16 and source.declared is None      # what has been converted, or says itself what it is, is no product any more
    if not unsaid and source.dtype.kind != "c":
        return
    kinds = {file: _kind_of(file) for file in source.files}
    known = {file: kind for file, kind in kinds.items() if kind is not None}
    if not known:
        return
    if len(known) < len(kinds):
        others = ", ".join(file.name for file in kinds if file not in known)
        raise RadiometryError(f"{others} beside {next(iter(known)).name}: not all of them are images of PALSAR; give those of the polarisations alone "
                              "(a mask beside them is read unasked), or declare the pixels of all with --unit and --scale")
    quantities = {kind.quantity for kind in known.values()}
    if len(quantities) > 1:
        raise RadiometryError(f"{source.name} holds both {' and '.join(sorted(quantities))}: a network takes one quantity; give files of one level")
    if source.dtype.kind == "c":
        raise RadiometryError(f"{source.name} holds complex numbers, and an image of this name amplitude: {_BY_HAND}")
    source.declared = SourceRadiometry(Unit.AMPLITUDE, _SCALE, 0.0, (0.0,), quantities.pop(), saturation=float(np.iinfo(np.uint16).max))
    source.scale, source.nodata = source.declared.scale, source.declared.nodata
    whats, remarks = (dict.fromkeys(words for words in all_words if words) for all_words in zip(*((kind.what, kind.remark) for kind in known.values())))
    about = f"{', '.join(whats)}: {source.declared.quantity} = 10^{FACTOR_DB / 10:g} DN^2 (JAXA's factor of {FACTOR_DB:.1f} dB), DN 0 is nodata"
    source.notes = (*source.notes, about, *remarks, *_masked(source, known, limits), LAYOUT_ONLY)


def _masked(source: RasterSource, known: dict[Path, _Kind], limits: RasterLimits) -> list[str]:
    """Masks the raster by what lies beside its files; sentences for the report."""
    masks = {path: kind.invalid for kind in known.values() for path in [path for path in kind.mask if path.is_file()][:1]}
    for path, invalid in masks.items():
        source.mask_by(path, invalid, limits)
    return [f"nodata also where {path.name} is {' or '.join(map(str, invalid))}; layover, shadow and water are taken as measured"
            for path, invalid in masks.items()]


def _kind_of(file: Path) -> _Kind | None:
    for pattern, kind in ((_STANDARD, _standard), (_PALSAR, _palsar), (_FLATTENED, _flattened), (_MOSAIC, _mosaic)):
        found = pattern.fullmatch(file.stem)
        if found is not None:
            return kind(file, found)
    return None


def _standard(file: Path, found: re.Match[str]) -> _Kind:
    """Levels 1.5 and 2.1 of PALSAR-2: sigma nought."""
    date, mode, level = found["date"], found["mode"].upper(), found["level"]
    if level not in ("1.5", "2.1"):
        why = {"1.1": "complex, in slant range", "3.1": "filtered and compressed in its range for looking at"}.get(level, "not known here")
        raise RadiometryError(f"{file} is a PALSAR-2 product of level {level}, {why}: levels 1.5, 2.1 and 2.2 are read; order one of these")
    if mode[0] in "WV" and date < _SCANSAR_SETTLED:
        raise RadiometryError(f"{file} is PALSAR-2 ScanSAR of {_day(date)}: JAXA's factor is -83.0 dB, and -79.0 dB for beam W2 in "
                              "products that were ordered before 2016-09-28, which the file does not say; take level 2.2 of this scene, or order it again, or, "
                              f"{_BY_HAND}")
    return _Kind(f"PALSAR-2 level {level}, mode {mode}, observed {_day(date)}", "sigma0",
                 remark="JAXA states other factors for some products of early processors, which the file does not name")


def _palsar(file: Path, found: re.Match[str]) -> _Kind:
    """Scenes of the first PALSAR: the factor depends on when they were processed, which the file does not say."""
    raise RadiometryError(f"{file} is a PALSAR scene of level {found['level']}: JAXA's factor is -83.0 dB for those processed from 2009-01-09 on and "
                          f"another one for each beam and polarisation before (-83.65 to -80.19 dB), which the file does not say; {_BY_HAND}")


def _flattened(file: Path, found: re.Match[str]) -> _Kind:
    """Level 2.2 of PALSAR-2: gamma nought, flattened by the terrain; where its summary is there, it states the formula."""
    summary, remark = file.with_name(f"{found['scene']}_summary.xml"), ""
    if summary.is_file():
        root = read_xml(summary, "Product")
        remark = "its summary says that it was filtered against speckle" if (root.findtext(".//FilterApplied") or "").strip().upper() == "TRUE" else ""
        stated = [(item.findtext("BackscatterMeasurement"), (item.findtext("BackscatterConversionEq") or "").replace(" ", ""))
                  for item in root.iter("BackscatterMeasurementData") if item.findtext("FileName") == file.name]
        if stated != [("Gamma-0", _FORMULA)]:
            raise RadiometryError(f"{summary} states {stated or 'nothing'} of {file.name}: Gamma-0 by {_FORMULA} is what level 2.2 was published as; "
                                  f"{_BY_HAND}")
    return _Kind(f"PALSAR-2 level 2.2 (terrain-flattened), mode {found['mode'].upper()}, observed {_day(found['date'])}", "gamma0",
                 (file.with_name(f"{found['scene']}_MSK{file.suffix}"),), (0, 5), remark)


def _mosaic(file: Path, found: re.Match[str]) -> _Kind:
    """Tiles of the yearly global mosaics: gamma nought, corrected for slopes."""
    year = int(found["year"])
    if not (6 <= year <= 10 or 14 <= year <= 50):
        raise RadiometryError(f"{file} is a tile of JAXA's mosaic of a year ending in {found['year']}: those of PALSAR (2007 to 2010) and PALSAR-2 "
                              f"(from 2014 on) are read; JERS-1 has another factor: {_BY_HAND}")
    return _Kind(f"JAXA's global mosaic of {2000 + year} ({'PALSAR' if year <= 10 else 'PALSAR-2'})", "gamma0",
                 tuple(file.with_name(f"{found['tile']}{part}mask{found['mode'] or ''}{file.suffix}") for part in ("_", "_sl_")), (0,))


def _day(date: str) -> str:
    return f"20{date[:2]}-{date[2:4]}-{date[4:]}"
