"""The picture of a scene's statistics shows what the pixels are, not what its bins are."""

from __future__ import annotations

import numpy as np
import pytest

from hfd_edge import _native
from hfd_edge.cli.scene import _looks
from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.radiometry.power import power_edges
from hfd_edge.scene import measure_array
from hfd_edge.source import ArraySource
from hfd_edge.view import NODATA_GREY, Panel, draw_quicklook, draw_scene, enlarged
from hfd_edge.view.scene import db_counts
from tests.engines import make_spec


def test_the_histogram_in_decibels_is_that_of_the_pixels():
    """Whole fine bins, each given to one bin of 0.5 dB, are up to 5 % off and make peaks that no pixel made."""
    power = np.random.default_rng(7).gamma(1.0, 0.05, (1000, 1000)).astype(np.float32)
    band = measure_array(power).bands[0]
    want, _ = np.histogram(10 * np.log10(power.astype(np.float64)), 800, (-200, 200))
    got, many = db_counts(band.power_histogram), want > 20000
    assert many.sum() > 20 and got.sum() == pytest.approx(power.size)
    np.testing.assert_allclose(got[many], want[many], rtol=0.01)
    low, high = (10 * np.log10(np.maximum(edge, 1e-300)) for edge in power_edges(np.arange(_native.POWER_BINS)))
    for number in np.flatnonzero(want):                             # nowhere off by more than the two fine bins that its edges cross
        edges = -200 + 0.5 * number, -199.5 + 0.5 * number
        crossed = sum(band.power_histogram[(low < edge) & (edge < high)].sum() for edge in edges)
        assert abs(got[number] - want[number]) <= crossed + 2


def test_looks_of_bands_that_differ_are_called_no_mean():
    rng = np.random.default_rng(1)
    alike = rng.gamma(4.4, 0.02, (2, 120, 120)).astype(np.float32)
    unlike = np.stack([alike[0], rng.gamma(20, 0.02, (120, 120)).astype(np.float32)])
    assert "mean" not in _looks(measure_array(alike)) and "not a mean of theirs" in _looks(measure_array(unlike))


@pytest.mark.parametrize("bin, at", [(0, 0), (_native.POWER_BINS - 1, 799)])
def test_power_beyond_the_axis_is_counted_at_its_ends(bin, at):
    histogram = np.zeros(_native.POWER_BINS, np.int64)
    assert not db_counts(histogram).any()
    histogram[bin] = 3
    assert db_counts(histogram)[at] == 3 == db_counts(histogram).sum()


@pytest.mark.parametrize("shape, side, factor", [((224, 200), 800, 3), ((200, 200), 800, 4), ((401, 10), 800, 1), ((1, 1), 5, 5), ((900, 3), 800, 1)])
def test_small_pictures_are_enlarged_by_a_whole_factor(shape, side, factor):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    big = enlarged(image, side)
    assert big.shape == (factor * shape[0], factor * shape[1], 3)
    np.testing.assert_array_equal(big[factor - 1::factor, ::factor], image)


def test_panels_of_a_quicklook_are_enlarged_alike_and_the_legend_keeps_to_one_line(tmp_path):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed (extra view)")
    panels = [Panel("scene", np.zeros((200, 100, 3), np.uint8)), Panel("map", np.zeros((100, 100, 3), np.uint8))]
    draw_quicklook(tmp_path / "q.png", panels, make_spec(2, 5, 16, 4, 100))
    assert cv2.imread(str(tmp_path / "q.png")).shape[:2] == (4 * 200 + 2 * 34, 4 * 200 + 8)


def test_a_scene_is_drawn_alike_whatever_unit_its_power_is_stored_in():
    power = np.random.default_rng(5).gamma(4.4, 0.05, (2, 40, 60)).astype(np.float32)
    power[:, 3:20, 5:30] *= 9
    stored = {"intensity": power, "amplitude": np.sqrt(power), "db": 10 * np.log10(power), "complex": np.sqrt(power).astype(np.complex64)}
    pictures = []
    for unit, values in stored.items():
        values[:, 30:], values[0, 0, :3] = -99.99, np.nan                           # what float32 holds of it is -99.9899978637695
        pictures.append(draw_scene(ArraySource(values, 2), SourceRadiometry(unit, nodata=(-99.99,)), largest_px=20).astype(int))
    grey = (pictures[0] == NODATA_GREY).all(axis=-1)
    assert pictures[0].shape == (14, 20, 3) and np.ptp(pictures[0]) > 200 and grey[10:].all() and not grey[:10].any()
    for picture in pictures[1:]:
        assert np.abs(picture - pictures[0]).max() <= 1
