"""hfd_edge._cuda compiled for the host: every kernel and every launch of csrc, on a device that is main memory and whose streams run
when somebody waits for them (tests/emulated_cuda/runtime.cpp). What it cannot tell: speed, and how a real GPU's memory is ordered.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import importlib.machinery
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace

ROOT = Path(__file__).resolve().parent.parent
STAND_IN = ROOT / "tests" / "emulated_cuda"
FLAGS = ["-std=c++17", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-fno-math-errno", "-Wall", "-Wextra", "-Wno-psabi"]
SANITIZE = ["-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
# "contracted" is a control: it multiplies and adds in one step, as nvcc would without -fmad=false.
# "at once" runs a kernel's threads at the same time, under the thread sanitizer.
KINDS = {"plain": ["-O1"], "sanitized": SANITIZE, "contracted": ["-O2", "-mfma", "-ffp-contract=fast"],
         "at-once": ["-O1", "-g1", "-fsanitize=thread", "-DHFD_AT_ONCE"]}
OWN = 64                # added to a device's number: a context that a caller made there for itself alone
COUNTS = ("allocations", "kernels", "used", "peak", "waiting", "synchronisations", "slept", "spun")


def why_not() -> str | None:
    """What the build lacks here, or None."""
    if shutil.which("g++") is None:
        return "needs g++"
    return None if importlib.util.find_spec("pybind11") else "needs pybind11"


def sources() -> list[Path]:
    """What the module is made of: all of _cuda, and the emulated driver and run time."""
    listed = (ROOT / "cmake" / "cuda_sources.txt").read_text().split()
    return [*(ROOT / "csrc" / name for name in listed), STAND_IN / "driver.cpp", STAND_IN / "runtime.cpp"]


def build(kind: str = "plain") -> Path:
    """The module's file, compiled where its text or a header changed; `kind` is one of KINDS.

    The bindings compute nothing and take two thirds of the compiler's time: every kind has those of "plain".
    """
    with open(_folder("plain") / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)                # tests run in several processes
        running: list = []
        objects = [_object(path, kind if path.suffix == ".cu" or kind == "sanitized" and not path.name.startswith("bindings") else "plain", running)
                   for path in sources()]
        for command, process in running:
            if process.wait():
                raise RuntimeError(f"the compiler refused: {' '.join(command)}")
        module = _folder(kind) / f"_cuda-{hashlib.sha256(' '.join(o.name for o in objects).encode()).hexdigest()[:16]}.so"
        if not module.exists():
            made = module.with_suffix(".part")
            subprocess.run(["g++", "-shared", *FLAGS, *KINDS[kind], *map(str, objects), "-o", str(made)], check=True)
            made.replace(module)
        return module


def _folder(kind: str) -> Path:
    folder = ROOT / "build" / f"emulated-{sysconfig.get_config_var('SOABI')}-{kind}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _object(path: Path, kind: str, running: list) -> Path:
    """One file's object, which a compiler in `running` may still be making."""
    import pybind11

    flags = FLAGS + KINDS[kind]
    headers = sorted([*STAND_IN.glob("*.h"), *(ROOT / "csrc").rglob("*.h")])
    seen = b"".join(each.read_bytes() for each in headers) + " ".join(flags).encode() + path.read_bytes()
    target = _folder(kind) / f"{path.stem}-{hashlib.sha256(seen).hexdigest()[:16]}.o"
    if not target.exists():
        if len(running) >= 2:
            running[-2][1].wait()                       # two compilers at a time
        includes = [STAND_IN, ROOT / "csrc", sysconfig.get_path("include"), pybind11.get_include()]
        made = ["-x", "c++", "-c", str(path), *(f"-I{i}" for i in includes), "-o", str(target)]
        command = ["sh", "-c", f"g++ {' '.join(flags + made)}.part && mv {target}.part {target}"]
        running.append((command, subprocess.Popen(command)))
    return target


class Emulated:
    """The module, and what tests ask of its device."""

    def __init__(self, path: Path) -> None:
        name = f"{path.parent.name}._cuda"              # of its own: Python keeps one module a name
        loader = importlib.machinery.ExtensionFileLoader(name, str(path))
        spec = importlib.util.spec_from_file_location(name, path, loader=loader)
        self.module: ModuleType = importlib.util.module_from_spec(spec)
        loader.exec_module(self.module)
        self._library = ctypes.CDLL(str(path))
        self._library.emulated_contexts.restype = self._library.emulated_allocate.restype = ctypes.c_uint64
        self._calls: list = []

    def policy(self, name: str, seed: int = 0) -> None:
        """How streams run: "lazy" (when waited for), "eager" (at once), "random" or "idle" (never)."""
        self._library.emulated_policy(name.encode(), seed)

    def fail(self, call: str, code: int, after: int = 0) -> None:
        """Let one call of the run time fail, `after` calls from now."""
        self._library.emulated_fail(call.encode(), ctypes.c_long(after), code)

    def limit(self, nbytes: int = 0) -> None:
        """How much device memory there is; 0 = plenty. The peak begins anew."""
        self._library.emulated_limit(ctypes.c_size_t(nbytes))

    def devices(self, count: int) -> None:
        """How many devices there are; kernels and fills refuse a stream that is not of the calling thread's."""
        self._library.emulated_devices(count)

    def contexts(self) -> set[int]:
        """Devices whose primary context was made, or chosen by a thread, since this was asked last."""
        found = self._library.emulated_contexts()
        return {device for device in range(OWN) if found >> device & 1}

    def current(self) -> int:
        """The device of the calling thread's context, plus OWN where its caller made that for itself alone; -1 = it has none."""
        return self._library.emulated_current()

    def bind(self, context: int) -> None:
        """Make a context the calling thread's, as a library does that its caller uses; numbers as above."""
        self._library.emulated_bind(context)

    def allocate(self, nbytes: int, context: int) -> SimpleNamespace:
        """Device memory that a library made in a context; numbers as above. Never freed."""
        return SimpleNamespace(ptr=self._library.emulated_allocate(ctypes.c_size_t(nbytes), context), nbytes=nbytes)

    def driver(self, version: int = 13000) -> None:
        """Which CUDA the driver serves; one below 13.0 is too old for this run time."""
        self._library.emulated_driver(version)

    def counts(self) -> dict[str, int]:
        numbers = (ctypes.c_long * len(COUNTS))()
        self._library.emulated_counts(numbers)
        return dict(zip(COUNTS, numbers))

    def call(self, stream: int, function) -> None:
        """Enqueue a Python function on a stream."""
        kept = ctypes.CFUNCTYPE(None, ctypes.c_long)(lambda _: function())
        self._calls.append(kept)                        # a graph may call it again
        self._library.emulated_call(ctypes.c_void_p(stream), kept, ctypes.c_long(0))

    @contextmanager
    def installed(self):
        """Everything that imports hfd_edge._cuda inside the block gets this one."""
        import hfd_edge

        before = sys.modules.get("hfd_edge._cuda"), hfd_edge.__dict__.get("_cuda")
        sys.modules["hfd_edge._cuda"] = hfd_edge._cuda = self.module
        try:
            yield self
        finally:
            sys.modules.pop("hfd_edge._cuda")
            del hfd_edge._cuda
            if before[0] is not None:
                sys.modules["hfd_edge._cuda"] = before[0]
            if before[1] is not None:
                hfd_edge._cuda = before[1]


def sanitized_environment(sanitizer: str = "asan") -> dict[str, str]:
    """What a Python needs to load the module built with sanitizers; asan or tsan."""
    libraries = [subprocess.run(["g++", f"-print-file-name={name}.so"], check=True, text=True, stdout=subprocess.PIPE).stdout.strip()
                 for name in (f"lib{sanitizer}", "libstdc++")]
    return {**os.environ, "LD_PRELOAD": " ".join(libraries), "ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1",
            "TSAN_OPTIONS": "halt_on_error=1 ignore_noninstrumented_modules=1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests"), *filter(None, sys.path)])}
