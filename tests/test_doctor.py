"""`hfd-edge doctor`: what is here, what is not and why, and a self-test that fails where an engine is wrong."""

import json
import sys
from types import SimpleNamespace

import pytest

import hfd_edge
from hfd_edge import build
from hfd_edge.cli import doctor as doctor_module
from hfd_edge.cli.self_test import golden_pixels, run_self_test
from hfd_edge.raster import compressions_written, drivers_present
from tests.command import INPUT, failed, run
from tests.engines import random_engine


@pytest.mark.slow
def test_the_record_names_what_is_here_and_why_the_rest_is_not(tmp_path):
    done = run("doctor", random_engine(tmp_path / "good.engine", input=INPUT), "--threads", 1, "--json")
    assert done.returncode == 0 and not done.stderr, done.stderr
    record = json.loads(done.stdout)
    assert record["memory"]["free_bytes"] >= 2 * record["memory"]["budget_bytes"] > 0
    assert all(found["free_bytes"] > 0 and found["folder"] for found in record["disk"].values())
    assert set(record["rasters"]["drivers"]) >= {"GTiff", "COG"} and record["rasters"]["compress"]["none"] == "works"
    assert record["native"]["simd"] in record["native"]["simd_usable"]
    assert "CPUExecutionProvider" in record["engines"]["onnxruntime cpu"]
    for name in ("cuda", "tensorrt", "tensorrt_rtx"):
        assert record["engines"][name].startswith("cannot") and any(
            word in record["engines"][name] for word in ("no GPU", "driver"))
    steps = {step["name"]: step for step in record["self_test"]["steps"]}
    assert list(steps) == ["golden tile", "tiles equal the whole", "file to file", "speed"]
    assert "Mpx/s with 1 threads" in steps["speed"]["text"] and steps["tiles equal the whole"]["passed"]
    assert sum(step["seconds"] for step in steps.values()) < 30


@pytest.mark.slow
def test_an_engine_whose_halo_is_too_small_fails_the_self_test_and_the_exit_code_says_so(tmp_path):
    wrong = random_engine(tmp_path / "wrong.engine", input=INPUT, reach_px=0, halo_px=0)
    result = run_self_test(wrong, threads=2)
    assert result["passed"] is False and "the halo does not cover" in result["text"]
    assert [step["name"] for step in result["steps"] if step["passed"] is False] == ["tiles equal the whole"]
    done = run("doctor", wrong, "--threads", 1)
    assert done.returncode == 1 and "FAILED" in done.stdout and "error: the self-test failed" in done.stderr, done.stderr


@pytest.mark.slow
def test_a_file_that_is_no_engine_fails_the_self_test(tmp_path):
    (tmp_path / "bad.engine").write_bytes(b"bad")
    assert run_self_test(tmp_path / "bad.engine")["passed"] is False
    done = run("doctor", tmp_path / "bad.engine", "--json")
    assert done.returncode == 1 and json.loads(done.stdout)["self_test"]["passed"] is False
    failed(run("inspect", tmp_path / "bad.engine"), "bad.engine")


def test_the_golden_pixels_are_in_the_networks_unit(tmp_path):
    pixels = golden_pixels(random_engine(tmp_path / "db.engine", input=INPUT))
    assert pixels.shape == (2, 176, 176) and pixels[0].mean() == pytest.approx(-11, abs=0.5) and pixels.dtype == "float32"


def test_the_compressions_are_tried_and_leave_nothing(tmp_path):
    assert compressions_written(tmp_path) == dict.fromkeys(("none", "deflate", "zstd", "lzw"), "works")
    assert not list(tmp_path.iterdir()) and all(drivers_present().values())


@pytest.mark.parametrize("state, said", [
    ("not built: HFD_CUDA=OFF", "not built: HFD_CUDA=OFF"), ("built: nvcc", "built, but it cannot be loaded: import of hfd_edge._cuda halted")])
def test_why_there_is_no_cuda_module_is_said_once(monkeypatch, state, said):
    info = {**build._native.build_info(), "cuda": state}
    monkeypatch.setattr(build, "_native", SimpleNamespace(build_info=lambda: dict(info)))
    monkeypatch.delattr(hfd_edge, "_cuda", raising=False)
    monkeypatch.setitem(sys.modules, "hfd_edge._cuda", None)
    record = {"versions": {}, "native": doctor_module._native(), "cpu": doctor_module._cpu(), "memory": doctor_module._memory(), "disk": {},
              "rasters": {"text": ""}, "engines": doctor_module._engines(), "self_test": {"text": ""}}
    lines = doctor_module._lines(record)
    assert lines["cuda module"].startswith(said) and sum(said in line for line in lines.values()) == 1
    assert "missing: hfd_edge._cuda;" in lines["engine cuda"]


def test_a_cuda_module_whose_file_is_missing_is_told_without_a_path(monkeypatch):
    error = ImportError("cannot import name '_cuda' from 'hfd_edge' (/a/long/path/hfd_edge/__init__.py)")
    monkeypatch.setattr(build, "_native", SimpleNamespace(build_info=lambda: {"cuda": "built: nvcc"}))
    assert build._why_no_cuda_module(error).startswith("built, but its file is not") and "/a/long" not in build._why_no_cuda_module(error)
    monkeypatch.setattr(build, "_native", SimpleNamespace(build_info=lambda: {"cuda": "not built: no compiler"}))
    assert build._why_no_cuda_module(error) == "not built: no compiler"


def test_vrt_is_no_format_that_is_read():
    text = doctor_module._rasters()["text"]
    reads, writes = text.split("; ")[:2]
    assert reads == "reads GTiff PNG JPEG JP2OpenJPEG" and writes.split() == ["writes", "with", "GTiff", "COG"] and "missing" not in text
