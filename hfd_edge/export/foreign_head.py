"""The head of a foreign network: what hfd_edge does itself is cut off, and what is left must be logits of the file's own classes."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from hfd_edge import _native
from hfd_edge.errors import ExportError, GateError
from hfd_edge.export.foreign_rewrite import constant, drop_unused, word

_CUT = ("Softmax", "LogSoftmax", "Sigmoid")
_BETWEEN_0_AND_1 = ("Softmax", "Sigmoid", "HardSigmoid")
_NEW_NUMBERS = ("Conv", "ConvTranspose", "MatMul", "LayerNormalization")     # behind them values are no probabilities any more
_CLIP = 1e-3                # a Clip to (_CLIP, 1 - _CLIP) or wider changes no class, and a probability by less than a step of the map's
_ROUNDING = 1e-5
_OVERSHOOT = 0.5            # of bicubic up-sampling, along rows and columns
_UNDECIDED = 1e-3           # answers nearer than this part of the largest, or of 1: rounding may decide, or a sigmoid that has reached 1


def cut_probabilities(model: onnx.ModelProto) -> str:
    """Leave out a last softmax over the channels or a last sigmoid; says so.

    Behind it may be Clips against log(0), one Transpose, and what changes nothing.
    """
    output, clips, turned, channels = model.graph.output[0], [], None, 1
    same = _Unchanged(model)
    last = same.maker(output.name)
    while last is not None and (last.op_type == "Clip" or (last.op_type == "Transpose" and turned is None)):
        if last.op_type == "Clip":
            clips.append(last)
        else:
            turned, channels = last, [*word(last, "perm", (3, 2, 1, 0)), -1, -1][1]
        last = same.maker(last.input[0])
    if last is None or last.op_type not in _CUT or (last.op_type != "Sigmoid" and word(last, "axis", -1) % 4 != channels):
        return ""
    if clips and (last.op_type == "LogSoftmax" or not all(_harmless(model, clip) for clip in clips)):
        return ""
    if turned is None:
        output.name = last.input[0]
    else:
        turned.input[0], output.name = last.input[0], turned.output[0]
    drop_unused(model)
    return f"the last {last.op_type}{' and the Clip behind it are' if clips else ' is'} left out: hfd_edge takes logits"


def cut_upsampling(model: onnx.ModelProto) -> str:
    """Leave out a last bilinear up-sampling by a whole factor; says so."""
    last = _maker(model, model.graph.output[0].name)
    inits = {t.name: t for t in model.graph.initializer}
    if last is None or last.op_type != "Resize" or len(last.input) != 3 or last.input[2] not in inits:
        return ""
    scales = numpy_helper.to_array(inits[last.input[2]]).tolist()
    mode, where = word(last, "mode", b"nearest"), word(last, "coordinate_transformation_mode", b"half_pixel")
    whole = scales[2] == scales[3] > 1 and float(scales[2]).is_integer()
    if (mode, where) != (b"linear", b"half_pixel") or not whole or word(last, "antialias", 0):
        return ""
    model.graph.output[0].name = last.input[0]
    drop_unused(model)
    return f"the last bilinear up-sampling by {scales[2]:g} is left out: hfd_edge does it with argmax"


def split_single_logit(model: onnx.ModelProto) -> None:
    """One logit z (sigmoid) as the two logits (0, z), whose softmax is the same probability."""
    logit = model.graph.output[0].name
    weight = constant(model, "two_classes", np.array([0, 1], np.float32).reshape(2, 1, 1, 1))
    model.graph.node.append(onnx.helper.make_node("Conv", [logit, weight], ["two_logits"], kernel_shape=[1, 1]))
    model.graph.output[0].name = "two_logits"


def check_logits(model: onnx.ModelProto, answers: list[np.ndarray], cut: bool, name: str) -> None:
    """Refuse probabilities and labels.

    Args:
        model: after what could be cut.
        answers: of `model` to noise, the weak first and then stronger: logits do not stay between 0 and 1 there.
        cut: a sigmoid or softmax was cut, so that what is left are its logits if none follows.
    Raises:
        ExportError: one channel lies between 0 and 1 or holds whole numbers alone; or several do whose sum is 1, or whose last
            operators hold a sigmoid or softmax; or those operators hold one, and a factor or logarithm behind it took it out of 0 to 1.
    """
    last = _activation(model)
    if any(values.ndim != 4 for values in answers) or (cut and not last):
        return                                                      # another shape is refused, by its shape, later on
    finite = np.concatenate([values[np.isfinite(values)] for values in answers])
    one, low, high = answers[0].shape[1] == 1, float(finite.min(initial=0)), float(finite.max(initial=0))
    whole = bool((finite == np.rint(finite)).all())
    slack = _OVERSHOOT if last else _ROUNDING
    within = -slack <= low and high <= 1 + slack
    adds_up = all(np.abs(values.sum(axis=1) - 1).max() < _UNDECIDED for values in answers[:1])
    if one and finite.size and not finite.any():
        raise ExportError(f"{name} answers 0 everywhere, to weak and to strong noise: a dead channel, or labels of one class; its one channel "
                          "must be the logit, above 0 for the second class: look at the weights of its last layers, or export it before the "
                          "threshold")
    if one and whole:
        raise ExportError(f"{name} answers noise with whole numbers alone, {low:g} to {high:g}: these look like labels, and its one "
                          "channel must be the logit, above 0 for the second class; export it before the threshold or the rounding, "
                          "or end in a Sigmoid")
    scaled = bool(last) and ((one and not low < 0 < high) or (low >= 0 and _saturates(answers)))
    if not scaled and (not within or not (one or last or adds_up)):
        return
    what = f"answers noise with {low:.3g} to {high:.3g}{f' behind its last {last}' if last else ''}"
    hint = ("; HardSigmoid reaches 0 and 1, which no logit does: train and export with Sigmoid, or export what it reads"
            if last == "HardSigmoid" else "")
    if one:
        raise ExportError(f"{name} {what}: these look like probabilities or labels, and its one channel must be the logit, above 0 "
                          f"for the second class; export the logit, or end in a Sigmoid, which is cut off{hint}")
    raise ExportError(f"{name} {what}{', adding up to 1' if adds_up else ''}: these look like probabilities, and hfd_edge takes "
                      f"logits; export the logits, or end in a Softmax over the channels, which is cut off; where probabilities are averaged, "
                      f"as of several networks, end in Log of the probabilities, after a Clip to (1e-6, 1){hint}")


def _saturates(answers: list[np.ndarray]) -> bool:
    """Whether the strongest noise gets no larger an answer than the one before it, as behind a sigmoid or softmax times a number."""
    second, strongest = (float(np.abs(values).max(initial=0)) for values in answers[-2:])
    return len(answers) > 1 and strongest <= (1 + _UNDECIDED) * second


def check_classes(given: np.ndarray, ours: np.ndarray, probabilities: bool, name: str) -> None:
    """Both must say the same class wherever both are sure of it.

    Args:
        given: the file's own answer, (1, classes, rows, cols): the largest is the class; or one channel, above half for the second class.
        ours: logits of the network as it is packaged, (1, classes, rows / s, cols / s).
        probabilities: one channel answers them, and half is 0.5; else it is a logit, and half is 0.
    Raises:
        GateError: somewhere they differ.
    """
    if given.shape[1] == 1:
        given = np.concatenate([np.full_like(given, 0.5 if probabilities else 0.0), given], axis=1)
    sides, own = given.shape[2:], np.ascontiguousarray(ours[0])
    labels, confidence, status = (np.zeros(sides, np.uint8) for _ in range(3))
    _native.finish(own, sides[0] // own.shape[1], status, (0, 0), labels, confidence, 1)
    of_ours = np.take_along_axis(given[0], labels[None].astype(np.int64), axis=0)[0]
    differs = given[0].max(axis=0) - of_ours > _UNDECIDED * max(1.0, float(np.abs(given).max()))
    if differs.any():
        raise GateError(f"{name} as it would be packaged gives {int(differs.sum())} of {differs.size} pixels of noise another class than "
                        "the file's own answer (its largest channel; of one channel, above 0.5 where it ends in a Sigmoid, else above "
                        "0); no package was written; export the network's logits, with nothing behind them")


def _harmless(model: onnx.ModelProto, clip: onnx.NodeProto) -> bool:
    inits = {t.name: numpy_helper.to_array(t).item() for t in model.graph.initializer if t.name in clip.input[1:] and np.prod(t.dims) == 1}
    ends = [inits.get(end) if end else usual for end, usual in zip([*clip.input[1:], "", ""], (0.0, 1.0))]
    return None not in ends and ends[0] <= _CLIP and ends[1] >= 1 - _CLIP


def _activation(model: onnx.ModelProto) -> str:
    """The last sigmoid or softmax between the output and the last convolutions and products; "" = there is none."""
    makers = {output: node for node in model.graph.node for output in node.output}
    wanted, seen = [model.graph.output[0].name], set()
    while wanted:
        node = makers.get(name := wanted.pop(0))
        if node is None or name in seen or node.op_type in _NEW_NUMBERS:
            continue
        if node.op_type in _BETWEEN_0_AND_1:
            return node.op_type
        seen.add(name)
        wanted += node.input
    return ""


class _Unchanged:
    """Nodes of a graph, seen past those that give back what they are given."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self._ones = {t.name: numpy_helper.to_array(t).item() for t in model.graph.initializer if np.prod(t.dims) == 1 and len(t.dims) <= 4}
        known = onnx.shape_inference.infer_shapes(model).graph
        self._types = {value.name: value.type.tensor_type.elem_type for value in (*known.input, *known.value_info, *known.output)}

    def maker(self, name: str) -> onnx.NodeProto | None:
        """The last node that makes a tensor's values; None = no node does."""
        node = _maker(self._model, name)
        while node is not None and (given := self._given_back(node)):
            node = _maker(self._model, given)
        return node

    def _given_back(self, node: onnx.NodeProto) -> str:
        """The input that a node gives back as it is; "" = it changes something, or may."""
        kind, inputs = node.op_type, list(node.input)
        if kind == "Identity" or (kind == "Dropout" and len(inputs) < 3):         # a third input says that it trains
            return inputs[0]
        if kind == "Cast" and word(node, "to", 0) == self._types.get(inputs[0]) == onnx.TensorProto.FLOAT:
            return inputs[0]
        neutral = {"Mul": 1, "Div": 1, "Add": 0, "Sub": 0}.get(kind)
        if neutral is None:
            return ""
        if self._ones.get(inputs[1]) == neutral:
            return inputs[0]
        return inputs[1] if kind in ("Mul", "Add") and self._ones.get(inputs[0]) == neutral else ""


def _maker(model: onnx.ModelProto, name: str) -> onnx.NodeProto | None:
    """The node that makes a tensor."""
    return next((node for node in model.graph.node if name in node.output), None)
