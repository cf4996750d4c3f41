"""No tile, block, thread or instruction set changes a bit of a filtered scene; a halo one pixel short does."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from hfd_edge import build_info, speckle
from hfd_edge.speckle.enl import LooksCounts, halo_px
from tests.test_simd import in_variant

LOOKS = 4.4


def scene(rows: int = 600, cols: int = 640) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    diagonals = np.add.outer(np.arange(rows), np.arange(cols)) // 37 % 2
    image = rng.gamma(LOOKS, 0.05 / LOOKS, (2, rows, cols)) * (1 + 3 * diagonals)
    image[:, rng.random((rows, cols)) < 0.002] *= 80
    for row, col in rng.integers(0, (rows - 4, cols - 4), (rows * cols // 200, 2)):   # bright targets across every border
        image[:, row:row + 4, col:col + 4] += 2 * (rng.random((4, 4)) < 0.6)
    image[1, 200:220, 100:260] = np.nan
    mask = rng.random((rows, cols)) < 0.999
    mask[:, :30] &= np.add.outer(np.arange(rows), -20 * np.arange(30)) < 0
    return image.astype(np.float32), mask


def filter_of(name: str, radius: int = 3) -> speckle.SpeckleFilter:
    return speckle.SpeckleFilter(name, LOOKS, radius, bright=(0.4, 0.5))


def in_tiles(chosen: speckle.SpeckleFilter, image: np.ndarray, mask: np.ndarray, tile: int, halo: int) -> np.ndarray:
    """Filtered tile by tile, with as much of the scene around each as the halo says."""
    result = np.empty_like(image)
    rows, cols = image.shape[1:]
    for row in range(0, rows, tile):
        for col in range(0, cols, tile):
            top, left = max(0, row - halo), max(0, col - halo)
            window = (slice(top, row + tile + halo), slice(left, col + tile + halo))
            made = chosen.apply(np.ascontiguousarray(image[(slice(None), *window)]), np.ascontiguousarray(mask[window]))
            result[:, row:row + tile, col:col + tile] = made[:, row - top:row - top + tile, col - left:col - left + tile]
    return result


@pytest.mark.parametrize("name", speckle.FILTERS)
def test_tiles_with_the_halo_are_the_whole_scene_to_the_bit_and_with_one_pixel_less_they_are_not(name):
    image, mask = scene()
    for radius in (3,) if name == "refined_lee" else (1, 3):
        chosen = filter_of(name, radius)
        whole = chosen.apply(image, mask)
        for tile in (32, 47, 128, 500):
            stitched, short = (in_tiles(chosen, image, mask, tile, halo) for halo in (chosen.halo_px, chosen.halo_px - 1))
            np.testing.assert_array_equal(stitched.view(np.uint32), whole.view(np.uint32))
            assert (short.view(np.uint32) != whole.view(np.uint32)).any(), f"a halo of {chosen.halo_px - 1} px was enough"


@pytest.mark.parametrize("name", speckle.FILTERS)
def test_threads_and_rows_change_no_bit(name):
    image, mask = scene(300, 1100)
    chosen = filter_of(name, 3)
    whole = chosen.apply(image, mask, threads=1)
    for threads in (2, 7):
        np.testing.assert_array_equal(chosen.apply(image, mask, threads=threads).view(np.uint32), whole.view(np.uint32))
    np.testing.assert_array_equal(chosen.apply(image, mask, rows=(131, 29), threads=2), whole[:, 131:160])


def digest() -> str:
    """Of all filters on one scene, both borders; runs in any variant."""
    image, mask = scene(150, 700)
    made = hashlib.sha256()
    for name in speckle.FILTERS:
        for radius in (3,) if name == "refined_lee" else (1, 3, 6):
            for border in speckle.BORDERS:
                chosen = speckle.SpeckleFilter(name, LOOKS, radius, border, bright=(0.4, 0.5))
                made.update(chosen.apply(image, mask).tobytes())
    counts = LooksCounts()
    counts.add(image, None)
    return made.hexdigest() + hashlib.sha256(counts.windows.tobytes()).hexdigest()


@pytest.mark.slow
def test_every_variant_that_runs_here_gives_the_same_bits():
    here = digest()
    for name in build_info()["simd_usable"]:
        done = in_variant(name, "from tests.test_speckle_tiles import digest; print(digest())")
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == here, name


def test_the_histogram_of_looks_is_the_same_from_any_strips():
    image, mask = scene()
    whole = LooksCounts()
    whole.add(image, mask.view(np.uint8))
    assert whole.windows.sum() > 1000
    for strip in (1, 13, 250):
        counts = LooksCounts()
        for row in range(0, image.shape[1], strip):
            top, end, count = max(0, row - halo_px()), row + strip + halo_px(), min(strip, image.shape[1] - row)
            counts.add(np.ascontiguousarray(image[:, top:end]), mask[top:end].view(np.uint8), (row - top, count), threads=2)
        np.testing.assert_array_equal(counts.windows, whole.windows)
        np.testing.assert_array_equal(counts.pairs, whole.pairs)
