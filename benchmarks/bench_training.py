"""Does the loader ever starve the step? Samples per second, and the share of the time that training waits for data.

    python benchmarks/bench_training.py [--quick] [--json] [--threads 2]

Own input: GeoTIFF pairs written to a temporary folder (2 bands float32 deflated, 4 bands EO uint16, labels), read without and
with the cache, and simulated scenes, whose making costs most. Each is consumed by nothing (how fast the loader can be), by a
stand-in step (the CPU waits, as it does for a GPU) and by a real student step on this CPU. Loader and step share the cores
there: `loader CPU` is the loader's CPU time over the step's, which a busy machine does not change; the ratios at the end are its inverse.
No roofline: decoding and augmenting are bound by neither bandwidth nor operations.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import rasterio
import torch
import yaml
from rasterio.errors import NotGeoreferencedWarning
from timing import calm_process, tell

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))         # training/ is run from the checkout
from hfd_edge.network import HFDNet, NetworkConfig
from training.augment import AugmentOptions
from training.layouts import open_pairs
from training.loader import Batch, Loader, LoaderOptions
from training.losses import segmentation_loss
from training.pairs import PairSet
from training.statistics import measure

CHIP_PX, STAND_IN_S, WAIT_BAR = 256, 0.1, 0.02
AUGMENT = AugmentOptions(speckle_looks=8.0, shift_px=2, drop_eo=0.1, nodata_wedge=0.3)     # everything that costs


def write_folder(root: Path, pairs: int) -> Path:
    """Pairs in the layout `folder`."""
    for part in ("sar", "eo", "label"):
        (root / part).mkdir()
    for number in range(pairs):
        rng = np.random.default_rng(number)
        images = {"sar": rng.normal(-12, 5, (2, CHIP_PX, CHIP_PX)).astype(np.float32),
                  "eo": rng.integers(0, 9000, (4, CHIP_PX, CHIP_PX)).astype(np.uint16),
                  "label": rng.integers(0, 5, (1, CHIP_PX, CHIP_PX)).astype(np.uint8)}
        for part, image in images.items():
            with rasterio.open(root / part / f"p{number:04d}.tif", "w", driver="GTiff", compress="deflate", count=len(image),
                               dtype=image.dtype, height=CHIP_PX, width=CHIP_PX) as file:
                file.write(image)
    record = {"name": "bench", "bands": ["VV", "VH"], "eo_bands": ["B", "G", "R", "NIR"], "unit": "db",
              "classes": {f"c{i}": i for i in range(5)}, "flips": ["rows", "cols"]}
    (root / "set.yaml").write_text(yaml.safe_dump(record), encoding="utf-8")
    return root


def student_step(batch: int, crop_px: int) -> Callable[[Batch], None]:
    """One training step of a small student, forward to optimiser."""
    torch.manual_seed(0)
    net = HFDNet(NetworkConfig("efficientnet_lite0", 2, 5, 16, 32)).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3)

    def step(data: Batch) -> None:
        optimizer.zero_grad(set_to_none=True)
        segmentation_loss(net(data.sar), data.labels).backward()
        optimizer.step()

    return step


def stand_in_step(data: Batch) -> None:
    """Waits as the CPU does while a GPU works: it leaves the cores to the loader."""
    time.sleep(STAND_IN_S)


def consume(loader: Loader, step: Callable[[Batch], None] | None, batches: int) -> dict[str, float]:
    """Samples per second and share of the time waited, after two batches of warming up."""
    stream = loader.batches()
    for batch in islice(stream, 2):
        if step:
            step(batch)
    start, waited = time.perf_counter(), loader.wait_s
    for batch in islice(stream, batches):
        if step:
            step(batch)
    seconds = time.perf_counter() - start
    stream.close()
    return {"samples_per_s": batches * loader.options.batch / seconds, "wait_share": (loader.wait_s - waited) / seconds,
            "s_per_batch": seconds / batches}


def cpu_seconds(work: Callable[[], object], times: int) -> float:
    """CPU time of all threads of one piece of work, after one to warm up."""
    work()
    start = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - start) / times


def measure_case(pairs: PairSet, options: LoaderOptions, batches: int) -> dict[str, dict[str, float]]:
    """One set and loader under every step."""
    limits = measure(pairs, limit=8)
    student, results = student_step(options.batch, options.crop_px), {}

    def fresh() -> Loader:
        return Loader(pairs, pairs.names("train"), limits, options, eo=True)

    results["no step"] = consume(fresh(), None, batches)
    results["stand-in"] = consume(fresh(), stand_in_step, batches)
    results["student"] = consume(fresh(), student, max(4, batches // 3))
    numbers, ready = itertools.count(), fresh().batch(0)
    loader = fresh()
    makes, learns = cpu_seconds(lambda: loader.batch(next(numbers)), batches), cpu_seconds(lambda: student(ready), 3)
    results["student"] |= {"loader_cpu_share": makes / learns, "loader_cpu_s_per_batch": makes}
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer batches and pairs")
    parser.add_argument("--threads", type=int, default=2, help="of the step")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    arguments = parser.parse_args()
    calm_process()
    torch.set_num_threads(arguments.threads)
    warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)
    batches = 12 if arguments.quick else 60
    base = LoaderOptions(crop_px=CHIP_PX, batch=8, augment=AUGMENT)
    with tempfile.TemporaryDirectory() as folder:
        disk = open_pairs("folder", write_folder(Path(folder), 40 if arguments.quick else 120))
        scenes = open_pairs("simulated", folder, train=64)
        cases = {"files, never cached": (disk, {"cache_bytes": 0}), "files, cached": (disk, {}),
                 "simulated scenes": (scenes, {"crop_px": 128, "crops_per_pair": 48})}
        results = {}
        for name, (pairs, changes) in cases.items():
            options = LoaderOptions(**{**{f: getattr(base, f) for f in base.__slots__}, **changes})
            results[name] = measure_case(pairs, options, batches)
            for step, r in results[name].items():
                own = f"  loader CPU {100 * r['loader_cpu_share']:.1f} % of the step's" if "loader_cpu_share" in r else ""
                print(f"{name:20s} {step:9s} {r['samples_per_s']:8.1f} samples/s  waiting {100 * r['wait_share']:5.1f} %{own}",
                      flush=True)
    worst = max(r["student"]["wait_share"] for r in results.values())
    print(f"worst share of a student's time spent waiting: {worst:.4f} (bar {WAIT_BAR})")
    ratios = {f"loader_over_step_{name}".replace(", ", "_").replace(" ", "_"): round(1 / r["student"]["loader_cpu_share"], 2)
              for name, r in results.items()}
    tell({"ratios": ratios, "wait_share": worst, "bar": WAIT_BAR, "batches": batches, "cases": results}, arguments.json)


if __name__ == "__main__":
    main()
