"""Scene file to class map as others do it, each in a process of its own: `python scene_peers.py NAME JOB.json`.

The job names the scene, the float graph, the checkpoint, tile, overlap, threads and the settings that scene_tuning.py found best. The last
line printed is one JSON object: wall and CPU seconds from the first line of the program to the closed map, with every import but Python's
own; seconds of compiling a network, which are not among them; and the highest resident memory. Labels go to the job's map.
"""

from __future__ import annotations

import time

START, START_CPU = time.perf_counter(), time.process_time()

import json  # noqa: E402 - the clock starts before the imports
import sys  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import rasterio  # noqa: E402
from rasterio.windows import Window  # noqa: E402

Job = dict[str, Any]


def normalise(power: np.ndarray, job: Job) -> np.ndarray:
    """Linear power to network input, as a user of numpy would write it, in place where that is possible."""
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.log10(power)
    values *= 10
    np.maximum(values, job["floor"], out=values)
    for band, mean, std in zip(values, job["mean"], job["std"]):
        band -= mean
        band /= std
    return values


def write_map(job: Job, labels: np.ndarray) -> None:
    rows, cols = labels.shape
    with rasterio.open(job["map"], "w", driver="GTiff", height=rows, width=cols, count=1, dtype="uint8", tiled=True, compress="zstd", zstd_level=1,
                       blockxsize=512, blockysize=512, num_threads=job["threads"]) as target:
        target.write(labels, 1)


def ort_session(job: Job):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job["threads"]
    return onnxruntime.InferenceSession(job["graph_full"], options, providers=["CPUExecutionProvider"])


def numpy_ort(job: Job) -> None:
    """rasterio windows, numpy, ONNX Runtime FP32 with logits at full resolution; argmax per tile, the middle kept."""
    session, tile, half = ort_session(job), job["numpy_tile"], job["overlap"] // 2
    step = tile - 2 * half
    with rasterio.open(job["scene"]) as scene:
        labels = np.empty(scene.shape, np.uint8)
        for r in range(0, scene.height, step):
            for c in range(0, scene.width, step):
                top, left = max(r - half, 0), max(c - half, 0)
                bottom, right = min(r - half + tile, scene.height), min(c - half + tile, scene.width)
                values = normalise(scene.read(window=Window(left, top, right - left, bottom - top)), job)
                pad = ((0, 0), (top - r + half, r - half + tile - bottom), (left - c + half, c - half + tile - right))
                values = np.pad(values, pad, mode="reflect") if any(map(any, pad)) else values
                best = session.run(None, {"pixels": values[None]})[0][0].argmax(0)
                rows, cols = min(step, scene.height - r), min(step, scene.width - c)
                labels[r:r + rows, c:c + cols] = best[half:half + rows, half:half + cols]
    write_map(job, labels)


def torch_network(job: Job, how: dict | None = None):
    """(network, seconds of compiling): the student with batch norm folded and logits at full resolution; `how` as scene_tuning.py writes it."""
    import torch

    from hfd_edge.export.onnx import _folded
    from hfd_edge.network import load_checkpoint, upsample
    torch.set_num_threads(job["threads"])
    how = how or job["torch"]
    layout = torch.channels_last if how["layout"] == "channels_last" else torch.contiguous_format
    net = _folded(load_checkpoint(job["checkpoint"])[0].eval()).to(memory_format=layout)

    def forward(batch):
        return upsample(net(batch), net.logit_stride_px)
    ready, start = forward, time.perf_counter()
    if how["compiled"]:
        ready = torch.compile(forward)
        with torch.inference_mode():
            ready(torch.zeros(how["batch"], len(job["mean"]), job["tile"], job["tile"]).contiguous(memory_format=layout))
    compiling = time.perf_counter() - start

    def run(batch, *_, **__):
        return ready(batch.contiguous(memory_format=layout))
    return run, compiling


def read_all(job: Job) -> np.ndarray:
    with rasterio.open(job["scene"], num_threads=job["threads"]) as scene:
        return normalise(scene.read(), job)


def monai_torch(job: Job) -> dict:
    import torch
    from monai.inferers import sliding_window_inference
    (net, compiling), scene = torch_network(job), torch.from_numpy(read_all(job))
    with torch.inference_mode():
        logits = sliding_window_inference(scene[None], (job["tile"],) * 2, job["torch"]["batch"], net, overlap=job["overlap"] / job["tile"],
                                          mode="gaussian")
        del scene
        labels = logits[0].argmax(0).to(torch.uint8).numpy()
    write_map(job, labels)
    return {"compile_s": compiling}


def toolbelt(job: Job) -> dict:
    import torch
    from pytorch_toolbelt.inference.tiles import ImageSlicer, TileMerger
    (net, compiling), image, tile, batch = torch_network(job), np.moveaxis(read_all(job), 0, -1), job["tile"], job["torch"]["batch"]
    slicer = ImageSlicer(image.shape, tile_size=(tile, tile), tile_step=(tile - job["overlap"],) * 2, weight="pyramid")
    merger = TileMerger(slicer.target_shape, job["classes"], slicer.weight)
    parts, crops = slicer.split(image), slicer.crops
    with torch.inference_mode():
        for first in range(0, len(parts), batch):
            tiles = np.stack([np.moveaxis(part, -1, 0) for part in parts[first:first + batch]])
            merger.integrate_batch(net(torch.from_numpy(tiles)), crops[first:first + batch])
        labels = merger.merge().argmax(0).to(torch.uint8).numpy()
    write_map(job, np.ascontiguousarray(slicer.crop_to_orignal_size(labels)))
    return {"compile_s": compiling}


def terratorch(job: Job) -> dict:
    import torch
    from stitch_peers import terratorch_from
    terratorch_from(Path(job["terratorch"]))
    module, (net, compiling), scene = sys.modules["terratorch_tiled"], torch_network(job), torch.from_numpy(read_all(job))
    with torch.inference_mode():
        logits = module.tiled_inference(net, scene[None], job["classes"], crop=job["tile"], stride=job["tile"] - job["overlap"], delta=0,
                                        batch_size=job["torch"]["batch"], padding=False)
        labels = logits.reshape(job["classes"], *scene.shape[1:]).argmax(0).to(torch.uint8).numpy()
    write_map(job, labels)
    return {"compile_s": compiling}


def geodeep(job: Job) -> None:
    """GeoDeep's own function on the scene as it is; it opens files and windows itself."""
    from geodeep import segment
    write_map(job, segment(job["scene"], job["graph_fixed"], output_type="raw", max_threads=job["threads"]))


def ours(precision: str, equal_halo: bool) -> Callable[[Job], dict]:
    """Half of the peers' overlap as halo, or the bounded halo that the package stores."""
    def run(job: Job) -> dict:
        from hfd_edge.raster_run import RasterOptions
        from hfd_edge.segmenter import Segmenter

        class Watched(Segmenter):
            """Keeps the plan, whose borders the seam ratio is measured at."""

            def prepare(self, *given, **named):
                self.begun = super().prepare(*given, **named)
                return self.begun

        halo = job["overlap"] // 2 if equal_halo else "bounded"
        with Watched(job["engine"], threads=job["threads"], precision=precision, tile=job["our_tile"], halo=halo) as segmenter:
            report = segmenter.run_raster(job["scene"], job["map"], RasterOptions(unit="intensity", overwrite=True))
        return {"borders": segmenter.begun.plan.grid.borders, "halo_px": report.halo_px, "tile_px": report.tile_px}
    return run


RUNS = {"ours_int8": ours("int8", True), "ours_fp32": ours("fp32", True), "ours_int8_bounded": ours("int8", False),
        "ours_fp32_bounded": ours("fp32", False), "numpy_ort": numpy_ort, "monai_torch": monai_torch, "terratorch": terratorch,
        "pytorch_toolbelt": toolbelt, "geodeep": geodeep}


def main() -> None:
    name, job = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    told = RUNS[name](job) or {}
    wall, cpu = time.perf_counter() - START - told.get("compile_s", 0), time.process_time() - START_CPU
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]
    print(json.dumps({**told, "wall_s": wall, "cpu_s": cpu, "peak_mb": int(peak) / 1024}))


if __name__ == "__main__":
    main()
