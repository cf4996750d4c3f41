"""Which TensorRT is here and what it can: one record for TensorRT 10.3 to 11.x and TensorRT-RTX, made by looking, not by version.

Importing the bindings is safe anywhere. Making a Runtime, or a Builder of the full TensorRT, without a driver is not (it can crash the
process), so `check_driver` comes first.
"""

from __future__ import annotations

import ctypes
import importlib
from dataclasses import dataclass
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from hfd_edge.build import build_info
from hfd_edge.errors import DeviceError, EngineError
from hfd_edge.package.plans import PORTABLE

LIBRARIES = ("tensorrt", "tensorrt_rtx")            # in the order in which they are taken
# Versions that give wrong or broken engines, by library and the beginning of the version, with the reason.
DENIED = {("tensorrt", "10.2."): "engines of 10.2 are known to be broken (ultralytics PR 24367)",
          ("tensorrt", "11.0."): "on Jetson 11.0 to 11.4.0 are not supported, and 11.0 has no DLA (NVIDIA's migration guide)"}
# Without these nothing here works; all are there from 10.3 on.
_NEEDED = {"Builder": ("create_network", "create_optimization_profile", "create_builder_config", "build_serialized_network"),
           "Runtime": ("deserialize_cuda_engine",),
           "ICudaEngine": ("num_io_tensors", "get_tensor_name", "get_tensor_mode", "get_tensor_dtype", "get_tensor_profile_shape",
                           "num_optimization_profiles", "create_execution_context", "device_memory_size_v2"),
           "IExecutionContext": ("set_input_shape", "set_tensor_address", "infer_shapes", "get_tensor_shape", "execute_async_v3",
                                 "set_device_memory", "set_optimization_profile_async"),
           "NetworkDefinitionCreationFlag": ("STRONGLY_TYPED",), "ExecutionContextAllocationStrategy": ("USER_MANAGED",),
           "MemoryPoolType": ("WORKSPACE",), "OnnxParser": ("parse", "get_error"), "ILogger": ("log",)}


@dataclass(frozen=True, slots=True)
class TensorRT:
    """A TensorRT that is here, and what it can."""

    module: ModuleType
    library: str                    # "tensorrt" or "tensorrt_rtx"
    version: str
    builds_without_gpu: bool        # it makes portable plans on a machine without a driver
    timing_cache: bool
    progress: bool                  # tells phases of a build
    validity: bool                  # can judge a plan before it is loaded
    memory_of_profile: bool         # device memory is known for each profile
    specialises: bool               # compiles kernels for a shape beside the first runs with it, unless it is told to do so before
    max_aux_streams: bool           # a build can be kept to one stream
    tf32: bool                      # has a switch for TF32, which is on unless switched off


@dataclass(frozen=True, slots=True)
class Gpu:
    """What a plan is built for."""

    name: str
    capability: str         # "9.0"
    driver: int             # CUDA version the driver serves, 13000


def load_tensorrt(library: str | None = None) -> TensorRT:
    """The TensorRT of this installation: the full one where it is there, else TensorRT-RTX; or the one that is named.

    Raises:
        EngineError: none is installed, loads, has what is needed, or is free of known faults; each is named with its reason.
    """
    if library is not None and library not in LIBRARIES:
        raise EngineError(f"library {library!r}: it must be one of {', '.join(LIBRARIES)}")
    reasons = []
    for name in LIBRARIES if library is None else (library,):
        try:
            return _capabilities(name)
        except EngineError as error:
            reasons.append(str(error))
    raise EngineError(f"no TensorRT can be used here: {'; '.join(reasons)}; install TensorRT 10.3 or newer (JetPack brings its own, "
                      "elsewhere pip install 'hfd-edge[tensorrt]') or TensorRT-RTX")


def check_driver() -> None:
    """Raise DeviceError where there is no NVIDIA driver: TensorRT must not be touched then."""
    found = build_info()["cuda_module"]
    if found["driver_version"]:
        return
    if not found["imported"] and _libcuda():
        return
    why = f" ({found['error'] or 'it serves CUDA 0'})" if found["imported"] else ""         # without the module nobody asked it
    raise DeviceError(f"no NVIDIA driver answers on this machine{why}, and TensorRT can crash without "
                      "one: use a machine where nvidia-smi (on a Jetson: the L4T driver) works, or device='cpu'")


def gpu_here(index: int = 0) -> Gpu:
    """The GPU that plans are built for.

    Raises:
        DeviceError: there is no such device.
    """
    found = build_info()["cuda_module"]
    device = next((device for device in found["devices"] if device["index"] == index), None)
    if device is None:
        seen = (found["error"] or f"this process sees {len(found['devices'])} devices") if found["imported"] else "no CUDA module to ask"
        raise DeviceError(f"cuda:{index} is not there ({seen}): see hfd-edge doctor")
    return Gpu(device["name"], ".".join(map(str, device["capability"])), found["driver_version"])


def target_gpu(trt: TensorRT, index: int = 0) -> Gpu:
    """The GPU that a plan of this library is for: TensorRT-RTX makes the same plan for all, and finishes it when it is loaded."""
    return Gpu(PORTABLE, PORTABLE, 0) if trt.builds_without_gpu else gpu_here(index)


def _capabilities(library: str) -> TensorRT:
    if find_spec(library) is None:
        raise EngineError(f"{library} is not installed")
    try:
        module = importlib.import_module(library)
    except (ImportError, OSError) as error:
        raise EngineError(f"{library} is installed but cannot be loaded ({' '.join(str(error).split())[:200]})") from error
    version = str(getattr(module, "__version__", "unknown"))
    for (denied, start), reason in DENIED.items():
        if library == denied and version.startswith(start):
            raise EngineError(f"{library} {version} is not used: {reason}")
    missing = [f"{owner}.{name}" for owner, names in _NEEDED.items() for name in names if not _has(module, owner, name)]
    if missing:
        raise EngineError(f"{library} {version} lacks {', '.join(missing[:6])}: 10.3 is the oldest that has them")
    return TensorRT(
        module, library, version, builds_without_gpu=_has(module, "IBuilderConfig", "set_compute_capability"),
        timing_cache=_has(module, "IBuilderConfig", "create_timing_cache") and library != "tensorrt_rtx",   # there it does nothing
        progress=hasattr(module, "IProgressMonitor") and _has(module, "IBuilderConfig", "progress_monitor"),
        validity=_has(module, "Runtime", "get_engine_validity"),
        memory_of_profile=_has(module, "ICudaEngine", "get_device_memory_size_for_profile_v2"),
        specialises=_has(module, "IRuntimeConfig", "dynamic_shapes_kernel_specialization_strategy"),
        max_aux_streams=_has(module, "IBuilderConfig", "max_aux_streams"), tf32=_has(module, "BuilderFlag", "TF32"))


def _has(module: ModuleType, owner: str, name: str) -> bool:
    return hasattr(getattr(module, owner, None), name)


def _libcuda() -> Any:
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
