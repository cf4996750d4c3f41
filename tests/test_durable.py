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
