"""What others do around an engine: a scene (2, rows, cols) float32 in, a class map (rows, cols) uint8 out; engine time apart."""

from __future__ import annotations

import importlib.util
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

TILE, OVERLAP, CLASSES = 512, 64, 7
STEP = TILE - OVERLAP


class StubEngine:
    """A 1 x 1 convolution 2 -> 7 in torch, and how long it took; `stride` pools first, as a network's head at that stride."""

    def __init__(self, stride: int = 1) -> None:
        torch.manual_seed(0)
        self.seconds, self._stride, self._conv = 0.0, stride, torch.nn.Conv2d(2, CLASSES, 1).eval()

    def __call__(self, batch: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        start = time.perf_counter()
        with torch.inference_mode():
            if self._stride > 1:
                batch = torch.nn.functional.avg_pool2d(batch, self._stride)
            logits = self._conv(batch)
        self.seconds += time.perf_counter() - start
        return logits


def timed(run: Callable[[StubEngine], np.ndarray], stride: int = 1) -> float:
    """Run once; the engine's seconds, for timing.in_turns."""
    engine = StubEngine(stride)
    run(engine)
    return engine.seconds


def to_map(logits: torch.Tensor) -> np.ndarray:
    return logits.argmax(0).to(torch.uint8).numpy()


def numpy_crop(scene: np.ndarray, engine: StubEngine) -> np.ndarray:
    """No blending: argmax per tile, the halo dropped."""
    rows, cols = scene.shape[1:]
    half = OVERLAP // 2
    padded = np.pad(scene, ((0, 0), (half, half + TILE), (half, half + TILE)), mode="reflect")
    labels = np.empty((rows, cols), np.uint8)
    for r in range(0, rows, STEP):
        for c in range(0, cols, STEP):
            tile = np.ascontiguousarray(padded[:, r:r + TILE, c:c + TILE])
            best = engine(torch.from_numpy(tile)[None])[0].numpy().argmax(0)
            h, w = min(STEP, rows - r), min(STEP, cols - c)
            labels[r:r + h, c:c + w] = best[half:half + h, half:half + w]
    return labels


def monai_gaussian(scene: np.ndarray, engine: StubEngine) -> np.ndarray:
    from monai.inferers import sliding_window_inference
    with torch.inference_mode():
        logits = sliding_window_inference(torch.from_numpy(scene)[None], (TILE, TILE), 1, engine, overlap=OVERLAP / TILE,
                                          mode="gaussian")
    return to_map(logits[0])


def toolbelt(scene: np.ndarray, engine: StubEngine) -> np.ndarray:
    from pytorch_toolbelt.inference.tiles import ImageSlicer, TileMerger
    image = np.moveaxis(scene, 0, -1)
    slicer = ImageSlicer(image.shape, tile_size=(TILE, TILE), tile_step=(STEP, STEP), weight="pyramid")
    merger = TileMerger(slicer.target_shape, CLASSES, slicer.weight)
    for tile, where in zip(slicer.split(image), slicer.crops):
        batch = torch.from_numpy(np.ascontiguousarray(np.moveaxis(tile, -1, 0)))[None]
        merger.integrate_batch(engine(batch), [where])
    return slicer.crop_to_orignal_size(np.moveaxis(merger.merge().numpy(), 0, -1).argmax(-1).astype(np.uint8))


def terratorch_from(path: Path) -> Callable[[np.ndarray, StubEngine], np.ndarray]:
    """TerraTorch's tile file alone, without the package around it."""
    for name in ("terratorch", "terratorch.models", "terratorch.models.utils"):
        sys.modules.setdefault(name, types.ModuleType(name))
    sys.modules["terratorch.models.utils"].pad_images = None        # used with padding only
    spec = importlib.util.spec_from_file_location("terratorch_tiled", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)

    def terratorch(scene: np.ndarray, engine: StubEngine) -> np.ndarray:
        with torch.inference_mode():
            logits = module.tiled_inference(engine, torch.from_numpy(scene)[None], CLASSES, crop=TILE, stride=STEP, delta=0,
                                            batch_size=1, padding=False)
        return to_map(logits.reshape(CLASSES, *scene.shape[1:]))

    return terratorch
