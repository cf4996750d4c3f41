"""What the container, service or batch job that this process runs in may take: its control group and all above it, of either version.

A limit that cannot be read (a sandbox that hides it, a group that has just gone) is none that is known, and ends no run.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

NO_LIMIT = 1 << 62
_ROOT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
# Of version 2, then 1: limit, what is used, and the pages of files that can be dropped.
_MEMORY = (("", "memory.max", "memory.current", "inactive_file"),
           ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"))


def memory_left_bytes() -> int:
    """The least that any of the groups leaves; file pages that can be dropped count as free. NO_LIMIT where none has a limit."""
    return min((_left(folder, *names) for controller, *names in _MEMORY for folder in _groups(controller)), default=NO_LIMIT)


def quota_cores() -> int:
    """Whole cores of the smallest quota of processor time, 1 at least; NO_LIMIT where there is none."""
    quotas = [_words(folder / "cpu.max") for folder in _groups("")]
    quotas += [_words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us") for folder in _groups("cpu")]
    return min((max(1, int(quota[0]) // int(quota[1])) for quota in quotas if len(quota) == 2 and quota[0] not in ("max", "-1")), default=NO_LIMIT)


def _left(folder: Path, limit: str, used: str, droppable: str) -> int:
    most = _words(folder / limit)
    if not most or most == ["max"] or int(most[0]) >= NO_LIMIT:
        return NO_LIMIT
    now, stat = _words(folder / used), _words(folder / "memory.stat")
    return max(0, int(most[0]) - int(now[0] if now else 0) + int(dict(zip(stat[::2], stat[1::2])).get(droppable, 0)))


def _groups(controller: str) -> Iterator[Path]:
    """Folders of the group that this process is in and of those above it; "" = of version 2. A container may see its own alone, as the root."""
    base = _ROOT / controller
    yield base
    for line in _text(_OWN).splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(",") and ".." not in (parts := Path(path).parts[1:]):
            yield from (base.joinpath(*parts[:end + 1]) for end in range(len(parts)))


def _words(file: Path) -> list[str]:
    return _text(file).split()


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="surrogateescape")          # names of groups are bytes
    except OSError:
        return ""
