"""How far a scene's values lie off the training data's, in dB: an uncalibrated product, a wrong factor or another sensor shows here.

The network's own mean and spread are all that is known of the training data, so a scene of other content lies off as well. A constant
factor moves all bands by the same dB and leaves their spread; other content mostly does not, and the report says which it looks
like. Nothing is corrected and no statistic of the training is ever replaced.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hfd_edge.radiometry import SourceRadiometry, gathered, make_gather
from hfd_edge.radiometry.fill import Fill, left_out
from hfd_edge.radiometry.looks import bias_db
from hfd_edge.radiometry.power import power_edges
from hfd_edge.source.vector import PowerCounts
from hfd_edge.spec import ModelInput, Unit
from hfd_edge.stitch import STATUS_NODATA
from hfd_edge.text import Note

WARN_DB = 0.5
_MOST_PX = 1 << 14              # of a sample, per band
_ENOUGH = 256                   # fewer valid pixels than this tell nothing
_ALIKE_DB = 0.5                 # bands that lie off by a constant factor lie off alike
_FAR_DB = 6.0                   # all bands beyond it, to one side: open water does it, little else
_BRIGHT_DB = 10.0               # one band above by more, others not: no ground does it
_OPPOSITE_DB = 3.0              # one band above and one below by more: ground moves bands to one side
_SAME_SPREAD = (0.9, 1.1)
_FACTOR_TO_DB = {Unit.INTENSITY: 10.0, Unit.AMPLITUDE: 20.0}


@dataclass(frozen=True, slots=True)
class BandOffset:
    """One band against the training data."""

    band: str
    offset_db: float            # mean of the scene minus mean of the training data, looks that differ taken out; floored, clipped as the network sees it
    spread: float               # of the scene over that of the training data; for linear units, relative to the mean


@dataclass(frozen=True, slots=True)
class TrainingOffset:
    """A scene against the training data."""

    bands: tuple[BandOffset, ...]
    pixels: int                 # that told
    sampled: bool               # False: all valid pixels of the scene
    left_out: str | None = None # stored number, such as "0 dB", that fills a border: pixels that are it in every band did not count

    @property
    def warns(self) -> bool:
        return any(abs(band.offset_db) > WARN_DB for band in self.bands)

    @property
    def like_a_factor(self) -> bool:
        """Whether all bands lie off by about the same and spread as in training, as they do under a wrong calibration factor."""
        offsets = [band.offset_db for band in self.bands]
        low, high = _SAME_SPREAD
        return max(offsets) - min(offsets) <= _ALIKE_DB and all(low <= band.spread <= high for band in self.bands)

    def __str__(self) -> str:
        told = ", ".join(f"{band.band} {band.offset_db:+.2f} dB (spread {band.spread:.2f} times)" for band in self.bands)
        return f"{told}, {'on a sample of' if self.sampled else 'over all'} {self.pixels} pixels{self._without()}"

    def notes(self) -> tuple[str, ...]:
        """A sentence for the report where a band lies off by more than WARN_DB."""
        if not self.warns:
            return ()
        told, (verdict, cause) = ", ".join(f"{band.band} {band.offset_db:+.2f} dB" for band in self.bands), self._cause()
        return (Note(f"off_training_{verdict}", f"the scene's mean lies off the training data: {told}{self._without()}; {cause}; nothing was corrected"),)

    def _without(self) -> str:
        return "" if self.left_out is None else f", without those that are exactly {self.left_out} in every band"

    def _cause(self) -> tuple[str, str]:
        """What would do it, the likeliest first: a word, and in words."""
        offsets = [band.offset_db for band in self.bands]
        if self.like_a_factor:
            return "factor", ("all bands alike and spread as in training, as a wrong calibration factor, unit or quantity would do it (content can, "
                              "too); check --scale")
        if max(offsets) > _OPPOSITE_DB and min(offsets) < -_OPPOSITE_DB:
            return "order", ("bands lie off in opposite directions, as bands in another order would do it: check --bands and the files' order first; "
                             "other ground (snow, cities) seldom does")
        if min(offsets) > _FAR_DB or max(offsets) < -_FAR_DB:
            return "unit", ("all bands lie further off than other ground mostly explains: check --unit and --scale first, and the quantity; a scene of "
                            "open water can do it, too")
        if max(offsets) > _BRIGHT_DB:
            odd = ", ".join(band.band for band in self.bands if band.offset_db > _BRIGHT_DB)
            return "band", f"no ground lies so far above in {odd} alone: check what that band of the file holds (an angle, a ratio?) and --bands first"
        return "ground", "bands or spread differ from training too, as other ground (water, forest) would do it alone; calibration is not excluded"


def ranges_of(offsets: Sequence[TrainingOffset]) -> dict[str, tuple[float, float]]:
    """By band the lowest and the highest offset of some scenes, in dB."""
    found: dict[str, list[float]] = {}
    for band in (band for offset in offsets for band in offset.bands):
        found.setdefault(band.band, []).append(band.offset_db)
    return {name: (min(values), max(values)) for name, values in found.items()}


def offset_notes(offset: TrainingOffset | None, provenance: Any) -> tuple[str, ...]:
    """Sentences for the report: a scene off the training data, and off the scenes that INT8 was judged on; `provenance`: see int8_notes."""
    return () if offset is None else (*offset.notes(), *int8_notes(offset, provenance))


def int8_notes(offset: TrainingOffset, provenance: Any) -> tuple[str, ...]:
    """A sentence for the report where a scene lies further off than the scenes that INT8 was judged on.

    Args:
        provenance: of the package; its gate keeps `ranges_of` those since there is such a sentence.
    """
    match provenance:
        case {"gate": {"offsets": Mapping() as ranges}}:
            beyond, known = [], []
        case _:
            return ()
    for band in offset.bands:
        match ranges.get(band.band):
            case [int() | float() as low, int() | float() as high]:
                known.append(f"{band.band} {low:+.2f} to {high:+.2f} dB")
                if not low - WARN_DB <= band.offset_db <= high + WARN_DB:
                    beyond.append(f"{band.band} {band.offset_db:+.2f} dB")
    if not beyond:
        return ()
    return (Note("int8_unjudged", f"INT8 was judged on scenes whose means lie {', '.join(known)} off the training data, and this one lies further "
                                  f"({', '.join(beyond)}): more labels may flip than its gate found; run it with precision fp32, or judge INT8 on "
                                  "scenes like this one"),)


def sample_offset(sample: tuple[np.ndarray, np.ndarray | None], radiometry: SourceRadiometry, model: ModelInput,
                  names: tuple[str, ...], fill: Fill | None = None) -> TrainingOffset | None:
    """Stored pixels against the training data; None for digital numbers, and where too few pixels are valid.

    Args:
        sample: stored pixels (bands, 1, n) and their validity (1, n) or None, as source.sample.
        radiometry: what they are, checked.
        names: of the bands.
        fill: a stored number that fills a border; pixels that are it do not count.
    """
    if model.unit is Unit.DN:
        return None
    values, valid = left_out(fill, sample)
    step = values.shape[2] // _MOST_PX | 1                           # odd: no column is met in every row
    values, valid = values[:, :, ::step], None if valid is None else np.ascontiguousarray(valid[:, ::step])
    made, status = gathered(make_gather(radiometry, model), np.ascontiguousarray(values), valid)
    known = made[:, 0].take(np.flatnonzero(status != STATUS_NODATA), axis=1)
    if known.shape[1] < _ENOUGH:
        return None
    moments = [(float(band.mean(dtype=np.float64)), float(band.std(dtype=np.float64))) for band in known]
    shift = _looks_shift(radiometry.looks, model)
    bands = [_band_offset(name, mean * std + at, spread * std, (at, std), model.unit, shift)
             for name, (mean, spread), at, std in zip(names, moments, model.mean, model.std)]
    return TrainingOffset(tuple(bands), known.shape[1], True, fill and fill.words) if all(bands) else None


def counts_offset(counts: PowerCounts, looks: float | None, model: ModelInput, names: tuple[str, ...]) -> TrainingOffset | None:
    """All pixels of a scene, counted by power, against the training data; None as sample_offset, and behind a speckle filter.

    Exact to the width of a bin of power, 0.03 dB.
    """
    if model.unit is Unit.DN or model.speckle_filter != "none" or counts.totals[:, 0].min() < _ENOUGH:
        return None
    shift, bands = _looks_shift(looks, model), []
    for band, name in enumerate(names):
        index = np.flatnonzero(counts.power[band])
        weights = np.append(counts.power[band][index], counts.totals[band, 1]).astype(np.float64)
        values = _seen(np.append(np.mean(power_edges(index), axis=0), 0.0), model, band)
        mean = float(np.average(values, weights=weights))
        spread = math.sqrt(float(np.average((values - mean) ** 2, weights=weights)))
        bands.append(_band_offset(name, mean, spread, (model.mean[band], model.std[band]), model.unit, shift))
    return TrainingOffset(tuple(bands), int(counts.totals[:, 0].min()), False) if all(bands) else None


def _seen(power: np.ndarray, model: ModelInput, band: int) -> np.ndarray:
    """Linear power in the network's unit, floored and clipped."""
    clip = None if model.clip is None else (model.clip[band],)
    one = ModelInput(model.unit, (0.0,), (1.0,), clip, model.floor)
    made, _ = gathered(make_gather(SourceRadiometry(Unit.INTENSITY), one), power[None, None].astype(np.float32))
    return made[0, 0].astype(np.float64)


def _band_offset(name: str, mean: float, spread: float, trained: tuple[float, float], unit: Unit, shift: float) -> BandOffset | None:
    """None where a mean is not positive in a linear unit: it has no dB."""
    if unit is Unit.DB:
        return BandOffset(name, mean - trained[0] - shift, spread / trained[1])
    if mean <= 0 or trained[0] <= 0:
        return None
    return BandOffset(name, _FACTOR_TO_DB[unit] * math.log10(mean / trained[0]), spread / mean / (trained[1] / trained[0]))


def _looks_shift(looks: float | None, model: ModelInput) -> float:
    """What another number of looks alone does to a mean in dB; the report has a sentence of its own for it."""
    if model.unit is not Unit.DB or model.speckle_filter != "none" or looks is None or model.looks is None:
        return 0.0
    return bias_db(looks) - bias_db(model.looks)
