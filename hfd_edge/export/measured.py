"""The reach as measured: change every pixel outside a box and see how far inside the box the result changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from hfd_edge.errors import ReachError
from hfd_edge.export.session import open_session
from hfd_edge.export.told import Counted, say
from hfd_edge.spec import ModelSpec
from hfd_edge.tiles import round_up

Run = Callable[[np.ndarray], np.ndarray]        # (1, bands, n, m) float32 -> logits (1, classes, n / ls, m / ls) float32
STRIP_PX = 128                                  # across, of a strip: some cells of the coarsest grid


@dataclass(frozen=True, slots=True)
class Probe:
    """Where and how often to look."""

    bands: int
    stride_px: int
    logit_stride_px: int
    side_px: int                    # along the measured axis; a multiple of stride_px, above twice the reach to be found
    across_px: int | None = None    # rows and columns are measured one after the other, in strips so wide; None = together, in a square
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
    across = round_up(max(STRIP_PX, (_mirrored_cells(graph) + 1) * spec.stride_px), spec.stride_px)
    image, probe = session.get_inputs()[0].name, Probe(len(spec.bands), spec.stride_px, spec.logit_stride_px, side_px or least,
                                                       across if side_px is None and 2 * across < least else None, seeds)
    measured = measured_reach(lambda pixels: session.run(None, {image: pixels})[0], probe)
    if measured > spec.reach_px:
        raise ReachError(f"measured reach {measured} px is above the bound of {spec.reach_px} px: the graph uses an operator "
                         "in a way the bound does not know; no package was written; report the network")
    return measured


def _mirrored_cells(graph: bytes) -> int:
    """The most cells beside an image that a Pad fills with those inside it, of which there must be more."""
    model, most = onnx.load_from_string(graph), 0
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        if node.op_type == "Pad" and any(each.name == "mode" and each.s == b"reflect" for each in node.attribute):
            most = max(most, int(constants[node.input[1]].max()))       # the walk that bounds a reach refuses a Pad by computed numbers
    return most


def measured_reach(run: Run, probe: Probe) -> int:
    """Largest distance, in pixels, at which a changed input pixel changed a full-resolution pixel of the result.

    For every seed and every phase of the stride, the image keeps its values inside a box that starts (and ends) at that phase
    and is drawn anew, ten times as strong, outside. A result pixel that differs in any bit is felt from the distance of the
    nearest changed pixel at least. The bilinear up-sampling of the logits counts: a result pixel differs if a logit it
    blends differs. A measurement finds less than the bound where weights are small; it never finds more than the true reach.
    In a strip the box has two ends and no sides: what is felt along the other axis is measured in the other strip. What is felt at a slant alone,
    further along both axes than a strip is wide, is seen in a square only.
    """
    side, across = probe.side_px, probe.across_px
    shapes = [(side, side)] if across is None else [(side, across), (across, side)]
    reach, runs = 0, len(probe.seeds) * len(shapes) * (probe.stride_px + 1)
    say(f"measuring the reach: {runs} runs of {side} x {across or side} pixels")
    counted = Counted(runs)
    for seed in probe.seeds:
        random = np.random.default_rng(seed)
        draw = random.random if probe.positive else random.standard_normal
        for rows, cols in shapes:
            base, other = (strength * draw((1, probe.bands, rows, cols)).astype(np.float32) for strength in (1, 10))
            expected = run(base)
            counted.step()
            for phase in range(probe.stride_px):
                reach = max(reach, _felt(run, probe, (base, other, expected), phase))
                counted.step()
    return reach


def _felt(run: Run, probe: Probe, images: tuple[np.ndarray, np.ndarray, np.ndarray], phase: int) -> int:
    base, other, expected = images
    depth = np.minimum.outer(*(_depth(probe, length, phase) for length in base.shape[2:]))
    cells = (run(np.where(depth > 0, base, other)) != expected).any(axis=(0, 1))
    pixels = _blended(_blended(cells, probe.logit_stride_px).T, probe.logit_stride_px).T
    return max(0, int(depth[pixels].max(initial=0)))


def _depth(probe: Probe, length: int, phase: int) -> np.ndarray:
    """How far inside the box positions along an axis lie: 1 for its outermost, below 1 outside. Across a strip all lie inside."""
    if length < probe.side_px:
        return np.full(length, probe.side_px)
    first, last = probe.stride_px + phase, length - probe.stride_px - phase                  # the box is first .. last - 1
    position = np.arange(length)
    return np.minimum(position - first + 1, last - position)


def _blended(cells: np.ndarray, stride: int) -> np.ndarray:
    """Along axis 0: which full-resolution pixels blend a marked cell under half-pixel bilinear up-sampling."""
    pixel = np.arange(len(cells) * stride)
    below = (2 * pixel + 1 - stride) // (2 * stride)
    exact = (2 * pixel + 1 - stride) % (2 * stride) == 0
    top = len(cells) - 1
    return cells[np.clip(below, 0, top)] | cells[np.clip(below + ~exact, 0, top)]
