"""Whether a set's SAR values can be in its declared unit: what a run asks of a scene (docs/radiometry.md, rule 4), asked before training."""

from __future__ import annotations

import re

import numpy as np

from hfd_edge.errors import RadiometryError
from hfd_edge.radiometry import LOWEST_DB, SourceRadiometry, check_values
from hfd_edge.spec import Unit
from training.pairs import DataError, Pair, SetInfo

_PIXELS = 4096                           # of a pair; a set is judged on all its measured pairs together
_DARK_SHARE = 1e-3                       # of one pair below LOWEST_DB, as for a scene
_ZERO_SHARE = 0.01                       # of decibels that are exactly 0: measurements almost never are


class UnitCheck:
    """Collects a sample of every measured pair, then judges the set.

    A set is judged as a scene is, on all its pairs together: a chip of a town alone may well be above 0 dB. An undeclared nodata value is looked
    for pair by pair, as it may stand in a few files only.
    """

    def __init__(self, info: SetInfo) -> None:
        self._info, self._samples = info, {}

    def add(self, pair: Pair) -> None:
        values = pair.sar[:, pair.valid]
        self._samples[pair.name] = values[:, ::max(1, values.shape[1] // _PIXELS)].copy()

    def check(self) -> None:
        """Raises DataError: the values contradict the unit, with the pair where it shows and the key to set."""
        if not self._samples:
            return
        if words := self._contradiction(np.concatenate(list(self._samples.values()), axis=1)):
            raise DataError(f"{self._where([name for name, values in self._samples.items() if self._contradiction(values)])}: {words}")
        if self._info.sar_unit is Unit.DB:
            dark = {name: words for name, values in self._samples.items()
                    if values.size and np.mean(values < LOWEST_DB) > _DARK_SHARE and (words := self._contradiction(values))}
            if dark:
                raise DataError(f"{self._where(list(dark))}: {next(iter(dark.values()))}")

    def remarks(self) -> list[str]:
        """What is odd and may be right: decibels that are exactly 0 in a number that no measurement gives."""
        if self._info.sar_unit is not Unit.DB:
            return []
        shares = {name: float(np.mean((values == 0).all(axis=0))) for name, values in self._samples.items() if values.size}
        found = [name for name, share in shares.items() if share > _ZERO_SHARE]
        if not found:
            return []
        return [f"warning: in {len(found)} of {len(shares)} measured train pairs more than {_ZERO_SHARE:.0%} of the pixels are exactly 0 dB in every band, "
                f"e.g. {shares[found[0]]:.1%} of {found[0]}: if 0 means no measurement, declare it (set.yaml: nodata: 0); it is learnt as a value now"]

    def _contradiction(self, values: np.ndarray) -> str:
        """What a run would say of these values, with the keys of set.yaml for its options; "" = nothing."""
        try:
            check_values(values[:, None], None, SourceRadiometry(self._info.sar_unit))
        except RadiometryError as error:
            words = re.sub(r"--(unit|scale|offset|nodata)", r"\1:", re.sub(r" \(--unit[^)]*\)", "", str(error)))
            return f"{words} (keys of set.yaml; other layouts: see docs/data.md); nothing was trained, as a run of the engine would refuse the same pixels"
        return ""

    def _where(self, names: list[str]) -> str:
        if not names:
            return f"set {self._info.name}, all measured train pairs together"
        more = f" and of {len(names) - 1} more of the {len(self._samples)} measured" if len(names) > 1 else ""
        return f"set {self._info.name}, SAR of pair {names[0]}{more}"
