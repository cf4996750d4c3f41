"""The sample of a scene: strips inside it, spread over all of it, and its mean near the scene's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from hfd_edge.simulate import Scene, SceneConfig
from hfd_edge.source import ArraySource, sample


@dataclass
class Blocks:
    """A source in blocks whose pixels are their row's number; notes what is read."""

    rows: int
    cols: int
    stored_block: tuple[int, int]
    count: int = 1
    dtype: np.dtype = np.dtype(np.float32)

    def __post_init__(self):
        self.reads = []

    def read(self, row, rows):
        return self.read_part(row, rows, 0, self.cols)

    def read_part(self, row, rows, col, cols):
        assert 0 <= row and 0 < rows and row + rows <= self.rows and 0 <= col and col + cols <= self.cols
        self.reads.append((row, rows, col, cols))
        return np.repeat(np.arange(row, row + rows, dtype=np.float32)[np.newaxis, :, np.newaxis], cols, axis=2), None


@pytest.mark.parametrize("shape, block, bands", [
    ((8192, 8192), (512, 512), 8), ((8192, 8192), (1, 8192), 32), ((2048, 1024), (512, 512), 4), ((4000, 700), (16, 700), 8),
    ((4000, 700), (8, 700), 16), ((8192, 4096), (2048, 2048), 4), ((8192, 8192), (8192, 8192), 1), ((130, 50), (3, 50), 32),
    ((100, 70), (512, 512), 1), ((2060, 70), (512, 512), 5), ((5, 7), (1, 7), 2), ((1, 1), (1, 1), 1)])
def test_strips_lie_in_the_scene_spread_over_it_in_few_rows_of_blocks(shape, block, bands):
    source = Blocks(*shape, block)
    values, valid = sample(source)
    assert valid.all() and values.shape[:2] == (1, 1) and values.shape[2] <= 1.5 * 16384
    assert abs(values.mean() - (shape[0] - 1) / 2) <= 0.04 * shape[0] + 1
    assert len({row // max(block[0], 4) for row, *_ in source.reads}) == bands
    read = [row + i for row, rows, col, _ in source.reads if col == source.reads[0][2] for i in range(rows)]
    assert len(set(read)) == len(read) <= 128, "no row is read twice"


@pytest.mark.parametrize("shape, side, whole", [((4096, 4096), 256, True), ((2048, 2048), 512, True), ((512, 7168), 512, False), ((8192, 8192), 256, False)])
def test_blocks_side_by_side_are_read_at_once_where_all_are_wanted_and_the_cache_holds_them(shape, side, whole):
    source = Blocks(*shape, (side, side))
    sample(source)
    assert {cols for *_, cols in source.reads} == {shape[1] if whole else side}


def test_a_block_too_large_for_the_cache_is_not_read_strip_by_strip():
    source = Blocks(8192, 8192, (2048, 2048))
    sample(source)
    assert len(source.reads) == 8 * 4
    low = Blocks(4000, 700, (16, 700))
    sample(low)
    assert [rows for _, rows, *_ in low.reads] == [16] * 8, "each block in one read"


def test_the_mean_of_a_sample_is_the_scenes():
    """Of 512 x 512 pixels in patches of some 50 px: 0.04 dB off (1 sigma); eight strips of 16 rows were 0.15 dB off."""
    off = []
    for seed in range(15000, 15012):
        power = Scene(SceneConfig(512, 512, seed=seed)).window(0, 0, 512, 512, eo=False).sar
        decibel = [10 * np.log10(np.maximum(values, 1e-4)) for values in (sample(ArraySource(power, 2))[0], power)]
        off.append(decibel[0].mean(axis=(1, 2)) - decibel[1].mean(axis=(1, 2)))
    assert np.sqrt(np.mean(np.square(off))) < 0.08


class Tiled(ArraySource):
    """An array as a raster in square blocks."""

    def __init__(self, power, side):
        super().__init__(power, len(power))
        self.stored_block = side, side

    def read_part(self, row, rows, col, cols):
        return self.read(row, rows)[0][:, :, col:col + cols], None


@pytest.mark.parametrize("side", [128, pytest.param(256, marks=pytest.mark.slow)])
def test_the_mean_of_a_sample_of_a_small_tiled_raster_is_the_scenes(side):
    """Of a quarter of the blocks it was 0.3 dB off (1 sigma) where 1024 x 1024 pixels lie in blocks of 128, or 2048 x 2048 in blocks of 256."""
    off = []
    for seed in range(15000, 15004):
        power = Scene(SceneConfig(8 * side, 8 * side, seed=seed)).window(0, 0, 8 * side, 8 * side, eo=False).sar
        values = 10 * np.log10(np.maximum(power, 1e-4))
        off.append(sample(Tiled(values, side))[0].mean(axis=(1, 2)) - values.mean(axis=(1, 2)))
    assert np.sqrt(np.mean(np.square(off))) < 0.1
