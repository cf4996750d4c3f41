"""What a network is worth on scenes it never saw."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from hfd_edge.measure.accuracy import Accuracy, Confusion
from hfd_edge.network import HFDNet, upsample
from hfd_edge.simulate import CLASS_NAMES, Scene, SceneConfig, SceneWindow
from hfd_edge.spec import ModelInput
from training.pairs import EVALUATION_SEED, eo_input, sar_input

MARGIN_PX = 64                            # of reflection around a scene, as the run-time gives its tiles


def unseen(scene: SceneConfig, scenes: int = 24, side_px: int = 512) -> Iterator[SceneWindow]:
    """Scenes of seeds that no training and no statistics use, SAR and EO."""
    for number in range(scenes):
        config = replace(scene, rows=side_px, cols=side_px, seed=EVALUATION_SEED + number)
        yield Scene(config).window(0, 0, side_px, side_px)


def judge(classifiers: dict[str, Callable[[SceneWindow], np.ndarray]], windows: Iterator[SceneWindow]) -> dict[str, Accuracy]:
    """Every classifier on the same scenes, each with one confusion matrix over all of them."""
    counts = {name: Confusion(CLASS_NAMES) for name in classifiers}
    for window in windows:
        for name, classify in classifiers.items():
            counts[name].add(window.labels, classify(window))
    return {name: confusion.result() for name, confusion in counts.items()}


def sar_classifier(net: HFDNet, spec: ModelInput) -> Callable[[SceneWindow], np.ndarray]:
    return lambda window: predict(net, sar_input(window.sar, spec))


def eo_classifier(net: HFDNet) -> Callable[[SceneWindow], np.ndarray]:
    return lambda window: predict(net, eo_input(window.eo))


@torch.inference_mode()
def predict(net: HFDNet, image: torch.Tensor) -> np.ndarray:
    """(bands, r, c) float32 network input, sides multiples of the stride, to (r, c) uint8 classes."""
    padded = F.pad(image[None], (MARGIN_PX,) * 4, mode="reflect").contiguous(memory_format=torch.channels_last)
    logits = upsample(net.eval()(padded), net.logit_stride_px)
    return logits[0, :, MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX].argmax(dim=0).to(torch.uint8).numpy()
