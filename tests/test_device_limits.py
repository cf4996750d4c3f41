"""The memory and cores of a container, a systemd service or a batch job, wherever its control group tells them."""

import os
from pathlib import Path

import pytest

from hfd_edge.device import limits as device_limits
from hfd_edge.device import available_memory_bytes, thread_budget


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Makes the files of control groups, and lets this process be in one of them."""
    monkeypatch.setattr(device_limits, "_ROOT", tmp_path)
    monkeypatch.setattr(device_limits, "_OWN", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))

    def make(own, files):
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    return make


def v2(folder, limit, used=700_000):
    return {f"{folder}memory.max": f"{limit}\n", f"{folder}memory.current": f"{used}\n", f"{folder}memory.stat": "anon 500000\ninactive_file 200000\n"}


def v1(folder, limit):
    return {f"{folder}memory.limit_in_bytes": f"{limit}\n", f"{folder}memory.usage_in_bytes": "700000\n",
            f"{folder}memory.stat": "cache 1\ninactive_file 1\ntotal_inactive_file 200000\n"}


@pytest.mark.parametrize("own, files", [
    ("0::/\n", v2("", 1_000_000)),                                                                          # a container of its own
    ("0::/system.slice/job.scope/step\n", {**v2("system.slice/job.scope/step/", "max"), **v2("system.slice/job.scope/", 1_000_000),
                                           **v2("system.slice/", 9_000_000)}),                              # systemd, Slurm
    ("0::/../../elsewhere\n", v2("", 1_000_000)), ("0::/of/the/host\n", v2("", 1_000_000)),                 # seen from inside
    ("5:devices:/\n4:memory:/docker/abc\n0::/\n", v1("memory/docker/abc/", 1_000_000)),                  # version 1
    ("4:memory:/docker/abc\n", v1("memory/", 1_000_000))])
def test_the_least_that_any_group_leaves_is_what_there_is(groups, own, files):
    groups(own, files)
    assert available_memory_bytes() == 500_000


def test_no_limit_is_none(groups):
    groups("4:memory:/\n2:cpu,cpuacct:/\n0::/a\n", {
        **v2("a/", "max"), **v1("memory/", 9223372036854771712),
        "a/cpu.max": "max 100000\n", "cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"})
    assert available_memory_bytes() > 1_000_000 and thread_budget(None) == 64


@pytest.mark.parametrize("own, files", [
    ("0::/\n", {"cpu.max": "350000 100000\n"}), ("0::/job/step\n", {"job/cpu.max": "300000 100000\n", "job/step/cpu.max": "max 100000\n"}),
    ("2:cpu,cpuacct:/docker/abc\n", {"cpu/docker/abc/cpu.cfs_quota_us": "300000\n", "cpu/docker/abc/cpu.cfs_period_us": "100000\n"})])
def test_threads_are_the_whole_cores_of_the_smallest_quota(groups, own, files):
    groups(own, files)
    assert thread_budget(None) == 3 and thread_budget(7) == 7


def test_what_cannot_be_read_is_no_limit_and_ends_no_run(groups, monkeypatch):
    groups("0::/job\n", {**v2("", 10), **v2("job/", 2_000_000), "job/cpu.max": "300000 100000\n", "cpu.max": "100000 100000\n"})
    read = Path.read_text
    unreadable = {"": ("memory.max", "cpu.max"), "job": ("memory.stat",)}        # a sandbox's root; a kernel without that page

    def read_text(path, **options):
        if path.name in unreadable.get("job" if path.parent.name == "job" else "", ()):
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, **options)
    monkeypatch.setattr(Path, "read_text", read_text)
    assert (device_limits.memory_left_bytes(), device_limits.quota_cores()) == (1_300_000, 3)
    monkeypatch.setattr(device_limits, "_OWN", Path("/proc/self/mem"))            # readable by name only
    assert device_limits.memory_left_bytes() == device_limits.quota_cores() == device_limits.NO_LIMIT


def test_a_groups_name_may_be_any_bytes(groups, tmp_path):
    groups("", v2("", 1_000_000))
    (tmp_path / "own").write_bytes(b"0::/caf\xe9\n")
    assert device_limits.memory_left_bytes() == 500_000


def test_a_system_without_control_groups_has_no_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(device_limits, "_ROOT", tmp_path / "none")
    monkeypatch.setattr(device_limits, "_OWN", tmp_path / "none")
    assert device_limits.memory_left_bytes() == device_limits.quota_cores() == device_limits.NO_LIMIT
