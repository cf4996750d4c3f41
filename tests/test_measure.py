"""Accuracy figures and the per-pixel classifier every network is compared with."""

import numpy as np
import pytest

from hfd_edge.errors import ArrayError
from hfd_edge.measure.accuracy import Confusion, accuracy_of
from hfd_edge.measure.pixel_bayes import PixelBayes
from hfd_edge.simulate import CLASS_NAMES, Scene, SceneConfig

THREE = ("a", "b", "c")


def maps(*rows):
    return (np.array(row, np.uint8) for row in rows)


def test_figures_of_a_map_counted_by_hand():
    truth, answer = maps([0, 0, 0, 1, 1, 255, 255], [0, 0, 1, 1, 255, 2, 255])
    figures = accuracy_of(truth, answer, THREE)
    assert figures.pixels == 5 and figures.accuracy == pytest.approx(3 / 5)
    assert figures.iou[:2] == pytest.approx([2 / 3, 1 / 3]) and np.isnan(figures.iou[2])
    assert figures.miou == pytest.approx(0.5) and figures.f1[:2] == pytest.approx([4 / 5, 1 / 2])
    assert figures.counts.tolist() == [[2, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0]]
    assert figures.to_dict()["iou"]["c"] is None


def test_a_class_that_the_truth_does_not_hold_has_no_figure_and_the_reason_is_said():
    from hfd_edge.cli.report import accuracy_lines
    truth, answer = maps([0, 0, 0, 255], [0, 0, 1, 2])                     # b is answered once and never true, c is neither
    lines = accuracy_lines(accuracy_of(truth, answer, THREE))
    assert lines["IoU"].startswith("a 0.667, b -, c - (-: the truth has no pixel") and lines["mIoU"].startswith("0.6667 over 3 pixels")
    assert "(" not in accuracy_lines(accuracy_of(*maps([0, 1, 2], [0, 1, 1]), THREE))["IoU"]
    assert accuracy_lines(accuracy_of(*maps([255], [0]), THREE))["mIoU"] == "- over 0 pixels with a truth"


def test_maps_are_counted_together_and_not_averaged():
    first, second = Confusion(THREE), Confusion(THREE)
    rng = np.random.default_rng(0)
    truth, answer = rng.integers(0, 3, (2, 40, 30), dtype=np.uint8)
    first.add(truth, answer)
    for part in range(0, 40, 8):
        second.add(truth[part:part + 8], answer[part:part + 8])
    assert np.array_equal(first.counts, second.counts)


def test_a_perfect_map_scores_one_and_no_pixels_score_nothing():
    labels = np.array([[0, 1], [2, 255]], np.uint8)
    assert accuracy_of(labels, labels, THREE).miou == 1.0
    assert np.isnan(accuracy_of(np.full((2, 2), 255, np.uint8), labels, THREE).miou)


def test_labels_that_are_no_class_and_maps_that_do_not_fit_are_refused():
    labels = np.array([[0, 3]], np.uint8)
    with pytest.raises(ArrayError, match="label 3"):
        accuracy_of(labels, labels, THREE)
    with pytest.raises(ArrayError, match="one shape"):
        accuracy_of(labels, labels.T, THREE)


def test_the_pixel_classifier_does_not_depend_on_size_border_or_seed():
    first = PixelBayes.fit(SceneConfig(64, 64))
    assert np.array_equal(first.table, PixelBayes.fit(SceneConfig(9, 9, seed=7, border_px=2)).table)


def test_no_rule_of_one_pixel_beats_it_by_more_than_counting_noise():
    config = SceneConfig(768, 768, seed=11)
    window = Scene(config).window(0, 0, 768, 768, eo=False)
    bayes = accuracy_of(window.labels, PixelBayes.fit(config).classify(window.sar), CLASS_NAMES)
    db = 10 * np.log10(window.sar)
    means = np.array([db[:, window.labels == index].mean(axis=1) for index in range(5)])         # fitted on the judged pixels
    nearest = ((db[None] - means[:, :, None, None]) ** 2).sum(axis=1).argmin(axis=0).astype(np.uint8)
    assert bayes.accuracy > accuracy_of(window.labels, nearest, CLASS_NAMES).accuracy
    assert 0.35 < bayes.miou < 0.7                                # imperfect, yet far from chance


@pytest.mark.slow
def test_more_looks_make_the_pixel_classifier_better():
    scores = []
    for looks in (1, 4.4, 20):
        config = SceneConfig(512, 512, seed=3, looks=looks)
        window = Scene(config).window(0, 0, 512, 512, eo=False)
        scores.append(accuracy_of(window.labels, PixelBayes.fit(config).classify(window.sar), CLASS_NAMES).miou)
    assert scores[0] < scores[1] < scores[2]
    with pytest.raises(ArrayError, match="VV then VH"):
        PixelBayes.fit(SceneConfig(8, 8)).classify(window.sar[:1])
