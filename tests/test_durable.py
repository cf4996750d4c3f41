"""A file that is written and has its name is no failure, whatever its folder offers."""

import errno
import os
import stat

import pytest

from hfd_edge.errors import PackageError, RasterError
from hfd_edge.raster import write_bytes
from tests.engines import random_engine


def write_labels(path):
    write_bytes(path, b"labels", overwrite=False)


@pytest.mark.parametrize("write, name, error", [(write_labels, "labels.npy", RasterError), (random_engine, "m.engine", PackageError)])
@pytest.mark.parametrize("refusal", [errno.EINVAL, errno.EACCES, errno.EIO])
def test_a_folder_that_cannot_be_synced_fails_no_file_and_a_broken_disk_does(tmp_path, monkeypatch, refusal, write, name, error):
    sync, opened = os.fsync, os.open

    def fsync(number):                                          # SMB, FUSE and 9p answer EINVAL, a disk that fails EIO
        if stat.S_ISDIR(os.fstat(number).st_mode):
            raise OSError(refusal, "said the file system")
        sync(number)

    def open_file(path, *flags, **more):                        # a folder of mode 733 that is another user's
        if refusal == errno.EACCES and os.path.isdir(path):
            raise OSError(refusal, "said the folder")
        return opened(path, *flags, **more)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "open", open_file)
    if refusal == errno.EIO:
        with pytest.raises(error, match="cannot be (finished|written)"):
            write(tmp_path / name)
    else:
        write(tmp_path / name)
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("write, name, error", [(write_labels, "labels.npy", RasterError), (random_engine, "m.engine", PackageError)])
@pytest.mark.parametrize("said", [TimeoutError("60 s"), TimeoutError(errno.ETIMEDOUT, "Connection timed out")])
def test_a_deadline_of_the_callers_while_the_disk_is_waited_for_is_no_error_of_the_disk(tmp_path, monkeypatch, said, write, name, error):
    def fsync(number):                                          # a signal's handler, or a network's disk that does not answer
        raise said

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(error if said.errno else TimeoutError, match="cannot be" if said.errno else "60 s"):
        write(tmp_path / name)
    assert not list(tmp_path.iterdir())
