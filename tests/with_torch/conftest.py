"""What several tests of the exporter share: a checkpoint of a small untrained network, and small simulated scenes."""

import pytest
from networks import kept_export, network
from quantized import make_small

from hfd_edge.export import build
from hfd_edge.network import save_checkpoint


@pytest.fixture(scope="session", autouse=True)
def a_network_is_exported_once():
    """Packages of one network share its graph."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "to_onnx", kept_export)
        yield


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    from test_export import SPEC
    folder = tmp_path_factory.mktemp("checkpoint")
    save_checkpoint(folder / "net", network(max_stride=8), SPEC, {})
    return folder / "net.safetensors"


@pytest.fixture
def small(monkeypatch):
    make_small(monkeypatch)
