"""The parts of certify_gpu.py about scenes that lie on the GPU: arrays of torch and CuPy are read once they are made, and maps are given to them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
from certify_context import Context, NotHere, need_torch, require
from certify_engines import SAME_LABELS, check_varied, declared, scene, segmenter

BUSY = 30           # products of large matrices that a stream does before the scene is there


@dataclass(frozen=True, slots=True)
class Library:
    """How a library makes a scene on a stream, and reads a map."""

    late: Callable[[np.ndarray], tuple[Any, Any]]               # a scene that is not there yet, and the stream that makes it
    on: Callable[[Any], AbstractContextManager[Any]]            # inside, a stream is the library's current one
    read: Callable[[Any], np.ndarray]                           # a map of ours, without a copy on the device


def arrays_run(make: Callable[[Any], Any], library: Library) -> dict[str, float]:
    """Maps of a scene that its stream still makes, beside the map of the same scene from main memory.

    Args:
        make: gives the engine on the device for a package.
    """
    stored, found = scene(1000, 1100).astype(np.int32), {}
    with segmenter(make, "cuda:0") as seg:
        wanted = seg.run(stored, declared()).labels
        check_varied(wanted)
        array, stream = library.late(stored)
        with library.on(stream):
            found["labels of the same scene, current stream"] = float((library.read(seg.run(array, declared()).labels) == wanted).mean())
        array, stream = library.late(stored)
        found["labels of the same scene, stream="] = float((library.read(seg.run(array, declared(), stream=stream).labels) == wanted).mean())
    require(min(found.values()) >= SAME_LABELS["float32"], f"a scene on the GPU has another map than from main memory: {found}")
    return found


def torch_library() -> Library:
    import torch

    def late(stored: np.ndarray) -> tuple[Any, Any]:
        there, stream = torch.from_numpy(stored).cuda(), torch.cuda.Stream()
        torch.cuda.synchronize()
        with torch.cuda.stream(stream):
            work = torch.ones((4096, 4096), device="cuda")
            for _ in range(BUSY):
                work = work @ work * 1e-4
            return there * 1, stream

    return Library(late, torch.cuda.stream, lambda labels: torch.from_dlpack(labels).cpu().numpy())


def cupy_library() -> Library:
    try:
        import cupy
    except ImportError as error:
        raise NotHere(f"CuPy is not installed ({error})") from error

    def late(stored: np.ndarray) -> tuple[Any, Any]:
        there, stream = cupy.asarray(stored), cupy.cuda.Stream(non_blocking=True)
        cupy.cuda.Device().synchronize()
        with stream:
            work = cupy.ones((4096, 4096), cupy.float32)
            for _ in range(BUSY):
                work = work @ work * cupy.float32(1e-4)
            return there * cupy.int32(1), stream

    return Library(late, lambda stream: stream, lambda labels: cupy.asnumpy(cupy.asarray(labels)))


def part_of(library: Callable[[], Library]) -> Callable[[Context], dict[str, Any]]:
    def part(_: Context) -> dict[str, Any]:
        need_torch()
        from certify_torch import TorchEngine

        return arrays_run(lambda package: TorchEngine(package.spec, False), library())
    return part


PARTS = {"arrays, torch": part_of(torch_library), "arrays, CuPy": part_of(cupy_library)}
