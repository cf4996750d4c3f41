"""Simulated SAR and EO pairs as an endless stream of batches.

Scenes come in rounds: a few are simulated, cut into blocks, used for some passes and thrown away, so the network never sees the
same speckle for long and memory stays small. The stream is a function of its seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from hfd_edge.simulate import Scene, SceneConfig
from hfd_edge.spec import ModelInput, Unit

FLOOR_DB = -35.0
CLIP_DB = (-35.0, 10.0)
STATISTICS_SEED = 1 << 40                 # scenes of their own for the input statistics, for training and for evaluation
TRAINING_SEED = 1 << 41
EVALUATION_SEED = 1 << 42
_EO_MEAN, _EO_STD = 0.12, 0.10            # rough and fixed: the teacher never leaves training


@dataclass(frozen=True, slots=True)
class Batch:
    """Aligned pairs, ready for the networks."""

    sar: Tensor                           # (n, 2, c, c) float32, normalised, channels last
    eo: Tensor | None                     # (n, 4, c, c) float32, normalised, channels last; None if not asked for
    labels: Tensor                        # (n, c, c) int64, 255 = ignored


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """How scenes become batches."""

    scene: SceneConfig = SceneConfig(512, 512)     # rows and cols: multiples of crop_px
    crop_px: int = 256
    batch: int = 4
    scenes_per_round: int = 16
    passes_per_round: int = 3                      # over the blocks of a round before fresh ones are simulated
    seed: int = 0


def measure_input(scene: SceneConfig, scenes: int = 12) -> ModelInput:
    """What the student's input is: clipped dB, with mean and standard deviation per band of scenes kept for this purpose."""
    values = []
    for number in range(scenes):
        window = Scene(replace(scene, rows=512, cols=512, seed=STATISTICS_SEED + number)).window(0, 0, 512, 512, eo=False)
        values.append(np.clip(_decibel(window.sar, FLOOR_DB), *map(np.float32, CLIP_DB)).reshape(2, -1))
    db = np.concatenate(values, axis=1).astype(np.float64)
    return ModelInput(unit=Unit.DB, mean=tuple(db.mean(axis=1).round(3)), std=tuple(db.std(axis=1).round(3)),
                      clip=(CLIP_DB, CLIP_DB), floor=FLOOR_DB, quantity="sigma0", looks=scene.looks, speckle_filter="none")


def sar_input(sar: np.ndarray, spec: ModelInput) -> Tensor:
    """(2, r, c) float32 linear sigma nought to the network's input of the same shape: dB, clipped and z-scored as `spec` says."""
    mean, std = (np.array(v, np.float32)[:, None, None] for v in (spec.mean, spec.std))
    low, high = (np.array(v, np.float32)[:, None, None] for v in zip(*spec.clip))
    return torch.from_numpy((np.clip(_decibel(sar, spec.floor), low, high) - mean) / std)


def eo_input(eo: np.ndarray) -> Tensor:
    """(4, r, c) float32 reflectance to the teacher's input of the same shape."""
    return torch.from_numpy((eo - np.float32(_EO_MEAN)) / np.float32(_EO_STD))


def stream(config: StreamConfig, spec: ModelInput, eo: bool) -> Iterator[Batch]:
    """Batches without end. SAR and labels do not depend on whether EO is asked for."""
    rng = np.random.default_rng(config.seed)
    first = TRAINING_SEED + (config.seed << 20)
    while True:
        scenes = [replace(config.scene, seed=first + number) for number in range(config.scenes_per_round)]
        first += config.scenes_per_round
        blocks = [_blocks(scene, config.crop_px, spec, eo) for scene in scenes]
        sar, labels = torch.cat([b[0] for b in blocks]), torch.cat([b[1] for b in blocks])
        optical = torch.cat([b[2] for b in blocks]) if eo else None
        for _ in range(config.passes_per_round):
            order = torch.from_numpy(rng.permutation(len(sar)))
            for chosen in order.split(config.batch):
                if len(chosen) == config.batch:
                    yield _batch(sar[chosen], labels[chosen], optical[chosen] if eo else None, flip=rng.random() < 0.5)


def _batch(sar: Tensor, labels: Tensor, eo: Tensor | None, flip: bool) -> Batch:
    """Pairs flipped together along the flight direction (rows); along the look direction layover would point the wrong way."""
    if flip:
        sar, labels, eo = sar.flip(2), labels.flip(1), None if eo is None else eo.flip(2)
    last = torch.channels_last
    return Batch(sar.contiguous(memory_format=last), None if eo is None else eo.contiguous(memory_format=last), labels.long())


def _blocks(scene: SceneConfig, crop: int, spec: ModelInput, eo: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    window = Scene(scene).window(0, 0, scene.rows, scene.cols, eo=eo)
    return (_cut(sar_input(window.sar, spec), crop), _cut(torch.from_numpy(window.labels)[None], crop)[:, 0],
            _cut(eo_input(window.eo), crop) if eo else None)


def _cut(image: Tensor, crop: int) -> Tensor:
    """(c, r * crop, k * crop) to (r * k, c, crop, crop)."""
    channels, rows, cols = image.shape
    parts = image.reshape(channels, rows // crop, crop, cols // crop, crop)
    return parts.permute(1, 3, 0, 2, 4).reshape(-1, channels, crop, crop)


def _decibel(sar: np.ndarray, floor_db: float) -> np.ndarray:
    return np.float32(10) * np.log10(np.maximum(sar, np.float32(10 ** (floor_db / 10))))
