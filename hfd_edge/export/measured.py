"""The reach as measured: change every pixel outside a box and see how far inside the box the result changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hfd_edge.errors import ReachError
from hfd_edge.export.session import open_session
from hfd_edge.spec import ModelSpec
from hfd_edge.tiles import round_up

Run = Callable[[np.ndarray], np.ndarray]        # (1, bands, n, n) float32 -> logits (1, classes, n / ls, n / ls) float32


@dataclass(frozen=True, slots=True)
class Probe:
    """Where and how often to look."""

    bands: int
    stride_px: int
    logit_stride_px: int
    side_px: int                    # side of the image, a multiple of stride_px, above twice the reach to be found
    seeds: tuple[int, ...] = (0, 1)
    positive: bool = False          # pixels in 0..1 instead of standard normal; for networks with positive weights


def measured_within_bound(graph: bytes, spec: ModelSpec, side_px: int | None = None, seeds: tuple[int, ...] = (0, 1)) -> int | None:
    """The reach of a graph, run by ONNX Runtime, which must not exceed the spec's.

    Args:
        side_px: the one size that the graph takes; None = any.
    Returns:
        pixels; None where that size is too small to see it.
    Raises:
        ReachError: it exceeds the spec's.
    """
    least = round_up(2 * spec.reach_px + 3 * spec.stride_px, spec.stride_px)
    if side_px is not None and side_px < least:
        return None
    session = open_session(graph)
    image, probe = session.get_inputs()[0].name, Probe(len(spec.bands), spec.stride_px, spec.logit_stride_px, side_px or least, seeds)
    measured = measured_reach(lambda pixels: session.run(None, {image: pixels})[0], probe)
    if measured > spec.reach_px:
        raise ReachError(f"measured reach {measured} px is above the bound of {spec.reach_px} px: the graph uses an operator "
                         "in a way the bound does not know; no package was written; report the network")
    return measured


def measured_reach(run: Run, probe: Probe) -> int:
    """Largest distance, in pixels, at which a changed input pixel changed a full-resolution pixel of the result.

    For every seed and every phase of the stride, the image keeps its values inside a box that starts (and ends) at that phase
    and is drawn anew, ten times as strong, outside. A result pixel that differs in any bit is felt from the distance of the
    nearest changed pixel at least. The bilinear up-sampling of the logits counts: a result pixel differs if a logit it
    blends differs. A measurement finds less than the bound where weights are small; it never finds more than the true reach.
    """
    reach = 0
    for seed in probe.seeds:
        random = np.random.default_rng(seed)
        shape = (1, probe.bands, probe.side_px, probe.side_px)
        draw = random.random if probe.positive else random.standard_normal
        base, other = draw(shape).astype(np.float32), 10 * draw(shape).astype(np.float32)
        expected = run(base)
        for phase in range(probe.stride_px):
            reach = max(reach, _felt(run, probe, (base, other, expected), phase))
    return reach


def _felt(run: Run, probe: Probe, images: tuple[np.ndarray, np.ndarray, np.ndarray], phase: int) -> int:
    base, other, expected = images
    first, last = probe.stride_px + phase, probe.side_px - probe.stride_px - phase      # the box is first .. last - 1
    changed_image = other.copy()
    changed_image[..., first:last, first:last] = base[..., first:last, first:last]
    cells = (run(changed_image) != expected).any(axis=(0, 1))
    pixels = _blended(_blended(cells, probe.logit_stride_px).T, probe.logit_stride_px).T
    position = np.arange(probe.side_px)
    depth = np.minimum(position - first + 1, last - position)                            # 1 for the box's outermost pixels
    return max(0, int(np.minimum.outer(depth, depth)[pixels].max(initial=0)))


def _blended(cells: np.ndarray, stride: int) -> np.ndarray:
    """Along axis 0: which full-resolution pixels blend a marked cell under half-pixel bilinear up-sampling."""
    pixel = np.arange(len(cells) * stride)
    below = (2 * pixel + 1 - stride) // (2 * stride)
    exact = (2 * pixel + 1 - stride) % (2 * stride) == 0
    top = len(cells) - 1
    return cells[np.clip(below, 0, top)] | cells[np.clip(below + ~exact, 0, top)]
