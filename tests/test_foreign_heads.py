"""What a foreign network answers must be logits: heads that are not are cut off exactly, or refused; never taken for what they are not."""

import numpy as np
import onnx
import onnxruntime
import pytest

from hfd_edge.errors import ExportError, GateError
from hfd_edge.export.foreign import package_foreign
from hfd_edge.export.foreign_head import check_classes
from hfd_edge.segmenter import Segmenter
from tests.foreign_networks import BANDS, SPEC, TWO_CLASSES, Foreign, kernel, save

NHWC, NCHW = {"perm": [0, 2, 3, 1]}, {"perm": [0, 3, 1, 2]}


def number(g, value):
    return g.weight(np.array(value, np.float32))


def manual_sigmoid(g, x):
    return g.op("Div", number(g, 1), g.op("Add", g.op("Exp", g.op("Neg", x)), number(g, 1)))


def up(g, x, mode="linear"):
    return g.op("Resize", x, "", number(g, [1, 1, 2, 2]), mode=mode, coordinate_transformation_mode="half_pixel")


def clip(g, x, low=1e-4, high=1 - 1e-4):
    return g.op("Clip", x, number(g, low), number(g, high))


def half(g, x):
    return g.op("Cast", g.op("Greater", g.op("Sigmoid", x), number(g, 0.5)), to=onnx.TensorProto.FLOAT)


def both(g, x):
    p = g.op("Sigmoid", x)
    return g.op("Concat", g.op("Sub", number(g, 1), p), p, axis=1)


def log_softmax(g, x):
    total = g.op("ReduceSum", g.op("Exp", x), g.weight(np.array([1])), keepdims=1)
    return g.op("Sub", x, g.op("Log", total))


def last_axis(g, x, op):
    return g.op("Transpose", g.op(op, g.op("Transpose", x, **NHWC), **({"axis": -1} if op == "Softmax" else {})), **NCHW)


FLOAT = onnx.TensorProto.FLOAT
NOTHING = {
    "a cast": lambda g, x: g.op("Cast", x, to=FLOAT), "times 1": lambda g, x: g.op("Mul", x, number(g, [[[[1]]]])),
    "1 times": lambda g, x: g.op("Mul", number(g, 1), x), "plus 0": lambda g, x: g.op("Add", x, number(g, 0)),
    "over 1": lambda g, x: g.op("Div", x, number(g, 1)), "a dropout": lambda g, x: g.op("Dropout", x),
    "all of it": lambda g, x: g.op("Identity", g.op("Sub", g.op("Mul", clip(g, g.op("Cast", x, to=FLOAT)), number(g, 1)), number(g, 0)))}


def mean_of_two(g, x):
    return g.op("Mul", g.op("Add", g.op("Softmax", x, axis=1), g.op("Softmax", g.op("Mul", x, number(g, 3)), axis=1)), number(g, 0.5))


# name: (head, channels); what is up-sampled has a stride of 2
RIGHT = {
    "logits": (lambda g, x: x, 3), "a last softmax": (lambda g, x: g.op("Softmax", x, axis=1), 3),
    "a last log softmax": (lambda g, x: g.op("LogSoftmax", x, axis=1), 3), "a log softmax by hand": (log_softmax, 3),
    "a softmax against log(0)": (lambda g, x: clip(g, g.op("Softmax", x, axis=-3), 1e-6, 1), 3),
    "a softmax with bands last": (lambda g, x: last_axis(g, x, "Softmax"), 3),
    "a softmax of what was up-sampled": (lambda g, x: g.op("Softmax", up(g, x), axis=1), 3),
    "sigmoids of several classes": (lambda g, x: g.op("Sigmoid", x), 3),
    "a softmax at another temperature": (lambda g, x: g.op("Softmax", g.op("Div", x, number(g, 2)), axis=1), 3),
    **{f"a softmax and {name}": (lambda g, x, f=f: f(g, g.op("Softmax", x, axis=1)), 3) for name, f in NOTHING.items()},
    **{f"a sigmoid and {name}": (lambda g, x, f=f: f(g, g.op("Sigmoid", x)), 1) for name, f in NOTHING.items()},
    "a log softmax and a cast": (lambda g, x: g.op("Cast", g.op("LogSoftmax", x, axis=1), to=FLOAT), 3),
    "a softmax with bands last and times 1": (lambda g, x: g.op("Mul", last_axis(g, x, "Softmax"), number(g, 1)), 3),
    "a log softmax of two networks, averaged": (lambda g, x: g.op("Log", mean_of_two(g, x)), 3),
    "a log softmax of two networks, averaged and clipped": (lambda g, x: g.op("Log", clip(g, mean_of_two(g, x), 1e-6, 1)), 3),
    "one logit": (lambda g, x: x, 1), "one logit behind a gate": (lambda g, x: g.op("Mul", x, g.op("Sigmoid", x)), 1),
    "logits behind a gate": (lambda g, x: g.op("Mul", x, g.op("Sigmoid", x)), 3), "a last sigmoid": (lambda g, x: g.op("Sigmoid", x), 1),
    "a sigmoid against log(0)": (lambda g, x: clip(g, g.op("Sigmoid", x)), 1),
    "a sigmoid with bands last": (lambda g, x: last_axis(g, x, "Sigmoid"), 1),
    "a sigmoid of what was up-sampled": (lambda g, x: g.op("Sigmoid", up(g, x)), 1),
    "a sigmoid of small logits": (lambda g, x: g.op("Sigmoid", clip(g, x, 0.4, 0.6)), 1),
}
REFUSED = {
    "a sigmoid that is up-sampled": (lambda g, x: up(g, g.op("Sigmoid", x)), 1, "behind its last Sigmoid.*probabilities.*export the logit"),
    "a sigmoid up-sampled beyond 0 and 1": (lambda g, x: up(g, g.op("Sigmoid", x), "cubic"), 1, "probabilities"),
    "a sigmoid by hand": (manual_sigmoid, 1, "probabilities or labels.*end in a Sigmoid"),
    "a hard sigmoid": (lambda g, x: g.op("HardSigmoid", x, alpha=1 / 6), 1, "behind its last HardSigmoid.*no logit does"),
    "a sigmoid clipped far inside": (lambda g, x: clip(g, g.op("Sigmoid", x), 0.6, 1), 1, "probabilities"),
    "two sigmoids": (lambda g, x: g.op("Sigmoid", g.op("Sigmoid", x)), 1, "behind its last Sigmoid"),
    "a threshold": (half, 1, "labels.*before the threshold"), "rounding": (lambda g, x: g.op("Round", g.op("Sigmoid", x)), 1, "labels"),
    "a softmax that is up-sampled": (lambda g, x: up(g, g.op("Softmax", x, axis=1)), 3, "Softmax, adding up to 1.*export the logits"),
    "a probability and its rest": (both, 1, "adding up to 1.*probabilities"),
    "the mean of two networks": (mean_of_two, 3, "adding up to 1.*end in Log of the probabilities"),
    "a sigmoid times 0.9": (lambda g, x: g.op("Mul", g.op("Sigmoid", x), number(g, 0.9)), 1, "probabilities"),
    "a sigmoid in percent": (lambda g, x: g.op("Mul", g.op("Sigmoid", x), number(g, 100)), 1, "with .* to 100 behind its last Sigmoid.*export the logit"),
    "a log sigmoid": (lambda g, x: g.op("Log", g.op("Sigmoid", x)), 1, "behind its last Sigmoid.*export the logit"),
    "a softmax in bytes": (lambda g, x: g.op("Mul", g.op("Softmax", x, axis=1), number(g, 255)), 3, "behind its last Softmax.*export the logits"),
    "one class without its axis": (lambda g, x: g.op("Squeeze", g.op("Sigmoid", x), g.weight(np.array([1]))), 1, r"of one class too; leave out a squeeze"),
    "a softmax in half precision": (lambda g, x: g.op("Cast", g.op("Softmax", g.op("Cast", x, to=onnx.TensorProto.FLOAT16), axis=1), to=FLOAT), 3,
                                    "computes in FLOAT16.*net.float\\(\\)"),
    "a dead channel": (lambda g, x: g.op("Relu", g.op("Sub", g.op("Mul", x, number(g, 0)), number(g, 1))), 1, "answers 0 everywhere"),
    "a softmax over the wrong axis": (lambda g, x: g.op("Softmax", x, axis=2), 3, "behind its last Softmax"),
    "sigmoids of several classes, up-sampled": (lambda g, x: up(g, g.op("Sigmoid", x)), 3, "behind its last Sigmoid"),
    "a softmax of one channel": (lambda g, x: g.op("Softmax", x, axis=1), 1, "another class than the file's own answer"),
}


def network(head, channels, stride):
    rng, g = np.random.default_rng(7), Foreign(BANDS)
    g.conv(kernel(rng, 8, BANDS), stride=stride)
    g.op("Relu", g.x)
    g.conv(kernel(rng, channels, 8) * 2)
    g.x = head(g, g.x)
    return g.model()


def packaged(tmp_path, head, channels, stride=1):
    files = save(tmp_path, network(head, channels, stride), TWO_CLASSES if channels == 1 else SPEC)
    return package_foreign(*files, tmp_path / "net.engine")


@pytest.mark.parametrize("name", RIGHT)
def test_a_package_names_the_classes_and_the_certainty_of_the_given_file(name, tmp_path):
    head, channels = RIGHT[name]
    stride = 2 if "up-sampled" in name else 1
    report = packaged(tmp_path, head, channels, stride)
    keep = np.s_[report.spec.halo_px:-report.spec.halo_px, report.spec.halo_px:-report.spec.halo_px]     # a file has borders of its own
    scene = np.random.default_rng(1).normal(size=(BANDS, 64, 96)).astype(np.float32)
    session = onnxruntime.InferenceSession(network(head, channels, stride).SerializeToString(), providers=["CPUExecutionProvider"])
    given = session.run(None, {"pixels": scene[None]})[0][0]
    assert report.spec.logit_stride_px == stride
    with Segmenter(tmp_path / "net.engine", threads=1) as seg:
        result = seg.run(scene, unit="dn")
    if "sigmoid" in name and channels == 1:
        given = np.stack([1 - given[0], given[0]])
    elif channels == 1:
        given = np.stack([0 * given[0], given[0]])
    assert np.mean(given.argmax(0)[keep] != result.labels[keep]) < 1e-3
    assert len(np.unique(result.labels)) > 1 or "small" in name
    if "soft" in name or "sigmoid" in name and channels == 1:
        sure = np.exp(given) if "log s" in name else given
        np.testing.assert_allclose(result.confidence[keep] / 254, sure.max(0)[keep], atol=3e-3)


@pytest.mark.parametrize("name", REFUSED)
def test_probabilities_and_labels_are_never_taken_for_logits(name, tmp_path):
    head, channels, message = REFUSED[name]
    with pytest.raises((ExportError, GateError), match=message) as caught:
        packaged(tmp_path, head, channels, 2 if "up-sampled" in name else 1)
    assert "\n" not in str(caught.value) and not (tmp_path / "net.engine").exists()


def test_a_logit_of_an_unscaled_network_that_stays_small_on_noise_is_no_probability(tmp_path):
    """The probes are weak for a network of raw numbers: what a strong one answers tells."""
    def raw(g, x):
        return g.op("Add", g.op("Mul", x, number(g, 1e-3)), number(g, 0.3))
    assert packaged(tmp_path, raw, 1).spec.classes == ("land", "water")


def test_classes_are_compared_where_both_are_sure():
    given = np.random.default_rng(3).normal(size=(1, 3, 8, 12)).astype(np.float32)
    check_classes(given, given, False, "net")
    near = given.copy()
    near[0, :, 2, 3] = 1.0, 1.0 + 1e-6, -2.0
    check_classes(near, np.where(near == near[0, 1, 2, 3], np.float32(0.9), near), False, "net")
    with pytest.raises(GateError, match="96 pixels of noise another class"):
        check_classes(given, -given, False, "net")
    with pytest.raises(GateError, match="net as it would be packaged gives"):
        check_classes(np.clip(given[:, :1], 0, 1), np.concatenate([0 * given[:, :1], np.clip(given[:, :1], 0, 1)], axis=1), True, "net")
