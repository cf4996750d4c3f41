"""finish: nanoseconds per kept pixel, by stride, alone, with confidence, and with one class's probability; NumPy's argmax of full logits beside it. Counting a map's
pixels of each class for the report, and NumPy's bincount beside it, of labels without any patch.

    python benchmarks/bench_finish.py [--quick] [--json]

One 512 x 512 tile of 7 classes, of which 448 x 448 pixels are kept. Bytes: 28 / stride^2 of logits, 1 of status, 1 of labels and
1 of confidence per pixel; the tile stays in a cache, so the operations bound. Vector operations per class: 7 for the label (load,
subtract, multiply, add, compare, blend, maximum), about 28 for its term of the softmax, of which one class's
probability takes its own once more; docs/vectorisation.md.
"""

from __future__ import annotations

import argparse

import numpy as np
from roofline import COPY, PRODUCT, Work, bound_jobs, roofline
from timing import calm_process, faster, in_turns, show, tell

TILE, KEPT, HALO, CLASSES = 512, 448, 32, 7


def jobs_of(threads: int, repeat: int) -> dict:
    from hfd_edge import _native
    rng = np.random.default_rng(0)
    status = np.zeros((TILE, TILE), np.uint8)
    labels, score = np.empty((2, KEPT, KEPT), np.uint8)
    full = rng.normal(0, 3, (CLASSES, TILE, TILE)).astype(np.float32)
    strides = {s: np.ascontiguousarray(full[:, :TILE // s, :TILE // s]) for s in (1, 2, 4, 8, 16)}

    def finish(stride: int, score, of: int = -1) -> None:
        for _ in range(repeat):
            _native.finish(strides[stride], stride, status, (HALO, HALO), labels, score, threads, of)

    def numpy_crop() -> None:
        labels[...] = full[:, HALO:HALO + KEPT, HALO:HALO + KEPT].argmax(axis=0)

    jobs = {"numpy": lambda: [numpy_crop() for _ in range(repeat)] and None}
    for s in strides:
        jobs[f"stride {s}"] = lambda s=s: finish(s, None)
    flat, counts = full[:, :KEPT, :KEPT].argmax(axis=0).astype(np.uint8), np.zeros(CLASSES + 1, np.int64)
    jobs["class counts"] = lambda: [_native.count_labels(flat, CLASSES, counts) for _ in range(repeat)] and None
    jobs["numpy bincount"] = lambda: [np.bincount(flat.ravel(), minlength=256) for _ in range(repeat)] and None
    for s in (1, 4):
        jobs[f"stride {s} confidence"] = lambda s=s: finish(s, score)
        jobs[f"stride {s} probability"] = lambda s=s: finish(s, score, 2)
    return jobs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    options = parser.parse_args()
    calm_process()
    from hfd_edge import build_info
    found, repeat = {"simd": build_info()["simd"]}, 20
    for threads in (1, 2):
        rows = in_turns({**jobs_of(threads, repeat), **bound_jobs(threads)}, 5 if options.quick else 11)
        print(f"== {threads} thread(s), {found['simd']}")
        show({name: row for name, row in rows.items() if name not in (COPY, PRODUCT)}, repeat * KEPT * KEPT)
        found |= {f"{name.replace(' ', '_')}_{threads}_ns_per_px": round(1e9 * row.median / (repeat * KEPT * KEPT), 3)
                  for name, row in rows.items() if name not in (COPY, PRODUCT)}
        if threads == 1:                                # as NumPy has; two would be at the mercy of whoever else wants a core
            found["ratios"] = {f"numpy_over_stride_{s}": faster(rows, f"stride {s}", "numpy") for s in (1, 4)}
            found["ratios"] |= {f"confidence_over_probability_{s}": faster(rows, f"stride {s} probability", f"stride {s} confidence") for s in (1, 4)}
    pixels, maximum = repeat * KEPT * KEPT, 7 * CLASSES
    found["roofline"] = roofline(rows, {"stride 1": Work(pixels * (4 * CLASSES + 2), pixels * maximum),
                                        "stride 4": Work(pixels * (4 * CLASSES / 16 + 2), pixels * (maximum + 7 * 4 / 4 + 4)),
                                        "stride 4 confidence": Work(pixels * (4 * CLASSES / 16 + 3), pixels * 28 * CLASSES)})
    tell(found, options.json)


if __name__ == "__main__":
    main()
