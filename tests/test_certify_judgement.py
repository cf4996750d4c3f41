"""What benchmarks/certify_gpu.py makes of times, bounds and sanitizers; no device is needed."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parent.parent / "benchmarks"))
import certify_gpu  # noqa: E402
import certify_operations  # noqa: E402


@pytest.mark.parametrize(("script", "state", "said"), [
    ("echo SUMMARY: 0", "passed", ""), ("echo SUMMARY: 3 hazards; exit 9", "failed", "racecheck ended with 9: SUMMARY: 3 hazards"),
    ("exit 0", "not run", "ended with 0 and no summary"), ("echo no rights; exit 1", "not run", "ended with 1 and no summary, so it found out nothing: no rights"),
    ("echo begun; sleep 30", "not run", "was not done after 1 s")])
def test_a_sanitizer_that_is_not_done_or_cannot_begin_is_no_finding(tmp_path, monkeypatch, script, state, said):
    tool = tmp_path / "compute-sanitizer"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(certify_operations, "max", lambda *_: 1, raising=False)
    outcome = certify_gpu.run_part("racecheck", certify_operations.sanitized("racecheck"), certify_gpu.Context(None, 1, 1, 1))
    assert outcome.state == state and said in outcome.said and ("begun" in outcome.said) == ("begun" in script)


@pytest.mark.slow
def test_what_is_not_done_in_time_goes_on_nowhere(tmp_path):
    code, said = certify_operations.ended(["sh", "-c", f"(sleep 4; touch {tmp_path}/late) & echo begun; wait"], 2)
    assert code is None and said == "begun\n"
    time.sleep(3)
    assert not (tmp_path / "late").exists()


def test_memcheck_alone_is_told_to_leave_calls_alone(monkeypatch):
    """It would take a call that the run time itself tries in vain for a finding."""
    asked = []
    monkeypatch.setattr(certify_operations, "ended", lambda command, _: asked.append(command) or (0, "SUMMARY: 0"))
    monkeypatch.setattr(certify_operations.shutil, "which", lambda _: "compute-sanitizer")
    for tool in ("memcheck", "racecheck"):
        certify_operations.sanitized(tool)(SimpleNamespace(left_s=60))
    assert [command[3:5] == ["--report-api-errors", "no"] for command in asked] == [True, False]


# Of an H100, an H200, an A100 with 80 GB, an Orin, an RTX 5090 and a board whose driver tells no clock; bytes a second that they copy.
@pytest.mark.parametrize(("capability", "many", "clock_khz", "copies", "by"), [
    ((9, 0), 132, 1_980_000, 3.0e12, "bandwidth"), ((9, 0), 132, 1_980_000, 4.2e12, "arithmetic"), ((8, 0), 108, 1_410_000, 1.75e12, "arithmetic"),
    ((8, 7), 16, 1_300_000, 1.75e11, "bandwidth"), ((12, 0), 170, 2_407_000, 1.6e12, "bandwidth"),
    ((11, 0), 20, 0, 2.3e11, "bandwidth")])
def test_the_bound_is_the_lower_of_bandwidth_and_arithmetic(monkeypatch, capability, many, clock_khz, copies, by):
    device = {"capability": capability, "multiprocessors": many, "clock_khz": clock_khz}
    native = SimpleNamespace(devices=lambda: {"devices": [device]})
    context = SimpleNamespace(gpu=SimpleNamespace(index=0, native=native))
    lanes = many * clock_khz * 1e3 * 128 or np.inf
    most = min(copies / 8, lanes / 75, lanes / 2 / 46 if capability == (8, 0) else np.inf)
    monkeypatch.setattr(certify_operations, "copy_rate", lambda _: copies)
    for share, passes in ((0.81, True), (0.79, False)):
        monkeypatch.setattr(certify_operations, "timed", lambda *_, share=share: 1e9 / (share * most))
        found = {"lee 7 x 7": certify_operations.rate(context, "lee 7 x 7", [], 8_000_000_000, 1_000_000_000)}
        assert found["lee 7 x 7"]["bound by"] == by and found["lee 7 x 7"]["share of the bound"] == pytest.approx(share)
        with nullcontext() if passes else pytest.raises(AssertionError, match=rf"under 80% of the bound: lee 7 x 7 79% \({by}\)"):
            certify_operations.judged(found, ("lee 7 x 7",))


def test_what_is_timed_is_enqueued_behind_as_much_that_is_not(monkeypatch):
    """Right behind the first mark, on a device that has nothing to do, the host's own time would be timed too."""
    calls = []
    mark = SimpleNamespace(record=lambda _: calls.append("mark"), synchronize=lambda: calls.append("wait"), milliseconds_since=lambda _: 3.0)
    gpu = SimpleNamespace(stream=lambda: SimpleNamespace(handle=1), event=lambda timing: mark, synchronize=lambda _: None)
    monkeypatch.setattr(certify_operations, "WARM_UP_S", 0.0)
    assert certify_operations.timed(SimpleNamespace(gpu=gpu, repeats=2), [lambda _: calls.append("job")] * 3) == pytest.approx(0.001)
    assert calls == [*["job"] * 3, "mark", *["job"] * 3, "mark", "wait"] * 2
