"""Which settings suit a peer best on this machine: `python scene_tuning.py JOB.json`, in a process of its own.

PyTorch: contiguous and channels last, batches of 1 and 4, then the faster layout compiled; milliseconds a tile of the network alone (medians, in
turns).
The hand-written loop: tiles of 512 and 1024 over the upper left 2048 x 2048 pixels. The last line printed is one JSON object: the faster
of each, and what was tried.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.windows import Window
from scene_peers import Job, numpy_ort, torch_network
from timing import in_turns

ROUNDS, PART_PX = 3, 2048
NUMPY_TILES, BATCHES = (512, 1024), (1, 4)


def best_torch(job: Job) -> dict[str, Any]:
    """The fastest way to call the network, in the words of scene_peers.torch_network; what failed says why."""
    eager = [{"layout": layout, "compiled": False, "batch": batch} for layout in ("contiguous", "channels_last") for batch in BATCHES]
    found, failed = _milliseconds(job, eager)
    layout = min(found, key=found.get)[0]
    compiled, not_compiled = _milliseconds(job, [{"layout": layout, "compiled": True, "batch": batch} for batch in BATCHES])
    found |= compiled
    best = min(found, key=found.get)
    return {"torch": dict(zip(("layout", "compiled", "batch"), best)), "torch_failed": failed | not_compiled,
            "torch_ms_per_tile": {_name(*way): round(ms, 1) for way, ms in found.items()}}


def _name(layout: str, compiled: bool, batch: int) -> str:
    return f"{layout}{' compiled' * compiled} batch {batch}"


def _milliseconds(job: Job, ways: list[dict]) -> tuple[dict[tuple, float], dict[str, str]]:
    """Per way of calling, in turns: milliseconds a tile; and why the others do not run here."""
    import torch
    jobs, failed = {}, {}
    for how in ways:
        way = tuple(how.values())
        try:
            net, _ = torch_network(job, how)
            tiles = torch.randn(how["batch"], len(job["mean"]), job["tile"], job["tile"])
            with torch.inference_mode():
                net(tiles)
        except Exception as error:  # noqa: BLE001 - no compiler here, or not enough memory: the table says so
            failed[_name(*way)] = " ".join(str(error).split())[:120]
            continue
        jobs[way] = _call(net, tiles)
    return {way: 1e3 * row.median / way[2] for way, row in in_turns(jobs, ROUNDS).items()} if jobs else {}, failed


def _call(net, tiles):
    import torch

    def call() -> None:
        with torch.inference_mode():
            net(tiles)
    return call


def best_numpy_tile(job: Job, folder: Path) -> dict[str, Any]:
    """The faster tile of the hand-written loop."""
    part, seconds = folder / "part.tif", {}
    with rasterio.open(job["scene"]) as scene:
        side = min(PART_PX, scene.height, scene.width)
        values = scene.read(window=Window(0, 0, side, side))
        profile = {**scene.profile, "width": side, "height": side}
    with rasterio.open(part, "w", **profile) as target:
        target.write(values)
    for number in range(2):
        for tile in NUMPY_TILES:
            start = time.perf_counter()
            numpy_ort({**job, "scene": str(part), "map": str(folder / "part-map.tif"), "numpy_tile": tile})
            seconds[str(tile)] = round(time.perf_counter() - start, 2)
    return {"numpy_tile": int(min(seconds, key=seconds.get)), "numpy_tile_s": seconds}


def main() -> None:
    path = Path(sys.argv[1])
    job = json.loads(path.read_text())
    np.seterr(divide="ignore", invalid="ignore")
    print(json.dumps({**best_numpy_tile(job, path.parent), **best_torch(job)}))


if __name__ == "__main__":
    main()
