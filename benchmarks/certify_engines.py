"""The parts of certify_gpu.py about whole runs: a network behind the DeviceEngine protocol, and TensorRT where it runs."""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from bench_filtered import with_lee
from certify_context import ROOT, Context, NotHere, need_torch, require

ENGINE = ROOT / "hfd_edge" / "data" / "demo.engine"
SAME_LABELS = {"float32": 0.9999, "float16": 0.995}         # of a random network, whose classes lie close together
END_TO_END = 0.95                                           # of the throughput of the engine alone
FINISH_SHARE = 0.05                                         # of the engine's time
# Compute capabilities that TensorRT-RTX 1.5 is made for (NVIDIA's support matrix); what it does on others is found out, and a refusal is no failure.
RTX_RUNS_ON = {(7, 5), (8, 6), (8, 9), (12, 0), (12, 1)}
LEAST_SHARE = 0.01                                          # of a map's pixels, from which on a class is one of it


def scene(rows: int, cols: int, seed: int = 0) -> np.ndarray:
    """uint16 amplitude of two bands, speckled, with a hole."""
    rng = np.random.default_rng(seed)
    rough = np.kron(rng.uniform(0.3, 3, (2, -(-rows // 64), -(-cols // 64))), np.ones((1, 64, 64)))[:, :rows, :cols]
    stored = np.sqrt(rough * rng.gamma(4.4, 0.05 / 4.4, (2, rows, cols))) * 1e4
    stored = np.clip(stored, 1, 65535).astype(np.uint16)
    stored[:, rows // 3:rows // 2, cols // 3:cols // 2] = 0
    return stored


def declared() -> Any:
    from hfd_edge.radiometry import SourceRadiometry

    return SourceRadiometry("amplitude", scale=1e-4, nodata=(0.0,))


def segmenter(make: Callable[[Any], Any], device: str, path: Path = ENGINE, **options: Any) -> Any:
    """A Segmenter whose engine is made from the package's spec."""
    from hfd_edge.segmenter import Segmenter

    class WithEngine(Segmenter):
        def _open_engine(self, precision: str) -> Any:
            return make(self._package)

    return WithEngine(path, device=device, **options)


def whole_run(context: Context, make: Callable[[Any], Any], reference: Callable[[Any], Any], precision: str, **options: Any) -> dict[str, Any]:
    """One engine, end to end and alone; its labels beside those of the CPU; memory; latency.

    Args:
        make, reference: give the engine on the device and the one in main memory for a package.
        precision: of the engine on the device, which says how many labels must be the same.
    """
    small, found = scene(640, 700), {}
    gc.collect()
    free = context.gpu.memory_info()[0]
    with segmenter(reference, "cpu", **options) as cpu, segmenter(make, "cuda:0", **options) as seg:
        wanted, got = cpu.run(small, declared()), seg.run(small, declared())
        found["labels as on the CPU"] = float((wanted.labels == got.labels).mean())
        found["nodata as on the CPU"] = float(((wanted.labels == 255) == (got.labels == 255)).mean())
        check_varied(wanted.labels)
        found |= speeds(context, seg, free)
        found |= latency(context, seg)
        found["engine"] = seg.engine
    require(found["nodata as on the CPU"] == 1.0, f"nodata differs from the CPU: {found}")
    require(found["labels as on the CPU"] >= SAME_LABELS[precision], f"labels differ from the CPU: {found}")
    require(not found["bytes allocated after warm-up"], f"memory is taken after the first run: {found}")
    return found


def check_varied(labels: np.ndarray) -> None:
    """Fail where a map has one class alone: whatever a GPU did, its map would be the same."""
    classes = int((np.bincount(labels[labels != 255], minlength=255) > LEAST_SHARE * labels.size).sum())
    require(classes > 1, f"the CPU's map has {classes} class: nothing is learnt from a comparison with it; another network or scene is needed")


def speeds(context: Context, seg: Any, free_before: int) -> dict[str, float]:
    """End to end over a scene in memory against the engine alone over as many batches, and device memory."""
    gpu, side = context.gpu, context.side
    pixels = scene(min(side, 4096), min(side, 4096))
    seg.run(pixels, declared(), confidence=False)
    free_warm = gpu.memory_info()[0]
    seconds, reports = [], []
    with allocations() as made:
        for _ in range(max(3, context.repeats // 4)):
            start = time.perf_counter()
            reports.append(seg.run(pixels, declared(), confidence=False).report)
            seconds.append(time.perf_counter() - start)
    free_after = gpu.memory_info()[0]
    run = prepared(seg, pixels)
    batches = sum(-(-len(strip.tiles) // run.plan.batch) for strip in run.plan.grid.strips())
    alone, finishing = engine_alone(context, seg, run)
    end_to_end = statistics.median(seconds)
    return {"end to end Mpx/s": pixels[0].size / end_to_end / 1e6, "engine alone Mpx/s": pixels[0].size / (alone * batches) / 1e6,
            "end to end over engine alone": alone * batches / end_to_end, "finish over engine": finishing / alone,
            "peak device MiB": (free_before - min(free_warm, free_after)) / 2**20,
            "bytes allocated after warm-up": sum(made), "stages s": reports[-1].timings,
            "tile px": list(reports[-1].tile_px), "tiles a batch": run.plan.batch,
            "meets 95 % of the engine": alone * batches / end_to_end >= END_TO_END, "meets finish 5 %": finishing / alone <= FINISH_SHARE}


@contextmanager
def allocations() -> Iterator[list[int]]:
    """Bytes of each piece of memory, on a device or pinned, that hfd_edge takes inside the block. What is free would tell of other programs too, and
    on a Jetson of main memory."""
    from hfd_edge.device.memory import CudaDevice

    made: list[int] = []
    allocate, pinned = CudaDevice.allocate, CudaDevice.pinned

    def counted(gpu: Any, nbytes: int) -> Any:
        made.append(nbytes)
        return allocate(gpu, nbytes)

    def counted_pinned(gpu: Any, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        memory = pinned(gpu, shape, dtype)
        made.append(memory.nbytes)
        return memory

    CudaDevice.allocate, CudaDevice.pinned = counted, counted_pinned
    try:
        yield made
    finally:
        CudaDevice.allocate, CudaDevice.pinned = allocate, pinned


def prepared(seg: Any, pixels: np.ndarray) -> Any:
    from hfd_edge.source import ArraySource

    return seg.prepare(ArraySource(pixels, len(seg.spec.bands)), declared())


def engine_alone(context: Context, seg: Any, run: Any) -> tuple[float, float]:
    """Seconds of a batch in the engine, and of its finish."""
    from certify_operations import timed
    from hfd_edge.device.pool import DevicePool

    gpu, spec, grid = context.gpu, seg.spec, run.plan.grid
    pool = DevicePool(gpu, seg._engine, len(spec.bands), len(spec.classes), spec.logit_stride_px)
    rows, cols = (core + 2 * grid.halo_px for core in (grid.core_rows, grid.core_cols))
    slot = pool.slots(run.plan.batch, rows, cols)[0]
    gpu.synchronize(slot.stream)
    labels, counts = gpu.allocate(grid.core_rows * grid.core_cols * run.plan.batch), gpu.allocate(16 * run.plan.batch)
    kept = [(grid.halo_px, grid.halo_px, grid.core_rows, grid.core_cols, i * grid.core_rows * grid.core_cols) for i in range(run.plan.batch)]
    alone = timed(context, [lambda stream: slot.engine.enqueue(slot.tile.ptr, slot.logits.ptr, stream)] * 4)
    finishing = timed(context, [lambda stream: gpu.native.finish(
        slot.logits_memory, slot.engine.output_shape[1:], spec.logit_stride_px, slot.status_memory, kept,
        (labels.ptr, labels.nbytes, grid.core_cols), None, (counts.ptr, counts.nbytes), (gpu.index, stream))] * 4)
    pool.close()
    return alone, finishing


def latency(context: Context, seg: Any) -> dict[str, float]:
    """Milliseconds of one tile from the host's array to its labels in main memory."""
    halo = seg.spec.halo_px
    side = max(64, seg.spec.tile_px - 2 * halo)
    pixels, seconds = scene(side, side), []
    for i in range(10 * context.repeats + 5):
        start = time.perf_counter()
        seg.run(pixels, declared(), confidence=False)
        if i >= 5:
            seconds.append((time.perf_counter() - start) * 1e3)
    return {f"one tile p{share} ms": float(np.percentile(seconds, share)) for share in (50, 95, 99)}


def torch_part(precision: str, tiles: dict[str, Any] | None = None, filtered: bool = False, **options: bool) -> Callable[[Context], dict[str, Any]]:
    """A whole run with a torch network.

    Args:
        tiles: how the Segmenters cut and stitch.
        filtered: whether Lee 7 x 7 stands in front of the network.
    """
    def part(context: Context) -> dict[str, Any]:
        need_torch()
        from certify_torch import TorchEngine, TorchOnHost

        if options.get("compiled") and context.left_s < 150:
            raise NotHere(f"{context.left_s:.0f} s are left: too few to compile a network")
        with tempfile.TemporaryDirectory() as folder:
            path = with_lee(Path(folder)) if filtered else ENGINE
            return whole_run(context, lambda package: TorchEngine(package.spec, precision == "float16", **options),
                             lambda package: TorchOnHost(package.spec), precision, path=path, **(tiles or {}))
    return part


def tensorrt_part(context: Context) -> dict[str, Any]:
    """The shipped engine through TensorRT or TensorRT-RTX, built here, against ONNX Runtime on the CPU."""
    from hfd_edge.engine.choose import why_not_cuda
    from hfd_edge.engine.tensorrt_capabilities import load_tensorrt
    from hfd_edge.errors import DeviceError, EngineError
    from hfd_edge.segmenter import Segmenter

    if missing := why_not_cuda(context.gpu.index):
        raise NotHere("; ".join(missing))
    gc.collect()
    free = context.gpu.memory_info()[0]
    try:
        seg = Segmenter(ENGINE, device=f"cuda:{context.gpu.index}")
    except (DeviceError, EngineError) as refused:
        capability = tuple(context.gpu.native.devices()["devices"][context.gpu.index]["capability"])
        if load_tensorrt().library == "tensorrt_rtx" and capability not in RTX_RUNS_ON:
            raise NotHere(f"TensorRT-RTX is not made for compute capability {'.'.join(map(str, capability))}: {refused}") from refused
        raise
    with seg, Segmenter(ENGINE, device="cpu", halo="exact") as cpu:
        small = scene(640, 700)
        got, wanted = seg.run(small, declared()), cpu.run(small, declared())
        check_varied(wanted.labels)
        found = {"engine": seg.engine, "labels as on the CPU": float((got.labels == wanted.labels).mean()),
                 **speeds(context, seg, free), **latency(context, seg)}
    require(found["labels as on the CPU"] >= 0.999, f"labels differ from ONNX Runtime's: {found}")
    return found


# Tiles overlap by less than their halos, so that what is fused never saw the end of a tile: the map does not depend on the tiles.
BLENDED = {"stitch": "hann", "overlap": 96, "halo": "exact"}
PARTS = {"run, torch float32": torch_part("float32"), "run, torch float32, blended": torch_part("float32", BLENDED),
         "run, torch float32, behind Lee 7 x 7": torch_part("float32", filtered=True), "run, torch float16": torch_part("float16"),
         "run, torch float16, CUDA graph": torch_part("float16", cuda_graph=True), "run, TensorRT": tensorrt_part,
         "run, torch float16, compiled": torch_part("float16", compiled=True)}
