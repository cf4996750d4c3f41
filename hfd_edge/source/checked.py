"""The door that every scene comes through: what is declared of it, held against a sample of its pixels."""

from __future__ import annotations

import numpy as np

from hfd_edge.radiometry import SourceRadiometry, check_declared, check_values
from hfd_edge.radiometry.fill import Fill, find_fill
from hfd_edge.source import Source, sample
from hfd_edge.source.labelled import with_its_own

Sample = tuple[np.ndarray, np.ndarray]         # stored pixels (bands, 1, n) and their validity (1, n)


def checked(source: Source, radiometry: SourceRadiometry | None,
            bands: tuple[str, ...] | None = None) -> tuple[SourceRadiometry, Sample, Fill | None]:
    """The declaration as the stored pixels hold it, the sample it was held against, and the number that many of its pixels are.

    Args:
        bands: the network's, which the declaration may name.
    Raises:
        RadiometryError: no unit is known, or dtype, values or band names contradict the declaration.
        ArrayError: the array's own labels name other bands.
    """
    radiometry = check_declared(with_its_own(radiometry, source, bands), source.dtype, bands)
    stored = sample(source)
    check_values(*stored, radiometry)
    return radiometry, stored, find_fill(*stored, radiometry, getattr(source, "zeros_measured", False))
