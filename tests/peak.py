"""Peak memory of this process."""

from pathlib import Path


def peak_kib() -> int:
    """Highest resident memory since this program started, in KiB.

    Not getrusage's ru_maxrss: a child inherits its parent's there, and the parent is a large test process.
    """
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1])
