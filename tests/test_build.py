"""The install: what was built, what an import costs, what it may load."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import hfd_edge

HEAVY = ("torch", "onnx", "onnxscript", "timm", "tensorrt", "rasterio", "onnxruntime", "cv2", "typer", "rich")


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, text=True, stdout=subprocess.PIPE).stdout


def test_build_info_names_what_was_built():
    info = hfd_edge.build_info()
    assert "-ffp-contract=off" in info["cxx_flags"] and "fast-math" not in info["cxx_flags"] and "-march" not in info["cxx_flags"]
    assert info["cuda"].startswith(("built: nvcc", "not built: "))
    assert info["cuda"].startswith("built") == info["cuda_module"]["imported"]
    assert info["max_threads"] >= 1 and info["compiler"]
    assert info["cuda_module"]["devices"] or info["cuda_module"]["error"]


def test_the_native_module_and_the_installed_package_have_one_version():
    try:
        installed = version("hfd-edge")
    except PackageNotFoundError:
        pytest.skip("run from a checkout that was not installed")
    assert hfd_edge.__version__ == installed


def test_the_folder_above_a_checkout_of_our_name_does_not_hide_the_package(tmp_path):
    (tmp_path / "hfd_edge").symlink_to(Path(__file__).resolve().parent.parent)
    done = subprocess.run([sys.executable, "-c", "import hfd_edge; print(hfd_edge.Segmenter.__name__)"], cwd=tmp_path, text=True, capture_output=True)
    assert done.stdout == "Segmenter\n", done.stderr


def test_provenance_names_our_version_from_a_checkout_too(monkeypatch):
    session = pytest.importorskip("hfd_edge.export.session")

    def absent(tool):
        raise PackageNotFoundError(tool)
    monkeypatch.setattr(session, "version", absent)
    assert session.tool_versions("hfd_edge", "timm") == {"hfd_edge": f"{hfd_edge.__version__}, run from a checkout", "timm": "not installed"}


@pytest.mark.skipif(not hfd_edge.build_info()["cuda_module"]["imported"], reason="_cuda was not built")
def test_the_cuda_module_needs_neither_driver_nor_cuda_libraries_to_import():
    from hfd_edge import _cuda
    assert _cuda.device_count() == len(_cuda.devices()["devices"]) >= 0
    if sys.platform == "linux":
        linked = subprocess.run(["ldd", _cuda.__file__], check=True, text=True, stdout=subprocess.PIPE).stdout
        assert "libcudart" not in linked and "libcuda.so" not in linked


@pytest.mark.needs_cuda
def test_a_cuda_device_is_described():
    for device in hfd_edge.build_info()["cuda_module"]["devices"]:
        assert device["name"] and device["capability"] >= (7, 5) and device["memory_bytes"] > 0


def test_importing_the_package_loads_no_library():
    loaded = python("import sys, hfd_edge; print(*sys.modules)").split()
    assert "numpy" not in loaded and not set(HEAVY) & set(loaded)


def test_spec_and_native_module_load_without_the_heavy_libraries():
    blocked = f"import sys; sys.modules.update(dict.fromkeys({HEAVY!r}))\n"
    python(blocked + "import hfd_edge; hfd_edge.ModelSpec, hfd_edge.build_info(), hfd_edge.ArrayError, hfd_edge.errors.HfdError")


def test_onnx_runtime_reports_to_nobody_and_leaves_nothing_at_home(tmp_path):
    """ONNX Runtime 1.32 sends events and writes ~/.cache/Microsoft if it is let; an older one does neither."""
    environment = {key: value for key, value in os.environ.items() if key not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")}
    engine = Path(hfd_edge.__file__).parent / "data" / "demo-light.engine"
    code = "import os, sys, hfd_edge; hfd_edge.Segmenter(sys.argv[1], threads=1).close(); print(os.environ['ORT_DISABLE_TELEMETRY'])"
    said = subprocess.run([sys.executable, "-c", code, engine], check=True, text=True, stdout=subprocess.PIPE,
                          env={**environment, "HOME": str(tmp_path)}).stdout
    assert said == "1\n" and not list(tmp_path.iterdir())


def test_who_wants_onnx_runtimes_reports_keeps_them(monkeypatch):
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    assert python("import os, hfd_edge; print(os.environ['ORT_DISABLE_TELEMETRY'])") == "0\n"


def test_importing_costs_at_most_what_numpy_costs():
    code = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"
    ours, native, numpys = (min(float(python(code.format(name))) for _ in range(5)) for name in ("hfd_edge", "hfd_edge._native", "numpy"))
    assert ours <= numpys and native <= 3 * numpys


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Segmentor'"):
        _ = hfd_edge.Segmentor
    assert {"Segmenter", "ModelSpec", "build_info", "errors"} <= set(dir(hfd_edge))


def test_help_and_whoever_looks_at_every_name_need_no_library_of_training():
    """help(hfd_edge) ended in "No module named 'safetensors'", and imported torch where it was there."""
    blocked = "import sys; sys.modules.update(dict.fromkeys(('torch', 'safetensors', 'timm', 'onnx', 'onnxscript', 'tensorrt', 'cv2')))\n"
    told = python(blocked + "import inspect, hfd_edge; print(len(inspect.getmembers(hfd_edge))); help(hfd_edge)")
    assert "Segmenter" in told and "run_raster" in told
    assert "network" not in dir(hfd_edge)
