"""From a checked foreign model to a network for tiles: strides found by running it, reach bounded, rewriting proved."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx

from hfd_edge.errors import ExportError, GateError, ReachError
from hfd_edge.export import foreign_head as head
from hfd_edge.export import foreign_rewrite as rewrite
from hfd_edge.export.foreign_blocks import move_by_blocks
from hfd_edge.export.foreign_intake import check_declared_memory, image_size, one_line
from hfd_edge.export.foreign_operators import in_known_operators
from hfd_edge.export.foreign_scene import noise_for
from hfd_edge.export.reach import bound_reach
from hfd_edge.export.reach_rules import GLOBAL
from hfd_edge.export.session import open_session, telling

PROBES_PX = ((192, 384), (384, 192))    # multiples of 2..64 and 3; two shapes, so that a size is not taken for another
MAX_STRIDE_PX = 64                      # what is coarser is no grid of a network, but the bins of a pyramid pooling
SAME = 1e-4                             # largest change of a logit by rewriting, relative to the largest logit where above 1
_STRENGTHS = (1.0, 30.0, 1000.0)        # of noise, as what an unscaled network was trained on may be far from 1
_SEED = 20_241


@dataclass(frozen=True, slots=True)
class ForeignNetwork:
    """A foreign graph in hfd_edge's form and what was found out about it."""

    graph: bytes                    # input "pixels" (batch, bands, rows, cols), output "logits", float32
    bands: int
    classes: int
    stride_px: int                  # coarsest grid of the network: the least common multiple of its tensors' strides
    logit_stride_px: int
    fixed_px: int | None            # the one side it takes; None = any multiple of stride_px
    reach_px: int | None            # bound from walking the graph; None = unbounded or unknown
    unbounded: str                  # why there is no bound, operators by name; "" where there is one
    rounded: str                    # a resizing that is not the same to the bit in a tile and in the scene; "" = there is none
    notes: tuple[str, ...]          # what was changed
    operators: dict[str, int]       # how often each stands in the final graph


def prepare_network(model: onnx.ModelProto, name: str, single_logit_classes: bool, keep_size: bool = False) -> ForeignNetwork:
    """Bring a model that passed `read_foreign` into hfd_edge's form and find out its geometry.

    Args:
        model: the foreign model; it is not changed.
        name: what to call it in messages.
        single_logit_classes: the spec names two classes: one logit becomes two.
        keep_size: leave a fixed input size as it is.
    Raises:
        ExportError: it does not run, its logits lie on no constant stride, or a size is not one that tiles can have.
        GateError: the rewritten graph answers otherwise than the file that was given, or names other classes.
    """
    fixed = image_size(model)
    sizes = [fixed] if fixed[0] else list(PROBES_PX)
    for size in sizes:
        check_declared_memory(model, *size, name)
    work = rewrite.folded(model, name)
    in_known_operators(work)
    outcomes = [_outcome(work, size, name) for size in sizes]
    runs = [shapes for shapes, _ in outcomes]
    _check_answers(runs, model, name)
    if fixed[0]:
        _check_resizing(work, runs[0], name)
        rewrite.open_slices(work, runs[0])
    rewrite.hold_places(work, [places for _, places in outcomes])
    rewrite.drop_expands(work, runs)
    notes = []
    if count := rewrite.resize_by_factors(work, runs):
        notes.append(f"{count} resizings to a size became resizings by a constant factor")
    if count := rewrite.pad_by_numbers(work, runs):
        notes.append(f"{count} paddings to SAME became paddings by numbers")
    if count := move_by_blocks(work, runs):
        notes.append(f"{count} moves of channels by Reshape and Transpose became Gather, SpaceToDepth or DepthToSpace")
    rewrite.drop_unused(work)
    work = rewrite.folded(work, name)           # a batch norm may have waited for the sizes beside it to go
    given = _prove_equal(model, work, sizes, name)
    probabilities = head.cut_probabilities(work)
    cut = [note for note in (probabilities, head.cut_upsampling(work)) if note]
    head.check_logits(work, _answers(work, sizes[:1], _STRENGTHS), bool(probabilities), name)
    if given[0].shape[1:2] == (1,) and single_logit_classes:
        head.split_single_logit(work)
        cut.append("the one logit became two: background and the class")
    rewrite.name_plainly(work, "network")
    found = _found(work, name, (fixed, keep_size), notes + cut)
    for answer, ours in zip(given, _answers(work, sizes)) if found.classes > 1 else ():
        head.check_classes(answer, ours, bool(probabilities), name)
    return found


def _found(work: onnx.ModelProto, name: str, size: tuple, notes: list[str]) -> ForeignNetwork:
    """Strides, reach and open sizes of the rewritten model."""
    (rows, cols), keep_size = size
    fixed = (rows, cols) if rows else None
    runs = [_outcome(work, probe, name)[0] for probe in ([fixed] if fixed else PROBES_PX)]
    logit_stride = _logit_stride(runs, name)
    stride = math.lcm(logit_stride, *_strides(runs))
    bands, classes = (runs[0][end][1] for end in (rewrite.INPUT_NAME, rewrite.OUTPUT_NAME))
    reach, why = None, ""
    try:
        reach = bound_reach(work, stride, logit_stride).reach_px
    except ReachError as error:
        why = _unbounded(work, error)
    if fixed and reach is not None and not keep_size and not rewrite.sizes_stand_in_it(work):
        notes = [*notes, f"the input of {rows} x {cols} pixels became one of any size: no node knows the size"]
        fixed = None
    if fixed and rows != cols:
        raise ExportError(f"{name} takes {rows} x {cols} pixels and no other size: a fixed tile must be square; export it for "
                          "a square, or with open sizes")
    open_batch = _declare(work, bands, classes, fixed, logit_stride)
    if not open_batch:
        notes = [*notes, "one tile at a time: the graph holds its batch of 1"]
    operators: dict[str, int] = {}
    for node in work.graph.node:
        operators[node.op_type] = operators.get(node.op_type, 0) + 1
    graph = work.SerializeToString(deterministic=True)
    return ForeignNetwork(graph, bands, classes, stride, logit_stride, fixed[0] if fixed else None, reach, why,
                          rewrite.rounded_resizing(work), tuple(notes), dict(sorted(operators.items())))


def _declare(work: onnx.ModelProto, bands: int, classes: int, fixed: tuple[int, int] | None, logit_stride: int) -> bool:
    """Declare the sizes, with an open batch if two tiles at once give what each gives alone; whether they do."""
    image = fixed or ("rows", "cols")
    logits = tuple(side // logit_stride for side in fixed) if fixed else ("logit_rows", "logit_cols")
    rewrite.declare_sizes(work, ("batch", bands, *image), ("batch", classes, *logits))
    tiles = _noise((2, bands, *(fixed or PROBES_PX[0])))
    try:
        session = open_session(work.SerializeToString())
        told = noise_for(session, _SEED)
        both = session.run(None, {rewrite.INPUT_NAME: tiles, **told})[0]
        alone = np.concatenate([session.run(None, {rewrite.INPUT_NAME: tile[None], **told})[0] for tile in tiles])
        if both.shape == alone.shape and _difference(alone, both) <= SAME:
            return True
    except Exception:  # noqa: BLE001 - ONNX Runtime's own exceptions share no public base; a batch of 1 stays
        pass
    rewrite.declare_sizes(work, (1, bands, *image), (1, classes, *logits))
    return False


def _outcome(model: onnx.ModelProto, size: tuple[int, int], name: str) -> tuple[rewrite.Shapes, dict[str, np.ndarray]]:
    """(shape of every tensor, computed places of Pads and Slices), from running the graph with all tensors as outputs."""
    names = list(dict.fromkeys(output for node in model.graph.node for output in node.output if output))
    source = model.graph.input[0]
    image = _noise((1, source.type.tensor_type.shape.dim[1].dim_value, *size))
    try:
        values = open_session(telling(model, names), optimised=False).run(names, {source.name: image})
    except Exception as error:  # ONNX Runtime's own exceptions share no public base
        raise ExportError(f"{name} does not run on an image of {size[0]} x {size[1]} pixels: {one_line(error)}; a network for "
                          "tiles takes every multiple of its stride (up to 64), or one fixed size") from error
    found = dict(zip(names, values))
    places = {place: found[place] for place in rewrite.computed_places(model)}
    return {source.name: image.shape, **{output: np.shape(value) for output, value in found.items()}}, places


def _check_answers(runs: list[rewrite.Shapes], model: onnx.ModelProto, name: str) -> None:
    """Refuse classes that come last: as (batch, classes, rows, cols) their rows would be classes."""
    source, answer = model.graph.input[0].name, model.graph.output[0].name
    if any(len(run[answer]) != 4 for run in runs):
        return                                              # refused by its shape later on
    ratios = [{a / b for run in runs for a, b in zip(run[source][2:], run[answer][first:first + 2]) if b} for first in (1, 2)]
    last, second = (len(found) == 1 and found.pop().is_integer() for found in ratios)
    if last and not second:
        raise ExportError(f"{name} answers an image of shape {runs[0][source]} with shape {runs[0][answer]}: the classes come last, and they must come "
                          "second (batch, classes, rows, cols); leave out the Transpose (permute) at the end, or add one back")


def _check_resizing(work: onnx.ModelProto, run: rewrite.Shapes, name: str) -> None:
    """Refuse a fixed size that the network's own grids do not divide: such a resizing has no factor for tiles."""
    image = run[work.graph.input[0].name][2:]
    for node in work.graph.node:
        source, made = (run.get(end, ())[2:] for end in (node.input[0], node.output[0])) if node.op_type == "Resize" else ((), ())
        if any(side % min(a, b) for side, a, b in zip(image, source, made) if min(a, b)):
            raise ExportError(f"{name} takes {image[0]} x {image[1]} pixels and no other size, and resizes a grid of {source[0]} x {source[1]} in it to "
                              f"{made[0]} x {made[1]}: a fixed size must be a multiple of every grid's stride; export it with open sizes, or for a "
                              "square whose side is a multiple of 64")


def _logit_stride(runs: list[rewrite.Shapes], name: str) -> int:
    found = set()
    for run in runs:
        image, logits = run[rewrite.INPUT_NAME], run[rewrite.OUTPUT_NAME]
        if len(logits) != 4 or logits[0] != 1 or 0 in logits:
            raise ExportError(f"{name} answers an image of shape {image} with shape {logits}: logits are (batch, classes, rows, cols), of one class too; "
                              "leave out a squeeze or an index such as [:, 0] or [0] at its end")
        found |= {a / b for a, b in zip(image[2:], logits[2:])}
    if len(found) != 1 or not (stride := found.pop()).is_integer():
        seen = ", ".join(f"{run[rewrite.INPUT_NAME][2:]} -> {run[rewrite.OUTPUT_NAME][2:]}" for run in runs)
        raise ExportError(f"{name}: images become logits {seen}: the logits must be the image over one whole stride; pad the "
                          "convolutions, and resize by factors")
    return int(stride)


def _strides(runs: list[rewrite.Shapes]) -> set[int]:
    """Whole strides at which tensors of (1, channels, rows, cols) lie, the same in every run and along both axes."""
    found = set()
    for tensor, first in runs[0].items():
        if first[2:] == (1, 1):
            continue                            # pooled over the whole image: no grid
        ratios = {a / b for run in runs if len(shape := run[tensor]) == 4 and 0 not in shape
                  for a, b in zip(run[rewrite.INPUT_NAME][2:], shape[2:])}
        if len(ratios) == 1 and all(len(run[tensor]) == 4 for run in runs) and (ratio := ratios.pop()).is_integer() and ratio <= MAX_STRIDE_PX:
            found.add(int(ratio))
    return found


def _unbounded(work: onnx.ModelProto, error: ReachError) -> str:
    joining = sorted({node.op_type for node in work.graph.node if node.op_type in GLOBAL})
    return f"{error}" + (f" (operators that join all positions: {', '.join(joining)})" if joining else "")


def _prove_equal(model: onnx.ModelProto, work: onnx.ModelProto, sizes: list[tuple[int, int]], name: str) -> list[np.ndarray]:
    """Both graphs on noise of every probed size; they must agree before the head is cut off. Gives the file's answers."""
    answers = _answers(model, sizes)
    for size, given, ours in zip(sizes, answers, _answers(work, sizes)):
        if given.shape != ours.shape or not np.isfinite(given).all() or _difference(given, ours) > SAME:
            raise GateError(f"{name} rewritten for tiles answers {size[0]} x {size[1]} pixels of noise otherwise than the file "
                            f"itself (or not with finite numbers): at most {SAME:g} is allowed; no package was written; export "
                            "the network with opset 18")
    return answers


def _answers(model: onnx.ModelProto, sizes: list[tuple[int, int]], strengths: tuple[float, ...] = (1.0,)) -> list[np.ndarray]:
    """To noise of every size and strength."""
    session = open_session(model.SerializeToString())
    source = session.get_inputs()[0].name
    bands, told = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value, noise_for(session, _SEED)
    return [session.run(None, {source: np.float32(strength) * _noise((1, bands, *size)), **told})[0] for size in sizes for strength in strengths]


def _difference(given: np.ndarray, ours: np.ndarray) -> float:
    return float(np.abs(given - ours).max() / max(1.0, np.abs(given).max()))


def _noise(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(_SEED).standard_normal(shape).astype(np.float32)
