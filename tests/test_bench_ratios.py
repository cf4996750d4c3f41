"""The check of benchmark ratios, on recorded outputs: what became twice as bad fails, what is missing is named. Nothing is measured here."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CLASS = "amd family 25 model 1, avx2, 2 threads"


def load(name: str):
    """A file of benchmarks/ as a module; it is no package."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
        module = sys.modules.setdefault(name, importlib.util.module_from_spec(spec))
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.pop(0)


ratios, run_all, timing, roofline = load("ratios"), load("run_all"), load("timing"), load("roofline")
# what `bench_gather.py --quick --json` and `bench_finish.py --quick --json` ended with on two cores of an AMD Zen 3, shortened
OUTPUTS = {
    "bench_gather": '{"simd": "avx2", "memory_2_dB_to_dB_float32_ns_per_px": 1.31, "ratios": {"numpy_over_gather": 5.561, "copy_over_gather_dB": 0.582}}',
    "bench_finish": '{"simd": "avx2", "stride_4_2_ns_per_px": 2.45, "ratios": {"numpy_over_stride_1": 15.684, "numpy_over_stride_4": 15.724}}'}


def outcomes(outputs=OUTPUTS):
    return [run_all.Outcome(name, json.loads(text)) for name, text in outputs.items()]


@pytest.fixture
def recorded():
    return {name: {"ratio": value, "tolerance": ratios.TOLERANCE} for name, value in run_all.ratios_of(outcomes()).items()}


def test_the_recorded_run_itself_passes_and_a_better_one_too(recorded):
    measured = run_all.ratios_of(outcomes())
    assert len(measured) == 4 and ratios.check(measured, recorded) == ratios.Verdict((), (), ())
    assert not ratios.check({name: 3 * value for name, value in measured.items()}, recorded).regressed


@pytest.mark.parametrize("name", run_all.ratios_of(outcomes()))
def test_a_ratio_twice_as_bad_fails_alone(recorded, name):
    measured = run_all.ratios_of(outcomes())
    found = ratios.check({**measured, name: measured[name] / 2}, recorded).regressed
    assert len(found) == 1 and found[0].startswith(name)


def test_not_a_number_is_a_regression(recorded):
    assert ratios.check({"bench_gather.numpy_over_gather": float("nan")}, recorded).regressed


def test_noise_of_a_quarter_passes(recorded):
    assert not ratios.check({name: value / 1.25 for name, value in run_all.ratios_of(outcomes()).items()}, recorded).regressed


def test_a_missing_peer_is_named_and_no_regression(recorded):
    found = ratios.check(run_all.ratios_of(outcomes()[:1]), recorded)
    assert not found.regressed and found.not_measured == ("bench_finish.numpy_over_stride_1", "bench_finish.numpy_over_stride_4")
    assert ratios.check({"x.y": 1.0}, {}).new == ("x.y",)


def test_a_tolerance_that_lets_twice_as_bad_through_is_refused():
    with pytest.raises(ValueError, match="twice as bad"):
        ratios.check({"a.b": 1.0}, {"a.b": {"ratio": 1.0, "tolerance": 2.0}})


def x86(maker, family, model, flags):
    """/proc/cpuinfo of two processors, shortened."""
    one = f"vendor_id\t: {maker}\ncpu family\t: {family}\nmodel\t\t: {model}\nmodel name\t: A (R) Processor\nstepping\t: 2\nflags\t\t: fpu {flags}\n"
    return f"processor\t: 0\n{one}\nprocessor\t: 1\n{one}\n"


ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: 0xd42\n\nprocessor\t: 1\nCPU part\t: 0xd0b\n"


@pytest.mark.parametrize("simd, cpuinfo, expected", [
    ("avx2", x86("AuthenticAMD", 25, 1, "avx avx2 fma"), "amd family 25 model 1, avx2, 2 threads"),
    ("avx512", x86("AuthenticAMD", 25, 17, "avx512f avx512_vnni"), "amd family 25 model 17, avx512 vnni, 2 threads"),
    ("avx512", x86("GenuineIntel", 6, 207, "avx512f avx512_vnni amx_tile amx_int8"), "intel family 6 model 207, avx512 vnni amx, 2 threads"),
    ("avx512", x86("GenuineIntel", 6, 167, "avx512f avx512_vnni amx_tile amx_int8"), "intel family 6 model 167, avx512 vnni amx, 2 threads"),
    ("avx2", x86("HygonGenuine", 24, 2, "avx2 avx_vnni"), "HygonGenuine family 24 model 2, avx2 vnni, 2 threads"),
    ("neon", ARM, "arm maker 0x41 part 0xd42, neon vnni, 2 threads"), ("sse", "", "a processor without a name, sse, 2 threads")])
def test_machines_whose_ratios_differ_are_classes_apart(simd, cpuinfo, expected):
    assert ratios.machine_class(simd, cpuinfo, 2) == expected


@pytest.mark.parametrize(("model", "code", "said"), [(207, 1, "**regressed**: bench_gather.numpy_over_gather is 1.1"), (
    167, 0, "nothing is recorded for the class `intel family 6 model 167, avx512 vnni amx, 2 threads`, so nothing was checked")])
def test_a_record_is_held_against_its_own_model_alone(recorded, monkeypatch, tmp_path, model, code, said):
    """Two Intel Xeons with the same instructions gave 12.5 and 7.28, below 12.5 / 1.7, of the same code."""
    of_class = [ratios.machine_class("avx512", x86("GenuineIntel", 6, each, "avx512f avx512_vnni amx_tile amx_int8"), 2) for each in (207, model)]
    monkeypatch.setattr(run_all.ratios, "records", lambda: {of_class[0]: recorded})
    monkeypatch.setattr(run_all, "this_class", lambda: of_class[1])
    monkeypatch.setattr(run_all, "run", lambda name, more: run_all.Outcome(name, json.loads(OUTPUTS[name].replace("5.561", "1.1"))))
    monkeypatch.setattr(sys, "argv", ["run_all.py", "--only", "bench_gather", "--out", str(tmp_path / "R.md")])
    assert run_all.main() == code
    text = (tmp_path / "R.md").read_text()
    assert said in text and ("**regressed**" in text) == bool(code)


def test_recording_keeps_other_classes_and_tolerances_set_by_hand(tmp_path):
    path = tmp_path / "ratios.json"
    path.write_text(json.dumps({CLASS: {"a.b": {"ratio": 2.0, "tolerance": 1.3}}, "another": {"a.b": {"ratio": 9.0, "tolerance": 1.6}}}))
    ratios.record({"a.b": 4.0, "a.c": 1.5}, CLASS, path)
    assert ratios.records(path) == {CLASS: {"a.b": {"ratio": 4.0, "tolerance": 1.3}, "a.c": {"ratio": 1.5, "tolerance": ratios.TOLERANCE}},
                                    "another": {"a.b": {"ratio": 9.0, "tolerance": 1.6}}}


def test_what_is_kept_in_the_repository_can_fail_and_names_real_benchmarks():
    known = ratios.records()
    assert known
    for machine, of_class in known.items():
        assert re.fullmatch(r"\S+ family \d+ model \d+, \S+( vnni)?( amx)?, 2 threads", machine), f"{machine}: which processor was it?"
        measured = {name: record["ratio"] for name, record in of_class.items()}
        assert not ratios.check(measured, of_class).regressed
        assert len(ratios.check({name: value / 2 for name, value in measured.items()}, of_class).regressed) == len(measured)
        assert {name.split(".")[0] for name in of_class} <= set(run_all.BENCHMARKS)
    scripts = {path.stem for path in (ROOT / "benchmarks").glob("bench_*.py")}
    assert set(run_all.BENCHMARKS) == scripts | set(run_all.VARIANTS) and {script for script, _ in run_all.VARIANTS.values()} <= scripts


def test_the_table_tells_ratios_gaps_failures_and_regressions(recorded):
    worse = dict(OUTPUTS, bench_gather=OUTPUTS["bench_gather"].replace("5.561", "1.1"))
    found = [*outcomes(worse), run_all.Outcome("bench_stitch", left_out="needs torch"), run_all.Outcome("bench_scene", failed="ended with 1: oh")]
    found[1].found["missing"] = {"monai": "not installed"}
    verdict = ratios.check(run_all.ratios_of(found), recorded)
    text = run_all.report(found, verdict, CLASS, {CLASS: recorded}, "abc1234")
    for words in ("| bench_gather | numpy_over_gather | 1.1 | 5.56 | 3.27 |", "bench_stitch was left out: needs torch", "**bench_scene failed**: ended with 1",
                  "bench_finish without monai: not installed", "**regressed**: bench_gather.numpy_over_gather is 1.1"):
        assert words in text
    assert "nothing was checked" in run_all.report(found, verdict, "another", {CLASS: recorded}, "abc1234")


def test_operations_of_a_convolution_are_counted_for_the_shape_it_runs_on():
    onnx = pytest.importorskip("onnx")
    helper, real = onnx.helper, onnx.TensorProto.FLOAT
    weights = helper.make_tensor("w", real, (4, 2, 3, 3), [0.0] * 72)
    node = helper.make_node("Conv", ["pixels", "w"], ["logits"], strides=[2, 2], pads=[1, 1, 1, 1])
    values = [helper.make_tensor_value_info(name, real, ["batch", bands, "rows", "cols"]) for name, bands in (("pixels", 2), ("logits", 4))]
    graph = helper.make_model(helper.make_graph([node], "one", values[:1], values[1:], [weights])).SerializeToString()
    work = roofline.graph_work(graph, (1, 2, 16, 8))
    assert work.operations == 2 * 2 * 9 * 4 * (8 * 4) and work.bytes_moved == 4 * (2 * 16 * 8 + 72 + 4 * 8 * 4)


def test_shares_are_of_what_the_same_run_measured():
    def took(seconds):
        return timing.Seconds(seconds, seconds, seconds, 1.0)
    rows = {roofline.COPY: took(0.1), roofline.PRODUCT: took(0.01), "job": took(1.0)}
    found = roofline.roofline(rows, {"job": roofline.Work(roofline.COPY_BYTES, roofline.PRODUCT_SIDE ** 3)})
    assert found["job"]["share_of_memory"] == pytest.approx(0.05) and found["job"]["share_of_operations"] == pytest.approx(0.005)
    assert timing.faster({"ours": took(1.0), "theirs": took(3.0)}, "ours", "theirs") == 3


def test_a_benchmark_that_cannot_run_here_is_left_out_and_one_that_breaks_has_failed(monkeypatch, tmp_path):
    monkeypatch.setitem(run_all.BENCHMARKS, "bench_none", ("no_such_module",))
    assert "no_such_module" in run_all.run("bench_none", []).left_out
    monkeypatch.setattr(run_all, "HERE", tmp_path)
    monkeypatch.setitem(run_all.BENCHMARKS, "bench_broken", ())
    (tmp_path / "bench_broken.py").write_text("raise ValueError('oh')")
    assert "ValueError: oh" in run_all.run("bench_broken", []).failed
    (tmp_path / "bench_broken.py").write_text("print('words'); print('{\"ratios\": {\"a\": 2.0}}')")
    assert run_all.ratios_of([run_all.run("bench_broken", [])]) == {"bench_broken.a": 2.0}
