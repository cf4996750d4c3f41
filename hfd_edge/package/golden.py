"""The golden tile: one network input and the labels every graph of the package must answer it with.

Stored as .npy version 1.0 with a header of exactly 128 bytes, so that the arrays are aligned, the bytes do not depend on the
numpy that wrote them, and reading needs no general .npy parser (and no pickle) for bytes of a stranger.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hfd_edge.errors import PackageError
from hfd_edge.spec import NODATA_LABEL, ModelSpec

INPUT = "golden/input.npy"
UNDECIDED = NODATA_LABEL           # label where the two best logits are too close to call
_AGAIN = "export the network again"

_HEADER_BYTES = 128
_HEADER = re.compile(rb"\x93NUMPY\x01\x00\x76\x00"
                     rb"\{'descr': '(<f4|\|u1)', 'fortran_order': False, 'shape': \((\d{1,9}(?:, \d{1,9})+)\), \} *\n")


@dataclass(frozen=True, slots=True, eq=False)
class Golden:
    """What an engine must answer before it is used."""

    input: np.ndarray                # (bands, t, t) float32, network input (normalised, no unit), t a multiple of the stride
    labels: dict[str, np.ndarray]    # by graph: (t / ls, t / ls) uint8, argmax at the logits' stride ls; 255 = too close to call


def labels_name(graph: str) -> str:
    """Name of the member that holds the labels of a graph member: golden/labels-graph-fp32.npy for graph-fp32.onnx."""
    return f"golden/labels-{graph.removesuffix('.onnx')}.npy"


def encode(golden: Golden) -> dict[str, bytes]:
    """The golden tile's members, by name."""
    arrays = {INPUT: golden.input, **{labels_name(graph): labels for graph, labels in golden.labels.items()}}
    return {name: _npy(array) for name, array in arrays.items()}


def decode(read: Callable[[str], memoryview], names: Sequence[str], graphs: Sequence[str], spec: ModelSpec) -> Golden:
    """The golden tile out of a package; its arrays are read-only views of the members.

    Args:
        read: gives a member's data by name.
        names: all members of the package.
        graphs: its graph members.
        spec: of the network.
    Raises:
        PackageError: a member is missing, no .npy of this format, or contradicts the spec.
    """
    missing = {INPUT, *map(labels_name, graphs)} - {*names}
    if missing:
        raise PackageError(f"member {min(missing)} is missing: each graph travels with a golden tile; {_AGAIN}")
    golden = Golden(_array(INPUT, read(INPUT)), {graph: _array(labels_name(graph), read(labels_name(graph))) for graph in graphs})
    check(golden, graphs, spec)
    return golden


def check(golden: Golden, graphs: Sequence[str], spec: ModelSpec) -> None:
    """Refuse a golden tile that contradicts the spec or proves nothing.

    Raises:
        PackageError: wrong shape, dtype or classes, NaN in the input, a graph without labels, or no decided pixel.
    """
    tile, side = golden.input, golden.input.shape[-1] if golden.input.ndim else 0
    if tile.dtype != np.float32 or tile.shape != (len(spec.bands), side, side) or side % spec.stride_px or not side:
        raise PackageError(f"golden input is {tile.dtype} {tile.shape}: it must be float32 ({len(spec.bands)}, t, t) with t a "
                           f"multiple of stride_px={spec.stride_px}; cut it on the network's grid")
    if not np.isfinite(tile).all():
        raise PackageError("golden input holds NaN or infinity: network input is finite, nodata enters as 0; choose another tile")
    if {*golden.labels} != {*graphs}:
        raise PackageError(f"golden labels are for {sorted(golden.labels)}, the graphs are {sorted(graphs)}: give labels for each graph")
    expected = (side // spec.logit_stride_px,) * 2
    for graph, labels in golden.labels.items():
        if labels.dtype != np.uint8 or labels.shape != expected:
            raise PackageError(f"golden labels of {graph} are {labels.dtype} {labels.shape}: they must be uint8 {expected}, one per logit")
        decided = labels[labels != UNDECIDED]
        if not decided.size or decided.max() >= len(spec.classes):
            raise PackageError(f"golden labels of {graph} must be 0..{len(spec.classes) - 1} or {UNDECIDED} (too close to call), "
                               "and some must be decided; choose a tile the network is sure of")


def _npy(array: np.ndarray) -> bytes:
    descr = {"float32": "<f4", "uint8": "|u1"}[array.dtype.name]
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': ({', '.join(map(str, array.shape))}), }}"
    header = b"\x93NUMPY\x01\x00" + (_HEADER_BYTES - 10).to_bytes(2, "little")
    header += text.encode("ascii").ljust(_HEADER_BYTES - 11) + b"\n"
    return header + array.astype(descr, order="C", copy=False).tobytes()


def _array(name: str, data: memoryview) -> np.ndarray:
    match = _HEADER.fullmatch(data[:_HEADER_BYTES])
    if match is None:
        raise PackageError(f"member {name} is no .npy file as the format describes it (version 1.0, header of {_HEADER_BYTES} "
                           f"bytes, float32 or uint8 in C order): {_AGAIN}")
    dtype = np.dtype(match[1].decode("ascii"))
    shape = tuple(int(text) for text in match[2].split(b", "))
    if math.prod(shape) * dtype.itemsize != data.nbytes - _HEADER_BYTES:
        raise PackageError(f"member {name} says {dtype} {shape} but holds {data.nbytes - _HEADER_BYTES} bytes: {_AGAIN}")
    return np.frombuffer(data, dtype, offset=_HEADER_BYTES).reshape(shape)
