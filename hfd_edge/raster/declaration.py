"""What a raster's own tags clearly say its pixels are. What they do not say is not guessed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.spec import Unit

UNIT_TAG, QUANTITY_TAG = "HFD_UNIT", "HFD_QUANTITY"         # of the whole file, written by write_raster
FILTER_TAG = "HFD_SPECKLE_FILTER"                            # by despeckle
_QUANTITY = re.compile(r"(sigma|gamma|beta)[ _]?(0|nought|naught)", re.IGNORECASE)


def declared_by_tags(layers: Iterable[Any], scale: float, offset: float, nodata: tuple[float, ...]) -> SourceRadiometry | None:
    """The radiometry of the chosen bands if every one of them states the same unit, else None.

    A unit is stated by our own tags, by complex pixels, by GDAL's unit of the band: "dB", or "linear" together with a
    quantity, such as "sigma0 linear", or, without one, by SNAP's header. A quantity without a unit states nothing.
    """
    stated = {_stated(layer) for layer in layers}
    if len(stated) != 1:
        return None
    unit, quantity = stated.pop()
    return None if unit is None else SourceRadiometry(unit, scale, offset, nodata, quantity)


def quantity_by_tags(layers: Iterable[Any]) -> str | None:
    """sigma0, gamma0 or beta0 where tags, units or names of all chosen bands say so (Gamma0_VV), else None; it states no unit."""
    stated = {_stated(layer)[1] for layer in layers}
    return stated.pop() if len(stated) == 1 else None


def _stated(layer: Any) -> tuple[Unit | None, str | None]:
    tags = layer.dataset.tags()
    written = (layer.dataset.units[layer.index - 1] or "").strip().lower()
    found = _QUANTITY.search(f"{written} {layer.name}")
    quantity = tags.get(QUANTITY_TAG) or (f"{found[1].lower()}0" if found else None)
    if tags.get(UNIT_TAG) in {unit.value for unit in Unit}:
        return Unit(tags[UNIT_TAG]), quantity
    if layer.dtype.kind == "c":
        return Unit.COMPLEX, quantity
    if re.search(r"(^|[\s(])(db|decibels?)($|[\s)])", written):
        return Unit.DB, quantity
    if "linear" in written and quantity:
        return Unit.INTENSITY, quantity
    return None if written else layer.unit, quantity
