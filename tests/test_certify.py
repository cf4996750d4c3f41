"""benchmarks/certify_gpu.py goes through all its parts, carries on past failures and never calls what did not run passed."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests import emulated_cuda
from tests.device_engine import EmulatedEngine

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "benchmarks"))
EMULATED = pytest.mark.skipif(emulated_cuda.why_not() is not None, reason=str(emulated_cuda.why_not()))
FEW = ["--calls", "2", "--side", "512", "--repeats", "2"]


@pytest.fixture
def certify(emulated_device):
    import certify_gpu                                  # the script as a module: names of certify_context are its own too
    emulated_device.policy("eager")
    with emulated_device.installed():
        yield certify_gpu


def outcomes(folder: Path) -> dict:
    return {part["name"]: part for part in json.loads(next(folder.glob("certify-*.json")).read_text())["parts"]}


@EMULATED
def test_every_part_about_bits_passes_and_is_written_down(certify, tmp_path, capsys):
    names = [name for name in certify.parts() if name.endswith("bits")]
    assert certify.main([*FEW, "--out", str(tmp_path), "--only", *names]) == 0
    assert {name: part["state"] for name, part in outcomes(tmp_path).items()} == dict.fromkeys(names, "passed")
    page = next(tmp_path.glob("certify-emulated-device.md")).read_text()
    assert "emulated device" in page and "| gather bits | passed |" in page and page in capsys.readouterr().out


@EMULATED
def test_the_parts_about_speed_measure_what_they_say(certify, tmp_path):
    names = ["device copy", "gather speed", "finish speed"]
    certify.main([*FEW, "--out", str(tmp_path), "--only", *names])
    found = outcomes(tmp_path)
    assert found["device copy"]["found"]["GB/s"] > 0
    assert 0 < found["finish speed"]["found"]["7 classes, stride 4"]["share of a copy"]
    gather = found["gather speed"]
    assert gather["found"]["uint16 amplitude to dB"]["ms"] > 0                              # told, though a host is too slow
    assert gather["state"] == ("failed" if gather["said"] else "passed")


@EMULATED
def test_filters_are_timed_as_runs_call_them(certify, tmp_path):
    certify.main(["--calls", "2", "--side", "128", "--repeats", "2", "--out", str(tmp_path), "--only", "filter speed"])
    assert 0 < outcomes(tmp_path)["filter speed"]["found"]["lee 7 x 7 with a mask"]["share of arithmetic"]


@EMULATED
def test_a_failing_part_is_told_and_the_rest_goes_on(certify, tmp_path, monkeypatch):
    import certify_context

    def not_here(context):
        raise certify.NotHere("no torch")

    parts = {"breaks": lambda context: 1 / 0, "is wrong": lambda context: certify_context.require(False, "3 of 7 differ"), "cannot": not_here,
             "works": lambda context: {"figure": 1.5}}
    monkeypatch.setattr(certify, "parts", lambda: parts)
    assert certify.main([*FEW, "--out", str(tmp_path)]) == 1
    found = outcomes(tmp_path)
    assert [found[name]["state"] for name in parts] == ["failed", "failed", "not run", "passed"]
    assert "ZeroDivisionError" in found["breaks"]["said"] and found["is wrong"]["said"] == "3 of 7 differ" and found["cannot"]["said"] == "no torch"
    assert "| cannot | not run: no torch |" in next(tmp_path.glob("*.md")).read_text()


@EMULATED
def test_what_was_found_is_kept_where_the_machine_goes_before_the_last_part(certify, tmp_path, monkeypatch):
    def goes(context):
        raise KeyboardInterrupt

    monkeypatch.setattr(certify, "parts", lambda: {"works": lambda context: {"figure": 1.5}, "goes": goes})
    with pytest.raises(KeyboardInterrupt):
        certify.main([*FEW, "--out", str(tmp_path)])
    assert outcomes(tmp_path)["works"]["found"] == {"figure": 1.5}


@EMULATED
def test_a_part_that_is_not_there_is_told(certify, tmp_path, capsys):
    assert certify.main([*FEW, "--out", str(tmp_path), "--only", "gather bit"]) == 2
    assert "no part is called gather bit: there are gather bits, finish bits" in capsys.readouterr().err


@EMULATED
def test_wrong_bits_fail(certify, tmp_path, monkeypatch):
    from cuda_twins import Twins
    monkeypatch.setattr(Twins, "gather", lambda self: "1 of 9 bytes differ")
    assert certify.main([*FEW, "--out", str(tmp_path), "--only", "gather bits", "counts bits"]) == 1
    assert {name: part["state"] for name, part in outcomes(tmp_path).items()} == {"gather bits": "failed", "counts bits": "passed"}


@EMULATED
def test_no_part_begins_when_the_time_is_up(certify):
    context = certify.Context(None, 1, 1, 1, started=-1e9)
    outcome = certify.run_part("late", lambda _: {}, context)
    assert outcome.state == "not run" and "used up" in outcome.said


@pytest.mark.slow
@EMULATED
def test_a_whole_run_is_measured_and_compared_with_the_cpu(certify, emulated_device, db_engine, monkeypatch):
    import certify_engines

    from hfd_edge.device.memory import CudaDevice
    from hfd_edge.engine.onnxruntime import OnnxRuntimeEngine
    monkeypatch.setattr(certify_engines, "ENGINE", db_engine)
    free = iter(range(1 << 32, 0, -(1 << 20)))          # other programs take memory all the time, and on a Jetson the host's is counted too
    monkeypatch.setattr(CudaDevice, "memory_info", lambda self: (next(free), 1 << 33))
    context = certify.Context(CudaDevice(0), 1, 300, 1)
    made = {"path": db_engine, "tile": 64, "halo": 16}
    found = certify_engines.whole_run(context, lambda package: EmulatedEngine(package, 1, emulated_device),
                                      lambda package: OnnxRuntimeEngine(package, "graph-fp32.onnx", 1), "float32", **made)
    assert found["labels as on the CPU"] == 1 and found["bytes allocated after warm-up"] == 0 and found["peak device MiB"] > 0
    assert found["engine alone Mpx/s"] > 0 and found["one tile p50 ms"] <= found["one tile p99 ms"]

    class Wrong(EmulatedEngine):
        def infer(self, batch, scene=None):
            return -super().infer(batch)

    with pytest.raises(AssertionError, match="labels differ from the CPU"):
        certify_engines.whole_run(context, lambda package: Wrong(package, 1, emulated_device),
                                  lambda package: OnnxRuntimeEngine(package, "graph-fp32.onnx", 1), "float32", **made)


@EMULATED
def test_memory_that_is_taken_is_counted_inside_the_block_alone(certify):
    import certify_engines

    from hfd_edge.device.memory import CudaDevice
    gpu = CudaDevice(0)
    with certify_engines.allocations() as made:
        gpu.allocate(16), gpu.pinned((2, 3), np.uint16)
    gpu.allocate(16)
    assert made == [16, 12]


@EMULATED
def test_parts_behind_one_that_loses_cuda_go_on_in_a_new_process(certify, emulated_device, tmp_path, monkeypatch):
    def loses(context):
        emulated_device.fail("cudaStreamSynchronize", 700)
        raise RuntimeError("an illegal address")

    whole = certify.parts()
    monkeypatch.setattr(certify, "parts", lambda: {"loses": loses, "counts bits": lambda _: pytest.fail("here everything fails"), "unknown": loses})
    monkeypatch.setattr(certify, "AGAIN", [sys.executable, "-c", AS_A_SCRIPT, str(ROOT / "benchmarks" / "certify_gpu.py")])
    monkeypatch.chdir(ROOT)
    assert "counts bits" in whole and certify.main([*FEW, "--out", str(tmp_path)]) == 1
    found = outcomes(tmp_path)
    assert {name: part["state"] for name, part in found.items()} == {"loses": "failed", "counts bits": "passed", "unknown": "not run"}
    assert found["unknown"]["said"] == "the process that went on ended with 0"


@EMULATED
def test_a_thread_that_is_left_with_a_context_fails(certify, emulated_device, monkeypatch):
    import certify_operations

    from hfd_edge.device.memory import CudaDevice
    context = certify.Context(CudaDevice(0), 1, 64, 1)
    assert certify_operations.contexts_part(context)["other GPUs"] == 0
    monkeypatch.setattr(CudaDevice, "fill", lambda gpu, *rest: gpu.native.fill(*rest[:3], (0, rest[3])) or emulated_device.bind(0))
    with pytest.raises(AssertionError, match="a thread is not left as it was"):
        certify_operations.contexts_part(context)


def test_a_new_process_has_the_seconds_that_are_left_and_no_more(tmp_path, monkeypatch):
    import certify_gpu
    asked = []
    monkeypatch.setattr(certify_gpu.subprocess, "run", lambda command, check: asked.extend(command) or SimpleNamespace(returncode=1))
    given = SimpleNamespace(out=tmp_path, calls=2, side=64, repeats=1)
    assert [part.state for part in certify_gpu.in_new_process(["counts bits"], given, 7.9)] == ["not run"]
    assert "--seconds=7" in asked and not list(tmp_path.iterdir())


@pytest.mark.parametrize(("second", "passes"), [(0, False), (9, False), (11, True)])
def test_a_map_of_one_class_certifies_nothing(second, passes):
    import certify_engines
    labels = np.zeros(1000, np.uint8)
    labels[:second], labels[-100:] = 3, 255
    with nullcontext() if passes else pytest.raises(AssertionError, match="the CPU's map has 1 class: nothing is learnt"):
        certify_engines.check_varied(labels)


@EMULATED
def test_engines_that_are_not_here_are_told_and_fail_nothing(certify, tmp_path):
    names = ["run, torch float16", "run, TensorRT"]
    assert certify.main([*FEW, "--out", str(tmp_path), "--only", *names]) == 0
    found = outcomes(tmp_path)
    assert {part["state"] for part in found.values()} == {"not run"}
    assert "torch" in found["run, torch float16"]["said"] and "TensorRT" in found["run, TensorRT"]["said"]


@EMULATED
@pytest.mark.parametrize(("library", "capability", "state"), [
    ("tensorrt_rtx", (9, 0), "not run"), ("tensorrt_rtx", (12, 0), "failed"), ("tensorrt", (9, 0), "failed")])
def test_a_gpu_that_tensorrt_rtx_is_not_made_for_is_no_failure(certify, monkeypatch, library, capability, state):
    import certify_engines

    from hfd_edge import segmenter
    from hfd_edge.engine import choose, tensorrt_capabilities
    from hfd_edge.errors import EngineError

    def refused(*_, **__):
        raise EngineError("it does not run on this GPU")

    monkeypatch.setattr(choose, "why_not_cuda", lambda index: [])
    monkeypatch.setattr(tensorrt_capabilities, "load_tensorrt", lambda: SimpleNamespace(library=library))
    monkeypatch.setattr(segmenter, "Segmenter", refused)
    native = SimpleNamespace(devices=lambda: {"devices": [{"capability": capability}]})
    context = certify.Context(SimpleNamespace(index=0, native=native, memory_info=lambda: (1, 1)), 1, 1, 1)
    outcome = certify.run_part("run, TensorRT", certify_engines.tensorrt_part, context)
    assert outcome.state == state and "it does not run on this GPU" in outcome.said


AS_A_SCRIPT = """
import runpy, sys
from pathlib import Path
from tests import emulated_cuda
with emulated_cuda.Emulated(emulated_cuda.build()).installed():
    sys.argv = sys.argv[1:]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    runpy.run_path(sys.argv[0], run_name="__main__")
"""


@EMULATED
def test_as_the_script_that_make_calls_what_cannot_run_is_not_a_failure_either(tmp_path):
    words = [sys.executable, "-c", AS_A_SCRIPT, str(ROOT / "benchmarks" / "certify_gpu.py"), *FEW, "--out", str(tmp_path), "--only", "run, TensorRT",
             "counts bits"]
    done = subprocess.run(words, text=True, capture_output=True, check=False, cwd=ROOT)
    assert {name: part["state"] for name, part in outcomes(tmp_path).items()} == {"counts bits": "passed", "run, TensorRT": "not run"}
    assert done.returncode == 0, done.stdout + done.stderr


def test_make_says_what_it_compiles_with_where_that_is_missing(tmp_path):
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')           # as in a venv that pip install . was run in
    python.chmod(0o755)
    done = subprocess.run(["make", "certify", f"CERTIFY={python}"], cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode and f'{python} -m pip install "setuptools>=77" "pybind11>=2.13"' in done.stderr and "Traceback" not in done.stderr


def test_without_a_gpu_make_says_so_before_it_compiles_anything():
    pytest.importorskip("pybind11")
    from hfd_edge.build import build_info
    if build_info()["cuda_module"]["driver_version"]:
        pytest.skip("there is a driver")
    done = subprocess.run(["make", "certify", f"CERTIFY={sys.executable}"], cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode and "nothing can be certified here: NVIDIA's driver (libcuda.so.1) has no GPU" in done.stderr and "building" not in done.stdout


def test_without_a_gpu_it_says_so_and_certifies_nothing(tmp_path):
    from hfd_edge.build import build_info
    if build_info()["cuda_module"]["devices"]:
        pytest.skip("there is a GPU")
    done = subprocess.run([sys.executable, str(ROOT / "benchmarks" / "certify_gpu.py"), "--out", str(tmp_path)], text=True, capture_output=True,
                          check=False)
    assert done.returncode == 2 and "nothing can be certified here" in done.stderr and "device='cpu'" in done.stderr
    assert not list(tmp_path.iterdir())
