"""Whatever engine this machine has joins the gate by being there: proved with stand-ins for one that it has not."""

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from quantized import LOOSE, options

from hfd_edge.engine import choose
from hfd_edge.engine.choose import Way, ways_here
from hfd_edge.errors import EngineError, GateError
from hfd_edge.export import export_package
from hfd_edge.export.session import open_session
from hfd_edge.package import Package

STAND_IN = Way("standin", "cpu", "graph-int8-trt.onnx", "int8")
ROW = "graph-int8-trt.onnx (standin, cpu)"


class StandIn:
    """A TensorRT that is not here: the same graph, run by ONNX Runtime, with a fault if wanted."""

    name, device, graph, version = STAND_IN.library, STAND_IN.device, STAND_IN.graph, onnxruntime.__version__

    def __init__(self, package, fault=None):
        self._session, self._fault = open_session(bytes(package.read(self.graph))), fault

    def infer(self, batch):
        spoilt = self._fault is not None and self._fault(batch)
        return self._session.run(None, {"pixels": np.ascontiguousarray(batch[:, ::-1]) if spoilt else batch})[0]

    def close(self):
        self._session = None


@pytest.fixture
def machine(monkeypatch):
    """A machine with one engine more; called with what goes wrong on it."""
    def add(make):
        monkeypatch.setattr(choose, "ways_here", lambda package: (*ways_here(package), STAND_IN))
        own = choose.open_way
        monkeypatch.setattr(choose, "open_way", lambda package, way, threads:
                            make(package) if way == STAND_IN else own(package, way, threads))
    return add


def export(checkpoint, folder):
    return export_package(checkpoint, folder / "m.engine", options(targets=("cpu", "tensorrt"), method="minmax"))


def test_an_engine_that_is_here_is_judged_in_tiles_on_a_scene_and_timed(checkpoint, tmp_path, small, machine):
    machine(StandIn)
    gate = export(checkpoint, tmp_path).gate
    assert gate.passed and gate.graphs[ROW].flips == gate.graphs["graph-int8-trt.onnx"].flips
    rows = {"graph-fp32.onnx", "graph-int8-cpu.onnx", ROW}
    assert {scene.graph for scene in gate.scenes} == {*gate.speeds} == rows and all(scene.tiles > 1 for scene in gate.scenes)
    assert gate.speeds["graph-fp32.onnx"].over_fp32 == 1
    assert len(gate.not_verified) == 1 and "fp16-trt" in gate.not_verified[0]
    with Package.open(tmp_path / "m.engine") as package:
        assert package.manifest["provenance"]["gate"]["graphs"][ROW]["passed"] is True


def test_without_it_its_graph_is_not_verified_here_and_no_row_claims_it(checkpoint, tmp_path, small):
    gate = export(checkpoint, tmp_path).gate
    assert [text.split()[0] for text in gate.not_verified] == ["graph-fp16-trt.onnx", "graph-int8-trt.onnx"]
    assert {scene.graph for scene in gate.scenes} == {*gate.speeds} == {"graph-fp32.onnx", "graph-int8-cpu.onnx"}


def refusing(package):
    raise EngineError("the plan could not be built: no kernel for this layer")


@pytest.mark.parametrize(("make", "words"), [
    (lambda package: StandIn(package, lambda batch: True), "label flips|finite|IoU|logits"),
    (lambda package: StandIn(package, lambda batch: batch.shape[-1] < 400 and len(batch) == 1), "tiled scene simulated"),
    (refusing, "the plan could not be built")], ids=["wrong", "wrong in small tiles alone", "refusing"])
def test_an_engine_that_errs_or_refuses_leaves_no_package(checkpoint, tmp_path, small, machine, make, words):
    machine(make)
    plan = options(targets=("cpu", "tensorrt"), method="minmax", thresholds=replace(LOOSE, flips=0.15, min_pixels=1000))
    with pytest.raises(GateError, match=words) as caught:
        export_package(checkpoint, tmp_path / "m.engine", plan)
    assert ROW in str(caught.value) and [p.name for p in tmp_path.iterdir()] == ["m.engine.quarantine"]
