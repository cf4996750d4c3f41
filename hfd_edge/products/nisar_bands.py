"""Which frequency and polarisations of a NISAR GCOV are read: by the names that the network or the caller gives."""

from __future__ import annotations

from collections.abc import Sequence

from hfd_edge.errors import RasterError
from hfd_edge.products.hdf5 import Hdf5File
from hfd_edge.products.polarisations import check_names
from hfd_edge.raster.bands import polarisation_of

_POLARISATIONS = ("HH", "HV", "VH", "VV", "RH", "RV", "LH", "LV")
_OTHER_CROSS = {"VH": "HV", "HV": "VH"}


def choose_terms(file: Hdf5File, grids: str, bands: Sequence[int | str] | None, wanted: Sequence[str] | None) -> tuple[str, tuple[str, ...]]:
    """("A", ("HH", "HV")): the first frequency that has all that is asked for, in the order in which it is asked; without that all of the first.

    A name is a polarisation (HH, or Gamma0_HH), a term (HHHH), or either after its frequency (frequencyB/HH). Raises RasterError.
    """
    if isinstance(bands, (str, int)):
        raise RasterError(f"bands={bands!r} of {file.path.name}: give a list of names, such as ['HH', 'HV']")
    there = {letter: found for letter in "AB" if (found := _powers(file, f"{grids}/frequency{letter}"))}
    if not there:
        raise RasterError(f"{file.path}: {grids} holds {', '.join(file.names(grids)) or 'nothing'}, and no power of any polarisation in frequencyA or "
                          "frequencyB: it is damaged or a part of a product; copy or download it again")
    asked = tuple(bands) if bands else tuple(wanted or ())
    if not asked:
        return next(iter(there.items()))
    places = [_place(file, name, there) for name in asked]
    frequencies = {letter for letter, _ in places if letter}
    names = tuple(name for _, name in places)
    if len(frequencies) > 1:
        raise RasterError(f"--bands {','.join(map(str, asked))} of {file.path.name}: frequencies A and B lie on grids of their own; choose all of one")
    check_names(file.path.name, asked, names, wanted if bands else None)
    for letter in frequencies or there:
        if set(names) <= set(there.get(letter, ())):
            return letter, names
    raise RasterError(_missing(file, there, names, frequencies))


def _powers(file: Hdf5File, group: str) -> tuple[str, ...]:
    held = file.names(group)
    return tuple(name for name in _POLARISATIONS if name * 2 in held)


def _place(file: Hdf5File, name: int | str, there: dict[str, tuple[str, ...]]) -> tuple[str, str]:
    """The frequency that a name states, "" if none, and its polarisation."""
    frequency, _, last = name.rpartition("/") if isinstance(name, str) else ("", "", "")
    letter = frequency.lower().removeprefix("frequency").upper()
    upper = last.strip().upper()
    term = upper[:2] if upper[:2] == upper[2:] else upper
    found = term if term in _POLARISATIONS else polarisation_of(last)
    if len(upper) == 4 and not found and {upper[:2], upper[2:]} <= set(_POLARISATIONS):
        raise RasterError(f"band {name!r} of {file.path.name}: that is the complex covariance of two polarisations, and power is read only: "
                          f"choose of {_holds(there)}")
    if not found or (frequency and letter not in ("A", "B")):
        raise RasterError(f"band {name!r} of {file.path.name}: that names no polarisation; it has {_holds(there)}; choose by name, in the network's "
                          "order: --bands HH,HV (of the coarser frequency --bands frequencyB/HH,frequencyB/HV)")
    return letter, found


def _missing(file: Hdf5File, there: dict[str, tuple[str, ...]], names: tuple[str, ...], frequencies: set[str]) -> str:
    letters = frequencies or set(there)
    held = {name for letter in letters for name in there.get(letter, ())}
    missing = [name for name in names if name not in held]
    if frequencies and not held:
        return f"{file.path.name} has no frequency {min(frequencies)}: it has {_holds(there)}"
    if not missing:
        return (f"{file.path.name} has {', '.join(names)} in no one frequency: it has {_holds(there)}, which lie on grids of their own; take a product of "
                "a mode that has them in one")
    other = [_OTHER_CROSS.get(name, "") if name in missing else name for name in names]
    way = "take a product of a mode that has these, or choose by name what is meant (--bands HH,HV)"
    if set(other) <= held:
        way = f"of four polarisations a product may keep the mean of HV and VH under one name: --bands {','.join(other)} takes it for the other"
    return f"{file.path.name} has no {', '.join(missing)}: it has {_holds(there)}, and the network takes {', '.join(names)}; {way}"


def _holds(there: dict[str, tuple[str, ...]]) -> str:
    return " and ".join(f"{', '.join(names)} in frequency {letter}" for letter, names in there.items())
