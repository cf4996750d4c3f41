"""Whether a set's SAR values can be in its declared unit: what a run asks of a scene (docs/radiometry.md, rule 4), asked before training."""

from __future__ import annotations

import re
import zlib

import numpy as np

from hfd_edge.errors import RadiometryError
from hfd_edge.radiometry import LOWEST_DB, LOWEST_POWER, SourceRadiometry, check_values
from hfd_edge.raster.bands import polarisation_of
from hfd_edge.spec import Unit
from training.pairs import DataError, Pair, SetInfo

_PIXELS = 4096                           # of a pair; a set is judged on all its measured pairs together
_LOWEST = {Unit.DB: LOWEST_DB, Unit.INTENSITY: LOWEST_POWER, Unit.AMPLITUDE: LOWEST_POWER}
_DARK_SHARE = 1e-3                       # of one pair below _LOWEST, as for a scene
_CROSSED_DB = 1.0                        # of the medians of one pair: cross-polarised power lies 2 to 10 dB below co-polarised, in noise beside it
_ODD_SHARE = 0.01                        # of one pair's decibels that are exactly 0, or power below 0: measurements almost never are


class UnitCheck:
    """Collects a sample of every measured pair, then judges the set.

    A set is judged as a scene is, on all its pairs together: a chip of a town alone may well be above 0 dB. An undeclared nodata value is looked
    for pair by pair, as it may stand in a few files only.
    """

    def __init__(self, info: SetInfo) -> None:
        self._info, self._samples = info, {}
        self._crossed: dict[str, str] = {}       # of pairs: two bands of which the cross-polarised one is the brighter
        self._dark, self._odd = {}, {}   # of pairs: what a run would say of values that are like nodata; share of pixels that are odd

    def add(self, pair: Pair) -> None:
        """Dark and odd values are looked for in every pixel, as borders and corners are no random places; the rest is judged on a sample."""
        values = pair.sar[:, pair.valid]
        if not values.size:
            return
        self._samples[pair.name] = _sample(values, pair.name)
        self._odd[pair.name] = float(np.mean(self._is_odd(values)))
        if words := self._crossed_words(self._samples[pair.name]):
            self._crossed[pair.name] = words
        lowest = _LOWEST.get(self._info.sar_unit)
        if lowest is not None and np.mean(values < lowest) > _DARK_SHARE and (words := self._contradiction(values)):
            self._dark[pair.name] = words

    def check(self) -> None:
        """Raises DataError: the values contradict the unit, with the pair where it shows and the key to set."""
        if not self._samples:
            return
        if words := self._contradiction(np.concatenate(list(self._samples.values()), axis=1)):
            raise DataError(f"{self._where([name for name, values in self._samples.items() if name in self._dark or self._contradiction(values)])}: {words}")
        if self._dark:
            raise DataError(f"{self._where(list(self._dark))}: {next(iter(self._dark.values()))}")

    def remarks(self) -> list[str]:
        """What is odd and may be right: see `_odd_remarks` and `_crossed_words`."""
        crossed = [f"warning: in {len(self._crossed)} of {len(self._samples)} measured train pairs a cross-polarised band is the brighter one, e.g. {name}: {words}; over "
                   "land and water it is the darker one: look whether bands of set.yaml is the order in the files" for name, words in [*self._crossed.items()][:1]]
        return self._odd_remarks() + crossed

    def _odd_remarks(self) -> list[str]:
        """Decibels that are exactly 0, or power below 0, in a number that hardly any measurement gives."""
        found = [name for name, share in self._odd.items() if share > _ODD_SHARE]
        if not found:
            return []
        decibel = self._info.sar_unit is Unit.DB
        what, way = ("exactly 0 dB in every band", "0 means no measurement, declare it (set.yaml: nodata: 0); it is learnt as a value now") if decibel else (
            "below 0", f"a negative {self._info.sar_unit} means no measurement, declare it (set.yaml: nodata: VALUE); it is learnt as "
            f"{'no signal' if self._info.sar_unit is Unit.INTENSITY else 'its square'} now")
        return [f"warning: in {len(found)} of {len(self._odd)} measured train pairs more than {_ODD_SHARE:.0%} of the pixels are {what}, "
                f"e.g. {self._odd[found[0]]:.1%} of {found[0]}: if {way}"]

    def _crossed_words(self, values: np.ndarray) -> str:
        """(bands, n): which cross-polarised band is clearly brighter than the co-polarised one of its date, as where bands were taken for each
        other; "" = none. Of another date it may be: VV of a flood lies below VH before it."""
        if self._info.sar_unit is Unit.DN:
            return ""
        middle = np.median(values.astype(np.float64), axis=1)
        if self._info.sar_unit is not Unit.DB:
            middle = (20 if self._info.sar_unit is Unit.AMPLITUDE else 10) * np.log10(np.maximum(np.abs(middle), 1e-10))
        bands = [(name, polarisation_of(name), db) for name, db in zip(self._info.bands, middle)]
        pairs = [f"{name} {db:.1f} dB, {other} {low:.1f} dB" for name, cross, db in bands if cross in ("VH", "HV")
                 for other, co, low in bands if co in ("VV", "HH") and db > low + _CROSSED_DB and _without(cross, name) == _without(co, other)]
        return next(iter(pairs), "")

    def _is_odd(self, values: np.ndarray) -> np.ndarray:
        """(bands, n) to (n,) bool."""
        if self._info.sar_unit is Unit.DB:
            return (values == 0).all(axis=0)
        return (values < 0).any(axis=0) & (self._info.sar_unit is not Unit.DN)

    def _contradiction(self, values: np.ndarray) -> str:
        """What a run would say of these values, with the keys of set.yaml for its options; "" = nothing."""
        try:
            check_values(values[:, None], None, SourceRadiometry(self._info.sar_unit))
        except RadiometryError as error:
            words = re.sub(r"--(unit|scale|offset|nodata)", r"\1:", re.sub(r" \(--unit[^)]*\)| \(SourceRadiometry\(.*?\)\)\)", "", str(error)))
            return f"{words} (keys of set.yaml; other layouts: see docs/data.md); nothing was trained, as a run of the engine would refuse the same pixels"
        return ""

    def _where(self, names: list[str]) -> str:
        if not names:
            return f"set {self._info.name}, all measured train pairs together"
        more = f" and of {len(names) - 1} more of the {len(self._samples)} measured" if len(names) > 1 else ""
        return f"set {self._info.name}, SAR of pair {names[0]}{more}"


def _without(polarisation: str, name: str) -> str:
    """What a band's name says besides: the date, of VV_before and VH_before the same."""
    return name.upper().replace(polarisation, "")


def _sample(values: np.ndarray, name: str) -> np.ndarray:
    """(bands, n) to at most `_PIXELS` of its pixels, drawn by the pair's name: every nth one would be whole columns of a chip."""
    count = values.shape[1]
    if count <= _PIXELS:
        return values.copy()
    rng = np.random.default_rng(zlib.crc32(name.encode("utf-8", "surrogateescape")))
    return values[:, np.sort(rng.choice(count, _PIXELS, replace=False, shuffle=False))]
