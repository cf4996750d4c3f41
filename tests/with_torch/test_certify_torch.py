"""benchmarks/certify_torch.py runs, with torch's CUDA acted by the emulated device: in order, and what a graph holds is replayed.

It says nothing about torch on a GPU; it says that the certification does not stop there for a slip of its own.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from hfd_edge.device.memory import CudaDevice
from hfd_edge.package import Package
from tests import emulated_cuda
from tests.device_engine import floats_at

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
pytestmark = [pytest.mark.skipif(emulated_cuda.why_not() is not None, reason=str(emulated_cuda.why_not())), pytest.mark.slow]


class ActedCuda:
    """What certify_torch.py asks of torch.cuda, on the emulated device."""

    def __init__(self, device) -> None:
        self.device, self.stream, self.graph, self.captures, self.replays = device, 0, None, 0, 0
        acted = self

        class CUDAGraph:
            def __init__(self):
                self.work = []

            def replay(self):
                acted.replays += 1
                for each in self.work:
                    device.call(acted.stream, each)

        self.CUDAGraph = CUDAGraph

    def is_available(self):
        return True

    def ExternalStream(self, handle):
        class Stream:
            def synchronize(self):
                CudaDevice(0).synchronize(handle)
        made = Stream()
        made.handle = handle
        return made

    @contextmanager
    def on(self, stream):
        before, self.stream = self.stream, stream.handle
        try:
            yield
        finally:
            self.stream = before

    @contextmanager
    def capturing(self, graph, stream, capture_error_mode):
        assert capture_error_mode == "thread_local" and self.graph is None
        self.graph, self.captures = graph, self.captures + 1
        try:
            yield
        finally:
            self.graph = None

    def run(self, work):
        """Enqueue, or put into the graph that is captured."""
        self.device.call(self.stream, work) if self.graph is None else self.graph.work.append(work)


@pytest.fixture
def acted(emulated_device, monkeypatch):
    import certify_torch
    acted = ActedCuda(emulated_device)
    for name, value in (("is_available", acted.is_available), ("ExternalStream", acted.ExternalStream), ("stream", acted.on),
                        ("graph", acted.capturing), ("CUDAGraph", acted.CUDAGraph)):
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch, "as_tensor", lambda memory, device: torch.from_numpy(
        floats_at(memory.__cuda_array_interface__["data"][0], memory.__cuda_array_interface__["shape"])))
    for kind in (torch.nn.Module, torch.Tensor):
        monkeypatch.setattr(kind, "to", lambda self, *where, original=kind.to, **more: original(
            self, *(word for word in where if word != "cuda"), **more))
    run = certify_torch.TorchSlot._run
    monkeypatch.setattr(certify_torch.TorchSlot, "_run", lambda slot, module: acted.run(lambda: run(slot, module)))
    monkeypatch.setattr(certify_torch, "network", lambda spec, original=certify_torch.network: original(spec, 8))
    with emulated_device.installed():
        yield acted


@pytest.mark.parametrize("part", ["run, torch float32", "run, torch float32, blended", "run, torch float32, behind Lee 7 x 7",
                                  "run, torch float16, CUDA graph"])
def test_every_run_of_the_certification_goes_through_and_gives_the_cpus_labels(acted, part):
    import certify_engines
    from certify_context import Context
    found = certify_engines.PARTS[part](Context(CudaDevice(0), 1, 700, 1))
    assert found["labels as on the CPU"] >= 0.995 and found["nodata as on the CPU"] == 1 and found["bytes allocated after warm-up"] == 0
    assert (acted.captures > 0 and acted.replays > acted.captures) == ("graph" in part)


def test_a_map_of_the_networks_holds_every_class_so_that_a_wrong_map_is_another_one():
    from certify_engines import declared, scene, segmenter
    from certify_torch import TorchOnHost
    with segmenter(lambda package: TorchOnHost(package.spec), "cpu") as seg:
        labels, classes = seg.run(scene(256, 320), declared()).labels, len(seg.spec.classes)
    share = np.bincount(labels[labels != 255], minlength=classes) / labels.size
    assert len(share) == classes and share.min() > 0.01 and share.max() < 0.8, share


def test_a_slot_reads_and_writes_the_addresses_it_is_given(acted, emulated_device):
    from certify_engines import ENGINE
    from certify_torch import TorchEngine, TorchOnHost
    gpu, stream = CudaDevice(0), CudaDevice(0).stream()
    with Package.open(ENGINE) as package:
        engine, host = TorchEngine(package.spec, half=False, cuda_graph=True), TorchOnHost(package.spec)
    slot = engine.slot(2, 64, 64)
    batch = torch.randn(slot.input_shape).numpy()
    for _ in range(2):                                                                      # other addresses: captured anew
        source, target = gpu.allocate(batch.nbytes), gpu.allocate(4 * torch.Size(slot.output_shape).numel())
        gpu.copy_in(source.ptr, batch, stream.handle)
        slot.prepare(source.ptr, target.ptr, stream.handle)
        slot.enqueue(source.ptr, target.ptr, stream.handle)
        gpu.synchronize(stream.handle)
        assert abs(floats_at(target.ptr, slot.output_shape) - host.infer(batch)).max() < 1e-5
    assert acted.captures == acted.replays == 2
