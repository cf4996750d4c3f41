"""finish against its twin in reference.py, and the properties that the twin cannot show."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import reference
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hfd_edge import _native, build_info
from hfd_edge.errors import ArrayError

# Two logits closer than this may change places: two float32 lerps of numbers up to 30 err by a few units of 2e-6.
TOO_CLOSE = 2e-5
# Of a score's step: 254 * (relative error of the sum, below 1e-6, plus that of logits near 30).
STEP_TOLERANCE = 5e-3


def run(logits, stride, status=None, crop=(0, 0), size=None, threads=2, scored=True, score_class=-1):
    full = (logits.shape[1] * stride, logits.shape[2] * stride)
    status = np.zeros(full, np.uint8) if status is None else status
    size = size or (full[0] - crop[0], full[1] - crop[1])
    labels, sure = np.full(size, 99, np.uint8), np.full(size, 99, np.uint8) if scored else None
    counts = _native.finish(logits, stride, status, crop, labels, sure, threads, score_class)
    return labels, sure, counts


@st.composite
def cases(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    classes = draw(st.one_of(st.integers(1, 8), st.integers(1, 255)))
    stride = draw(st.integers(1, 9))
    rows, cols = draw(st.integers(1, 12)), draw(st.integers(1, 70 if classes < 9 else 5))
    logits = rng.normal(0, draw(st.sampled_from([0.01, 1.0, 8.0])), (classes, rows, cols)).astype(np.float32)
    status = rng.choice(np.uint8([0, 1, 2]), (rows * stride, cols * stride), p=[0.8, 0.1, 0.1])
    crop = (draw(st.integers(0, rows * stride - 1)), draw(st.integers(0, cols * stride - 1)))
    size = (draw(st.integers(1, rows * stride - crop[0])), draw(st.integers(1, cols * stride - crop[1])))
    return logits, stride, status, crop, size


def check_against_the_reference(case, which):
    logits, stride, status, crop, size = case
    score_class = which % (len(logits) + 1) - 1
    labels, score, counts = run(logits, stride, status, crop, size, score_class=score_class)
    expected = reference.finish(logits, stride, status, crop, size, score_class=score_class)
    differs = labels != expected.labels
    assert not (differs & (expected.margin > TOO_CLOSE)).any()
    near_half = np.abs(expected.level % 1 - 0.5) < STEP_TOLERANCE
    assert not ((score != expected.score) & ~near_half).any()
    assert counts == (expected.nodata, expected.nan)


@settings(max_examples=200, deadline=None)
@given(cases(), st.integers(0, 2**16))
def test_finish_matches_the_reference(case, which):
    check_against_the_reference(case, which)


@pytest.mark.slow
@settings(max_examples=5000, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases(), st.integers(0, 2**16))
def test_finish_matches_the_reference_in_five_thousand_cases(case, which):
    check_against_the_reference(case, which)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_threads_crop_and_score_do_not_change_a_byte(case):
    logits, stride, status, crop, size = case
    last = len(logits) - 1
    labels, sure, counts = run(logits, stride, status, crop, size, threads=1, score_class=last)
    for threads in (2, 7):
        again = run(logits, stride, status, crop, size, threads=threads, score_class=last)
        assert (again[0].tobytes(), again[1].tobytes(), again[2]) == (labels.tobytes(), sure.tobytes(), counts)
    assert run(logits, stride, status, crop, size, scored=False)[0].tobytes() == labels.tobytes()
    whole, whole_sure, _ = run(logits, stride, status, score_class=last)
    window = (slice(crop[0], crop[0] + size[0]), slice(crop[1], crop[1] + size[1]))
    np.testing.assert_array_equal(labels, whole[window])
    np.testing.assert_array_equal(sure, whole_sure[window])


@settings(max_examples=60, deadline=None)
@given(cases())
def test_the_probabilities_of_all_classes_are_one_softmax(case):
    logits, stride, status, crop, size = case
    labels, sure, counts = run(logits, stride, status, crop, size)
    planes = []
    for number in range(len(logits)):
        again, plane, same = run(logits, stride, status, crop, size, score_class=number)
        assert (again.tobytes(), same) == (labels.tobytes(), counts)
        np.testing.assert_array_equal(plane[labels == number], sure[labels == number])
        planes.append(plane)
    planes, has_label = np.array(planes, int), labels != 255
    assert (planes[:, ~has_label] == 255).all() and (planes[:, has_label] <= 254).all()
    assert (planes <= sure).all(), "no class is more probable than the label's"
    assert (np.abs(planes.sum(axis=0) - 254)[has_label] <= len(logits) / 2).all()      # each rounded by half a step at most


def test_the_probability_of_another_class_would_be_noticed():
    logits = np.random.default_rng(4).normal(size=(5, 20, 30)).astype(np.float32)
    plane = run(logits, 4, score_class=1)[1]
    for number in (-1, 0, 2):
        assert (plane != reference.finish(logits, 4, np.zeros((80, 120), np.uint8), (0, 0), (80, 120), score_class=number).score).mean() > 0.7


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 8])
def test_two_tiles_that_overlap_by_one_logit_agree_with_the_whole(stride):
    logits = np.random.default_rng(0).normal(size=(5, 40, 600)).astype(np.float32)
    whole, whole_sure, _ = run(logits, stride)
    cut = 291
    left, left_sure, _ = run(np.ascontiguousarray(logits[:, :, :cut + 1]), stride, size=(40 * stride, cut * stride))
    right, right_sure, _ = run(np.ascontiguousarray(logits[:, :, cut - 1:]), stride, crop=(0, stride))
    np.testing.assert_array_equal(np.hstack([left, right]), whole)
    np.testing.assert_array_equal(np.hstack([left_sure, right_sure]), whole_sure)


def test_align_corners_would_be_noticed():
    logits = np.random.default_rng(1).normal(size=(5, 20, 30)).astype(np.float32)
    labels, _, _ = run(logits, 4)
    wrong = reference.finish(logits, 4, np.zeros((80, 120), np.uint8), (0, 0), (80, 120), align_corners=True)
    assert (labels != wrong.labels).mean() > 0.02


@pytest.mark.parametrize("classes", [1, 2, 5, 255])
def test_logits_at_full_resolution_give_their_labels_back(classes):
    truth = np.random.default_rng(2).integers(0, classes, (37, 411)).astype(np.uint8)
    logits = (np.arange(classes)[:, None, None] == truth).astype(np.float32) * 1e3
    labels, sure, counts = run(logits, 1)
    np.testing.assert_array_equal(labels, truth)
    assert (sure == 254).all() and counts == (0, 0)


def test_a_tie_goes_to_the_lowest_class():
    labels, sure, _ = run(np.full((255, 3, 5), -2.5, np.float32), 2)
    assert not labels.any() and (sure == 1).all()                  # 254 / 255 rounds to 1
    logits = np.float32([1, 3, 3, 2]).reshape(4, 1, 1)
    assert run(logits, 1)[0].tolist() == [[1]]


@pytest.mark.parametrize("position", [0, 3, 4])
def test_a_nan_is_counted_and_never_gets_a_label(position):
    logits = np.random.default_rng(3).normal(size=(5, 9, 9)).astype(np.float32)
    logits[position, 4, 4] = np.nan
    status = np.zeros((18, 18), np.uint8)
    status[8] = 1
    labels, sure, counts = run(logits, 2, status)
    expected = reference.finish(logits, 2, status, (0, 0), (18, 18))
    assert counts == (18, int(expected.nan)) and expected.nan == 12      # a 4 x 4 neighbourhood, one row of it is nodata
    np.testing.assert_array_equal(labels == 255, expected.labels == 255)
    np.testing.assert_array_equal(sure == 255, labels == 255)
    for number in range(5):
        np.testing.assert_array_equal(run(logits, 2, status, score_class=number)[1] == 255, labels == 255)


def test_infinite_logits_have_an_answer_where_there_is_one():
    inf = np.float32(np.inf)
    logits = np.float32([[0, inf, -inf, -inf, inf], [1, 0, 0, -inf, inf]]).reshape(2, 1, 5)
    labels, sure, counts = run(logits, 1)
    assert labels.tolist() == [[1, 0, 1, 0, 0]] and sure.tolist() == [[186, 254, 254, 127, 127]] and counts == (0, 0)
    assert [run(logits, 1, score_class=number)[1].tolist() for number in (0, 1)] == [[[68, 254, 0, 127, 127]], [[186, 0, 254, 127, 127]]]


def test_a_probability_too_small_for_a_float_is_none():
    logits = np.float32([[0, 0, 3e38], [-200, -3e38, -3e38], [0, 1, 3e38]]).reshape(3, 1, 3)
    assert run(logits, 1, score_class=1)[1].tolist() == [[0, 0, 0]] and run(np.tile(logits, (1, 3, 3)), 4, score_class=1)[1].max() == 0


@settings(max_examples=40, deadline=None)
@given(cases(), st.sampled_from(["wider", "upside down", "gaps"]))
def test_a_view_is_filled_and_nothing_beside_it(case, kind):
    logits, stride, status, crop, size = case
    expected, _, _ = run(logits, stride, status, crop, size)
    canvas = np.full((2 * size[0] + 2, size[1] + 7), 77, np.uint8)
    view = {"wider": canvas[1:1 + size[0], 3:3 + size[1]], "upside down": canvas[size[0]:0:-1, 3:3 + size[1]],
            "gaps": canvas[1:1 + 2 * size[0]:2, 3:3 + size[1]]}[kind]
    _native.finish(logits, stride, status, crop, view, None, 2)
    np.testing.assert_array_equal(view, expected)
    view[...] = 77
    assert (canvas == 77).all()


@pytest.mark.skipif(build_info()["sanitize"] or sys.platform != "linux", reason="counts resident memory")
def test_full_resolution_logits_never_exist():
    code = """if 1:
        import numpy as np
        from hfd_edge import _native
        from tests.peak import peak_kib
        logits = np.ones((64, 256, 256), np.float32)
        status, labels = np.zeros((2, 2048, 2048), np.uint8)
        before = peak_kib()
        _native.finish(logits, 8, status, (0, 0), labels, labels.copy(), 2)
        print(peak_kib() - before)"""
    grown_kib = int(subprocess.run([sys.executable, "-c", code], check=True, text=True, stdout=subprocess.PIPE).stdout)
    assert grown_kib < 16 * 1024       # full resolution would be 1 GiB; labels and score are 4 MiB each


def good_call(**change):
    arguments = {"logits": np.zeros((5, 4, 6), np.float32), "logit_stride": 4, "status": np.zeros((16, 24), np.uint8),
                 "crop": (0, 0), "labels": np.zeros((16, 24), np.uint8), "score": None, "threads": 1, **change}
    return _native.finish(**arguments)


@pytest.mark.parametrize(("change", "message"), [
    ({"logits": np.zeros((4, 6), np.float32)}, r"logits has shape \(4, 6\)"),
    ({"logits": np.zeros((5, 4, 6))}, "logits is float64"),
    ({"logits": np.zeros((5, 4, 12), np.float32)[:, :, ::2]}, "logits is not in C order"),
    ({"logits": np.zeros((256, 4, 6), np.float32)}, "logits has 256 classes: a uint8 map holds 1 to 255"),
    ({"logits": np.zeros((0, 4, 6), np.float32)}, "logits has 0 classes"),
    ({"logits": np.zeros((5, 0, 6), np.float32)}, "logits has 0 x 6 cells"),
    ({"logit_stride": 0}, "logit_stride=0"),
    ({"logit_stride": 2}, r"status must be \(8, 12\)"),
    ({"status": np.zeros((16, 24), bool)}, "status is bool"),
    ({"crop": (1, 0)}, r"crop=\(1, 0\) with labels of \(16, 24\): it leaves the tile"),
    ({"crop": (-1, 0)}, r"crop=\(-1, 0\)"),
    ({"labels": np.zeros((0, 24), np.uint8)}, r"labels has shape \(0, 24\)"),
    ({"labels": np.zeros((16, 24), np.int16)}, "labels is int16"),
    ({"labels": np.zeros((16, 48), np.uint8)[:, ::2]}, "labels has columns 2 bytes apart"),
    ({"score": np.zeros((16, 23), np.uint8)}, r"score has shape \(16, 23\) and labels \(16, 24\)"),
    ({"score": [1]}, "score is not a NumPy array"),
    ({"score_class": 5}, "score_class=5 of 5 classes: it must be 0 to 4, or -1"),
    ({"score_class": -2}, "score_class=-2 of 5 classes"),
    ({"threads": 0}, "threads=0"),
    ({"threads": 5000}, "threads=5000"),
])
def test_a_call_that_does_not_fit_is_refused(change, message):
    with pytest.raises(ArrayError, match=message):
        good_call(**change)


def test_a_good_call_is_accepted():
    assert good_call() == (0, 0)
