"""The benchmarks' student is the shipped one: put together from the demo engine's graph, it answers as that graph does."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import demo_student  # noqa: E402 - a file of benchmarks/, which is no package

from hfd_edge.package import Package  # noqa: E402


def test_the_rebuilt_network_answers_as_the_shipped_graph():
    net, part = demo_student.rebuilt(demo_student.SHIPPED)          # compares the logits itself, or ends
    with Package.open(demo_student.SHIPPED) as package:
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
