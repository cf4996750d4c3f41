"""Which bands of a scene's files are read: by the names that the caller wants, by number, or as stored."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hfd_edge.errors import RasterError
from hfd_edge.spec import Unit

_NUMBERED = re.compile(r"([a-z]+)0*([0-9]+[a-z]?)")              # B1, B01, B8A
_POLARISATION = re.compile(r"(?<![A-Za-z])(VV|VH|HH|HV)(?![A-Za-z])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Layer:
    """One band of one open file."""

    dataset: Any
    index: int                  # 1-based, as GDAL counts
    name: str                   # description, else that of SNAP's header, else the polarisation in the file's name, else ""
    dtype: np.dtype             # what is read
    nodata: float | None
    nodata_too: float | None    # the other number that it may have become in floats of 16 bits
    masked: bool                # a mask of the file says which pixels are valid
    alpha: int | None           # the band that does; GDAL itself looks for it only behind one or three others
    unit: Unit | None = None    # that SNAP's header states
    file_name: str = ""         # without its suffix, of one of several files

    @property
    def is_alpha(self) -> bool:
        return self.index == self.alpha


def polarisation_of(name: str) -> str:
    """The one polarisation a band's or file's name holds, such as "VV" in "Sigma0_VV"; "" if none or several."""
    found = {match.upper() for match in _POLARISATION.findall(name)}
    return found.pop() if len(found) == 1 else ""


def names_it(name: str, wanted: str, file_name: str = "") -> bool:
    """Whether a band of this name is the wanted one: the same name, B01 for B1, one that holds the polarisation, or, of VV_before, every word.

    Args:
        file_name: of the band's file, whose words count as well for a wanted name of several.
    """
    words = _words(wanted)
    if len(words) > 1 and words <= _words(f"{name} {file_name}") and polarisation_of(name) == polarisation_of(wanted):
        return True
    return _plain(name) == _plain(wanted) or wanted.upper() == polarisation_of(name) != ""


def choose_bands(name: str, layers: list[Layer], bands: Sequence[int | str] | None, wanted: Sequence[str] | None) -> tuple[Layer, ...]:
    """The layers to read, in order; alpha bands only if `bands` names them. Arguments as RasterSource, `name` of the scene for messages.

    Raises RasterError.
    """
    if isinstance(bands, (str, int)):
        raise RasterError(f"bands={bands!r} of {name}: give a list of names or numbers, such as ['VV', 'VH'] or [4, 3]")
    if bands:
        chosen = tuple(_find(name, layers, band) for band in bands)
        if len({(id(layer.dataset), layer.index) for layer in chosen}) != len(chosen):
            raise RasterError(f"--bands {','.join(map(str, bands))} of {name}: a band is chosen twice, and no network was "
                              "trained on that; name each one once")
        if wanted and all(isinstance(band, str) for band in bands):
            _check_order(bands, chosen, wanted)
        return chosen
    layers = [layer for layer in layers if not layer.is_alpha]
    if not wanted:
        return tuple(layers)
    named = _told_apart([_named(layers, band) for band in wanted])
    if all(len(found) == 1 for found in named):
        return tuple(found[0] for found in named)
    _check_not_others(name, layers, wanted, named)
    return tuple(layers)


def _told_apart(named: list[list[Layer]]) -> list[list[Layer]]:
    """Without a band that alone would be two of the wanted ones, as by a file's name that holds both dates: it is neither; and what alone is one
    of them is no other."""
    alone = [id(found[0]) for found in named if len(found) == 1]
    named = [[] if len(found) == 1 and alone.count(id(found[0])) > 1 else found for found in named]
    for _ in named:
        taken = {id(found[0]) for found in named if len(found) == 1}
        named = [found if len(found) == 1 else [layer for layer in found if id(layer) not in taken] for found in named]
    return named


def _check_not_others(name: str, layers: list[Layer], wanted: Sequence[str], named: list[list[Layer]]) -> None:
    """Bands whose names tell what they are never stand in for a wanted one that is not among them, by being as many."""
    missing = [band for band, found in zip(wanted, named) if not found]
    _check_not_dates(name, layers, wanted, [band for band, found in zip(wanted, named) if len(found) != 1])
    told = any(named) or (all(map(polarisation_of, wanted)) and any(polarisation_of(layer.name) for layer in layers))
    if missing and told and len(layers) >= len(wanted):
        raise RasterError(f"{name} holds the bands {', '.join(layer.name or '(unnamed)' for layer in layers)}, and the network takes "
                          f"{', '.join(wanted)}: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not there, and another polarisation, "
                          "an angle or a ratio is not what it was trained on; give the file of each band, or, if it is meant, choose by "
                          f"number: --bands {','.join(map(str, range(1, len(wanted) + 1)))}")


def _check_not_dates(name: str, layers: list[Layer], wanted: Sequence[str], untold: list[str]) -> None:
    """Names that hold the wanted polarisations and nothing that tells one VV from another: whoever gives them must say their order."""
    there = {number: polarisation_of(layer.name) for number, layer in enumerate(layers, 1) if polarisation_of(layer.name)}
    asked = [*map(polarisation_of, wanted)]
    if not untold or sorted(there.values()) != sorted(asked) or len({*asked}) == len(asked):
        return
    way = (f"if they are given in this order, say so by number: --bands {','.join(map(str, there))}" if [*there.values()] == asked else
           "choose them by number in this order, --bands NUMBER,NUMBER,...")
    raise RasterError(f"{name} holds the bands {', '.join(f'{number} {found}' for number, found in there.items())}, and the network takes {', '.join(wanted)}, "
                      f"in this order: no name tells which of them is {untold[0]}; call a band, or its file, by all words of the network's name, or {way}")


def _check_order(bands: Sequence[int | str], chosen: tuple[Layer, ...], wanted: Sequence[str]) -> None:
    """Names that are the network's own, in another order than its own, are a slip."""
    places = [_named([*chosen], band) for band in wanted]
    if len(chosen) == len(wanted) and all(len(found) == 1 for found in places):
        if [found[0] for found in places] != [*chosen]:
            raise RasterError(f"--bands {','.join(map(str, bands))}: the network takes {', '.join(wanted)}, in this order; "
                              "if a swap is meant, choose by number")


def _find(name: str, layers: list[Layer], band: int | str) -> Layer:
    if isinstance(band, (int, np.integer)) and not isinstance(band, bool):
        if not 1 <= band <= len(layers):
            raise RasterError(f"band {band} of {name}: it has bands 1 to {len(layers)}; bands are counted from 1")
        return layers[band - 1]
    if not isinstance(band, str):
        raise RasterError(f"band {band!r} of {name}: give its name, or its number as an int counted from 1")
    found = _named(layers, band)
    if len(found) != 1:
        names = ", ".join(f"{i + 1} {layer.name or '(unnamed)'}" for i, layer in enumerate(layers))
        raise RasterError(f"band {band!r} of {name}: {'no band has' if not found else 'several bands have'} this name; there are "
                          f"{names}; choose by number, counted from 1")
    return found[0]


def _named(layers: list[Layer], name: str) -> list[Layer]:
    exact = [layer for layer in layers if layer.name.lower() == name.lower()]
    return exact or [layer for layer in layers if names_it(layer.name, name, layer.file_name)]


def _words(name: str) -> set[str]:
    """VV and before of "S1_before-VV.tif" and of "VV_before"; 20200101 is one, S1 too."""
    return {word for word in re.split("[^a-z0-9]+", name.lower()) if word}


def _plain(name: str) -> str:
    """Without regard to capitals, or to zeros before the number of a band that is called by letters and a number."""
    numbered = _NUMBERED.fullmatch(name.lower())
    return numbered[1] + numbered[2] if numbered else name.lower()
