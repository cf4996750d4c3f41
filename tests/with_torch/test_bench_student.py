"""The benchmarks' students are the shipped ones: put together from a demo engine's graph, they answer as that graph does."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import demo_student  # noqa: E402 - a file of benchmarks/, which is no package

from hfd_edge.package import Package  # noqa: E402


@pytest.mark.parametrize("shipped", [demo_student.SHIPPED, demo_student.LIGHT], ids=lambda path: path.stem)
def test_the_rebuilt_network_answers_as_the_shipped_graph(shipped):
    net, part = demo_student.rebuilt(shipped)                       # compares the logits itself, or ends
    with Package.open(shipped) as package:
        assert part["classes"] == list(package.spec.classes) and part["input"]["floor"] == package.spec.input.floor
    with torch.inference_mode():
        assert net(torch.zeros(1, 2, 64, 64)).shape == (1, 5, 16, 16)


def test_weights_in_the_wrong_place_are_noticed(monkeypatch):
    fill = demo_student.fill

    def mixed(net, arrays):
        return fill(net, {**arrays, "fuse.0.weight": np.ascontiguousarray(arrays["fuse.0.weight"][::-1])})
    monkeypatch.setattr(demo_student, "fill", mixed)
    with pytest.raises(SystemExit, match="differs by"):
        demo_student.rebuilt(demo_student.SHIPPED)
