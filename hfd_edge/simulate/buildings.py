"""Buildings and what a side-looking radar makes of them: layover, shadow and double bounce.

The sensor flies along the columns' direction and looks towards growing columns: every row is a range line in ground range,
the wave is plane. Source: Oliver and Quegan, Understanding SAR Images, ch. 1; incidence angle counted from the vertical.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hfd_edge.simulate.fields import lattice_uniform

HEIGHT_RANGE_M = (6.0, 30.0)
BLOCK_SIDE_M = 60.0          # one street block with one building
BUILT_SHARE = 0.85           # of the street blocks of a town
_FIELD_BUILT, _FIELD_HEIGHT, _FIELD_SIDES = 101, 102, 103


@dataclass(frozen=True, slots=True)
class Viewing:
    """How the ground is seen."""

    incidence_deg: float
    spacing_m: float         # ground pixel spacing, both directions

    @property
    def layover_px_per_m(self) -> float:
        """How far a metre of height moves a return towards the sensor."""
        return 1 / (math.tan(math.radians(self.incidence_deg)) * self.spacing_m)

    @property
    def shadow_px_per_m(self) -> float:
        """How far behind it a metre of height keeps the ground dark."""
        return math.tan(math.radians(self.incidence_deg)) / self.spacing_m

    @property
    def halo_px(self) -> int:
        """Columns on either side beyond which no building can be felt."""
        return math.ceil(HEIGHT_RANGE_M[1] * max(self.layover_px_per_m, self.shadow_px_per_m)) + 2


def building_heights(seed: int, rows: np.ndarray, cols: np.ndarray, spacing_m: float) -> np.ndarray:
    """Heights of a town without end: one rectangular flat-roofed building in most street blocks.

    Args:
        rows, cols: (r,) and (c,) int64 pixel coordinates, consecutive.
    Returns:
        (r, c) float32, metres; 0 on streets and empty blocks.
    """
    side = max(2, round(BLOCK_SIDE_M / spacing_m))
    row_blocks = np.arange(rows[0] // side, rows[-1] // side + 1)
    col_blocks = np.arange(cols[0] // side, cols[-1] // side + 1)
    built = lattice_uniform(seed, _FIELD_BUILT, row_blocks, col_blocks) < BUILT_SHARE
    low, high = HEIGHT_RANGE_M
    height = np.float32(low) + np.float32(high - low) * lattice_uniform(seed, _FIELD_HEIGHT, row_blocks, col_blocks)
    phase = np.arange(side, dtype=np.float32) / side

    def covered(axis_field: int) -> np.ndarray:                  # (row blocks, col blocks, side): where the building stands
        start = np.float32(0.25) * lattice_uniform(seed, axis_field, row_blocks, col_blocks)[..., None]
        length = np.float32(0.5) + np.float32(0.25) * lattice_uniform(seed, axis_field + 2, row_blocks, col_blocks)[..., None]
        return (phase >= start) & (phase < start + length)

    heights = np.where(built, height, np.float32(0))[:, None, :, None] * (
        covered(_FIELD_SIDES).transpose(0, 2, 1)[..., None] & covered(_FIELD_SIDES + 1)[:, None])
    heights = heights.reshape(row_blocks.size * side, col_blocks.size * side)
    row, col = rows[0] - row_blocks[0] * side, cols[0] - col_blocks[0] * side
    return heights[row:row + rows.size, col:col + cols.size]


def shadow(height_m: np.ndarray, viewing: Viewing) -> np.ndarray:
    """Which surfaces the wave does not reach.

    Args:
        height_m: (r, c) float32, metres above ground, at most HEIGHT_RANGE_M[1].
    Returns:
        (r, c) bool.
    """
    dark = np.zeros(height_m.shape, bool)
    for step in range(1, math.ceil(HEIGHT_RANGE_M[1] * viewing.shadow_px_per_m) + 1):
        ray = height_m[:, :-step] - np.float32(step / viewing.shadow_px_per_m)     # height below which column x + step is dark
        dark[:, step:] |= ray > height_m[:, step:]
    return dark


def radar_image(power: np.ndarray, height_m: np.ndarray, bounce_per_m: tuple[float, ...], viewing: Viewing) -> np.ndarray:
    """Power per ground cell to power per image pixel: what is dark is lost, what is high moves, energies add.

    A surface at height h lands h / tan(incidence) nearer to the sensor, shared between two pixels. A rise towards the far
    side is a wall facing the sensor and returns `bounce_per_m` times its height at its foot.

    Args:
        power: (bands, r, c) float32, mean backscatter of each cell's surface, linear.
        height_m: (r, c) float32, metres.
        bounce_per_m: per band, linear, per metre of wall.
    Returns:
        (bands, r, c) float32, new memory; within viewing.halo_px of the first and last column buildings outside are missing.
    """
    lit = ~shadow(height_m, viewing)
    image = power * (lit & (height_m == 0))
    roofs = np.flatnonzero(lit & (height_m > 0))
    column = roofs % height_m.shape[1]
    landing = column - height_m.ravel()[roofs] * np.float32(viewing.layover_px_per_m)
    near = np.floor(landing)
    far_share = landing - near
    target = roofs - column + near.astype(np.int64)
    inside = (near >= 0, near >= -1)                             # of the nearer and of the farther pixel
    rise = np.maximum(height_m[:, 1:] - height_m[:, :-1], 0) * lit[:, :-1]
    for band, bounce in enumerate(bounce_per_m):
        sent, flat = power[band].ravel()[roofs], image[band].reshape(-1)
        for step, share in enumerate((1 - far_share, far_share)):
            flat += np.bincount(target[inside[step]] + step, (sent * share)[inside[step]], flat.size)
        image[band][:, 1:] += rise * np.float32(bounce)
    return image
