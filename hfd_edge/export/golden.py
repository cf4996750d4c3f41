"""The golden tile of an export where none is given: blocks and speckle-like noise with the model's own statistics."""

from __future__ import annotations

import math

import numpy as np

from hfd_edge.errors import ExportError
from hfd_edge.export.session import open_session
from hfd_edge.spec import NODATA_LABEL, ModelInput
from hfd_edge.tiles import round_up

GOLDEN_PX = 128
CLOSE_CALL = 1e-2           # two best logits of a float graph nearer than this: engines may disagree, the golden tile does not ask
_SEED = 20_240
_CLOSE_SHARE = 0.05         # of the largest logit: nearer than this, processors may round a quantised graph differently


def golden_tile(given: np.ndarray | None, model: ModelInput, stride_px: int) -> np.ndarray:
    """`given` after a check, or seeded noise.

    Args:
        given: (bands, t, t) float32 network input, t a multiple of stride_px and at least twice as large; or None.
        model: statistics of the network's input.
        stride_px: total stride of the network.
    Returns:
        (bands, t, t) float32, C order.
    Raises:
        ExportError: wrong shape, dtype or values.
    """
    if given is None:
        return _noise(model, max(2 * stride_px, round_up(GOLDEN_PX, stride_px)))
    given = np.asarray(given)
    side = given.shape[-1] if given.ndim else 0
    fits = given.shape == (model.bands, side, side) and side % stride_px == 0 and side >= 2 * stride_px
    if given.dtype != np.float32 or not fits:
        raise ExportError(f"golden tile has shape {given.shape} and dtype {given.dtype}: it must be ({model.bands}, t, t) "
                          f"float32 with t a multiple of {stride_px}, at least {2 * stride_px}; normalise and crop a real scene")
    if not np.isfinite(given).all():
        raise ExportError("golden tile holds values that are not finite: it is network input, where nodata is 0; replace them")
    return np.ascontiguousarray(given)


def golden_labels(graph: bytes, pixels: np.ndarray) -> np.ndarray:
    """What a graph of lower precision answers its golden tile with: (t / ls, t / ls) uint8, 255 = too close to call.

    Raises:
        ExportError: no position of the tile is decided.
    """
    session = open_session(graph)
    logits = session.run(None, {session.get_inputs()[0].name: pixels[None]})[0][0]
    labels = logits.argmax(axis=0).astype(np.uint8)
    labels[close_calls(logits, _CLOSE_SHARE * np.abs(logits).max())] = NODATA_LABEL
    if (labels == NODATA_LABEL).all():
        raise ExportError("the golden tile decides nothing in a quantised graph: give golden_pixels of a real scene on which the network is sure")
    return labels


def close_calls(logits: np.ndarray, margin: float = CLOSE_CALL) -> np.ndarray:
    """(rows, cols) bool, where the two best of (classes, rows, cols) are nearer than a margin; nowhere of one class."""
    if len(logits) == 1:
        return np.zeros(logits.shape[1:], bool)
    best = np.partition(logits, -2, axis=0)
    return best[-1] - best[-2] < margin


def _noise(model: ModelInput, side: int) -> np.ndarray:
    random = np.random.default_rng(_SEED)
    blocks = random.standard_normal((model.bands, -(-side // 16), -(-side // 16)))
    blocks = blocks.repeat(16, 1).repeat(16, 2)[:, :side, :side]
    z = blocks + random.standard_normal((model.bands, side, side)) / 2
    mean, std = (np.array(v)[:, None, None] for v in (model.mean, model.std))
    x = np.maximum(mean + std * z, -math.inf if model.floor is None else model.floor)
    if model.clip is not None:
        low, high = np.array(model.clip).T[:, :, None, None]
        x = np.clip(x, low, high)
    return ((x - mean) / std).astype(np.float32)
