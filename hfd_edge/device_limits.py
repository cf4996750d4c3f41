"""What the container, service or batch job that this process runs in may take: its control group and all above it, of either version."""

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
    quotas = [tuple((folder / "cpu.max").read_text().split()) for folder in _groups("") if (folder / "cpu.max").is_file()]
    quotas += [tuple((folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
               for folder in _groups("cpu") if (folder / "cpu.cfs_quota_us").is_file()]
    return min((max(1, int(quota) // int(period)) for quota, period in quotas if quota not in ("max", "-1")), default=NO_LIMIT)


def _left(folder: Path, limit: str, used: str, droppable: str) -> int:
    if not (folder / limit).is_file() or (most := (folder / limit).read_text().strip()) == "max":
        return NO_LIMIT
    stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    return max(0, int(most) - int((folder / used).read_text()) + int(stat[droppable]))


def _groups(controller: str) -> Iterator[Path]:
    """Folders of the group that this process is in and of those above it; "" = of version 2. A container may see its own alone, as the root."""
    base = _ROOT / controller
    yield base
    for line in _OWN.read_text().splitlines() if _OWN.is_file() else ():
        _, names, path = line.split(":", 2)
        if controller in names.split(",") and ".." not in (parts := Path(path).parts[1:]):
            yield from (folder for end in range(len(parts)) if (folder := base.joinpath(*parts[:end + 1])).is_dir())
