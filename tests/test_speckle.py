"""The native speckle filters against their float64 twins: 2e-5 of the result outside the margins (docs/speckle.md)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfd_edge import speckle
from hfd_edge.errors import ArrayError
from hfd_edge.speckle.range import sigma_range
from tests import reference_speckle as reference
from tests.speckle_images import numbers_of, reference_of, rough_image

TOLERANCE = 2e-5
# Nearer than this to a decision rounding may turn it: Gamma-MAP's jump at sqrt(2) Cu, enhanced Lee's steep weight below Cmax,
# Frost's far from the centre, the edge's direction and side of refined Lee, the range of Lee sigma.
MARGIN = {"gamma_map": 1e-4, "enhanced_lee": 0.1, "frost": 0.05, "refined_lee": 1e-5, "lee_sigma": 1e-5}


def compare(name, image, mask, border, numbers):
    """Asserts, and gives the share of valid pixels inside the margin."""
    valid = reference.is_valid(image, mask)
    want, margin = reference_of(name, image, valid, border, numbers)
    got = getattr(speckle, name)(image, mask=mask, border=border, **numbers)
    assert got.dtype == np.float32 and got.shape == image.shape
    np.testing.assert_array_equal(np.isnan(got), ~valid)
    radius = numbers.get("radius", 3)
    means = reference.boxcar(image, valid, radius=radius, border=border)[0]
    scale = np.abs(means if name == "gamma_map" else want)
    far = valid & (margin > MARGIN.get(name, 0))
    error = np.abs(got - want)[far]
    assert np.all(error <= TOLERANCE * scale[far] + 1e-30), f"{name}: {np.max(error / (scale[far] + 1e-30)):.2e}"
    if name in ("enhanced_lee", "frost"):                   # inside its margin it is still right to 2e-5 of the local mean
        assert np.all(np.abs(got - want)[valid] <= TOLERANCE * np.maximum(means, np.abs(want))[valid] + 1e-30)
    return 1 - far.sum() / max(valid.sum(), 1)


@pytest.mark.parametrize("looks", [0.8, 1, 4.4, 16])
@pytest.mark.parametrize("name", speckle.FILTERS)
def test_every_filter_is_its_float64_twin(name, looks):
    for radius in (1, 3, 7) if name != "refined_lee" else (3,):
        for border in speckle.BORDERS:
            image, mask = rough_image(looks, seed=radius)
            close = compare(name, image, mask, border, numbers_of(name, looks, radius, image))
            assert close < 0.05, f"{close:.1%} of the pixels were not compared"


@pytest.mark.parametrize("radius", range(1, 8))
def test_every_radius_is_its_float64_twin(radius):
    image, mask = rough_image(3.3, (19, 21), seed=9)
    compare("lee", image, mask, "mask", {"looks": 3.3, "radius": radius})
    compare("frost", image, mask, "nearest", {"radius": radius})


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(speckle.FILTERS), st.integers(1, 12), st.integers(1, 12), st.integers(0, 999),
       st.sampled_from(speckle.BORDERS), st.sampled_from([0.0, 0.3, 0.9]))
def test_small_images_with_holes_are_their_float64_twin(name, rows, cols, seed, border, holes):
    rng = np.random.default_rng(seed)
    image = rng.gamma(2.0, 0.1, (rows, cols)).astype(np.float32)
    image[rng.random(image.shape) < holes / 2] = np.nan
    image[rng.random(image.shape) < 0.1] = 0
    mask = rng.random(image.shape) >= holes
    compare(name, image, mask, border, numbers_of(name, 2.0, int(rng.integers(1, 8)), image))


@pytest.mark.parametrize("name", speckle.FILTERS)
@pytest.mark.parametrize("border", speckle.BORDERS)
def test_flat_zero_and_one_pixel_wide_images_come_out_as_they_are(name, border):
    for shape in ((9, 12), (1, 1), (1, 40), (600, 1)):
        for value in (0.0, 0.25):
            image = np.full(shape, value, np.float32)
            numbers = numbers_of(name, 4.4, 3, np.float32([1.0]))
            np.testing.assert_allclose(getattr(speckle, name)(image, border=border, **numbers), image, rtol=1e-6)


def test_nothing_valid_gives_nothing_but_nan():
    for name in speckle.FILTERS:
        image = np.full((6, 600), np.nan, np.float32)
        assert np.isnan(getattr(speckle, name)(image, **numbers_of(name, 1.0, 2, np.float32([1.0])))).all()


def test_what_lies_in_a_hole_changes_nothing():
    image, mask = rough_image(4.4)
    other = np.where(mask, image, np.float32(7e5))
    for name in speckle.FILTERS:
        numbers = numbers_of(name, 4.4, 3, image)
        np.testing.assert_array_equal(*(getattr(speckle, name)(x, mask=mask, **numbers) for x in (image, other)))


def test_bands_are_filtered_each_by_itself_and_bright_is_per_band():
    image = np.stack([rough_image(4.4, seed=s)[0] for s in (1, 2)])
    both = speckle.lee_sigma(image, 4.4, bright=[0.2, 0.5])
    for band, bright in enumerate((0.2, 0.5)):
        np.testing.assert_array_equal(both[band], speckle.lee_sigma(image[band], 4.4, bright=bright))
    np.testing.assert_array_equal(speckle.kuan(image, 4.4)[1], speckle.kuan(image[1], 4.4))


def test_the_sigma_range_is_the_published_one():
    """Lee et al. 2009, table I, one look: the range to 0.6 %, the noise to 1 %."""
    for sigma, low, high, noise in ((0.5, 0.436, 1.920, 0.4057), (0.7, 0.254, 2.582, 0.5911), (0.9, 0.084, 3.941, 0.8191)):
        found = sigma_range(1.0, sigma)
        assert abs(found[0] - low) < 0.006 and abs(found[1] / high - 1) < 0.006 and abs(found[2] ** 0.5 / noise - 1) < 0.01


@pytest.mark.parametrize("looks", [0.3, 1.0, 4.4, 37.5, 500.0])
def test_the_sigma_range_holds_its_share_and_keeps_the_mean(looks):
    low, high, noise2 = sigma_range(looks, 0.9)
    draws = np.random.default_rng(0).gamma(looks, 1 / looks, 400_000)
    inside = draws[(draws >= low) & (draws <= high)]
    assert abs(len(inside) / len(draws) - 0.9) < 0.003
    assert abs(inside.mean() - 1) < 0.004 and abs(inside.var() / noise2 - 1) < 0.02


@pytest.mark.parametrize("numbers, words", [
    ({"name": "lea"}, "filter='lea'"), ({"name": "lee", "looks": 0.0}, "looks=0.0"), ({"name": "kuan"}, "estimate_enl"),
    ({"name": "lee", "looks": float("nan")}, "looks=nan"), ({"name": "boxcar", "radius": 8}, "radius=8"),
    ({"name": "boxcar", "radius": 2.5}, "radius=2.5"), ({"name": "boxcar", "radius": True}, "radius=True"),
    ({"name": "refined_lee", "looks": 1.0, "radius": 2}, "7 x 7"), ({"name": "boxcar", "border": "wrap"}, "border='wrap'"),
    ({"name": "frost", "damping": -1.0}, "damping=-1.0"), ({"name": "lee_sigma", "looks": 4.0}, "bright="),
    ({"name": "lee_sigma", "looks": 4.0, "bright": (0.0,)}, "bright=(0.0,)"),
    ({"name": "lee_sigma", "looks": 4.0, "bright": (1.0,), "sigma": 0.999}, "sigma=0.999"),
    ({"name": "lee_sigma", "looks": 4e3, "bright": (1.0,)}, "looks=4000")])
def test_a_filter_that_cannot_be_is_refused_in_words(numbers, words):
    with pytest.raises(ArrayError) as refused:
        speckle.SpeckleFilter(**numbers)
    assert words in str(refused.value)


@pytest.mark.parametrize("image, mask, words", [
    (np.ones((4, 4)), None, "float64"), (np.ones((4, 4), np.complex64), None, "complex64"), ([[1.0]], None, "list"),
    (np.ones((2, 2, 4, 4), np.float32), None, "shape"), (np.ones((0, 4), np.float32), None, "shape"),
    (np.ones((4, 4), np.float32), np.ones((4, 5), bool), "(4, 5)"), (np.ones((4, 4), np.float32), np.ones((4, 4)), "float64"),
    (np.ma.masked_less(np.ones((4, 4), np.float32), 0), None, "masked array")])
def test_an_array_that_is_no_intensity_is_refused_in_words(image, mask, words):
    with pytest.raises(ArrayError) as refused:
        speckle.boxcar(image, mask=mask)
    assert words in str(refused.value)
