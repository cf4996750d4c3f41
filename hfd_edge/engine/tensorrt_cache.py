"""Plans built on this machine, kept per user: ~/.cache/hfd_edge/plans (XDG_CACHE_HOME), one file a key, its record beside it.

A plan is native code, so the folder must be this user's own and closed to writing by others; a plan whose hash is not the record's is
thrown away, said aloud, and built again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hfd_edge.durable import beside
from hfd_edge.errors import EngineError, PackageError
from hfd_edge.package.plans import PlanKey

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class CachedPlan:
    """A plan in the cache, its hash not looked at yet."""

    key: PlanKey
    path: Path
    size: int       # bytes


class PlanCache:
    """The folder. Several processes may use it at once; of two that want the same plan, one builds and the other waits."""

    def __init__(self, folder: Path | None = None) -> None:
        """Args: folder: None = the user's."""
        self.folder = folder or cache_folder() / "plans"

    def find(self, key: PlanKey, say: Say) -> bytes | None:
        """The plan of exactly this key. A damaged one is removed, with a word to `say`.

        Raises:
            EngineError: the folder is not this user's alone.
        """
        plan, record = self._paths(key)
        if not plan.exists() and not record.exists():
            return None
        self._check_folder()
        try:
            kept = json.loads(record.read_text(encoding="utf-8"))
            data = plan.read_bytes()
            sound = PlanKey.from_dict(kept["key"]) == key and hashlib.sha256(data).hexdigest() == kept["sha256"]
        except (OSError, ValueError, KeyError, TypeError, PackageError):
            sound = False
        if sound:
            return data
        say(f"the cached plan {plan} is damaged or incomplete: it is removed, and has to be built again")
        record.unlink(missing_ok=True)
        plan.unlink(missing_ok=True)
        return None

    def put(self, key: PlanKey, data: bytes) -> Path:
        """Keep a plan; the record comes last, so that what is half written is never taken for whole."""
        self._make_folder()
        plan, record = self._paths(key)
        text = json.dumps({"key": key.to_dict(), "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}, indent=1)
        try:
            for path, content in ((plan, data), (record, text.encode("ascii") + b"\n")):
                with beside(path, 0o600) as file:
                    file.write(content)
        except OSError as error:
            raise EngineError(f"the plan cannot be kept in {self.folder} ({error}): free space, or choose another folder with "
                              "XDG_CACHE_HOME") from error
        return plan

    @contextmanager
    def building(self, key: PlanKey) -> Iterator[None]:
        """Hold the lock of a key; whoever comes second waits, and should look with `find` before it builds."""
        self._make_folder()
        with open(self._paths(key)[0].with_suffix(".lock"), "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def timing_cache(self, key: PlanKey) -> Path:
        """Where TensorRT's timings lie that fit a key: the same library, version, GPU and driver."""
        self._make_folder()
        words = json.dumps([key.library, key.version, key.gpu, key.capability, key.driver])
        return self.folder / f"timing-{hashlib.sha256(words.encode()).hexdigest()[:24]}.cache"

    def plans(self) -> list[CachedPlan]:
        """All plans, the newest first; records that cannot be read are passed over."""
        found = []
        for record in sorted(self.folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True):
            plan = record.with_suffix(".plan")
            try:
                key = PlanKey.from_dict(json.loads(record.read_text(encoding="utf-8"))["key"])
                found.append(CachedPlan(key, plan, plan.stat().st_size))
            except (OSError, ValueError, KeyError, TypeError, PackageError):
                continue
        return found

    def nearest(self, key: PlanKey) -> PlanKey | None:
        """A plan of the same graph that was built for something else, to tell what differs."""
        same = [cached.key for cached in self.plans() if cached.key.graph_sha256 == key.graph_sha256]
        return min(same, key=lambda other: len(other.differences(key)), default=None)

    def size_bytes(self) -> int:
        """Of all plans together."""
        return sum(cached.size for cached in self.plans())

    def _paths(self, key: PlanKey) -> tuple[Path, Path]:
        digest = hashlib.sha256(json.dumps(key.to_dict(), sort_keys=True).encode()).hexdigest()[:32]
        return self.folder / f"{digest}.plan", self.folder / f"{digest}.json"

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise EngineError(f"the folder for plans {self.folder} cannot be made ({error}): choose another one with "
                              "XDG_CACHE_HOME") from error
        self._check_folder()

    def _check_folder(self) -> None:
        found = os.stat(self.folder)
        if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise EngineError(f"the folder for plans {self.folder} can be written by others (owner {found.st_uid}, mode "
                              f"{stat.S_IMODE(found.st_mode):o}): a plan is native code and is taken from a folder of this user alone; "
                              f"chmod 700 {self.folder}, or set XDG_CACHE_HOME")


def cache_folder() -> Path:
    """XDG_CACHE_HOME/hfd_edge, by default ~/.cache/hfd_edge (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "hfd_edge"
