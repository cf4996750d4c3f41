"""What this installation was built with; the first thing to read in a bug report."""

from __future__ import annotations

from typing import Any

try:
    from hfd_edge import _native
except ImportError as error:
    from pathlib import Path

    _here = Path(__file__).resolve().parent
    _hides = f", and {_here} is a checkout, which hides an installed hfd_edge where Python runs in its folder" if (_here.parent / "csrc").is_dir() else ""
    raise ImportError(f"hfd_edge._native cannot be loaded: {error}; the native module must be built for this Python{_hides}: "
                      "run `pip install -e .` in a checkout, or Python in another folder") from error

__version__: str = _native.build_info()["version"]


def build_info() -> dict[str, Any]:
    """The native modules and how they were built.

    Returns:
        version, compiler, cxx_flags, max_threads, sanitize: of `_native`;
        simd: the variant of the row loops that runs (sse, avx2, avx512, neon or plain; HFD_SIMD names another one);
        simd_compiled, simd_usable: the variants in the module, and those of them that this processor can run;
        cuda: "built: ..." or "not built: ..." with the reason, as the build saw it;
        cuda_module: imported (bool), devices (list of dicts: index, name, capability, memory_bytes, multiprocessors, clock_khz, pci_bus_id), error
        (None or why there are no devices), driver_version and runtime_version (0 = none), as this machine sees it now.
    """
    return {**_native.build_info(), "cuda_module": _cuda_module()}


def _cuda_module() -> dict[str, Any]:
    absent = {"imported": False, "devices": [], "driver_version": 0, "runtime_version": 0}
    try:
        from hfd_edge import _cuda
    except ImportError as error:
        return {**absent, "error": _why_no_cuda_module(error)}
    return {"imported": True, **_cuda.devices()}


def _why_no_cuda_module(error: ImportError) -> str:
    """In a few words: the build's own reason, else the loader's."""
    state = _native.build_info()["cuda"]
    if state.startswith("not built"):
        return state
    missing = str(error).startswith("cannot import name")
    return "built, but its file is not beside hfd_edge._native: install hfd_edge again" if missing else f"built, but it cannot be loaded: {error}"
