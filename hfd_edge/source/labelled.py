"""What an array with labels, xarray's DataArray, says of itself: the names of its bands, that these are dates, the number that means nodata, and that
its numbers are scaled. xarray is never imported."""

from __future__ import annotations

import numbers
import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hfd_edge.errors import ArrayError, RadiometryError
from hfd_edge.radiometry import SourceRadiometry, band_among

_POLARISATIONS = {"vv", "vh", "hh", "hv"}
_NODATA_KEYS = ("_FillValue", "nodata")         # of rioxarray, and of Open Data Cube
_SCALE_KEYS = {"scale_factor": 1.0, "add_offset": 0.0}      # of the CF conventions; xarray takes them away where it has applied them
_DATE_DIMS = {"time", "date", "datetime"}


def names_of(array: object) -> tuple[str, ...]:
    """Of the bands: the labels of the first axis where these are words, or rioxarray's long_name; of arrays in a list, and of one of a
    single band, the word of each; () where nothing tells."""
    if isinstance(array, (list, tuple)):
        return _words([_word_of(each) for each in array])
    dims, labels = getattr(array, "dims", ()), None
    if not dims or not hasattr(array, "coords"):
        return ()
    if len(dims) == 2:
        return _words([_word_of(array)])
    if dims[0] in array.coords:
        labels = np.asarray(array.coords[dims[0]]).tolist()
    if not isinstance(labels, list):
        return ()
    long_names = getattr(array, "attrs", {}).get("long_name")
    if isinstance(long_names, (list, tuple)) and all(isinstance(label, int) and 1 <= label <= len(long_names) for label in labels):
        labels = [long_names[label - 1] for label in labels]
    return _words(labels)


def nodata_of(array: object, dtype: np.dtype) -> tuple[float, ...]:
    """The numbers that attributes of an array, or of arrays in a list, call nodata, without those that no pixel of this dtype can be."""
    found = [attrs[key] for attrs in _attributes(array) for key in _NODATA_KEYS if key in attrs]
    numeric = dict.fromkeys(float(value) for value in found if isinstance(value, numbers.Real) and not np.isnan(value))
    limits = np.iinfo(dtype) if dtype.kind in "iu" else None
    return tuple(value for value in numeric if limits is None or (value.is_integer() and limits.min <= value <= limits.max))


def scale_of(array: object) -> tuple[str, ...]:
    """What attributes of an array, or of arrays in a list, say of scale and offset where that is not 1 and 0, such as "scale_factor=0.1"."""
    return tuple(dict.fromkeys(f"{key}={attrs[key]}" for attrs in _attributes(array) for key, plain in _SCALE_KEYS.items()
                               if isinstance(attrs.get(key), numbers.Real) and attrs[key] != plain))


def dates_of(array: object) -> int:
    """How many dates the first of three axes holds; 0 where it is none of dates."""
    dims, coords = getattr(array, "dims", ()), getattr(array, "coords", None)
    if coords is None or len(dims) != 3:
        return 0
    dated = str(dims[0]).lower() in _DATE_DIMS or (dims[0] in coords and np.asarray(coords[dims[0]]).dtype.kind == "M")
    return int(np.shape(array)[0]) if dated else 0


def _attributes(array: object) -> list[dict]:
    return [attrs for each in (array if isinstance(array, (list, tuple)) else [array]) if isinstance(attrs := getattr(each, "attrs", None), dict)]


def with_its_own(radiometry: SourceRadiometry | None, source: object, wanted: Sequence[str] | None) -> SourceRadiometry | None:
    """The declaration, and the nodata numbers that a labelled array states besides.

    Raises:
        ArrayError: its labels are other bands than the wanted, or dates.
        RadiometryError: it states a scale or offset, and none is declared.
    """
    names, nodata = getattr(source, "labels", ()), getattr(source, "label_nodata", ())
    if radiometry is None:
        return None
    if wanted is not None and radiometry.bands is None:
        _check_names(names, wanted)
        _check_dates(getattr(source, "label_dates", 0), wanted)
    _check_scale(getattr(source, "label_scale", ()), radiometry)
    return replace(radiometry, nodata=tuple(dict.fromkeys((*radiometry.nodata, *nodata)))) if nodata else radiometry


def _check_names(names: tuple[str, ...], wanted: Sequence[str]) -> None:
    """Labels that tell nothing of the wanted bands are let through: then the order counts."""
    lower = [name.lower() for name in wanted]
    given = [band_among(name.lower(), lower) for name in names]
    told = any(name in lower or _POLARISATIONS & {*re.split("[^a-z0-9]+", name)} for name in given)
    if not told or given == lower:
        return
    way = ("take the bands that the network was trained on" if set(lower) - set(given) else
           f"array[[{', '.join(str(given.index(name)) for name in lower)}]] puts them in order")
    raise ArrayError(f"the array names its bands {', '.join(names)} and the network takes {', '.join(wanted)}, in this order: {way}; "
                     "if these pixels are meant all the same, give them without labels (array.values)")


def _check_dates(dates: int, wanted: Sequence[str]) -> None:
    """Dates of one polarisation are no bands of several."""
    if dates and len(_POLARISATIONS & {word for name in wanted for word in re.split("[^a-z0-9]+", name.lower())}) > 1:
        raise ArrayError(f"the array's first axis holds {dates} dates and the network takes {', '.join(wanted)}: give the bands of one date in a list, "
                         "[vv[0], vh[0]]; if these pixels are meant all the same, give them without labels (array.values)")


def _check_scale(stated: tuple[str, ...], radiometry: SourceRadiometry) -> None:
    """Attributes may stay where somebody has applied them, so they are not taken unasked."""
    if stated and (radiometry.scale, radiometry.offset) == (1.0, 0.0):
        raise RadiometryError(f"the array's attributes say {', '.join(stated)} and no scale or offset is declared: if its numbers are as they were stored, give "
                              f"SourceRadiometry(\"{radiometry.unit}\", scale=..., offset=...); if they are {radiometry.unit} by now, give them without "
                              "attributes (array.values)")


def _word_of(array: object) -> object:
    """The label of the one band that `sel` left an array, or else its own name."""
    label = np.asarray(getattr(array, "coords", {}).get("band"))
    return label.item() if label.ndim == 0 and isinstance(label.item(), str) else getattr(array, "name", None)


def _words(names: Sequence[object]) -> tuple[str, ...]:
    return tuple(map(str, names)) if names and all(isinstance(name, str) for name in names) else ()
