"""Markers and what they need. HFD_REQUIRE=cuda,tensorrt,tensorrt_rtx,torch,real_data turns the skips of those into failures."""

from __future__ import annotations

import importlib.util
import os
import signal
from pathlib import Path

import numpy as np
import pytest

import hfd_edge  # noqa: F401 - before a test imports ONNX Runtime, which then reports to nobody

# A shell's background job ignores Ctrl-C, and so would every program that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _why_no_cuda() -> str | None:
    from hfd_edge import build_info
    module = build_info()["cuda_module"]
    return None if module["devices"] else f"no CUDA device: {module['error'] or 'none found'}"


def _why_not_installed(name: str) -> str | None:
    return None if importlib.util.find_spec(name) else f"{name} is not installed"


def _why_no_tensorrt() -> str | None:
    """The full TensorRT or TensorRT-RTX: one engine runs both."""
    return _why_not_installed("tensorrt") and _why_not_installed("tensorrt_rtx") and "neither tensorrt nor tensorrt_rtx is installed"


def data_folder() -> Path:
    """Where the rasters are that do not travel with the repository: HFD_DATA, else ../shared/data beside the checkout."""
    return Path(os.environ.get("HFD_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")


def _why_no_data() -> str | None:
    return None if data_folder().is_dir() else f"{data_folder()} is not a folder: set HFD_DATA to the folder of the real rasters"


NEEDS = {
    "needs_cuda": ("cuda", _why_no_cuda),
    "needs_tensorrt": ("tensorrt", lambda: _why_no_tensorrt() or _why_no_cuda()),
    "needs_tensorrt_rtx": ("tensorrt_rtx", lambda: _why_not_installed("tensorrt_rtx")),
    "torch": ("torch", lambda: _why_not_installed("torch")),
    "real_data": ("real_data", _why_no_data),
}


def pytest_configure(config: pytest.Config) -> None:
    known = {word for word, _ in NEEDS.values()}
    unknown = _required() - known
    if unknown:
        raise pytest.UsageError(f"HFD_REQUIRE names {', '.join(sorted(unknown))}: known are {', '.join(sorted(known))}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reasons: dict[str, str | None] = {}
    for item in items:
        for marker, (word, why_not) in NEEDS.items():
            if item.get_closest_marker(marker) is None:
                continue
            if marker not in reasons:
                reasons[marker] = why_not()
            if reasons[marker] and word not in _required():
                item.add_marker(pytest.mark.skip(reason=reasons[marker]))
            elif reasons[marker]:
                item.add_marker(pytest.mark.usefixtures("promised_but_missing"))


@pytest.fixture
def promised_but_missing(request: pytest.FixtureRequest) -> None:
    words = [why_not() for marker, (_, why_not) in NEEDS.items() if request.node.get_closest_marker(marker)]
    pytest.fail(f"promised by HFD_REQUIRE={os.environ['HFD_REQUIRE']} but: {'; '.join(w for w in words if w)}", pytrace=False)


def _required() -> set[str]:
    return {word for word in os.environ.get("HFD_REQUIRE", "").replace(" ", "").split(",") if word}


DB = {"unit": "db", "floor": -35.0, "clip": ((-35.0, 5.0), (-35.0, 5.0)), "mean": (-12.0, -18.0), "std": (5.0, 5.5)}


@pytest.fixture(scope="module")
def db_engine(tmp_path_factory):
    """A small engine with random weights that was "trained" on dB."""
    from tests.engines import plain_input, random_engine

    return random_engine(tmp_path_factory.mktemp("engine") / "db.engine", input=plain_input(2, **DB))


@pytest.fixture(scope="module")
def power():
    """A scene of two bands, 70 x 90, linear intensity."""
    return np.random.default_rng(0).gamma(4.4, 0.05 / 4.4, size=(2, 70, 90)).astype(np.float32)


@pytest.fixture(scope="session")
def emulated_device_module():
    """hfd_edge._cuda compiled for the host; one per session."""
    from tests import emulated_cuda

    return emulated_cuda.Emulated(emulated_cuda.build())


@pytest.fixture
def emulated_device(emulated_device_module):
    """The emulated device, lazy: nothing runs before somebody waits for it."""
    emulated_device_module.policy("lazy")
    emulated_device_module.limit()
    emulated_device_module.devices(1)
    return emulated_device_module


@pytest.fixture
def gpu(emulated_device):
    """The first GPU that hfd_edge finds: the emulated device."""
    from hfd_edge.device.memory import CudaDevice

    with emulated_device.installed():
        yield CudaDevice(0)
