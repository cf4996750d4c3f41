"""What several tests of the exporter share: a checkpoint of a small untrained network, and small simulated scenes."""

import hashlib

import pytest
from networks import network

from hfd_edge.export import build, calibration_data
from hfd_edge.network import save_checkpoint


@pytest.fixture(scope="session", autouse=True)
def a_network_is_exported_once():
    """torch's exporter takes seconds and gives the same bytes again (test_export.py), so packages of one network share its graph."""
    graphs, export = {}, build.to_onnx

    def once(net):
        weights = b"".join(value.cpu().contiguous().numpy().tobytes() for value in net.state_dict().values())
        key = (repr(net.config), hashlib.sha256(weights).digest())
        if key not in graphs:
            graphs[key] = export(net)
        return graphs[key]
    build.to_onnx = once
    yield
    build.to_onnx = export


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    from test_export import SPEC
    folder = tmp_path_factory.mktemp("checkpoint")
    save_checkpoint(folder / "net", network(max_stride=8), SPEC, {})
    return folder / "net.safetensors"


@pytest.fixture
def small(monkeypatch):
    """--calibration simulated is two scenes of 416 x 416 pixels."""
    monkeypatch.setattr(calibration_data, "_SIMULATED_PX", 416)
    monkeypatch.setattr(calibration_data, "_SIMULATED_SCENES", 2)
