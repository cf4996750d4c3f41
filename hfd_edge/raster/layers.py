"""The bands of an open file: their names, where something tells them, and what says which of their pixels are valid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.enums import ColorInterp, MaskFlags

from hfd_edge.raster.bands import Layer, polarisation_of
from hfd_edge.raster.snap import SnapBand, snap_bands
from hfd_edge.spec import Unit


def layers_of(dataset: Any, alone: bool) -> tuple[list[Layer], tuple[str, ...]]:
    """All bands of a file in its order, and what a report says of them.

    Args:
        alone: whether it is the scene's only file: the name of one with several bands then names none of them.
    """
    known, notes = _snap_bands(dataset)
    by_file = polarisation_of(Path(dataset.name).stem) if not alone or dataset.count == 1 else ""
    names = [description or (known[number].name if known else "") for number, description in enumerate(dataset.descriptions)]
    alpha = next((i for i in dataset.indexes if dataset.count > 1 and dataset.colorinterp[i - 1] is ColorInterp.alpha
                  and not polarisation_of(names[i - 1])), None)
    units = [known[number].unit if known and not description else None for number, description in enumerate(dataset.descriptions)]
    found = [_layer(dataset, index, names[index - 1] or ("" if index == alpha else by_file), alpha, units[index - 1]) for index in dataset.indexes]
    return found if alone else [replace(layer, file_name=Path(dataset.name).stem) for layer in found], notes


def as_data(chosen: Sequence[Layer]) -> tuple[Layer, ...]:
    """The chosen layers; an alpha band among them is data, and then says of no other band of its file which pixels are valid."""
    meant = {id(layer.dataset) for layer in chosen if layer.index == layer.alpha}
    return tuple(replace(layer, alpha=None) if id(layer.dataset) in meant else layer for layer in chosen)


def _snap_bands(dataset: Any) -> tuple[tuple[SnapBand, ...], tuple[str, ...]]:
    if dataset.driver != "GTiff" or all(dataset.descriptions):
        return (), ()
    return snap_bands(Path(dataset.name), dataset.count)


def _layer(dataset: Any, index: int, name: str, alpha: int | None, unit: Unit | None) -> Layer:
    stored = dataset.dtypes[index - 1]
    dtype = np.dtype({"complex_int16": "complex64", "float16": "float32"}.get(stored, stored))
    flags, nodata = dataset.mask_flag_enums[index - 1], dataset.nodatavals[index - 1]
    half = stored == "float16" or dtype == np.float32 and dataset.tags(index, ns="IMAGE_STRUCTURE").get("NBITS") == "16"
    return Layer(dataset, index, name, dtype, _storable(nodata, np.dtype(np.float16) if half else dtype), _nearest_half(nodata) if half else None,
                 flags != [MaskFlags.nodata] and not {MaskFlags.all_valid, MaskFlags.alpha} & {*flags}, alpha, unit)     # no flag: a mask of this band's own


def _storable(nodata: float | None, dtype: np.dtype) -> float | None:
    """The nodata value as a pixel of this dtype can hold it; None where no pixel can, and for NaN and infinity, which always are nodata."""
    if nodata is None or np.isnan(nodata):
        return None
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return nodata if nodata == int(nodata) and limits.min <= nodata <= limits.max else None
    if dtype == np.float16:
        return _cut_to_half(nodata)
    return float(np.float32(nodata)) if dtype in (np.float32, np.complex64) and np.isfinite(np.float32(nodata)) else nodata


def _cut_to_half(nodata: float) -> float | None:
    """What GDAL before 3.11 writes of a number into floats of 16 bits (NBITS=16): it cuts, so that -9999 is -9992; infinity from 65536 on."""
    if abs(nodata) >= 65536.0:
        return None
    with np.errstate(over="ignore"):
        half = np.float16(nodata)
    return float(np.nextafter(half, np.float16(0)) if abs(float(half)) > abs(nodata) else half)


def _nearest_half(nodata: float | None) -> float | None:
    """What GDAL from 3.11 on writes of it: -9999 is -10000. The file does not say which of them wrote it."""
    with np.errstate(over="ignore"):
        half = None if nodata is None else float(np.float16(nodata))
    return half if half is not None and np.isfinite(half) else None
