"""What each convolution reads on the calibration tiles: mean and covariance of its inputs, by which its weights are rounded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from hfd_edge.export.quantize_layout import attributes_of

SAMPLES = 8192              # positions of each convolution over all tiles together
LEAST_OF_A_TILE = 64
MOST_TOGETHER = 1152        # inputs whose covariance is kept: a wide convolution has several blocks of at most so many


@dataclass(frozen=True, slots=True)
class Reads:
    """Mean and covariance of a convolution's inputs; inputs of a group are its channels by the rows and columns of the kernel."""

    mean: np.ndarray                        # (groups, inputs) float64
    covariance: tuple[np.ndarray, ...]      # blocks along the inputs, each (groups, block, block) float64


class ReadsOfTiles:
    """Collects what the convolutions of a float graph read, tile by tile."""

    def __init__(self, model: onnx.ModelProto, tiles: int) -> None:
        """Args:
            model: float; convolutions over images with constant weights count.
            tiles: how many will be added.
        """
        shapes = {t.name: tuple(t.dims) for t in model.graph.initializer}
        self._shapes = {node.output[0]: (node, shapes[node.input[1]]) for node in model.graph.node
                        if node.op_type == "Conv" and len(shapes.get(node.input[1], ())) == 4}
        self._each = max(LEAST_OF_A_TILE, SAMPLES // max(1, tiles))
        self._tiles = 0
        self._sums: dict[str, _Sums] = {}

    def add(self, values: dict[str, np.ndarray], status: np.ndarray | None) -> None:
        """One tile more.

        Args:
            values: of the graph's tensors by name, each (1, channels, rows, cols).
            status: (rows, cols) uint8 of the tile, 1 = not to be counted (nodata, or the halo); None = all counted. A tile
                without anything that counts adds nothing.
        """
        free = np.flatnonzero(status == 0) if status is not None else np.arange(1)
        if not free.size:
            return
        draw, count = np.random.default_rng(self._tiles), self._each
        if status is None:
            places = draw.random((2, count))
        else:
            places = (np.stack(np.unravel_index(draw.choice(free, count), status.shape)) + 0.5) / np.array(status.shape)[:, None]
        for name, (node, shape) in self._shapes.items():
            if node.input[0] in values:                     # a convolution of constants reads no pixels
                read = _patches(values[node.input[0]][0], node, shape, (values[name].shape[2:], places))
                self._sums.setdefault(name, _Sums(read)).add(read)
        self._tiles += 1

    def result(self) -> dict[str, Reads]:
        """By the name of the convolution's output; nothing where no tile counted."""
        return {name: sums.result(self._each * self._tiles) for name, sums in self._sums.items()}


class _Sums:
    """Of one convolution's inputs, each less a value near its mean: products in float32 would lose what varies little."""

    def __init__(self, first: np.ndarray) -> None:
        """Args: first: (groups, inputs, n) float32, what it will read, or the like."""
        self._near, self._edges = first.mean(axis=2, keepdims=True, dtype=np.float64).astype(np.float32), _edges(first.shape[1])
        self._total, self._products = np.zeros(first.shape[:2]), [0.0] * (len(self._edges) + 1)

    def add(self, read: np.ndarray) -> None:
        """Args: read: (groups, inputs, n) float32; changed."""
        read -= self._near
        self._total += read.sum(axis=2, dtype=np.float64)
        self._products = [before + part @ part.swapaxes(1, 2) for before, part in zip(self._products, np.split(read, self._edges, axis=1))]

    def result(self, count: int) -> Reads:
        mean = self._total / count
        parts = np.split(mean, self._edges, axis=1)
        return Reads(mean + self._near[:, :, 0], tuple(block / count - part[:, :, None] * part[:, None, :] for block, part in zip(self._products, parts)))


def _edges(inputs: int) -> np.ndarray:
    """Where blocks of at most MOST_TOGETHER inputs begin, but for the first; blocks are as even as can be."""
    count = -(-inputs // MOST_TOGETHER)
    return np.arange(1, count) * inputs // count


def _patches(image: np.ndarray, node: onnx.NodeProto, shape: tuple[int, ...], where: tuple[tuple[int, int], np.ndarray]) -> np.ndarray:
    """What a convolution reads for some of its results.

    Args:
        image: (channels, rows, cols) float32.
        shape: of its weights.
        where: rows and columns of its result, and places (2, n) in them, from 0 to below 1.
    Returns:
        (groups, channels of a group * kernel rows * kernel cols, n) float32.
    """
    given, (sides, places) = attributes_of(node), where
    strides, dilations = given.get("strides", [1, 1]), given.get("dilations", [1, 1])
    reach = [(kernel - 1) * step + 1 for kernel, step in zip(shape[2:], dilations)]
    missing = [max(0, (side - 1) * stride + long - had) for side, stride, long, had in zip(sides, strides, reach, image.shape[1:])]
    before = _before(given, missing)
    padded = np.pad(image, [(0, 0)] + [(first, max(0, lack - first)) for first, lack in zip(before, missing)])
    rows, cols = ((place * side).astype(np.int64) * stride for place, side, stride in zip(places, sides, strides))
    taps = [(row * dilations[0] * padded.shape[2] + col * dilations[1]) for row in range(shape[2]) for col in range(shape[3])]
    read = padded.reshape(len(padded), -1).take(np.add.outer(taps, rows * padded.shape[2] + cols), axis=1)
    return read.reshape(given.get("group", 1), shape[1] * shape[2] * shape[3], -1)


def _before(given: dict[str, Any], missing: list[int]) -> list[int]:
    """Rows and columns of zeros in front of the image."""
    how = given.get("auto_pad", b"NOTSET")
    if how == b"SAME_UPPER":
        return [lack // 2 for lack in missing]
    if how == b"SAME_LOWER":
        return [lack - lack // 2 for lack in missing]
    return list(given.get("pads", [0] * 4))[:2]
