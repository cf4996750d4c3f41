"""What this machine could do at most: a copy of memory and a matrix product, timed in the very run that is held against them.

A share of 1 is the bound. Where a working set stays in a cache, the share of the bandwidth can exceed 1; the operations bound then. The product
counts a multiplication with its addition as two operations, which few other loops can pair: a share of 0.5 may be all there is.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from timing import Seconds, in_turns

COPY, PRODUCT = "copy of memory", "matrix product"
COPY_BYTES, PRODUCT_SIDE = 1 << 27, 1024


@dataclass(frozen=True)
class Work:
    """What a job moves and computes each time it runs."""

    bytes_moved: float
    operations: float


def bound_jobs(threads: int) -> dict[str, Callable[[], None]]:
    """Two jobs for timing.in_turns: 128 MB copied by so many threads, and a float32 product of 1024 x 1024 by NumPy's BLAS.

    The BLAS takes as many threads as OPENBLAS_NUM_THREADS says (timing.calm_process and `make bench` set 2).
    """
    source = np.ones(COPY_BYTES // 4, np.float32)
    target, left = np.empty_like(source), np.ones((PRODUCT_SIDE, PRODUCT_SIDE), np.float32)
    product, pool = np.empty_like(left), ThreadPoolExecutor(threads)
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads)))

    def copy() -> None:
        list(pool.map(lambda pair: np.copyto(*pair), parts))

    def multiply() -> None:
        np.matmul(left, left, out=product)

    return {COPY: copy, PRODUCT: multiply}


def roofline(rows: Mapping[str, Seconds], work: Mapping[str, Work]) -> dict[str, dict[str, float]]:
    """Shares of both bounds by job, and the bounds themselves; of the medians of one interleaved run."""
    gb_s = 2 * COPY_BYTES / 1e9 / rows[COPY].median
    gop_s = 2 * PRODUCT_SIDE ** 3 / 1e9 / rows[PRODUCT].median
    found = {"bounds": {"memory_gb_per_s": round(gb_s, 2), "float32_gop_per_s": round(gop_s, 1)}}
    for name, each in work.items():
        seconds = rows[name].median
        found[name] = {"gb_per_s": round(each.bytes_moved / 1e9 / seconds, 2), "share_of_memory": round(each.bytes_moved / 1e9 / seconds / gb_s, 3),
                       "gop_per_s": round(each.operations / 1e9 / seconds, 2), "share_of_operations": round(each.operations / 1e9 / seconds / gop_s, 3)}
    return found


def graph_work(graph: bytes, shape: tuple[int, int, int, int]) -> Work:
    """Operations of a graph's convolutions (two a multiplication) and the bytes of their inputs, outputs and weights, for one input shape.

    Other nodes are left out: they are few operations. What a cache keeps between two nodes is counted as moved, so the bytes are an upper bound.
    """
    import onnx
    model = onnx.load_from_string(graph)
    for value, size in zip(model.graph.input[0].type.tensor_type.shape.dim, shape):
        value.Clear()
        value.dim_value = size
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*inferred.value_info, *inferred.input, *inferred.output)}
    shapes |= {i.name: list(i.dims) for i in inferred.initializer}
    operations, moved = 0, 0
    for node in inferred.node:
        if node.op_type == "Conv" and all(shapes.get(name) and all(shapes[name]) for name in (node.input[0], node.input[1], node.output[0])):
            weights, out = shapes[node.input[1]], shapes[node.output[0]]
            operations += 2 * int(np.prod(weights[1:], dtype=np.int64)) * int(np.prod(out, dtype=np.int64))
            moved += 4 * sum(int(np.prod(shapes[name], dtype=np.int64)) for name in (node.input[0], node.input[1], node.output[0]))
    return Work(moved, operations)


def scene_roofline(graph: bytes, side: int, seconds: Mapping[str, float], threads: int) -> dict[str, dict[str, float]]:
    """Whole runs over a scene of side x side pixels, file to file: 9 bytes a pixel, and the convolutions without any halo."""
    work = Work(9 * side * side, graph_work(graph, (1, 2, 512, 512)).operations / 512 ** 2 * side * side)
    rows = in_turns(bound_jobs(threads), 5)
    return roofline({**rows, **{name: Seconds(s, s, s, 1.0) for name, s in seconds.items()}}, dict.fromkeys(seconds, work))


def lacking(*modules: str) -> dict[str, str]:
    """Peers that are not installed, by module."""
    return {module: "not installed (benchmarks/requirements.txt)" for module in modules if importlib.util.find_spec(module) is None}
