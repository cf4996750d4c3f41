"""What has just been written, brought to the disk, so that it is there after a loss of power."""

from __future__ import annotations

import errno
import os
from pathlib import Path

# The folder may be written to and not read (mode 733), or its file system (SMB, FUSE, 9p) syncs files only.
_NOT_OFFERED = (errno.EACCES, errno.EPERM, errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.ENOSYS)


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
