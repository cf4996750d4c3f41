"""Declared pixels to network input: what the pixels of a scene *are* (`SourceRadiometry`) against what the network was
trained on (`spec.ModelInput`). Known and different is converted, unknown or contradicted is refused; nothing is guessed.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from types import ModuleType

import numpy as np

from hfd_edge import _native
from hfd_edge.errors import RadiometryError
from hfd_edge.radiometry.looks import check_looks, looks_difference
from hfd_edge.spec import ModelInput, Unit
from hfd_edge.text import Note

UNIT_CHOICES = "intensity (linear power), amplitude, db, complex or dn"
STORED_DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64", "complex64", "complex128")

_ENOUGH = 64                    # fewer valid pixels than this prove nothing about a unit
_DECIBEL_BAND = 0.9             # of one band below 0 where power was declared
_HIGHEST_DB = 50.0              # no natural or man-made target of a calibrated scene is brighter over 0.1 % of it
LOWEST_DB = -100.0             # below every sensor's noise floor: -9999 and the like
_HIGHEST_MEAN_POWER = 100.0     # 20 dB over a whole scene: digital numbers, not backscatter
LOWEST_POWER = -100.0           # noise removal leaves power a little below 0, and never so far: -9999 and the like
_NO_NOISE = -1.0                # median of a band of decibels: noise that was subtracted leaves a dark band far nearer to 0
_SHOWN = 80                     # letters in an error of what is no unit, as an array is none
_NODATA_LIKE = 1e-3             # of the values: an undeclared nodata value is not left to the network


@dataclass(frozen=True, slots=True)
class SourceRadiometry:
    """What the stored numbers of one scene are: value = stored * scale + offset, in `unit`.

    Examples: 10 x dB integers are unit="db", scale=0.1; amplitude DN with sigma0 = CF DN^2 are unit="amplitude",
    scale=sqrt(CF); monthly composites with 20 log10(DN) - 83 dB are unit="amplitude", scale=10 ** (-83 / 20).
    Raises RadiometryError where a value is unknown or cannot be.
    """

    unit: Unit | str                            # a Unit once it is made; a word in any case
    scale: float = 1.0
    offset: float = 0.0
    nodata: tuple[float, ...] = ()              # stored values, compared before scale and offset, as the pixels' dtype holds them; NaN always is nodata
    quantity: str | None = None                 # sigma0, gamma0, beta0; None = as the model's
    bands: tuple[str, ...] | None = None        # names of the bands in order: they must be the network's; None = they are taken to be
    looks: float | None = None                  # equivalent number of looks; None = not known, of complex numbers 1
    saturation: float | None = None             # stored value from which a pixel's power is a lower bound only; None = not known

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "unit", Unit(self.unit.lower() if isinstance(self.unit, str) else self.unit))      # dB, as the command line takes it
        except ValueError as error:
            raise RadiometryError(f"unit={' '.join(repr(self.unit).split())[:_SHOWN]} is not known: use {UNIT_CHOICES}") from error
        for name in ("scale", "offset", "nodata"):
            object.__setattr__(self, name, _numbers(name, getattr(self, name)))
        if self.looks is not None:
            check_looks(self.looks)
        elif self.unit is Unit.COMPLEX:             # a complex number is a single look
            object.__setattr__(self, "looks", 1.0)
        if self.saturation is not None:
            object.__setattr__(self, "saturation", _numbers("saturation", self.saturation))
            if not math.isfinite(self.saturation):
                raise RadiometryError(f"saturation={self.saturation}: it must be finite, such as 65535 for uint16; leave it out if it is not known")
        if not math.isfinite(self.scale) or self.scale == 0.0:
            raise RadiometryError(f"scale={self.scale}: it must be finite and not 0 (0 marks an uncalibrated product); "
                                  "take the calibration factor from the product's metadata")
        if self.scale < 0 and self.unit in (Unit.INTENSITY, Unit.AMPLITUDE):
            raise RadiometryError(f"scale={self.scale} with unit={self.unit}: it must be above 0; power and amplitude are not negative")
        if not math.isfinite(self.offset):
            raise RadiometryError(f"offset={self.offset}: it must be finite; leave it out if the product has none")
        if self.unit is Unit.COMPLEX and self.offset != 0.0:
            raise RadiometryError(f"offset={self.offset} with unit=complex: complex samples take a scale only; leave the offset out")


def _numbers(name: str, given: object) -> float | tuple[float, ...]:
    try:
        return tuple(float(value) for value in given) if name == "nodata" else float(given)
    except (TypeError, ValueError, OverflowError) as error:
        rule = "a tuple of numbers, such as (0.0,)" if name == "nodata" else "a real number"
        raise RadiometryError(f"{name}={given!r}: it must be {rule}; leave it out if the product has none") from error


def make_gather(source: SourceRadiometry, model: ModelInput, native: ModuleType = _native) -> _native.Gather:
    """The native operation that turns stored pixels of `source` into network input of `model`, tile by tile.

    Args:
        native: whose operation: hfd_edge._native, or hfd_edge._cuda for pixels on a GPU.

    Raises:
        RadiometryError: the two units have no conversion (digital numbers have no physical meaning).
    Source: intensity I = A^2 = |z|^2 = 10^(dB/10); notes on backscatter conventions in docs/radiometry.md.
    """
    if (source.unit is Unit.DN) != (model.unit is Unit.DN):
        raise RadiometryError(f"the scene is unit={source.unit} and the model was trained on unit={model.unit}: digital numbers "
                              "convert to nothing; calibrate the scene first, or declare its unit with a scale (--unit, --scale)")
    low, high = zip(*model.clip) if model.clip else ((), ())
    return native.Gather(
        unit=source.unit.value, model_unit=model.unit.value, scale=source.scale, offset=source.offset,
        nodata=list(source.nodata), floor=math.nan if model.floor is None else model.floor,
        clip_low=list(low), clip_high=list(high), mean=list(model.mean), gain=[1.0 / s for s in model.std])


def linear_power(bands: int) -> ModelInput:
    """The input of whatever takes linear power as it is: what counts or filters it."""
    return ModelInput(Unit.INTENSITY, (0.0,) * bands, (1.0,) * bands)


def gathered(gather: _native.Gather, values: np.ndarray, valid: np.ndarray | None = None, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """All pixels of an array where they lie: as one tile without a halo.

    Args:
        values: (bands, rows, cols), stored pixels. valid: (rows, cols), nonzero = valid, or None.
    Returns:
        (bands, rows, cols) float32 of the model's input, 0 where not valid; (rows, cols) uint8, stitch.STATUS_NODATA there. New memory.
    """
    size = values.shape[1:]
    made, status = np.empty(values.shape, np.float32), np.empty(size, np.uint8)
    gather.run(values, (0, 0), size, (0, 0), made, status, valid, threads)
    return made, status


def differences(source: SourceRadiometry, model: ModelInput) -> tuple[str, ...]:
    """What differs between a scene and the training data without being converted; one sentence each, for the report."""
    looks = looks_difference(source.looks, model.looks)
    if source.quantity is None or source.quantity == model.quantity:
        return looks
    return (Note("other_quantity", f"the scene is {source.quantity}, the network was trained on {model.quantity}: they differ by the incidence angle, "
                                   f"{_by_angle(source.quantity, model.quantity)}which is not corrected"), *looks)


def _by_angle(scene: str, model: str) -> str:
    """How much a quantity lies above another at 30 and 45 degrees from the vertical; "" of others than sigma, gamma and beta nought."""
    over_sigma = {"sigma0": lambda angle: 1.0, "gamma0": lambda angle: 1.0 / math.cos(angle), "beta0": lambda angle: 1.0 / math.sin(angle)}
    if not {scene, model} <= set(over_sigma):
        return ""
    steep, flat = (round(10.0 * math.log10(over_sigma[scene](angle) / over_sigma[model](angle)), 1) + 0.0 for angle in map(math.radians, (30, 45)))
    return f"{scene} lies {steep:+.1f} dB off at 30 and {flat:+.1f} dB at 45 degrees, "


def check_declared(source: SourceRadiometry | None, dtype: np.dtype, bands: tuple[str, ...] | None = None) -> SourceRadiometry:
    """The declaration, as `as_stored`, if there is one, the stored dtype can be it, and it names no other bands than the network's `bands`.

    Raises:
        RadiometryError: no unit is known, the dtype contradicts it (complex numbers, 8-bit display data) or cannot hold a nodata value, or the bands do.
    """
    dtype = np.dtype(dtype)
    if dtype == np.uint8 and (source is None or (source.unit is not Unit.DN and source.scale == 1.0 and source.offset == 0.0)):
        raise RadiometryError("the pixels are 8-bit without scale or offset: that is a display stretch, and the physical scale is lost; "
                              "take the product it was made from, or give --scale and --offset with --unit if they are known")
    if source is None:
        raise RadiometryError(f"the unit of the pixels ({dtype}) is not known: declare it with --unit (unit=...): {UNIT_CHOICES}")
    if dtype.name not in STORED_DTYPES:
        raise RadiometryError(f"pixels of dtype {dtype} cannot be read: use one of {', '.join(STORED_DTYPES)}")
    if (dtype.kind == "c") != (source.unit is Unit.COMPLEX):
        right = "complex" if dtype.kind == "c" else "intensity, amplitude or db"
        raise RadiometryError(f"unit={source.unit} was declared but the pixels are {dtype}: declare unit={right}")
    if bands is not None and source.bands is not None:
        _check_bands(source.bands, bands)
    if dtype.kind in "iu":
        _check_whole(source.nodata, dtype)
    return as_stored(source, dtype)


def _check_whole(nodata: tuple[float, ...], dtype: np.dtype) -> None:
    """NaN is let through: it means none."""
    limits = np.iinfo(dtype)
    for value in nodata:
        if not (math.isnan(value) or (value.is_integer() and limits.min <= value <= limits.max)):
            raise RadiometryError(f"nodata={value:g}: pixels of {dtype} are whole numbers from {limits.min} to {limits.max}, so none can be it; give the "
                                  "stored number that marks them (often 0), or leave it out")


def as_stored(source: SourceRadiometry, dtype: np.dtype) -> SourceRadiometry:
    """A declaration whose nodata values are what a pixel of a floating dtype holds of them: a float32 that was written as -99.99 is
    -99.9899978637695. One beyond the dtype is no pixel's."""
    if dtype.kind in "iu":
        return source
    with np.errstate(over="ignore"):
        held = np.array(source.nodata, np.finfo(dtype).dtype).tolist()
    return replace(source, nodata=tuple(value for value in held if not math.isinf(value)))      # infinity is nodata without being told


def _check_bands(declared: tuple[str, ...], wanted: tuple[str, ...]) -> None:
    names = [name.lower() for name in wanted]
    given = [band_among(str(name).lower(), names) for name in declared]
    if given == names:
        return
    way = f"; array[[{', '.join(str(given.index(name)) for name in names)}]] puts them in order" if sorted(given) == sorted(names) else ""
    raise RadiometryError(f"bands={declared!r} were declared and the network takes {', '.join(wanted)}, in this order{way}; leave bands out if "
                          "these pixels are meant all the same")


def band_among(given: str, names: list[str]) -> str:
    """The network's name that is a word of a declared one, as vv is of sigma0_vv; the declared one where none is, or several are."""
    words = [name for name in names if re.search(rf"(?<![a-z0-9]){re.escape(name)}(?![a-z0-9])", given)]
    return words[0] if len(words) == 1 else given


def check_values(sample: np.ndarray, valid: np.ndarray | None, source: SourceRadiometry) -> None:
    """Compare a sample of stored pixels with the declared unit.

    Args:
        sample: (bands, rows, cols), stored values of any readable dtype.
        valid: (rows, cols) bool, True = valid, or None.
        source: what was declared.
    Raises:
        RadiometryError: the values contradict the declaration; the text names the likely unit and the option.
    """
    with np.errstate(over="ignore"):                # infinite power is refused below, in words
        _check_valid_values(_valid_values(sample, valid, source), source)
        if source.unit is Unit.INTENSITY and len(sample) > 1:
            _check_each_band(sample, valid, source)


def _check_valid_values(values: np.ndarray, source: SourceRadiometry) -> None:
    if values.size < _ENOUGH or source.unit is Unit.DN:
        return
    negative = float(np.mean(values < 0))
    if source.unit is Unit.DB:
        _check_decibel(values, negative, source)
        return
    what = "the pixels are complex" if source.unit is Unit.COMPLEX else f"unit={source.unit} was declared"
    if source.unit is not Unit.COMPLEX:
        _check_not_negative(values, negative, source, what)
    power = float(np.mean(values if source.unit is Unit.INTENSITY else np.abs(values) ** 2))
    if power > _HIGHEST_MEAN_POWER:
        unit = "" if source.unit is Unit.COMPLEX else "--unit amplitude "
        raise RadiometryError(f"{what} but the mean power of the sampled values is {power:.4g}, {10 * math.log10(power):.0f} dB: "
                              "those are digital numbers, not backscatter; give the product's calibration factor (--scale; "
                              f"for sigma0 = CF * DN^2: {unit}--scale sqrt(CF))")


def _check_not_negative(values: np.ndarray, negative: float, source: SourceRadiometry, what: str) -> None:
    """Of linear power and amplitude."""
    many = negative > (0.5 if source.unit is Unit.INTENSITY else 0.01)
    below, low = values[values < 0], values[values < LOWEST_POWER]
    share = low.size / values.size
    if (many and np.ptp(below) == 0) or (share > _NODATA_LIKE and (negative <= 0.5 or np.ptp(low) == 0)):       # many values: multiples of decibels
        lowest = (below.min() - source.offset) / source.scale
        raise RadiometryError(f"{what} but {negative:.1%} of the sampled values are below 0 (lowest {below.min():.6g}), which power and "
                              f"amplitude are not: that looks like an undeclared nodata value; give it with {nodata_option(lowest)}")
    if many:
        raise RadiometryError(f"{what} but {negative:.0%} of the sampled values are below 0: power and amplitude are not; "
                              "the values look like decibels, declare unit=db (--unit db)")


def _check_each_band(sample: np.ndarray, valid: np.ndarray | None, source: SourceRadiometry) -> None:
    """One band of decibels beside linear ones; too much noise subtracted leaves a dark band below 0, too, but near it."""
    for number, band in enumerate(sample, 1):
        values = _valid_values(band[np.newaxis], valid, source)
        if values.size >= _ENOUGH and np.mean(values < 0) > _DECIBEL_BAND and np.median(values) < _NO_NOISE:
            raise RadiometryError(f"unit={source.unit} was declared but {np.mean(values < 0):.0%} of the sampled values of band {number} are below 0, "
                                  "which power is not, and the other bands are power: they are stored in different units; bring them to one")


def as_option(stored: float) -> str:
    """A stored number so that --nodata finds it: to the last digit, without those that a division has left of a whole number."""
    number = float(stored)
    number = float(round(number)) if math.isclose(number, round(number), rel_tol=1e-12) else number
    short = f"{number:.9g}"
    return short if float(short) == number else repr(number)


def nodata_option(stored: float) -> str:
    """How a nodata value is declared, on the command line and in Python."""
    return f"--nodata {as_option(stored)} (SourceRadiometry(nodata=({as_option(stored)},)))"


def _valid_values(sample: np.ndarray, valid: np.ndarray | None, source: SourceRadiometry) -> np.ndarray:
    good = np.isfinite(sample)
    for value in source.nodata:
        good &= sample != value
    if valid is not None:
        good &= np.asarray(valid, dtype=bool)
    return sample[good].astype(np.complex128 if sample.dtype.kind == "c" else np.float64) * source.scale + source.offset


def _check_decibel(values: np.ndarray, negative: float, source: SourceRadiometry) -> None:
    bright, dark = float(np.mean(values > _HIGHEST_DB)), float(np.mean(values < LOWEST_DB))
    if dark > 0.5 and np.ptp(values[values < LOWEST_DB]) > 0:           # one value would be nodata
        raise RadiometryError(f"unit=db was declared but {dark:.1%} of the sampled values are below {LOWEST_DB:.0f} dB (median "
                              f"{np.median(values):.6g}): they look like multiples of decibels; give --scale (10 x dB integers: --scale 0.1, "
                              "100 x dB: --scale 0.01)")
    if bright > 1e-3:
        raise RadiometryError(f"unit=db was declared but {bright:.1%} of the sampled values are above {_HIGHEST_DB:.0f} dB: no calibrated "
                              "scene is; give --scale and --offset of the product, or declare the true unit (--unit)")
    if dark > _NODATA_LIKE:
        raise RadiometryError(f"unit=db was declared but {dark:.1%} of the sampled values are below {LOWEST_DB:.0f} dB (lowest "
                              f"{values.min():.6g}): that looks like an undeclared nodata value; give it with "
                              f"{nodata_option((values.min() - source.offset) / source.scale)}")
    if negative < 1e-3:
        raise RadiometryError(f"unit=db was declared but {1 - negative:.1%} of the sampled values are not negative (mean {values.mean():.4g}): "
                              "they look like linear power or amplitude; declare unit=intensity or unit=amplitude (--unit)")
