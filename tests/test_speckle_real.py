"""Filters and looks on rasters of real sensors: single looks, a corner reflector, a noisy and a smooth image of one place."""

from __future__ import annotations

import numpy as np
import pytest

from hfd_edge import speckle
from hfd_edge.scene import measure_array
from tests.conftest import data_folder

pytestmark = pytest.mark.real_data


def intensity_of_slc(name: str) -> np.ndarray:
    path = data_folder() / "isce3-single-look-complex" / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return (np.abs(np.load(path)) ** 2).astype(np.float32)


def intensity_of_png(folder: str, name: str) -> np.ndarray:
    """8-bit amplitude squared; the stretch is display, so only likeness is judged."""
    cv2 = pytest.importorskip("cv2")
    path = data_folder() / folder / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(np.float32) ** 2


@pytest.mark.parametrize("name", ["uavsar_winnipeg_L_HH.npy", "uavsar_calib_20mhz_L_HH.npy"])
def test_single_look_fields_have_about_one_look(name):
    assert abs(speckle.estimate_enl(intensity_of_slc(name)) - 1) < 0.1


@pytest.mark.parametrize("name", [n for n in speckle.FILTERS if n != "boxcar"])
def test_a_corner_reflector_survives(name):
    image = intensity_of_slc("uavsar_calib_20mhz_L_HH.npy")
    peak = np.unravel_index(image.argmax(), image.shape)
    bright = measure_array(image).bright
    quiet = speckle.SpeckleFilter(name, looks=1.0, bright=bright).apply(image)
    kept = quiet[peak] / image[peak]
    # The linear estimate of least mean square error halves at one look, by its formula: k <= 1 / (1 + Cu^2).
    assert kept > (0.45 if name in ("kuan", "refined_lee") else 0.9), f"{name} keeps {kept:.2f}"
    assert np.unravel_index(quiet.argmax(), quiet.shape) in {(peak[0] + d, peak[1]) for d in (-1, 0, 1)}
    assert kept > 5 * speckle.boxcar(image)[peak] / image[peak]


def log_distance(one: np.ndarray, other: np.ndarray, where: np.ndarray) -> float:
    """Spread of the difference in dB, its median taken out: the sensors' scales differ."""
    difference = 10 * np.log10((one[where] + 1) / (other[where] + 1))
    return float(np.std(difference - np.median(difference)))


@pytest.mark.parametrize("name", speckle.FILTERS)
@pytest.mark.parametrize("pair", ["yellow_A", "yellow_D"])
def test_a_filtered_noisy_image_comes_nearer_to_the_smooth_one_of_the_same_place(pair, name):
    smooth, noisy, change = (intensity_of_png("inlpg-sar-pairs", f"{pair}_{k}.png") for k in ("1", "2", "gt"))
    quiet = speckle.SpeckleFilter(name, looks=speckle.estimate_enl(noisy), bright=measure_array(noisy).bright).apply(noisy)
    unchanged = change == 0
    assert log_distance(quiet, smooth, unchanged) < 0.95 * log_distance(noisy, smooth, unchanged)


@pytest.mark.parametrize("name", speckle.FILTERS)
def test_a_filtered_sentinel_1_scene_comes_nearer_to_a_learned_estimate(name):
    noisy, learned = (intensity_of_png("deepdespeckling-8bit-pairs", f"sentinel1_fields_{k}.png")
                      for k in ("noisy", "model_denoised"))
    quiet = speckle.SpeckleFilter(name, looks=speckle.estimate_enl(noisy), bright=measure_array(noisy).bright).apply(noisy)
    everywhere = np.ones(noisy.shape, bool)
    assert log_distance(quiet, learned, everywhere) < 0.95 * log_distance(noisy, learned, everywhere)
