"""What a set's files look like from outside: when it changes, kept statistics may be those of other pixels."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from pathlib import Path

from training.pairs import DataError

WORK_MARK = "statistics.json"            # a folder whose file of this name holds a run's statistics is that run's work
_WORK_KEYS = {"key", "hash", "class_counts"}
_LARGEST_MARK = 1 << 20                  # bytes; what a run writes is a few thousand
_PRODUCTS = re.compile(r"(statistics|class-pixels)\.json.*|student(-qat)?(\.json|\.safetensors)?|teacher-\d+(\.json|\.safetensors)?|report\.(md|html|json)|"
                       r"ablation\.(md|json)|(curves|select)-.+\.png|example-\d+\.png|cells|scenes")
_NOWHERE = (errno.ENOENT, errno.ELOOP)   # a link to nowhere or to itself: whoever reads it is told so


def fingerprint(root: Path, work: Path) -> str:
    """Digest of path, size and modification time of every file below `root`, behind links too; not of hidden ones and of runs' products.

    Those are looked for in `work` and in folders that hold a run's statistics, by name: data may lie in a work folder too. The digest may change
    without a pixel doing so (a copy, a list of names): then statistics are measured again and come out as they were. It is kept beside them only,
    never in a checkpoint.

    Raises:
        DataError: a folder or a file cannot be looked at.
    """
    lines, seen, own = [], {}, work.resolve()
    for place, folders, files in os.walk(root, onerror=_refuse, followlinks=True):
        here, real = Path(place), Path(place).resolve()
        name = here.relative_to(root)
        first = seen.setdefault(real, name)
        if first != name:                                        # a second link to it, or a circle
            lines.append(f"{name}\0{first}")
            folders.clear()
            continue
        is_work = real == own or (WORK_MARK in files and _is_mark(here / WORK_MARK))
        skipped = _PRODUCTS if is_work else None
        folders[:] = _kept(folders, skipped)
        lines += [f"{name / file}\0{found.st_size}\0{found.st_mtime_ns}" for file in _kept(files, skipped) if (found := _status(here / file))]
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _kept(names: list[str], skipped: re.Pattern[str] | None) -> list[str]:
    return sorted(name for name in names if not name.startswith(".") and not (skipped and skipped.fullmatch(name)))


def _is_mark(path: Path) -> bool:
    """Whether a file holds what `training.statistics.measured` writes: a set may have a file of that name."""
    found = _status(path)
    if found is None or found.st_size > _LARGEST_MARK:
        return False
    try:
        record = json.loads(path.read_bytes())
    except ValueError:
        return False
    except OSError as error:
        _refuse(error)
    return isinstance(record, dict) and _WORK_KEYS <= record.keys()


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError as error:
        return None if error.errno in _NOWHERE else _refuse(error)


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename}: {error.strerror}: every folder and file below data.root is looked at, so that statistics are never those of "
                    "older pixels; make it readable, or move it out of data.root") from error
