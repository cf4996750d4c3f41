"""Images of the layout `folder` as a scene is read at run time: bands by name, scale and offset tags, masks, every band's nodata."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hfd_edge.errors import HfdError
from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.raster import GeoReference, RasterSource
from hfd_edge.raster.bands import polarisation_of
from hfd_edge.spec import NODATA_LABEL, Unit
from training.layouts.files import LIMITS, OPENING, mapped_array
from training.layouts.folder_set import SetFile
from training.pairs import DataError


@dataclass(frozen=True, slots=True)
class Image:
    """What a file says of itself, and how its pixels are read."""

    path: Path
    count: int                           # bands that are read
    size: tuple[int, int]                # rows, cols
    dtype: np.dtype
    geo: GeoReference                    # without transform where the file has none
    names: tuple[str, ...]               # of the bands, "" where the file names none
    scale: float                         # value = stored * scale + offset, as the file's tags say
    offset: float
    declared: SourceRadiometry | None    # what its tags clearly say the pixels are
    nodata: tuple[float, ...]            # of its tags
    source: Any                          # `read(row, rows)`: stored pixels and a plane of validity, or None for all valid
    quantity: str | None = None          # sigma0, gamma0 or beta0 where tags, units or names of its bands say so

    def stored(self) -> tuple[np.ndarray, np.ndarray | None]:
        """(bands, rows, cols) as stored, and (rows, cols) bool: what the file's nodata values and masks leave of it; None = all."""
        try:
            return self.source.read(0, self.size[0])
        except HfdError as error:
            raise DataError(str(error)) from error

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """(bands, rows, cols) as stored, and (rows, cols) bool: what nodata values, masks and NaN leave of it."""
        values, valid = self.stored()
        finite = np.isfinite(values).all(axis=0)
        return values, finite if valid is None else finite & valid


@contextmanager
def opened(path: Path, bands: Sequence[str] = (), alpha_is_data: bool = False) -> Iterator[Image]:
    """An image; bands are taken by name where the file names all of `bands`, else in the order of the file.

    Args:
        alpha_is_data: a band that the file calls alpha is the last of `bands` where they are as many as all of the file's. GDAL takes the last of
            four 8-bit bands for alpha where nothing says otherwise (of two and four in a PNG): near infrared, or SAR in digital numbers.
    Raises:
        DataError: missing, damaged, no image, or its bands have names that contradict `bands`.
    """
    if path.suffix.lower() == ".npy":
        source = _Array(mapped_array(path))
        yield Image(path, len(source.values), source.values.shape[1:], source.values.dtype, GeoReference(), ("",) * len(source.values),
                    1.0, 0.0, None, (), source)
        return
    with _source(path, bands, alpha_is_data) as source:
        image = Image(path, source.count, (source.rows, source.cols), source.dtype, source.geo, source.band_names, source.scale,
                      source.offset, source.declared, source.nodata, source, source.quantity)
        _check_names(image, bands)
        yield image


def radiometry(image: Image, record: SetFile) -> SourceRadiometry:
    """What the stored pixels of a SAR image are, by set.yaml and by its own tags, as a run would take them.

    Raises:
        DataError: the two contradict each other, or the pixels cannot be what they say.
    """
    path, unit, stated = image.path, Unit(record.unit), image.declared
    if image.dtype.kind not in "iufc":
        raise DataError(f"{path}: sar is {image.dtype}; pixels are whole, real or complex numbers; convert it first")
    if (image.dtype.kind == "c") != (unit is Unit.COMPLEX):
        raise DataError(f"{path}: sar is {image.dtype} and set.yaml says unit: {unit}; complex pixels are unit complex, others are not")
    if stated is not None and stated.unit is not unit:
        raise DataError(f"{path}: its tags say unit {stated.unit} and set.yaml says unit: {unit}; a run takes what the tags say: "
                        "correct the one that is wrong")
    if image.quantity is not None and image.quantity != record.quantity and unit is not Unit.DN:
        raise DataError(f"{path}: its tags or the names of its bands say {image.quantity} and set.yaml says quantity: {record.quantity} (sigma0 where it is left "
                        "out); an engine has scenes calibrated to that quantity: correct the one that is wrong")
    scale, offset = image.scale, image.offset
    if record.scale is not None and (scale, offset) == (1.0, 0.0):
        scale = record.scale
    elif record.scale is not None and (offset != 0 or not np.isclose(scale, record.scale, rtol=1e-6, atol=0)):
        raise DataError(f"{path}: its tags say scale {scale:g} and offset {offset:g}, set.yaml says scale: {record.scale:g}; a run takes "
                        "what the tags say: leave scale out of set.yaml, or correct the tags")
    if image.dtype == np.uint8 and unit is not Unit.DN and (scale, offset) == (1.0, 0.0):
        raise DataError(f"{path}: sar is 8-bit without scale or offset and set.yaml says unit: {unit}; display pixels are no "
                        "measurement, and no run would take them for one; say unit: dn")
    try:
        return SourceRadiometry(unit, scale, offset, record.nodata, record.quantity, record.bands, record.looks)
    except HfdError as error:
        raise DataError(f"{path}: {error}") from error


def read_eo(image: Image) -> tuple[np.ndarray, np.ndarray]:
    """(bands, rows, cols) with the file's own scale and offset applied, and (rows, cols) bool: where there is an optical image."""
    stored, seen = image.read()
    return scaled(stored, image.scale, image.offset), seen


def read_sar(image: Image, record: SetFile) -> tuple[np.ndarray, np.ndarray]:
    """(bands, rows, cols) in `record.pixel_unit`, 0 where not valid, and (rows, cols) bool; power below 0 is "no signal", as in a run."""
    source = radiometry(image, record)
    stored, valid = image.read()
    for value in source.nodata:
        valid = valid & (stored != value).all(axis=0)
    sar = scaled(np.where(valid, stored, 0), source.scale, source.offset)
    if source.unit is Unit.COMPLEX:
        sar = sar.real ** 2 + sar.imag ** 2
    return sar, valid


def check_partner(name: str, what: str, sar: Image, other: Image) -> None:
    """Refuse a label or an optical image that is not on the SAR image's pixels, or whose pixels cannot be what it is."""
    if other.size != sar.size:
        raise DataError(f"pair {name}: sizes differ (sar {sar.size[0]} x {sar.size[1]}, {what} {other.size[0]} x {other.size[1]}); all must "
                        "lie on one grid; resample them to it first (docs/data.md: From scenes to pairs)")
    if other.dtype.kind not in "biuf":
        raise DataError(f"pair {name}: {other.path} is {other.dtype}; {'labels are whole codes' if what == 'label' else 'optical pixels are real'}"
                        "; convert it first")
    apart = sar.geo.another_place(other.geo, *sar.size)
    if apart is not None:
        ends = f" ({sar.geo.crs} and {other.geo.crs})" if sar.geo.crs != other.geo.crs else ""
        raise DataError(f"pair {name}: {other.path} lies {apart} off {sar.path} by their georeferences{ends}; half a pixel and "
                        "more is another place: resample it to the SAR image's grid (docs/data.md: From scenes to pairs), or correct the georeference that is wrong")


def check_label(name: str, label: Image, record: SetFile) -> None:
    """Refuse a label file whose nodata value set.yaml calls a class: one of the two is wrong, and a run would take the file's word."""
    for value in label.nodata:
        if record.codes.get(value, NODATA_LABEL) != NODATA_LABEL:
            raise DataError(f"pair {name}: {label.path} says that {value:g} is its nodata value and set.yaml says that it is class "
                            f"{tuple(record.classes)[record.codes[value]]}: what is nodata is not known and trains nothing; take the tag off the file (gdal_edit.py "
                            "-unsetnodata), or the code out of classes")


def square_of(sar: Image, size_m: float) -> tuple[str, int, int]:
    """CRS, column and row of the square of so many metres in which the image's first corner lies."""
    crs, place = sar.geo.crs, sar.geo.transform
    if crs is None or place is None:
        raise DataError(f"{sar.path} has no georeference; split by names or lists instead of place")
    if not crs.is_projected:
        raise DataError(f"{sar.path} is in {crs}, whose unit is no metre: a split by place needs metres, size_m={size_m:g}; reproject the "
                        "files (gdalwarp), or split by names or lists")
    side = size_m / crs.linear_units_factor[1]
    return crs.to_string(), int(place.c // side), int(place.f // side)


def scaled(stored: np.ndarray, scale: float, offset: float) -> np.ndarray:
    """stored * scale + offset in float32 (float64 and complex where they were stored)."""
    return stored if (scale, offset) == (1.0, 0.0) else stored * np.float32(scale) + np.float32(offset)


def _source(path: Path, bands: Sequence[str], alpha_is_data: bool) -> Any:
    try:
        with OPENING:
            source = _chosen(path, bands)
            if not (alpha_is_data and source.alpha_numbers) or source.count + 1 != len(bands):
                return source
            source.close()
            return RasterSource(path, range(1, len(bands) + 1), limits=LIMITS)      # alpha that is chosen by its number is data
    except HfdError as error:
        text = str(error)
        if "--bands" in text:                   # the way out of a run, the last part of the sentence, is none of a training
            text = f"{text.rpartition('; ')[0]}; correct the bands in set.yaml or in the file's descriptions"
        raise DataError(text if str(path) in text else f"{path}: {text}") from error


def _chosen(path: Path, bands: Sequence[str]) -> RasterSource:
    """The file's bands by name as a run finds them, else as they lie where their polarisations are those of `bands`: times of a series, say."""
    try:
        return RasterSource(path, wanted=bands or None, limits=LIMITS)
    except HfdError as error:
        if "--bands" not in str(error):
            raise
    source = RasterSource(path, limits=LIMITS)
    if [*map(polarisation_of, source.band_names)] == [*map(polarisation_of, bands)]:
        return source
    source.close()
    raise DataError(f"{path} describes its bands as {', '.join(name or '(no name)' for name in source.band_names)} and set.yaml says bands: "
                    f"[{', '.join(bands)}]: another polarisation, or an angle, is another measurement; correct bands in set.yaml, or describe "
                    "all bands of the file, or none")


def _check_names(image: Image, bands: Sequence[str]) -> None:
    """Refuse a band that has the name of another one."""
    for band, name in zip(bands, image.names):
        one, other = polarisation_of(band), polarisation_of(name)
        others = {each.casefold() for each in bands} - {band.casefold()}
        if name.casefold() in others or (one and other and one != other):
            raise DataError(f"{image.path} describes its bands as {', '.join(each or '(no name)' for each in image.names)} and set.yaml "
                            f"says {', '.join(bands)}: {name} would be read as {band}; name all bands of the file, or none, or correct set.yaml")


@dataclass(frozen=True, slots=True)
class _Array:
    """Pixels of a .npy file, read as a RasterSource is."""

    values: np.ndarray

    def read(self, row: int, rows: int) -> tuple[np.ndarray, None]:
        return np.array(self.values[:, row:row + rows]), None
