"""Weights are rounded by what a convolution reads: the reads are the real ones, and the rounding is the reference's."""

import numpy as np
import onnx
import onnxruntime
import pytest
import reference_rounding as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from hfd_edge.export import calibration_reads
from hfd_edge.export.calibration_reads import ReadsOfTiles
from hfd_edge.export.quantize_rounding import DAMPING, LARGEST, round_weights, rounded


def inputs_that_agree(count, seed=0, alike=0.9):
    """Covariance of inputs that mostly say the same, as neighbouring pixels do."""
    own = np.random.default_rng(seed).uniform(0.5, 2, count)
    return np.sqrt(own[:, None] * own) * (alike + (1 - alike) * np.eye(count))


def damped(covariance):
    return covariance + DAMPING * np.trace(covariance) / len(covariance) * np.eye(len(covariance))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 12) | st.integers(30, 70), st.sampled_from(sorted(LARGEST)), st.integers(0, 2**32 - 1))
def test_the_fast_rounding_is_the_reference(groups, outputs, inputs, bits, seed):
    rng = np.random.default_rng(seed)
    weights, mixed = rng.standard_normal((groups, outputs, inputs)), rng.standard_normal((groups, inputs, inputs + 2))
    covariance, step = mixed @ mixed.swapaxes(1, 2), rng.uniform(0.01, 0.2, (groups, outputs, 1)).astype(np.float32)
    found = rounded(weights, step, covariance, LARGEST[bits])
    for group in range(groups):
        expected = reference.rounded_weights(weights[group], step[group, :, 0].astype(np.float64), damped(covariance[group]), LARGEST[bits])
        np.testing.assert_array_equal(found[group], expected)


def test_of_two_weights_that_read_the_same_one_goes_up_and_one_down():
    found = rounded(np.array([[[0.4, 0.4]]]), np.ones((1, 1, 1), np.float32), np.ones((1, 2, 2)), 64)
    assert found.tolist() == [[[0, 1]]], "together 0.8 of what they read: nearest would say 0"


def test_inputs_that_have_nothing_in_common_are_rounded_to_the_nearest():
    weights = np.random.default_rng(1).standard_normal((2, 3, 7))
    found = rounded(weights, np.full((2, 3, 1), 0.1, np.float32), np.stack([np.diag(np.arange(1.0, 8))] * 2), 127)
    np.testing.assert_array_equal(found, np.rint(weights / np.float32(0.1)))


def test_a_convolution_that_reads_nothing_that_varies_is_rounded_to_the_nearest():
    weights = np.random.default_rng(2).standard_normal((1, 3, 5))
    np.testing.assert_array_equal(rounded(weights, np.full((1, 3, 1), 0.1, np.float32), np.zeros((1, 5, 5)), 127), np.rint(weights / np.float32(0.1)))


def test_less_is_lost_than_by_rounding_to_the_nearest_and_more_where_the_reads_are_those_of_others():
    rng = np.random.default_rng(3)
    weights, step, covariance = rng.standard_normal((24, 9)), np.full(24, 0.1), inputs_that_agree(9)
    signs = np.resize([1, -1], 9)                       # inputs that mostly say the opposite
    lost = {name: reference.weighed_error(weights, whole, step, covariance) for name, whole in (
        ("nearest", np.rint(weights / 0.1)),
        ("reads", rounded(weights[None], np.full((1, 24, 1), 0.1, np.float32), covariance[None], 127)[0]),
        ("others' reads", rounded(weights[None], np.full((1, 24, 1), 0.1, np.float32), (signs[:, None] * covariance * signs)[None], 127)[0]))}
    assert lost["reads"] < 0.5 * lost["nearest"] < lost["others' reads"], lost


def convolution(channels, outputs, kernel, bias=True, seed=0, **attributes):
    """A graph of one convolution, with random weights."""
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((outputs, channels // attributes.get("group", 1), *kernel)).astype(np.float32)
    constants = [numpy_helper.from_array(weights, "w")] + [numpy_helper.from_array(rng.standard_normal(outputs).astype(np.float32), "b")] * bias
    node = helper.make_node("Conv", ["x", "w", "b"][:2 + bias], ["y"], name="only", kernel_shape=kernel, **attributes)
    sides = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, count, None, None)) for name, count in (("x", channels), ("y", outputs))]
    return helper.make_model(helper.make_graph([node], "one", sides[:1], sides[1:], constants), opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def run(model, pixels):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": pixels})[0]


def reads(model, tiles, statuses=None):
    found = ReadsOfTiles(model, len(tiles))
    for tile, status in zip(tiles, statuses or [None] * len(tiles)):
        found.add({"x": tile, "y": run(model, tile)}, status)
    return found.result()


WAYS = {"same": {"pads": [1, 1, 1, 1]}, "strided": {"pads": [1, 1, 1, 1], "strides": [2, 2]}, "uneven": {"pads": [0, 2, 1, 0], "strides": [1, 2]},
        "dilated": {"pads": [2, 2, 2, 2], "dilations": [2, 2]}, "valid": {"auto_pad": "VALID"}, "upper": {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        "lower": {"auto_pad": "SAME_LOWER", "strides": [2, 2]}, "grouped": {"pads": [1, 1, 1, 1], "group": 2}, "depthwise": {"pads": [1, 1, 1, 1], "group": 4}}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kernel", [(3, 3), (2, 3)], ids=str)
def test_reads_are_what_the_convolution_multiplies_its_weights_with(way, kernel):
    model = convolution(4, 8, kernel, **WAYS[way])
    pixels = np.random.default_rng(4).standard_normal((1, 4, 15, 18)).astype(np.float32)
    made, places = run(model, pixels)[0], np.random.default_rng(5).random((2, 50))
    node, weights = model.graph.node[0], numpy_helper.to_array(model.graph.initializer[0])
    found = calibration_reads._patches(pixels[0], node, weights.shape, (made.shape[1:], places))
    results = np.einsum("goi,gin->gon", weights.reshape(len(found), -1, found.shape[1]), found).reshape(8, -1)
    rows, cols = ((place * side).astype(int) for place, side in zip(places, made.shape[1:]))
    expected = made[:, rows, cols] - numpy_helper.to_array(model.graph.initializer[1])[:, None]
    np.testing.assert_allclose(results, expected, atol=1e-5)


def test_mean_and_covariance_are_those_of_all_pixels():
    model, rng = convolution(3, 2, (1, 1)), np.random.default_rng(6)
    mixed = rng.standard_normal((3, 3))
    tiles = [(5 + np.einsum("ab,bij->aij", mixed, rng.standard_normal((3, 64, 64))))[None].astype(np.float32) for _ in range(8)]
    seen, all_pixels = reads(model, tiles)["y"], np.concatenate([tile[0].reshape(3, -1) for tile in tiles], axis=1)
    np.testing.assert_allclose(seen.mean[0], all_pixels.mean(axis=1), atol=0.05)
    np.testing.assert_allclose(seen.covariance[0][0], np.cov(all_pixels), atol=0.2)
    assert np.abs(np.cov(all_pixels)).max() > 2, "or nothing is shown"


def test_nodata_is_not_read_and_a_tile_of_nothing_else_adds_nothing():
    model, rng = convolution(1, 1, (1, 1)), np.random.default_rng(7)
    pixels, status = rng.standard_normal((1, 1, 32, 32)).astype(np.float32), np.zeros((32, 32), np.uint8)
    status[:, :24], pixels[..., :24] = 1, 1000
    seen = reads(model, [pixels, np.full_like(pixels, 1000)], [status, np.ones_like(status)])["y"]
    assert abs(seen.mean[0, 0]) < 1 and seen.covariance[0][0, 0, 0] < 4
    assert reads(model, [pixels], [np.ones_like(status)]) == {}


@pytest.mark.parametrize("spread", [3e-4, 1e-4, 1e-6, 0.0])
@pytest.mark.parametrize("level", [0.5, 6.0, 100.0])
def test_a_channel_that_hardly_varies_is_seen_as_it_is_and_rounded(level, spread):
    model, rng = convolution(4, 4, (3, 3), pads=[0, 0, 0, 0], group=4), np.random.default_rng(11)
    tiles = [rng.standard_normal((1, 4, 40, 40)).astype(np.float32) for _ in range(4)]
    for tile in tiles:
        tile[:, 1] = level + spread * tile[:, 1]
    seen = reads(model, tiles)
    variance = np.diag(seen["y"].covariance[0][1])
    assert np.allclose(variance, spread ** 2, rtol=0.2, atol=1e-13 * level ** 2), variance
    before = numpy_helper.to_array(model.graph.initializer[0])
    step = round_weights(model, seen, 7)["w"]
    changed = np.abs(numpy_helper.to_array(model.graph.initializer[0]) - before).max(axis=(1, 2, 3))
    assert (changed <= 3 * step).all() and (changed > 0).all()


def test_a_convolution_of_constants_is_left_alone():
    model = convolution(2, 2, (3, 3))
    model.graph.node[0].input[0] = "constant"
    found = ReadsOfTiles(model, 1)
    found.add({"x": smooth_tile(2)}, None)
    assert found.result() == {}


def test_a_wide_convolution_is_seen_in_blocks_and_its_weights_are_still_on_their_steps(monkeypatch):
    monkeypatch.setattr(calibration_reads, "MOST_TOGETHER", 10)
    model = convolution(6, 4, (3, 3), pads=[1, 1, 1, 1])
    smooth = np.random.default_rng(8).standard_normal((1, 6, 40, 40)).astype(np.float32).cumsum(axis=2).cumsum(axis=3)
    seen = reads(model, [smooth])
    assert [block.shape for block in seen["y"].covariance] == [(1, 9, 9)] * 6, "54 inputs in blocks of at most 10"
    before = numpy_helper.to_array(model.graph.initializer[0])
    steps = round_weights(model, seen, 8)["w"]
    after = numpy_helper.to_array(model.graph.initializer[0])
    whole = after / steps[:, None, None, None]
    assert np.abs(whole - np.rint(whole)).max() < 1e-4 and 100 < np.abs(whole).max() <= 127.01
    assert 0 < np.abs(after - before).max() < 0.2


def smooth_tile(channels=4, seed=9):
    noise = np.random.default_rng(seed).standard_normal((1, channels, 70, 70)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(noise, (7, 7), axis=(2, 3))
    return np.maximum(windows.mean(axis=(4, 5)) * 7 + 1, 0).astype(np.float32)         # as behind a ReLU


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("groups", [1, 4], ids=["dense", "depthwise"])
def test_results_of_the_rounded_convolution_are_nearer_and_their_mean_stays(bias, groups):
    model, pixels = convolution(4, 8, (3, 3), bias, pads=[1, 1, 1, 1], group=groups), smooth_tile()
    expected, plain = run(model, pixels), numpy_helper.to_array(model.graph.initializer[0])
    steps = round_weights(model, reads(model, [pixels]), 7)["w"][:, None, None, None]
    found = run(model, pixels)[..., 1:-1, 1:-1] - expected[..., 1:-1, 1:-1]
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.rint(plain / steps) * steps, "w"))
    if bias:
        model.graph.initializer[1].CopyFrom(convolution(4, 8, (3, 3), pads=[1, 1, 1, 1], group=groups).graph.initializer[1])
    nearest = run(model, pixels)[..., 1:-1, 1:-1] - expected[..., 1:-1, 1:-1]
    assert np.sqrt((found ** 2).mean()) < 0.5 * np.sqrt((nearest ** 2).mean())
    assert np.abs(found.mean(axis=(2, 3))).max() < (0.1 if bias else 0.5) * np.abs(nearest.mean(axis=(2, 3))).max()


def test_named_and_shared_and_unseen_weights_are_left_alone():
    for change in ("named", "shared", "unseen"):
        model = convolution(2, 2, (3, 3))
        seen, before = reads(model, [smooth_tile(2)]), model.graph.initializer[0].SerializeToString()
        if change == "shared":
            model.graph.node.append(helper.make_node("Identity", ["w"], ["again"]))
        steps = round_weights(model, {} if change == "unseen" else seen, 8, ("only",) if change == "named" else ())
        assert steps == {} and model.graph.initializer[0].SerializeToString() == before, change


def test_a_channel_without_weights_stays_nothing():
    model = convolution(2, 2, (3, 3))
    weights = numpy_helper.to_array(model.graph.initializer[0]).copy()
    weights[1] = 0
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "w"))
    steps = round_weights(model, reads(model, [smooth_tile(2)]), 8)["w"]
    assert steps[1] == 1 and not numpy_helper.to_array(model.graph.initializer[0])[1].any()
