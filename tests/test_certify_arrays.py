"""The parts of benchmarks/certify_gpu.py about scenes on the GPU, with arrays of the emulated device."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from hfd_edge.source.device import DeviceArraySource
from tests import emulated_cuda
from tests.device_engine import EmulatedEngine
from tests.test_device_array import ArrayInterface

sys.path.append(str(Path(__file__).resolve().parent.parent / "benchmarks"))
import certify_arrays  # noqa: E402
import certify_gpu  # noqa: E402

pytestmark = pytest.mark.skipif(emulated_cuda.why_not() is not None, reason=str(emulated_cuda.why_not()))


@pytest.mark.parametrize("waits", [True, False])
def test_a_scene_that_is_read_before_it_is_there_fails(gpu, emulated_device, monkeypatch, waits):
    def late(stored):
        array = ArrayInterface(gpu, stored)
        return array, array.stream

    if not waits:
        monkeypatch.setattr(DeviceArraySource, "order_after_caller", lambda source, stream: None)
    library = certify_arrays.Library(late, lambda stream: nullcontext(), lambda labels: labels.numpy())
    part = lambda _: certify_arrays.arrays_run(lambda package: EmulatedEngine(package, 1, emulated_device), library)        # noqa: E731
    outcome = certify_gpu.run_part("arrays", part, certify_gpu.Context(gpu, 1, 1, 1))
    assert outcome.state == ("passed" if waits else "failed"), outcome.said
    if waits:
        assert set(outcome.found.values()) == {1.0}


def test_the_parts_are_run_and_say_what_they_lack(gpu, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in ("arrays, torch", "arrays, CuPy"):
        outcome = certify_gpu.run_part(name, certify_gpu.parts()[name], certify_gpu.Context(gpu, 1, 1, 1))
        assert outcome.state == "not run" and "torch, which is the engine here, is not installed" in outcome.said
