"""Overviews: every level is the honest summary of the one below, however the rows came in."""

import warnings

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from hfd_edge.raster import MapWriter
from hfd_edge.raster.pyramid import Halving, level_sizes, mean_valid, most_frequent
from tests import reference
from tests.test_raster_map import Legend

images = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(0, 10**6)).map(
    lambda t: np.random.default_rng(t[2]).choice(np.array([0, 1, 2, 255], np.uint8), t[:2]))


@given(images)
def test_the_most_frequent_label_is_the_references(image):
    np.testing.assert_array_equal(most_frequent(image), reference.most_frequent(image))


@given(images)
def test_the_mean_of_the_valid_is_the_references(image):
    np.testing.assert_array_equal(mean_valid(image), reference.mean_valid(image))


def test_nodata_never_wins_and_ties_go_to_the_first():
    for pixels, label in (([255, 255, 255, 3], 3), ([2, 1, 2, 1], 2), ([1, 2, 2, 1], 1), ([255, 3, 4, 2], 3), ([4, 3, 2, 255], 4),
                          ([0, 7, 7, 255], 7), ([0, 1, 7, 7], 7), ([255] * 4, 255)):
        assert most_frequent(np.array(pixels, np.uint8).reshape(2, 2)).item() == label


@pytest.mark.parametrize("numbers", [[0, 1], [1, 0], [0, 1, 2, 3, 4], [4, 3, 2, 1, 0]])
def test_no_class_grows_from_level_to_level_for_its_number(numbers):
    """Classes of one texture each cover as much of every overview as of the map: by ties to the lowest, 0 would have half as much again."""
    random = np.random.default_rng(5)
    planes = np.stack([smooth(random.normal(size=(1024, 1024))) for _ in numbers])
    level = np.array(numbers, np.uint8)[planes.argmax(0)]
    there = np.bincount(level.ravel(), minlength=len(numbers)) / level.size
    for _ in range(3):
        level = most_frequent(level)
        np.testing.assert_allclose(np.bincount(level.ravel(), minlength=len(numbers)) / level.size, there, atol=0.01)


def smooth(noise, times=24):
    """Blobs of some pixels: each pixel becomes the mean of itself and its neighbours, again and again."""
    for _ in range(times):
        noise = (noise + np.roll(noise, 1, 0) + np.roll(noise, -1, 0) + np.roll(noise, 1, 1) + np.roll(noise, -1, 1)) / 5
    return noise


@given(images, st.lists(st.integers(1, 4), min_size=1, max_size=9))
def test_rows_may_come_in_any_pieces(image, pieces):
    halving, row, made = Halving(most_frequent, len(image)), 0, []
    while row < len(image):
        count = pieces[row % len(pieces)]
        first, rows = halving.push(image[row:row + count])
        assert first == sum(map(len, made))
        made.append(rows)
        row += count
    np.testing.assert_array_equal(np.concatenate(made), most_frequent(image))


def test_levels_end_with_the_first_that_fits():
    assert level_sizes(512, 512, 512) == []
    assert level_sizes(1025, 40, 512) == [(513, 20), (257, 10)]


def read(path, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path, **options) as dataset:
            return dataset.read(1), dataset.overviews(1), dataset.tags(ns="IMAGE_STRUCTURE"), first_block(dataset)


def first_block(dataset):
    return int(dataset.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1))


@pytest.mark.slow
@pytest.mark.parametrize("legend, reduce", [(Legend(), reference.most_frequent), ("confidence", reference.mean_valid)])
def test_a_map_is_a_cog_whose_levels_summarise_each_other(tmp_path, legend, reduce):
    rng = np.random.default_rng(0)
    level = np.kron(rng.integers(0, 3, (70, 90)), np.ones((25, 25))).astype(np.uint8)[:1703, :2201]
    level[rng.random(level.shape) < 0.2] = 255
    path = tmp_path / "map.tif"
    with MapWriter(path, *level.shape, geo=None, legend=legend, tags={}) as writer:
        for row in range(0, len(level), 333):
            writer.write(row, level[row:row + 333])
    pixels, overviews, structure, offset = read(path)
    assert structure["LAYOUT"] == "COG" and overviews == [2, 4, 8]
    np.testing.assert_array_equal(pixels, level)
    for number in range(3):
        level = reduce(level)
        pixels, _, _, overview_offset = read(path, OVERVIEW_LEVEL=number)
        np.testing.assert_array_equal(pixels, level)
        assert overview_offset < offset, "a COG holds the smallest level first"
        offset = overview_offset
