"""The `.engine` file: one zip with the manifest, the graphs, a golden tile and, if wanted, TensorRT plans.

The format is docs/engine-format.md. A package is checked in full when it is opened, then read through a memory map.
"""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from hfd_edge.durable import beside
from hfd_edge.errors import PackageError
from hfd_edge.package import golden as package_golden, manifest as package_manifest, plans as package_plans
from hfd_edge.package.golden import Golden
from hfd_edge.package.manifest import GRAPHS, MANIFEST
from hfd_edge.package.zip import AGAIN, Entry, read_container, verify_crc, write_container
from hfd_edge.spec import ModelSpec

__all__ = ["Golden", "Package", "write_package"]


def write_package(path: str | os.PathLike[str], spec: ModelSpec, graphs: Mapping[str, bytes], golden: Golden,
                  provenance: Mapping[str, Any], overwrite: bool = False) -> None:
    """Write a package beside `path` under a temporary name, open it once as a reader would, and only then rename it.

    The same arguments give the same bytes. After any failure `path` is as it was and nothing else is left.

    Args:
        path: the file to write, by custom ending in .engine.
        spec: of the network.
        graphs: ONNX files by member name, "graph-fp32.onnx" and its siblings, at least one.
        golden: one input tile and the labels of every graph.
        provenance: JSON-ready record of where the network came from, with the parity report.
        overwrite: replace a file that is there already.
    Raises:
        PackageError: `path` exists, a name, an array or a limit is wrong, or the file cannot be written.
    """
    path = Path(path)
    if os.path.lexists(path) and not overwrite:
        raise PackageError(f"{path} exists: nothing is replaced unasked; choose another name or give overwrite")
    if not graphs or not {*graphs} <= {*GRAPHS}:
        raise PackageError(f"graphs are named {sorted(graphs)}: give at least one of {', '.join(GRAPHS)}")
    package_golden.check(golden, [*graphs], spec)
    data = {name: memoryview(content).cast("B") for name, content in sorted({**graphs, **package_golden.encode(golden)}.items())}
    manifest = package_manifest.encode(spec, data, provenance)
    write_beside(path, [(MANIFEST, memoryview(manifest)), *data.items()], overwrite)


class Package:
    """An open `.engine` file. Everything in it was checked by `open`; members are views of a read-only memory map.

    Attributes:
        path: as given to `open`.
        spec: what must be known of the network.
        manifest: the whole manifest, also keys this version does not know.
        names: all members, in file order, the manifest first.
        graph_names: the graph members, in file order.
        engine_hash: SHA-256 of the manifest member; as it lists the hash of every other member, it stands for the content.
        plans: what each TensorRT plan was built for, by member name; one without a record is never loaded.
        golden: one input tile and the labels of every graph; read-only views of the file.
    """

    def __init__(self, path: Path, data: memoryview) -> None:
        """Check the bytes of a package. Use `open`, which maps a file."""
        self.path = path
        self._data: memoryview | None = data
        self._entries = {entry.name: entry for entry in read_container(data)}
        self.names = tuple(self._entries)
        manifest = self._manifest_bytes()
        self.manifest = package_manifest.decode(manifest)
        self.engine_hash = package_manifest.sha256(manifest)
        self._verify_members()
        self.spec = package_manifest.read_spec(self.manifest)
        self.graph_names = tuple(name for name in self.names if name in GRAPHS)
        if not self.graph_names:
            raise PackageError(f"no graph among its members {self.names}: a package holds at least one of {', '.join(GRAPHS)}; {AGAIN}")
        self.plans = package_plans.plan_records(self.manifest, self.names)
        self.golden = package_golden.decode(self.read, self.names, self.graph_names, self.spec)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Package:
        """Map a package and check all of it: container, manifest, version, sizes, hashes, spec and golden tile.

        Raises:
            PackageError: the file cannot be read, is something else, damaged, unsafe, or of a version that is not read.
        """
        try:
            path = Path(os.fsdecode(path))
        except TypeError as error:
            raise PackageError(f"{path!r} is no path of an .engine file: give a text or a pathlib.Path") from error
        try:
            return cls(path, _map(path))
        except PackageError as error:
            raise PackageError(f"{path}: {error}") from error

    def read(self, name: str) -> memoryview:
        """A member's bytes without a copy, read-only, starting on a 64-byte boundary; valid even after `close`.

        Raises:
            PackageError: there is no such member, or the package is closed.
        """
        if self._data is None:
            raise PackageError(f"{self.path} is closed: open it again to read {name}")
        entry = self._entries.get(name)
        if entry is None:
            raise PackageError(f"{self.path} has no member {name!r}: it holds {', '.join(self.names)}")
        return self._view(entry)

    def close(self) -> None:
        """Let go of the file. It stays mapped for as long as views of it are alive; closing twice does nothing."""
        self._data = None

    def __reduce__(self) -> NoReturn:
        raise PackageError("a Package is a mapped file, which cannot be copied or sent to another process: open it there with Package.open(path)")

    def __enter__(self) -> Package:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Package({str(self.path)!r}, {self.spec.name!r}, graphs={self.graph_names})"

    def _view(self, entry: Entry) -> memoryview:
        return self._data[entry.start:entry.start + entry.size]

    def _manifest_bytes(self) -> memoryview:
        entry = self._entries[self.names[0]]
        if entry.name != MANIFEST:
            raise PackageError(f"its first member is {entry.name}, not {MANIFEST}: this zip is no package; export one with hfd-edge export")
        verify_crc(self._data, entry)                 # the only member whose SHA-256 stands nowhere
        return self._view(entry)

    def _verify_members(self) -> None:
        members = [entry for entry in self._entries.values() if entry.name != MANIFEST]
        expected = package_manifest.check_members(self.manifest, {entry.name: entry.size for entry in members})
        for entry in members:
            found = package_manifest.sha256(self._view(entry))
            if found != expected[entry.name]:
                raise PackageError(f"member {entry.name} has SHA-256 {found}, the manifest says {expected[entry.name]}: "
                                   f"it is damaged or was exchanged; {AGAIN}")
            verify_crc(self._data, entry)             # or another zip tool would refuse what was accepted here


def _map(path: Path) -> memoryview:
    data = None
    try:
        status = os.stat(path)
        if stat.S_ISREG(status.st_mode) and status.st_size:      # opening a pipe would wait for ever
            with open(path, "rb") as file:
                data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        raise PackageError(f"it cannot be read ({error}): check the path and its permissions") from error
    if data is None:
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "empty" if stat.S_ISREG(status.st_mode) else "a pipe or a device"
        raise PackageError(f"it is {kind}: give the .engine file itself")
    _refuse_foreign(bytes(data[:64]))
    return data


_FROM_ONNX = "or make a package from the network's ONNX file with hfd-edge package, then hfd-edge build"


def _refuse_foreign(head: bytes) -> None:
    """Say what a file is that is given instead of a package, and what to do with it."""
    if head.startswith(b"PK\x03\x04"):
        if len(head) < 64 or head[30:43] == MANIFEST.encode("ascii"):
            return
        what, way = f"a zip that does not begin with {MANIFEST} (a PyTorch checkpoint?)", "export it with hfd-edge export"
    elif head[1:4] == b"trt":                           # ftrt, vtrt (RTX)
        what, way = "a bare TensorRT plan, without spec, hashes or graph", f"give the package that it was built from; {_FROM_ONNX}"
    elif head[2:5] == b"\0\0{":                         # length and JSON in front
        what, way = "a TensorRT plan with Ultralytics' metadata in front", f"only Ultralytics reads it; {_FROM_ONNX}"
    elif len(head) > 2 and head[0] == 8 and 1 <= head[1] <= 64 and head[2] in b"\x12\x1a\x22\x2a\x32\x3a\x42":
        what, way = "a bare ONNX graph, without spec or hashes", "export the checkpoint with hfd-edge export"
    elif head[:2] in (b"II", b"MM") and head[2:4] in (b"*\0", b"\0*", b"+\0", b"\0+"):
        what, way = "a TIFF raster", "give the engine; the order is hfd-edge predict RASTER ENGINE, and Segmenter(ENGINE).run_raster(RASTER, MAP)"
    elif head.startswith(b"version https://git-lfs"):
        what, way = "a Git LFS pointer, not the file itself", "fetch it with git lfs pull"
    elif head[8:9] == b"{" and head[6:8] == b"\0\0":
        what, way = "a safetensors checkpoint", "export it with hfd-edge export"
    else:
        what, way = f"no zip (it starts with {head[:8].hex(' ')})", AGAIN
    raise PackageError(f"the file is {what}: an .engine file of hfd_edge is a zip with {MANIFEST} in front; {way}")


def write_beside(path: Path, members: list[tuple[str, memoryview]], overwrite: bool) -> None:
    """Write members under a temporary name, open that once as a reader would, and rename it. Raises PackageError."""
    try:
        with beside(path, overwrite=overwrite) as file:
            write_container(file, members)
            file.flush()
            Package.open(file.name).close()
    except FileExistsError as error:
        raise PackageError(f"{path} appeared while its package was written: choose another name or give overwrite") from error
    except OSError as error:
        if error.errno is None:                             # a signal handler's: a caller's deadline
            raise
        raise PackageError(f"{path} cannot be written ({error}): check the folder, its permissions and the free space") from error
