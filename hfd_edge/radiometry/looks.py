"""What another number of looks does to pixels in dB: the shift of their mean and the spread of their speckle."""

from __future__ import annotations

import math

from hfd_edge.errors import RadiometryError
from hfd_edge.text import Note

DB_PER_NEPER = 10.0 / math.log(10.0)
_ASYMPTOTIC_FROM = 10.0             # the series below have an error under 1e-13 from here on


def digamma(x: float) -> float:
    """psi(x) for x > 0. Source: Abramowitz and Stegun 6.3.5 and 6.3.18. Twin: differences of math.lgamma in the tests."""
    shift = 0.0
    while x < _ASYMPTOTIC_FROM:
        shift -= 1.0 / x
        x += 1.0
    y = 1.0 / (x * x)
    return shift + math.log(x) - 0.5 / x - y * (1 / 12 - y * (1 / 120 - y * (1 / 252 - y * (1 / 240 - y / 132))))


def trigamma(x: float) -> float:
    """psi'(x) for x > 0. Source: Abramowitz and Stegun 6.4.6 and 6.4.12."""
    shift = 0.0
    while x < _ASYMPTOTIC_FROM:
        shift += 1.0 / (x * x)
        x += 1.0
    y = 1.0 / (x * x)
    return shift + 1.0 / x + 0.5 * y + y / x * (1 / 6 - y * (1 / 30 - y * (1 / 42 - y * (1 / 30 - y * 5 / 66))))


def bias_db(looks: float) -> float:
    """Mean of dB values minus dB of the mean for fully developed speckle of so many looks: (psi(L) - ln L) in dB; below 0."""
    check_looks(looks)
    return DB_PER_NEPER * (digamma(looks) - math.log(looks))


def spread_db(looks: float) -> float:
    """Standard deviation in dB of fully developed speckle of so many looks: sqrt(psi'(L)) in dB."""
    check_looks(looks)
    return DB_PER_NEPER * math.sqrt(trigamma(looks))


def check_looks(looks: float) -> None:
    """Refuse a number of looks that is none. Raises RadiometryError."""
    if not (isinstance(looks, (int, float)) and math.isfinite(looks) and looks > 0):
        raise RadiometryError(f"looks={looks!r}: it must be a number above 0; leave it out where it is not known")


def looks_difference(scene: float | None, model: float | None) -> tuple[str, ...]:
    """One sentence for the report where a scene's looks differ from the training data's by more than a tenth."""
    if scene is None or model is None or abs(scene / model - 1.0) <= 0.1:
        return ()
    shift, ratio = bias_db(scene) - bias_db(model), spread_db(scene) / spread_db(model)
    return (Note("other_looks", f"the scene has {scene:g} looks and the network was trained on {model:g}: on even ground its values in dB lie "
                 f"{shift:+.2f} dB off on average and spread {spread_db(scene):.2f} dB instead of {spread_db(model):.2f} "
                 f"({ratio:.2f} times), which is not corrected"),)
