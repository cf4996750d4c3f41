"""What a kill leaves of a checkpoint, a training's state and a package: what was there before, and nothing for ever."""

import os
import signal

import pytest

torch = pytest.importorskip("torch")

from hfd_edge.export import sealed  # noqa: E402
from hfd_edge.export.build_graphs import GraphSet  # noqa: E402
from hfd_edge.network import HFDNet, NetworkConfig, load_checkpoint, save_checkpoint  # noqa: E402
from hfd_edge.package import Package  # noqa: E402
from hfd_edge.package.manifest import FP32  # noqa: E402
from lessons import NETWORK  # noqa: E402
from quantized import DEMO, FEW, demo, reference  # noqa: E402
from training.state import StateFile  # noqa: E402


def test_a_killed_write_of_the_state_or_a_checkpoint_leaves_the_one_of_before_and_the_next_takes_the_rest_away(tmp_path):
    """Killed when bytes are on their way to the disk: of a checkpoint neither file has its name before both are there."""
    net, sync, calls = HFDNet(NetworkConfig(in_bands=2, classes=2, **NETWORK), load_pretrained=False), os.fsync, []

    def write(number, call):
        def fsync(file):
            calls.append(file)
            if len(calls) == call:
                os.kill(os.getpid(), signal.SIGKILL)
            sync(file)
        os.fsync = fsync
        StateFile(tmp_path, {}).write({"step": number})
        save_checkpoint(tmp_path / "net", net, {}, {"seed": number})

    def run(number, call):
        if (child := os.fork()) == 0:
            try:
                write(number, call)
                os._exit(0)
            finally:
                os._exit(1)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert run(1, 0) == 0
    for call, step in ((1, 1), (3, 2), (4, 2)):             # the state's bytes (then its name), the sidecar's, the weights'
        assert run(2, call) == -signal.SIGKILL
        assert StateFile(tmp_path, {}).read()["step"] == step and load_checkpoint(tmp_path / "net")[2] == {"seed": 1}
    assert len([*tmp_path.glob(".*.partial")]) == 2         # the second one took away what the first had left
    assert run(3, 0) == 0 and load_checkpoint(tmp_path / "net")[2] == {"seed": 3}
    assert sorted(each.name for each in tmp_path.iterdir()) == ["net.json", "net.safetensors", "state.pt"]


def test_a_gate_that_is_killed_leaves_no_package_and_the_next_one_takes_the_rest_away(tmp_path, monkeypatch):
    graph, spec = demo()
    with Package.open(DEMO) as package:
        golden = package.golden
    contents = sealed.Contents(tmp_path / "m.engine", spec, GraphSet({FP32: graph}, {}, None, {}, ()), golden, {})
    monkeypatch.setattr(sealed, "_stop_if_failed", lambda *_: None)

    def killed(hidden, *_):
        assert hidden.stat().st_size > len(graph)
        os.kill(os.getpid(), signal.SIGKILL)
    if (child := os.fork()) == 0:
        try:
            monkeypatch.setattr(sealed, "judge_package", killed)
            sealed.seal(contents, reference(), [], FEW)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert len([*tmp_path.iterdir()]) == 2 and not contents.output.exists(), "a hidden folder and the lock's file"
    monkeypatch.setattr(sealed, "judge_package", lambda hidden, inner, judged, gate, thresholds: gate)
    sealed.seal(contents, reference(), [], FEW)
    assert [*tmp_path.iterdir()] == [contents.output]
