"""A file that appears only when it is complete: checked before any work, written beside, fsynced, renamed.

What is unfinished is known here, and removed at the end of the process at the latest: an interrupt can come in the middle of
tidying up."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hfd_edge.durable import beside, hold, let_go, lock_of, partial_of, partials_of, sync, sync_name
from hfd_edge.errors import RasterError
from hfd_edge.exits import after_runs

_GROWTH = len(partial_of(Path("a")).name) - 1       # of a name while it is written
_LONGEST_NAME_BYTES = 255 - _GROWTH
# GDAL takes the georeference, nodata, overviews and mask in them for those of the file, before its own; ArcGIS, and GDAL from 3.11 on, its table of classes
_SIDECARS = (".aux.xml", ".ovr", ".msk", ".vat.dbf")
_unfinished: set[PartialFolder] = set()


def check_output(path: str | Path, overwrite: bool, bytes_needed: int = 0, inputs: Iterable[Path] = ()) -> Path:
    """The absolute path of a file that may be written; asked before any work starts.

    Args:
        overwrite: whether a file that is there may be replaced.
        bytes_needed: the most the file may take.
        inputs: files that must not be replaced, whatever `overwrite` says.
    Raises:
        RasterError: the file exists, it or what programs read with it is an input, its folder is missing or not writable, or the disk
            is too full.
    """
    given, path, inputs = os.fspath(path), Path(path).absolute(), tuple(inputs)
    _check_name(path)
    _check_found(path)
    if path.is_dir():
        raise RasterError(f"{path} is a folder: give the name of a file in it")
    if path.exists() and not path.is_file():
        raise RasterError(f"{path} is a device or a pipe: a map is written beside its name and renamed; give the name of a file")
    folders = [sidecar for sidecar in _sidecars(path) if sidecar.is_dir() and not sidecar.is_symlink()]
    if folders:
        raise RasterError(f"{folders[0]} is a folder, and GDAL takes what has this name for a part of {path.name}: rename it, or choose another output")
    for there in (path, *_sidecars(path)):
        if any(there.exists() and source.exists() and source.samefile(there) for source in inputs):
            raise RasterError(f"{there} is an input of this run: an input is never replaced; choose another output")
    if os.path.lexists(path) and not overwrite:             # also a symbolic link to nothing
        raise RasterError(f"{path} exists: nothing is replaced unasked; choose another name or give --overwrite (overwrite=True)")
    folder = path.parent
    if not folder.is_dir():
        if is_remote(given):
            raise RasterError(f"{given} is a URL or a GDAL virtual path: only files on this machine are written; give one, and upload it then")
        raise RasterError(f"{folder} is not a folder: make it first (mkdir -p), then write {path.name} into it")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise RasterError(f"{folder} cannot be written to: change its permissions, or choose another folder for {path.name}")
    free = shutil.disk_usage(folder).free
    if free < bytes_needed:
        raise RasterError(f"{path} may take {bytes_needed} bytes and {folder} has {free} free: make room, or choose another "
                          "folder")
    return path


def _sidecars(path: Path) -> list[Path]:
    return [path.with_name(path.name + suffix) for suffix in _SIDECARS]


@contextmanager
def made_folder(path: str | Path) -> Iterator[Path]:
    """A folder to write into, with those above it; if the block fails, those that were made and are still empty go again.

    Raises:
        RasterError: something else has the name, or the folder cannot be made.
    """
    path = Path(path)
    new = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RasterError(f"{path} cannot be made a folder: {error.strerror}; give the name of a folder, or of nothing "
                          "yet") from error
    try:
        yield path
    except BaseException:
        for folder in new:
            if any(folder.iterdir()):
                break
            folder.rmdir()
        raise


def check_different(paths: Iterable[str | Path]) -> None:
    """Raise RasterError if two outputs are one file, however they are spelled."""
    paths = list(paths)
    if len({Path(path).resolve() for path in paths}) != len(paths):
        raise RasterError(f"the outputs {', '.join(map(str, paths))} must be different files: give each a name of its own")


def is_remote(text: str) -> bool:
    """Whether a path names what is not a file of this machine; pathlib makes one slash of the two of a URL."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text) is not None or text.startswith("/vsi")


def _check_name(path: Path) -> None:
    try:
        length = len(path.name.encode())
    except UnicodeEncodeError as error:
        raise RasterError(f"{str(path)!r} is no UTF-8 name, which GDAL cannot write: choose another name") from error
    if "\0" in str(path) or length > _LONGEST_NAME_BYTES:
        raise RasterError(f"{str(path)[:80]!r} cannot be the name of a file: it must have at most {_LONGEST_NAME_BYTES} bytes "
                          f"after the last / (here {length}, and {_GROWTH} more while it is written) and no zero byte")


def _check_found(path: Path) -> None:
    """Raise RasterError where this user may not even ask whether there is such a file."""
    try:
        path.is_dir()                                           # follows a link
        path.lstat()
    except PermissionError as error:
        raise RasterError(f"{path} cannot be written: {error.strerror}; change the permissions of the folders above, or choose another one") from error
    except OSError:
        return


class PartialFolder:
    """A hidden folder beside `path` for what is needed on the way; `commit` gives the file in it that is to be the whole one its name.

    One writer at a time: of two runs to one name the map of one could lie beside the table, or the confidence, of the other. A kill leaves the
    folder and the lock's file, which the next writer of the name takes away.
    """

    def __init__(self, path: Path, overwrite: bool) -> None:
        self.path = path
        self.overwrite = overwrite
        self._folder = partial_of(path)
        self.partial = self.file("whole")
        self._beside: list[Path] = []
        self._held: int | None = None
        self._process = 0                   # that began it

    def begin(self) -> None:
        """Something will be there from now on. Raises RasterError where another run is at it, or the disk refuses."""
        self._process = os.getpid()
        _unfinished.add(self)
        killed = lock_of(self.path).exists()
        try:
            self._held = hold(self.path)
            if killed and self._held is not None:
                self._remove_of_killed()
            self._folder.mkdir()
        except BlockingIOError as error:
            raise RasterError(f"{self.path} is being written by another run ({error}): wait for it to end, or choose another name") from error
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            raise RasterError(f"{self.path} cannot be written: {error.strerror}{where}; make room, or choose another folder") from error

    def _remove_of_killed(self) -> None:
        """Folders of runs that are no more: whoever holds the name is its only writer."""
        for entry in partials_of(self.path):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)       # another user's, in a folder like /tmp, stays

    def commit(self) -> None:
        """Bring the bytes to the disk, then give the file its name; what lay beside an older one goes.

        It goes first: a kill in between leaves the older file without it, never the new one with it.

        Raises:
            RasterError: the disk refuses, or another file took the name meanwhile.
        """
        try:
            sync(self.partial)
            if not self.overwrite and os.path.lexists(self.path):
                raise _appeared(self.path)
            _remove_sidecars(self.path)
            os.replace(self.partial, self.path)
            for sidecar in self._beside:
                os.replace(self.file(sidecar.name), sidecar)
            sync_name(self.path)
        except OSError as error:
            if error.errno is None:             # our own, or a signal handler's: a caller's deadline while the disk is waited for
                raise
            raise RasterError(f"{self.path} cannot be finished: {error.strerror}; make room or choose another folder") from error

    def discard(self) -> None:
        """Remove what was written so far, in the process that began it."""
        if self._process == os.getpid():
            shutil.rmtree(self._folder, ignore_errors=True)
            held, self._held = self._held, None
            if held is not None:
                let_go(self.path, held)
        _unfinished.discard(self)

    def put_beside(self, sidecar: Path, data: bytes) -> None:
        """A small file that gets its name right after the whole one."""
        self._beside.append(sidecar)
        self.file(sidecar.name).write_bytes(data)
        sync(self.file(sidecar.name))

    def file(self, name: str) -> Path:
        """A file in the folder."""
        return self._folder / name


def _appeared(path: Path) -> RasterError:
    return RasterError(f"{path} appeared while it was being written: nothing is replaced unasked; give --overwrite (overwrite=True)")


def _remove_sidecars(path: Path) -> None:
    for sidecar in _sidecars(path):
        sidecar.unlink(missing_ok=True)


@after_runs
def discard_unfinished() -> None:
    """Remove what an interrupt left behind."""
    for file in list(_unfinished):
        file.discard()


def write_bytes(path: str | Path, data: bytes | memoryview, overwrite: bool) -> None:
    """Write a small file in whole or not at all; for pictures and the like.

    Raises:
        RasterError: the file exists and overwrite is False, the folder cannot be written to, or the disk is full.
    """
    path = check_output(path, overwrite, bytes_needed=len(data))
    try:
        with beside(path, overwrite=overwrite) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())             # what the disk refuses it refuses before anything goes
            if not overwrite and os.path.lexists(path):
                raise _appeared(path)
            _remove_sidecars(path)
    except FileExistsError as error:
        raise _appeared(path) from error
    except OSError as error:
        if error.errno is None:                 # as above
            raise
        raise RasterError(f"{path} cannot be written: {error.strerror}; make room, or choose another folder") from error
