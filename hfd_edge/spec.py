"""What an engine must know of its network: `ModelInput` (the pixels it was trained on) and `ModelSpec` (everything else).

Both are plain frozen records of numbers and words; they travel in the package's manifest as JSON and serve training,
calibration and inference alike. They import nothing of hfd_edge but the errors.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from enum import Enum
from typing import Any

from hfd_edge.errors import SpecError

MAX_CLASSES = 255
NODATA_LABEL = 255
_LEAST_STD, _MOST_STDS = 1e-12, 1e6
MAX_TILE_PX = 1 << 15           # 2^30 pixels: no machine runs a larger tile
SCENE_INPUT = "scene"           # of a graph whose spec has scene_percentiles: (1, n) float32, zeros where it is not given


class Unit(str, Enum):
    """What a pixel value is. INTENSITY is linear power, AMPLITUDE its root, DB 10 log10 of power, COMPLEX a single look,
    DN a digital number without physical meaning (only for models trained on the very same numbers)."""

    INTENSITY = "intensity"
    AMPLITUDE = "amplitude"
    DB = "db"
    COMPLEX = "complex"
    DN = "dn"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class ModelInput:
    """What the network was trained on: unit, then floor, clip and z-score, band by band.

    A pixel enters the network as (clip(max(x, floor)) - mean) / std, with x in `unit`; invalid pixels enter as 0.
    Raises SpecError where numbers contradict each other.
    """

    unit: Unit                                           # the scale in which floor, clip, mean and std are meant; never COMPLEX
    mean: tuple[float, ...]                              # per band, in `unit`
    std: tuple[float, ...]                               # per band, in `unit`, > 0
    clip: tuple[tuple[float, float], ...] | None = None  # per band (low, high), in `unit`
    floor: float | None = None                           # lowest value, in `unit`; for DB: where power <= 0 lands (required)
    quantity: str = "sigma0"                             # sigma0, gamma0, beta0 or dn
    looks: float | None = None                           # equivalent number of looks of the training scenes; None = not known
    speckle_filter: str = "none"                         # filter of linear intensity before everything else, docs/speckle.md
    filter_looks: float | None = None                    # its number of looks; None = `looks`
    filter_radius: int = 3                               # of its window, pixels
    filter_border: str = "mask"                          # outside the scene: "mask" = not valid, "nearest" = the nearest pixel
    filter_damping: float = 2.0                          # frost
    filter_sigma: float = 0.9                            # lee_sigma: share of the speckle inside its range
    filter_bright: tuple[float, ...] | None = None       # lee_sigma: per band, linear; None = each scene's 98th percentile

    def __post_init__(self) -> None:
        object.__setattr__(self, "unit", _unit(self.unit))
        object.__setattr__(self, "mean", tuple(float(v) for v in self.mean))
        object.__setattr__(self, "std", tuple(float(v) for v in self.std))
        if self.filter_bright is not None:
            object.__setattr__(self, "filter_bright", tuple(float(v) for v in self.filter_bright))
        if self.clip is not None:
            object.__setattr__(self, "clip", tuple((float(lo), float(hi)) for lo, hi in self.clip))
        if self.unit is Unit.COMPLEX:
            raise SpecError("input.unit=complex: a network takes real numbers; declare the unit after detection (db or intensity)")
        _same_length("input", mean=self.mean, std=self.std, clip=self.clip, filter_bright=self.filter_bright)
        for name, values in (("mean", self.mean), ("std", self.std)):
            if not all(math.isfinite(v) for v in values):
                raise SpecError(f"input.{name}={values}: every value must be finite; recompute the statistics without nodata")
        if not all(v > 0 for v in self.std):
            raise SpecError(f"input.std={self.std}: every value must be above 0; a constant band cannot be normalised, use std 1")
        for band in range(len(self.std)):
            self._check_scale(band)
        for low, high in self.clip or ():
            if not low < high:
                raise SpecError(f"input.clip=({low}, {high}): the low end must be below the high end; swap or widen them")
            if self.floor is not None and not self.floor < high:
                raise SpecError(f"input.floor={self.floor} with input.clip=({low}, {high}): the floor must be below the clip's high end, else every "
                                f"pixel becomes {high:g}; give the value that zero power lands on, such as {low:g}")
        if self.unit is Unit.DB and self.floor is None:
            raise SpecError("input.floor=None with unit=db: zero power has no logarithm; give the dB value it lands on, e.g. -35")

    def _check_scale(self, band: int) -> None:
        """Refuse a spread that cannot be meant: float32 pixels of such a mean do not tell it apart, or all would enter as one number."""
        mean, std = self.mean[band], self.std[band]
        ends = [mean] if self.clip is None else [end - mean for end in self.clip[band] if math.isfinite(end)]
        largest = max(map(abs, ends), default=0.0) / std
        if not _LEAST_STD <= std <= 1 / _LEAST_STD or largest > _MOST_STDS:
            raise SpecError(f"input.std={self.std}, input.mean={self.mean}: of band {band} it must be {_LEAST_STD:g} to {1 / _LEAST_STD:g}, and at least "
                            f"1 / {_MOST_STDS:g} of the distance from the mean to 0 or to the ends of input.clip ({largest * std:g}): float32 pixels tell "
                            f"nothing smaller apart; give the standard deviation in {self.unit}, and 1 for a band that is constant")

    @property
    def bands(self) -> int:
        """How many."""
        return len(self.mean)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What an engine must know of its network; travels in the package's manifest. Raises SpecError where values contradict each other."""

    name: str
    bands: tuple[str, ...]                               # channel order, e.g. ("VV", "VH")
    input: ModelInput
    classes: tuple[str, ...]                             # index = value in the output raster, at most 255 of them
    colors: tuple[tuple[int, int, int], ...]             # RGB 0..255 per class
    stride_px: int                                       # total stride of the network; tile origins and sizes are its multiples
    logit_stride_px: int                                 # one logit covers this many pixels per side; divides stride_px
    reach_px: int                                        # bound on how far an input pixel is felt, after bilinear up-sampling
    halo_px: int                                         # exact halo: reach_px rounded up to stride_px; a filter's own is read beyond it
    halo_bounded_px: int | None = None                   # smaller halo with a measured flip rate; None = not measured
    tile_px: int = 512                                   # side of the input tile the network was trained and checked at
    activation_bytes_per_px: int = 0                     # peak of the engine's working memory per input pixel; 0 = not known
    pixel_spacing_m: float | None = None                 # ground pixel spacing of the training scenes
    reach_bounded: bool = True                           # False: reach and halo were chosen by hand; tiled may differ from whole
    fixed_tile: bool = False                             # the graph takes tile_px x tile_px pixels and no other size
    # Mean squared error of the logits, their mean over the classes taken off, in the logit cell that many cells from the end of a
    # tile's input, against the exact halo; 0 beyond. None = not measured.
    edge_error: tuple[float, ...] | None = None
    # The network's second input, "scene": these percentiles of each band's power over the whole scene, as network input, band by
    # band. None = it has no second input.
    scene_percentiles: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "bands", tuple(self.bands))
        object.__setattr__(self, "classes", tuple(self.classes))
        object.__setattr__(self, "colors", tuple(tuple(int(v) for v in c) for c in self.colors))
        for name in ("edge_error", "scene_percentiles"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, tuple(float(v) for v in getattr(self, name)))
        _check_names(self)
        _check_geometry(self)

    @property
    def unit(self) -> Unit:
        """The scale the network's normalisation is meant in; pixels in other known units are converted to it."""
        return self.input.unit

    @property
    def scene_numbers(self) -> int:
        """How many numbers the network is told of the whole scene; 0 = it has no second input."""
        return len(self.bands) * len(self.scene_percentiles or ())

    def to_dict(self) -> dict[str, Any]:
        """The spec as JSON-ready numbers, strings and lists. Later keys are left out where they say what 1.0 took for granted."""
        record = asdict(self)
        for key, usual in (("reach_bounded", True), ("fixed_tile", False), ("edge_error", None),
                           ("scene_percentiles", None)):
            if record[key] is usual:
                del record[key]
        record["input"]["unit"] = self.input.unit.value
        if self.input.speckle_filter == "none":
            record["input"] = {key: value for key, value in record["input"].items() if not key.startswith("filter_")}
        return record

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> ModelSpec:
        """A spec from `to_dict`'s record. Unknown keys are ignored (a newer minor format version may add some).

        Raises:
            SpecError: a required key is missing or a value contradicts another.
        """
        try:
            inner = _known(ModelInput, record["input"])
            return cls(**{**_known(cls, record), "input": ModelInput(**inner)})
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            if isinstance(error, SpecError):
                raise
            raise SpecError(f"spec record cannot be read: {error}; compare it with docs/engine-format.md") from error


def _unit(value: Unit | str) -> Unit:
    try:
        return Unit(value)
    except ValueError as error:
        raise SpecError(f"unit={value!r} is not known: use one of {', '.join(u.value for u in Unit)}") from error


def _known(cls: type, record: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise SpecError(f"{cls.__name__} record is a {type(record).__name__}: it must be a JSON object")
    names = {f.name for f in fields(cls)}
    return {key: value for key, value in record.items() if key in names}


def _same_length(where: str, **tuples: tuple | None) -> None:
    lengths = {name: len(value) for name, value in tuples.items() if value is not None}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise SpecError(f"{where} has {lengths} values: each needs one per band, at least one")


def _check_names(spec: ModelSpec) -> None:
    if len(spec.bands) != spec.input.bands:
        raise SpecError(f"bands={spec.bands} but input statistics for {spec.input.bands} bands: give one mean and std per band")
    for name, values in (("bands", spec.bands), ("classes", spec.classes)):
        if len(set(values)) != len(values) or not all(isinstance(v, str) and v for v in values):
            raise SpecError(f"{name}={values}: names must be non-empty and different from each other")
    if not 1 <= len(spec.classes) <= MAX_CLASSES:
        raise SpecError(f"classes has {len(spec.classes)} names: 1 to {MAX_CLASSES} fit into a uint8 map beside nodata {NODATA_LABEL}")
    if len(spec.colors) != len(spec.classes):
        raise SpecError(f"colors has {len(spec.colors)} entries for {len(spec.classes)} classes: give one RGB per class")
    if not all(len(c) == 3 and all(0 <= v <= 255 for v in c) for c in spec.colors):
        raise SpecError(f"colors={spec.colors}: each must be three integers 0..255")


def _check_geometry(spec: ModelSpec) -> None:
    for name in ("stride_px", "logit_stride_px", "reach_px", "halo_px", "tile_px"):
        value, least = getattr(spec, name), 0 if name in ("reach_px", "halo_px") else 1
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise SpecError(f"{name}={value!r}: it must be a whole number of pixels, at least {least}")
    if spec.tile_px > MAX_TILE_PX:
        raise SpecError(f"tile_px={spec.tile_px} (halo_px={spec.halo_px}): at most {MAX_TILE_PX}, as no machine holds a tile of more than 2^30 pixels, and "
                        f"twice the halo must be smaller; give a smaller tile, and where a halo was given by hand a smaller halo")
    if spec.stride_px % spec.logit_stride_px:
        raise SpecError(f"logit_stride_px={spec.logit_stride_px} does not divide stride_px={spec.stride_px}: "
                        "the logits' grid must fit into the network's; export the head at a stride of the network")
    for name in ("halo_px", "halo_bounded_px", "tile_px"):
        value = getattr(spec, name)
        if value is not None and value % spec.stride_px:
            raise SpecError(f"{name}={value} is not a multiple of stride_px={spec.stride_px}: "
                            f"tiles would leave the network's grid; use {-(-value // spec.stride_px) * spec.stride_px}")
    if spec.halo_px < spec.reach_px:
        raise SpecError(f"halo_px={spec.halo_px} is smaller than reach_px={spec.reach_px}: "
                        f"the exact halo must cover the reach; use {-(-spec.reach_px // spec.stride_px) * spec.stride_px}")
    if 2 * spec.halo_px >= spec.tile_px:
        raise SpecError(f"halo_px={spec.halo_px} leaves nothing of a tile of tile_px={spec.tile_px}: "
                        f"2 * halo_px must be smaller than tile_px; use a tile_px above {2 * spec.halo_px}")
    if spec.scene_percentiles is not None:
        _check_scene_percentiles(spec)
    if spec.edge_error is not None:
        _check_edge_error(spec.edge_error, spec.halo_px // spec.logit_stride_px)


def _check_edge_error(edge_error: tuple[float, ...], most: int) -> None:
    if not 1 <= len(edge_error) <= most or not all(math.isfinite(v) and v >= 0 for v in edge_error):
        raise SpecError(f"edge_error has {len(edge_error)} values, {str(edge_error)[:80]}: it needs one finite number, at least 0, "
                        f"per logit cell from the tile's end inwards, 1 to {most} of them (the exact halo); measure it again with "
                        "hfd-edge seams --profile")


def _check_scene_percentiles(spec: ModelSpec) -> None:
    given = spec.scene_percentiles
    if not 1 <= len(given) <= 64 or list(given) != sorted(set(given)) or not 0 <= given[0] <= given[-1] <= 100:
        raise SpecError(f"scene_percentiles={given}: they must be 1 to 64 numbers of 0 to 100 that rise, such as (2, 50, 98)")
    if spec.unit is Unit.DN:
        raise SpecError("scene_percentiles with input.unit=dn: percentiles are of a scene's power, which digital numbers without "
                        "physical meaning have not; declare what the pixels are")
