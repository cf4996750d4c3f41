"""Which polarisations of a product are read: by the names that the caller or the network gives, never by being as many."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from hfd_edge.errors import RasterError
from hfd_edge.raster.bands import polarisation_of


def choose_polarisations(product: str, there: Collection[str], bands: Sequence[int | str] | None, wanted: Sequence[str] | None) -> tuple[str, ...]:
    """Those of `bands`, else those that the names in `wanted` hold, else all, in the order of the names. Raises RasterError.

    Args:
        product: its name, for messages.
        there: what it has.
    """
    asked, has = tuple(bands or wanted or there), ", ".join(there)
    found = tuple(_polarisation(name, there) for name in asked)
    for name, polarisation in zip(asked, found):
        if not polarisation:
            raise RasterError(f"band {name!r} of {product}: that names no polarisation; the product has {has}; choose by name, in the network's "
                              "order: --bands VV,VH")
        if polarisation not in there:
            raise RasterError(f"{product} has no {polarisation}: it holds {has}; asked for is {', '.join(map(str, asked))}; take a product with "
                              "these polarisations, or choose by name what is meant (--bands)")
    check_names(product, asked, found, wanted if bands else None)
    return found


def check_names(product: str, asked: Sequence[int | str], found: Sequence[str], wanted: Sequence[str] | None) -> None:
    """A polarisation that is chosen twice, or the network's own in another order than its own, is a slip. Raises RasterError."""
    said, trained = ",".join(map(str, asked)), tuple(polarisation_of(name) for name in wanted or ())
    if len(set(found)) < len(found):
        raise RasterError(f"bands {said} of {product}: a polarisation is chosen twice, and no network was trained on that; name each one once "
                          "(a network of several dates takes a raster with a band for each)")
    if tuple(found) != trained and sorted(found) == sorted(trained):
        raise RasterError(f"--bands {said} of {product}: the network takes {', '.join(wanted or ())}, in this order; leave --bands out")


def _polarisation(name: int | str, there: Collection[str]) -> str:
    if not isinstance(name, str):
        return ""
    return polarisation_of(name) or (name.upper() if name.upper() in there else "")
