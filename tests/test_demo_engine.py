"""The shipped demo engines: small, exact, and better than any classifier of single pixels."""

from importlib.resources import files

import numpy as np
import pytest

from hfd_edge.measure.accuracy import accuracy_of, share_closed
from hfd_edge.measure.pixel_bayes import PixelBayes
from hfd_edge.package import Package
from hfd_edge.segmenter import Segmenter
from hfd_edge.simulate import Scene, SceneConfig
from hfd_edge.spec import NODATA_LABEL

ENGINES = [files("hfd_edge") / "data" / f"{name}.engine" for name in ("demo", "demo-light")]
UNSEEN_SEED = 424242            # far from every seed of training and of its own evaluation
NEAR_PX = 3                     # of nodata


@pytest.fixture(scope="module")
def window():
    return Scene(SceneConfig(700, 900, seed=UNSEEN_SEED)).window(0, 0, 700, 900, eo=False)


@pytest.fixture(params=ENGINES, ids=["demo", "demo-light"])
def engine(request):
    return request.param


def test_it_is_small_and_its_exact_halo_can_be_afforded(engine):
    assert engine.stat().st_size < 8e6
    with Package.open(engine) as package:
        assert package.spec.halo_px <= 160 and package.spec.stride_px <= 16
        assert package.spec.halo_px >= package.spec.reach_px > 0
        assert package.spec.edge_error[0] > 100 * package.spec.edge_error[-1] > 0, "--stitch precision runs out of the box"
        assert "simulated" in str(package.manifest["provenance"]), "the file itself says what it was trained on"


def test_the_light_one_has_a_third_of_the_halo_and_an_eighth_of_the_weights():
    specs, sizes = [], []
    for each in ENGINES:
        with Package.open(each) as package:
            specs.append(package.spec)
            sizes.append(len(package.read("graph-fp32.onnx")))
    assert [spec.halo_px for spec in specs] == [112, 32] and sizes[1] < sizes[0] / 8
    assert (specs[0].classes, specs[0].bands) == (specs[1].classes, specs[1].bands) and specs[1].name == "demo-light"


def test_three_tilings_with_the_exact_halo_give_identical_maps(engine, window):
    maps = []
    for tile in (1312, 512, (448, 704)):
        with Segmenter(engine, tile=tile, halo="exact") as seg:
            result = seg.run(window.sar, unit="intensity")
        assert result.halo == "exact"
        maps.append(result)
    assert maps[0].report.tiles_run < maps[1].report.tiles_run
    for other in maps[1:]:
        np.testing.assert_array_equal(other.labels, maps[0].labels)
        np.testing.assert_array_equal(other.confidence, maps[0].confidence)


def test_it_closes_at_least_four_fifths_of_the_way_from_single_pixels_to_perfect(engine, window):
    pixel = PixelBayes.fit(window.config)
    with Segmenter(engine) as seg:
        labels = seg.run(window.sar, unit="intensity", confidence=False).labels
    classes = seg.spec.classes
    bayes, ours = (accuracy_of(window.labels, guess, classes).miou for guess in (pixel.classify(window.sar), labels))
    assert 0.3 < bayes < 0.8, "the scene is neither trivial nor hopeless for single pixels"
    assert share_closed(ours, bayes) >= 0.8, f"Bayes {bayes:.3f}, {engine.name} {ours:.3f}"


def test_maps_have_no_fringe_along_nodata(engine):
    """Trained without nodata, the networks were wrong in a fifth and a quarter of these pixels."""
    window = Scene(SceneConfig(700, 900, seed=UNSEEN_SEED, border_px=200)).window(0, 0, 700, 900, eo=False)
    gone = ~window.valid
    gone[300:340, 400:460] = True                       # a hole
    with Segmenter(engine) as seg:
        labels = seg.run(np.where(gone, np.float32(np.nan), window.sar), unit="intensity", confidence=False).labels
    clear = ~gone & ~_within(_class_borders(window.labels), 8)
    near = clear & _within(gone, NEAR_PX)
    wrong = labels != window.labels
    assert near.sum() > 2000
    assert wrong[near].mean() < 0.03, f"{engine.name}: {wrong[near].mean():.1%} wrong beside nodata, {wrong[clear].mean():.2%} elsewhere"


def _class_borders(labels):
    """Between two classes; an edge of nodata is none."""
    known = labels != NODATA_LABEL
    down, across = ((one != other) & a & b for one, other, a, b in (
        (labels[1:], labels[:-1], known[1:], known[:-1]), (labels[:, 1:], labels[:, :-1], known[:, 1:], known[:, :-1])))
    return np.pad(down, ((0, 1), (0, 0))) | np.pad(across, ((0, 0), (0, 1)))


def _within(mask, pixels):
    """True up to so many rows and columns from a True."""
    for axis in (0, 1):
        padded = np.pad(mask, [(pixels, pixels) if a == axis else (0, 0) for a in (0, 1)])
        mask = np.lib.stride_tricks.sliding_window_view(padded, 2 * pixels + 1, axis).any(axis=-1)
    return mask
