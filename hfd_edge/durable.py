"""What is written: whole or not at all, on the disk, so that it is there after a loss of power; and a name kept for one writer at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

# The folder may be written to and not read (mode 733), or its file system (SMB, FUSE, 9p) syncs files only.
_NOT_OFFERED = (errno.EACCES, errno.EPERM, errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.ENOSYS)

_NO_LOCKS = (*_NOT_OFFERED, errno.ENOLCK)           # NFS without a lock service, FUSE
_TRIES = 100                                        # a file that is never the one of its name lies on a file system without lasting file numbers


def sync(path: Path) -> None:
    """Wait until a file or folder is on the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_name(path: Path) -> None:
    """Wait until the name of a file that is on the disk is there too, where its folder can be asked for that: the file is whole in any case."""
    try:
        sync(path.parent)
    except OSError as error:
        if error.errno not in _NOT_OFFERED:
            raise


@contextmanager
def beside(path: Path, mode: int = 0o666, overwrite: bool = True) -> Iterator[BinaryIO]:
    """A new file that is on the disk and has the name `path` once the block ends, and is gone if the block fails.

    It is locked while it is written, so that the next writer of the name knows what a killed one left, and takes it away first. Two may write
    one name at once: the later one stays.

    Raises:
        FileExistsError: without `overwrite`, something has the name by then.
        OSError: the disk refuses.
    """
    _remove_left(path)
    file = _new(path, mode)
    part = Path(file.name)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if not overwrite and os.path.lexists(path):
                raise FileExistsError(errno.EEXIST, "appeared while it was being written", str(path))
            os.replace(part, path)
        sync_name(path)
    finally:
        part.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes | memoryview) -> None:
    """Write or replace a file in whole or not at all. Raises OSError."""
    with beside(path) as file:
        file.write(data)


def partial_of(path: Path) -> Path:
    """A name beside `path` for what is unfinished."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")


def partials_of(path: Path) -> list[os.DirEntry]:
    """What lies beside `path` under names of `partial_of`; nothing where the folder cannot be read."""
    name = re.compile(re.escape(f".{path.name}.") + r"[0-9a-f]{8}\.partial")
    try:
        with os.scandir(path.parent) as entries:
            return [entry for entry in entries if name.fullmatch(entry.name)]
    except PermissionError:
        return []


def _new(path: Path, mode: int) -> BinaryIO:
    """A file for `beside`, locked where its file system has locks."""
    while True:
        file = open(partial_of(path), "xb", opener=lambda name, flags: os.open(name, flags, mode))
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.path.lexists(file.name):          # else another writer took it for a killed one's before it was locked
                return file
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return file
            os.unlink(file.name)
            raise
        file.close()


def _remove_left(path: Path) -> None:
    """Take away the files for `beside` whose writers are no more: those that nobody has locked."""
    for entry in partials_of(path):
        with suppress(OSError):                     # at work; or another user's, or on a file system without locks: it stays
            descriptor = os.open(entry.path, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(entry.path)
            finally:
                os.close(descriptor)


def hold(path: Path) -> int | None:
    """Keep a name for one writer, of this process or another, until `let_go`: by a lock on the file .NAME.lock beside it.

    The system unlocks it when the process ends, however it does; a kill leaves the file, which the next writer takes over, another user's too.

    Returns:
        what `let_go` takes; None where the file system has no locks, or the file is another user's that cannot even be read.
    Raises:
        BlockingIOError: another writer holds it; the text says which.
        OSError: the disk refuses, or .NAME.lock is no file.
    """
    for _ in range(_TRIES):
        try:
            descriptor = _opened(lock_of(path))
        except OSError as error:
            if error.errno in _NOT_OFFERED:
                return None
            raise
        try:
            if _locked(descriptor, lock_of(path)):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise
        except OSError as error:
            if _is_own(descriptor):
                let_go(path, descriptor)
            else:
                os.close(descriptor)                # NFS locks no file that is open for reading alone: its writer may be at work
            if error.errno in _NO_LOCKS:
                return None
            raise
        os.close(descriptor)                        # of a file that its holder took away meanwhile: once more
    return None


def let_go(path: Path, descriptor: int) -> None:
    """Give up a name that `hold` kept. The file goes while it is locked, so that nobody else's is taken away; where it may not go (another
    user's in a folder like /tmp) it stays, unlocked, as after a kill."""
    with suppress(OSError):
        lock_of(path).unlink()
    os.close(descriptor)


def lock_of(path: Path) -> Path:
    """The file that is locked while a name is kept."""
    return path.with_name(f".{path.name}.lock")


def _opened(lock: Path) -> int:
    """A descriptor of the lock's file, made if it is not there. A link is not followed: what it leads to would be overwritten."""
    try:
        return os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except PermissionError:
        if not lock.exists():
            raise
        return os.open(lock, os.O_RDONLY | os.O_NOFOLLOW)       # another user's: it can be locked all the same


def _locked(descriptor: int, lock: Path) -> bool:
    """Whether the file is locked now, and still the one of this name."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BlockingIOError(os.read(descriptor, 400).decode(errors="replace") or "a process that has just begun") from error
    try:
        if not os.path.samestat(lock.stat(), os.fstat(descriptor)):
            return False
    except FileNotFoundError:
        return False
    if _is_own(descriptor):                         # else another user's, who says in it what was
        os.truncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {os.uname().nodename}".encode())
    return True


def _is_own(descriptor: int) -> bool:
    """Whether a lock's file may be written to."""
    return bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_RDWR)
