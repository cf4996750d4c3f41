"""Scene file to class map as others do it, each in a process of its own: `python scene_peers.py NAME JOB.json`.

The job names the scene, the float graph, the checkpoint, tile, overlap and threads. The last line printed is one JSON object: wall and CPU
seconds of the run from opening the files to the closed map, and the highest resident memory of the process. Labels go to the job's map.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.windows import Window

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
    with rasterio.open(job["map"], "w", driver="GTiff", height=rows, width=cols, count=1, dtype="uint8", tiled=True, compress="deflate",
                       blockxsize=512, blockysize=512, num_threads=job["threads"]) as target:
        target.write(labels, 1)


def ort_session(job: Job):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job["threads"]
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(job["graph_full"], options, providers=["CPUExecutionProvider"])


def numpy_ort(job: Job) -> None:
    """rasterio windows, numpy, ONNX Runtime FP32 with logits at full resolution; argmax per tile, the middle kept."""
    session, tile, half = ort_session(job), job["tile"], job["overlap"] // 2
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


def torch_network(job: Job):
    """The student in PyTorch, batch norm folded and channels last, which is its fastest way here; logits at full resolution."""
    import torch

    from hfd_edge.export.onnx import _folded
    from hfd_edge.network import load_checkpoint, upsample
    torch.set_num_threads(job["threads"])
    net = _folded(load_checkpoint(job["checkpoint"])[0].eval()).to(memory_format=torch.channels_last)

    def run(batch, *_, **__):
        return upsample(net(batch.contiguous(memory_format=torch.channels_last)), net.logit_stride_px)
    return run


def read_all(job: Job) -> np.ndarray:
    with rasterio.open(job["scene"], num_threads=job["threads"]) as scene:
        return normalise(scene.read(), job)


def monai_torch(job: Job) -> None:
    import torch
    from monai.inferers import sliding_window_inference
    net, scene = torch_network(job), torch.from_numpy(read_all(job))
    with torch.inference_mode():
        logits = sliding_window_inference(scene[None], (job["tile"],) * 2, 1, net, overlap=job["overlap"] / job["tile"], mode="gaussian")
        del scene
        labels = logits[0].argmax(0).to(torch.uint8).numpy()
    write_map(job, labels)


def toolbelt(job: Job) -> None:
    import torch
    from pytorch_toolbelt.inference.tiles import ImageSlicer, TileMerger
    net, image, tile = torch_network(job), np.moveaxis(read_all(job), 0, -1), job["tile"]
    slicer = ImageSlicer(image.shape, tile_size=(tile, tile), tile_step=(tile - job["overlap"],) * 2, weight="pyramid")
    merger = TileMerger(slicer.target_shape, job["classes"], slicer.weight)
    with torch.inference_mode():
        for part, where in zip(slicer.split(image), slicer.crops):
            merger.integrate_batch(net(torch.from_numpy(np.ascontiguousarray(np.moveaxis(part, -1, 0)))[None]), [where])
        labels = merger.merge().argmax(0).to(torch.uint8).numpy()
    write_map(job, np.ascontiguousarray(slicer.crop_to_orignal_size(labels)))


def terratorch(job: Job) -> None:
    import torch
    from stitch_peers import terratorch_from
    if not job["terratorch"]:
        raise FileNotFoundError("give TerraTorch's tiled_inference.py with --terratorch (benchmarks/requirements.txt)")
    terratorch_from(Path(job["terratorch"]))
    module, net, scene = sys.modules["terratorch_tiled"], torch_network(job), torch.from_numpy(read_all(job))
    with torch.inference_mode():
        logits = module.tiled_inference(net, scene[None], job["classes"], crop=job["tile"], stride=job["tile"] - job["overlap"], delta=0,
                                        batch_size=1, padding=False)
        labels = logits.reshape(job["classes"], *scene.shape[1:]).argmax(0).to(torch.uint8).numpy()
    write_map(job, labels)


def geodeep(job: Job) -> None:
    """GeoDeep's own function on the scene as it is; it opens files and windows itself."""
    from geodeep import segment
    write_map(job, segment(job["scene"], job["graph_fixed"], output_type="raw", max_threads=job["threads"]))


def ours(precision: str) -> Callable[[Job], None]:
    def run(job: Job) -> None:
        from hfd_edge.raster_run import RasterOptions
        from hfd_edge.segmenter import Segmenter
        with Segmenter(job["engine"], threads=job["threads"], precision=precision, tile=job["our_tile"], halo=job["our_halo"]) as segmenter:
            segmenter.run_raster(job["scene"], job["map"], RasterOptions(unit="intensity", overwrite=True, compress="deflate"))
    return run


RUNS = {"ours_int8": ours("int8"), "ours_fp32": ours("fp32"), "numpy_ort": numpy_ort, "monai_torch": monai_torch, "terratorch": terratorch,
        "pytorch_toolbelt": toolbelt, "geodeep": geodeep}


def main() -> None:
    name, job = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    start, start_cpu = time.perf_counter(), time.process_time()
    RUNS[name](job)
    wall, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]
    print(json.dumps({"wall_s": wall, "cpu_s": cpu, "peak_mb": int(peak) / 1024}))


if __name__ == "__main__":
    main()
