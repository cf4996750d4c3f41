"""One stored number that fills many pixels of a scene, as a border without a nodata value does: found in a sample, told, and never masked unasked."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hfd_edge.radiometry import SourceRadiometry, as_option, nodata_option
from hfd_edge.spec import Unit
from hfd_edge.text import Note

_MANY_ALIKE = 0.02              # of the pixels exactly one value in every band, and
_NEXT_TIMES = 4                 # so many times as often as any other: no ground does it, nor the steps of rounded numbers


@dataclass(frozen=True, slots=True)
class Fill:
    """A stored number that many valid pixels are in every band."""

    stored: float | complex
    share: float                # 0..1 of the sampled pixels
    words: str                  # the number as the file holds it, such as "0 dB"

    def note(self, done: str) -> Note:
        """A sentence for the report; `done`: what was done to such pixels."""
        return Note("undeclared_nodata", f"about {self.share:.0%} of the pixels (of a sample) are exactly {self.words} in every band and {done}: if that "
                                         f"means nodata, give {nodata_option(self.stored.real)}")

    def of(self, values: np.ndarray) -> np.ndarray:
        """(rows, cols) bool: which pixels of stored values (bands, rows, cols) are this number in every band."""
        return (values == self.stored).all(axis=0)


def find_fill(sample: np.ndarray, valid: np.ndarray | None, source: SourceRadiometry, zeros_measured: bool = False) -> Fill | None:
    """The number that fills a scene's border, if there is one.

    Args:
        sample, valid, source: as check_values, the sample in the order of its rows: where no two neighbours are alike nothing is counted.
        zeros_measured: whether the scene's own mask leaves no 0 but those that are measurements, as a calibrated product's does.
    """
    if source.unit is Unit.DN:
        return None
    good = np.isfinite(sample).all(axis=0) & (sample == sample[:1]).all(axis=0)
    for value in source.nodata:
        good &= sample[0] != value
    alike = sample[0][good if valid is None else good & np.asarray(valid, dtype=bool)]
    if np.count_nonzero(alike[1:] == alike[:-1]) < 0.5 * _MANY_ALIKE * sample[0].size:
        return None
    values, counts = np.unique(alike, return_counts=True)
    most = int(np.argmax(counts))
    value, share, next_count = values[most], counts[most] / sample[0].size, max(np.delete(counts, most), default=0)
    full = source.saturation is not None and abs(value) >= source.saturation
    if share < _MANY_ALIKE or counts[most] < _NEXT_TIMES * next_count or full or (value == 0 and zeros_measured):
        return None
    unit = " dB" if source.unit is Unit.DB and (source.scale, source.offset) == (1.0, 0.0) else ""
    return Fill(value.item(), float(share), as_option(value.real) + unit)


def filtered_fill(fill: Fill | None, sample: np.ndarray, valid: np.ndarray | None, source: SourceRadiometry) -> Fill | None:
    """The number that a speckle filter made of a fill, found in a filtered sample; it keeps the words of the stored one."""
    found = None if fill is None else find_fill(sample, valid, source)
    return None if found is None else replace(found, words=fill.words)


def left_out(fill: Fill | None, sample: tuple[np.ndarray, np.ndarray | None]) -> tuple[np.ndarray, np.ndarray | None]:
    """A sample of stored pixels whose validity leaves out those that are the fill."""
    values, valid = sample
    if fill is None:
        return sample
    others = ~fill.of(values)
    return values, others if valid is None else others & np.asarray(valid, dtype=bool)
