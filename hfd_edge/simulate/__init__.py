"""SAR scenes with known truth, and the optical (EO) image of the same ground beside them.

A scene is a pure function of (seed, row, col): any window of any size holds the same pixels, so scenes of any size stream.
Statistics only: class backscatter, gamma texture (together with speckle the K-distribution), buildings with layover, shadow
and double bounce, thermal noise, gamma speckle. There is no focusing, no phase history and no coherence: it proves plumbing
and lets classifiers be compared; it proves nothing about accuracy on real scenes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hfd_edge.errors import ArrayError, RadiometryError, SpecError
from hfd_edge.simulate.buildings import Viewing, building_heights, radar_image
from hfd_edge.simulate.fields import BLOCK_PX, block_generator, correlated_speckle, gamma_speckle, lattice_hash, smooth_field
from hfd_edge.spec import NODATA_LABEL, Unit

BANDS = ("VV", "VH")
EO_BANDS = ("B", "G", "R", "NIR")
_FIELD_TEXTURE, _FIELD_SPECKLE, _FIELD_EO, _FIELD_PHASE = 201, 202, 210, 220      # regions use 0..9, buildings 101..106


@dataclass(frozen=True, slots=True)
class GroundClass:
    """One land cover. Backscatter: sigma nought at C band near 38 degrees, generator values rounded from the literature (Ulaby
    and Dobson 1989; Bauer-Marschallinger et al. 2021), not a measurement."""

    name: str
    color: tuple[int, int, int]                # RGB on maps
    sigma0_db: tuple[float, float]             # VV, VH, without noise
    texture_order: float                       # nu of the gamma texture; inf = none
    reflectance: tuple[float, float, float, float]   # B, G, R, NIR


CLASSES = (
    GroundClass("water", (38, 102, 178), (-20.0, -27.0), float("inf"), (0.060, 0.050, 0.035, 0.020)),
    GroundClass("bare soil", (196, 156, 104), (-13.0, -22.0), 30.0, (0.100, 0.140, 0.190, 0.260)),
    GroundClass("cropland", (232, 214, 92), (-11.0, -17.5), 20.0, (0.050, 0.090, 0.060, 0.380)),
    GroundClass("forest", (34, 110, 60), (-8.5, -14.0), 12.0, (0.030, 0.050, 0.030, 0.280)),
    GroundClass("urban", (200, 58, 52), (-8.5, -15.5), 2.0, (0.110, 0.120, 0.130, 0.170)),    # its streets; buildings below
)
CLASS_NAMES = tuple(c.name for c in CLASSES)
CLASS_COLORS = tuple(c.color for c in CLASSES)
WATER, BARE_SOIL, CROPLAND, FOREST, URBAN = range(5)
_ROOF = GroundClass("roof", (0, 0, 0), (-5.0, -12.0), 2.0, (0.160, 0.170, 0.190, 0.240))
_SURFACES = (*CLASSES, _ROOF)                  # index 5: what a building puts on top of class urban
BOUNCE_PER_M = (0.13, 0.027)                   # VV, VH, linear: with streets and roofs it makes towns about -4 and -11 dB
_POWER = np.array([[10 ** (s.sigma0_db[band] / 10) for s in _SURFACES] for band in (0, 1)], np.float32)
_REFLECTANCE = np.array([s.reflectance for s in _SURFACES], np.float32).T


@dataclass(frozen=True, slots=True)
class SceneConfig:
    """What a scene is. Two scenes with equal configs have equal pixels."""

    rows: int
    cols: int
    seed: int = 0
    looks: float = 4.4                         # any real number above 0
    spacing_m: float = 10.0
    incidence_deg: float = 38.0
    region_px: float = 48.0                    # typical width of a patch of one class
    nesz_db: float = -24.0                     # noise equivalent sigma nought
    speckle_correlation: float = 0.0           # of neighbouring intensities, 0..0.5
    border_px: int = 0                         # widest extent of the nodata wedges at the left and right edge

    def __post_init__(self) -> None:
        if self.rows < 1 or self.cols < 1:
            raise SpecError(f"scene of {self.rows} x {self.cols} pixels: it must have at least one row and column")
        if not 0 <= self.seed < 1 << 64:
            raise SpecError(f"seed={self.seed}: it must fit into 64 bits; use 0 to 2**64 - 1")
        if not (self.looks > 0 and self.spacing_m > 0 and self.region_px >= 8 and 0 < self.incidence_deg < 90):
            raise SpecError(f"looks={self.looks}, spacing_m={self.spacing_m}, region_px={self.region_px}, "
                            f"incidence_deg={self.incidence_deg}: looks and spacing must be above 0, regions at least 8 px, incidence inside 0..90")
        if not 0 <= self.speckle_correlation <= 0.5 or (self.speckle_correlation > 0 and self.looks < 1):
            raise SpecError(f"speckle_correlation={self.speckle_correlation} at looks={self.looks}: correlated speckle needs a "
                            "correlation of at most 0.5 and at least one look; use 0 for independent pixels")
        if not 0 <= 2 * self.border_px < self.cols:
            raise SpecError(f"border_px={self.border_px}: two wedges must leave pixels of {self.cols} columns; use 0 to {(self.cols - 1) // 2}")

    @property
    def viewing(self) -> Viewing:
        return Viewing(self.incidence_deg, self.spacing_m)


@dataclass(frozen=True, slots=True)
class SceneWindow:
    """The pixels of one window, aligned with each other."""

    config: SceneConfig
    row: int                                   # of the first pixel, scene coordinates
    col: int
    sar: np.ndarray                            # (2, r, c) float32, sigma nought of VV and VH, linear, above 0
    labels: np.ndarray                         # (r, c) uint8, the class on the ground; 255 in the nodata wedges
    eo: np.ndarray | None                      # (4, r, c) float32, reflectance B G R NIR; None if not asked for

    @property
    def valid(self) -> np.ndarray:
        """(r, c) bool, False in the nodata wedges."""
        return self.labels != NODATA_LABEL


class Scene:
    """A scene without memory of its own: every window is computed when asked for, in blocks of 256 x 256 pixels."""

    def __init__(self, config: SceneConfig) -> None:
        self.config = config

    def window(self, row: int, col: int, rows: int, cols: int, eo: bool = True) -> SceneWindow:
        """The pixels of one window; the same ones whatever window holds them.

        Args:
            row, col, rows, cols: inside the scene, in pixels. Whole blocks are computed: multiples of 256 cost least.
            eo: also compute the optical image.
        Raises:
            ArrayError: the window is empty or leaves the scene.
        """
        config = self.config
        if min(row, col) < 0 or min(rows, cols) < 1 or row + rows > config.rows or col + cols > config.cols:
            raise ArrayError(f"window row={row} col={col} of {rows} x {cols}: it must hold pixels and lie inside the scene of "
                             f"{config.rows} x {config.cols}")
        sar, labels = np.empty((2, rows, cols), np.float32), np.empty((rows, cols), np.uint8)
        optical = np.empty((4, rows, cols), np.float32) if eo else None
        for block_row in range(row // BLOCK_PX, (row + rows - 1) // BLOCK_PX + 1):
            for block_col in range(col // BLOCK_PX, (col + cols - 1) // BLOCK_PX + 1):
                here, there = _overlap(block_row * BLOCK_PX, row, rows), _overlap(block_col * BLOCK_PX, col, cols)
                target, source = (here[0], there[0]), (here[1], there[1])
                block = self._block(block_row, block_col, eo)
                sar[(slice(None), *target)] = block[0][(slice(None), *source)]
                labels[target] = block[1][source]
                if optical is not None:
                    optical[(slice(None), *target)] = block[2][(slice(None), *source)]
        labels[~self._inside(row, col, rows, cols)] = NODATA_LABEL
        return SceneWindow(config, row, col, sar, labels, optical)

    def strips(self, rows: int = BLOCK_PX, eo: bool = False) -> Iterator[SceneWindow]:
        """The whole scene from top to bottom in windows of full width; memory holds one of them."""
        for row in range(0, self.config.rows, rows):
            yield self.window(row, 0, min(rows, self.config.rows - row), self.config.cols, eo)

    def _inside(self, row: int, col: int, rows: int, cols: int) -> np.ndarray:
        """(rows, cols) bool, False in the wedges: the left one is widest at the top, the right one at the bottom."""
        config = self.config
        down = (np.arange(row, row + rows) + 0.5)[:, None] / config.rows
        across = np.arange(col, col + cols) + 0.5
        return (across >= config.border_px * (1 - down)) & (across < config.cols - config.border_px * down)

    def _block(self, block_row: int, block_col: int, eo: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """SAR, labels and EO of one block. Columns beyond it are computed too, as far as buildings are felt."""
        config, halo = self.config, self.config.viewing.halo_px
        rows = np.arange(block_row * BLOCK_PX, (block_row + 1) * BLOCK_PX)
        cols = np.arange(block_col * BLOCK_PX - halo, (block_col + 1) * BLOCK_PX + halo)
        ground = _regions(config, rows, cols)
        inner = slice(halo, halo + BLOCK_PX)
        labels = np.ascontiguousarray(ground[:, inner])
        if (ground == URBAN).any():
            heights = building_heights(config.seed, rows, cols, config.spacing_m) * (ground == URBAN)
            ground[heights > 0] = len(CLASSES)
            image = radar_image(_POWER.take(ground, axis=1), heights, BOUNCE_PER_M, config.viewing)
            sar = np.ascontiguousarray(image[:, :, inner])
        else:
            sar = _POWER.take(labels, axis=1)
        sar *= self._texture(labels, block_row, block_col)
        sar += np.float32(10 ** (config.nesz_db / 10))
        for band in range(len(BANDS)):
            sar[band] *= self._speckle(band, block_row, block_col)
        return sar, labels, self._eo(ground[:, inner], block_row, block_col) if eo else None

    def _texture(self, labels: np.ndarray, block_row: int, block_col: int) -> np.ndarray:
        """(256, 256) float32, gamma of the order of each pixel's class, mean 1, common to both bands."""
        generator = block_generator(self.config.seed, _FIELD_TEXTURE, block_row, block_col)
        texture = np.ones(labels.size, np.float32)
        for index, ground in enumerate(CLASSES):
            where = np.flatnonzero(labels == index)
            if where.size and np.isfinite(ground.texture_order):
                draws = generator.standard_gamma(ground.texture_order, where.size, dtype=np.float32)
                texture[where] = draws * np.float32(1 / ground.texture_order)
        return texture.reshape(labels.shape)

    def _speckle(self, band: int, block_row: int, block_col: int) -> np.ndarray:
        """(256, 256) float32, mean 1, independent between the bands."""
        config, field = self.config, _FIELD_SPECKLE + band
        if config.speckle_correlation == 0:
            return gamma_speckle(block_generator(config.seed, field, block_row, block_col), config.looks)
        rows, cols = (np.arange(BLOCK_PX) + index * BLOCK_PX for index in (block_row, block_col))
        return correlated_speckle(config.seed, field, rows, cols, config.looks, config.speckle_correlation)

    def _eo(self, surface: np.ndarray, block_row: int, block_col: int) -> np.ndarray:
        """(4, 256, 256) float32: reflectance with 8 % texture common to the bands and noise of 0.004 that grows with signal."""
        generator = block_generator(self.config.seed, _FIELD_EO, block_row, block_col)
        shape = (len(EO_BANDS), BLOCK_PX, BLOCK_PX)
        brightness = 1 + np.float32(0.08) * generator.standard_normal(shape[1:], dtype=np.float32)
        eo = _REFLECTANCE.take(surface, axis=1) * brightness
        return eo + np.float32(0.004) * (1 + eo) * generator.standard_normal(shape, dtype=np.float32)


def product(window: SceneWindow, kind: Unit | str, calibration_factor: float = 1e-6) -> np.ndarray:
    """A window in the form a SAR product has; the nodata wedges hold `PRODUCT_NODATA[kind]`.

    Args:
        kind: intensity (linear float32), db (float32), amplitude (uint16 DN, intensity = calibration_factor DN^2, at least 1
            where valid) or complex (complex64 single look, intensity = |z|^2; the scene must have looks=1).
        calibration_factor: CF of amplitude products; as `SourceRadiometry` the scale is its square root.
    Returns:
        (2, r, c), new memory.
    Raises:
        RadiometryError: complex from a scene of several looks, or an unknown kind.
    """
    kind = Unit(kind) if kind in PRODUCT_NODATA else kind
    if kind == Unit.INTENSITY:
        values = window.sar.copy()
    elif kind == Unit.DB:
        values = np.float32(10) * np.log10(np.maximum(window.sar, np.float32(1e-12)))
    elif kind == Unit.AMPLITUDE:
        values = np.clip(np.rint(np.sqrt(window.sar / np.float32(calibration_factor))), 1, 65535).astype(np.uint16)
    elif kind == Unit.COMPLEX:
        values = _single_look(window)
    else:
        raise RadiometryError(f"kind={str(kind)!r} is not a product the simulator makes: use {', '.join(PRODUCT_NODATA)}")
    values[:, ~window.valid] = PRODUCT_NODATA[kind]
    return values


PRODUCT_NODATA = {Unit.INTENSITY: np.nan, Unit.DB: np.nan, Unit.AMPLITUDE: 0, Unit.COMPLEX: 0}


def _single_look(window: SceneWindow) -> np.ndarray:
    """Complex pixels with the window's intensity and a phase of 2^16 equally likely steps."""
    if window.config.looks != 1:
        raise RadiometryError(f"kind=complex of a scene with looks={window.config.looks}: a complex pixel is a single look; use SceneConfig(looks=1)")
    turn = np.exp(2j * np.pi * np.arange(1 << 16) / (1 << 16)).astype(np.complex64)
    rows = np.arange(window.row, window.row + window.sar.shape[1])
    cols = np.arange(window.col, window.col + window.sar.shape[2])
    phases = [lattice_hash(window.config.seed, _FIELD_PHASE + band, rows, cols) >> np.uint64(48) for band in range(len(BANDS))]
    return np.sqrt(window.sar) * turn[np.stack(phases)]


def _regions(config: SceneConfig, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """(r, c) uint8 class of the ground: of five smooth random fields the highest."""
    best = smooth_field(config.seed, 0, rows, cols, config.region_px)
    labels = np.zeros(best.shape, np.uint8)
    for index in range(1, len(CLASSES)):
        field = smooth_field(config.seed, index, rows, cols, config.region_px)
        labels[field > best] = index
        np.maximum(best, field, out=best)
    return labels


def _overlap(block_start: int, start: int, length: int) -> tuple[slice, slice]:
    """Where a block lies inside a window, and where the window lies inside the block, along one axis."""
    first, last = max(block_start, start), min(block_start + BLOCK_PX, start + length)
    return slice(first - start, last - start), slice(first - block_start, last - block_start)
