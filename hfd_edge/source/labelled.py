"""What an array with labels, xarray's DataArray, says of itself: the names of its bands, and the number that means nodata. xarray is never imported."""

from __future__ import annotations

import numbers
import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hfd_edge.errors import ArrayError
from hfd_edge.radiometry import SourceRadiometry, band_among

_POLARISATIONS = {"vv", "vh", "hh", "hv"}
_NODATA_KEYS = ("_FillValue", "nodata")         # of rioxarray, and of Open Data Cube


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
    told = [attrs for each in (array if isinstance(array, (list, tuple)) else [array]) if isinstance(attrs := getattr(each, "attrs", None), dict)]
    found = [attrs[key] for attrs in told for key in _NODATA_KEYS if key in attrs]
    numeric = dict.fromkeys(float(value) for value in found if isinstance(value, numbers.Real) and not np.isnan(value))
    limits = np.iinfo(dtype) if dtype.kind in "iu" else None
    return tuple(value for value in numeric if limits is None or (value.is_integer() and limits.min <= value <= limits.max))


def with_its_own(radiometry: SourceRadiometry | None, source: object, wanted: Sequence[str] | None) -> SourceRadiometry | None:
    """The declaration, and the nodata numbers that a labelled array states besides. Raises ArrayError: its labels are other bands than the wanted."""
    names, nodata = getattr(source, "labels", ()), getattr(source, "label_nodata", ())
    if radiometry is None:
        return None
    if wanted is not None and radiometry.bands is None:
        _check_names(names, wanted)
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


def _word_of(array: object) -> object:
    """The label of the one band that `sel` left an array, or else its own name."""
    label = np.asarray(getattr(array, "coords", {}).get("band"))
    return label.item() if label.ndim == 0 and isinstance(label.item(), str) else getattr(array, "name", None)


def _words(names: Sequence[object]) -> tuple[str, ...]:
    return tuple(map(str, names)) if names and all(isinstance(name, str) for name in names) else ()
