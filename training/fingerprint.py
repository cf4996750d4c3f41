"""What a set's files look like from outside: when it changes, kept statistics may be those of other pixels."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

WORK_MARK = "statistics.json"            # a folder that holds one is a run's work, no data


def fingerprint(root: Path, work: Path) -> str:
    """Digest of path, size and modification time of every file below `root`; not of hidden ones, of `work`, and of other runs' work folders.

    It may change without a pixel doing so (a copy, a list of names): then statistics are measured again and come out as they were. It is kept
    beside them only, never in a checkpoint.
    """
    lines, own = [], work.resolve()
    for place, folders, files in os.walk(root):
        if WORK_MARK in files or Path(place).resolve() == own:
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in files if not name.startswith(".")):
            path = Path(place, name)
            try:
                found = path.stat()
            except FileNotFoundError:           # a link to nowhere: whoever reads it is told so
                continue
            lines.append(f"{path.relative_to(root)}\0{found.st_size}\0{found.st_mtime_ns}")
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
