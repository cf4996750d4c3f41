"""Candidate edge students: size, reach, and time per megapixel of the FP32 graph on ONNX Runtime's CPU.

    python benchmarks/bench_students.py [--quick] [--json]

Random weights (time and reach do not depend on them), one tile, two threads that sleep when they wait. Every student runs in
turns with the first one, so that a busy machine slows both alike: median, fastest, and the ratio of the two medians. The ratios at the end
are speeds over the first student's; the roofline is of the last one.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator

import numpy as np
import torch
from roofline import bound_jobs, graph_work, roofline
from timing import in_turns, tell

from hfd_edge.export.activation import activation_bytes_per_px
from hfd_edge.export.onnx import INPUT_NAME, to_onnx
from hfd_edge.export.parity import open_session
from hfd_edge.export.reach import bound_reach
from hfd_edge.network import HFDNet, NetworkConfig
from hfd_edge.tiles import round_up

BANDS, CLASSES = 2, 5
NAMES = str.maketrans({"@": "_at_", " ": "_", "=": "_"})        # of ratios
LIGHT = {"fuse": "sum", "stem_channels": 16}
STUDENTS = (                                    # encoder, max_stride, width, align, align_levels, what else differs; the first is the baseline
    ("resnet18", 16, 64, "none", None, {}),
    ("resnet18", 8, 64, "none", None, {}),
    ("resnet10t", 16, 32, "none", None, {}),
    ("resnet10t", 16, 32, "local", (8,), {}),
    ("resnet10t", 16, 32, "local", None, {}),
    ("resnet10t", 16, 32, "flow", None, {}),
    ("resnet10t", 16, 64, "local", (8,), {}),
    ("resnet10t", 8, 32, "none", None, {}),
    ("efficientnet_lite0", 16, 32, "local", (8,), {}),
    ("efficientnet_lite0", 8, 32, "none", None, {}),
    ("efficientnet_lite0", 8, 48, "local", None, {}),
    ("mobilenetv4_conv_small", 16, 32, "none", None, {}),
    ("mobilenetv4_conv_small", 16, 32, "local", (8,), {}),
    ("mobilenetv4_conv_small", 16, 48, "none", None, {}),
    ("mobilenetv4_conv_small", 8, 48, "local", None, {}),
    ("regnetx_002", 16, 32, "none", None, {}),
    ("regnetx_002", 16, 32, "local", None, {}),
    ("regnetx_002", 16, 48, "local", (8,), {}),
    ("regnetx_002", 16, 64, "local", (8,), {}),
    ("regnetx_004", 16, 48, "local", (8,), {}),
    ("regnetx_002", 16, 32, "local", (8,), {}),
    ("regnetx_002", 16, 32, "local", (8,), {"fuse": "sum"}),
    ("regnetx_002", 16, 24, "local", (8,), LIGHT),
    ("regnetx_002", 8, 32, "local", None, LIGHT),
    ("regnetx_002", 16, 32, "local", (8,), LIGHT),
)
QUICK = (("regnetx_002", 16, 32, "local", (8,), {}), ("regnetx_002", 16, 32, "local", (8,), LIGHT))


def describe(student: tuple) -> tuple[dict, bytes]:
    """What is known of a student without running it, and its graph."""
    encoder, max_stride, width, align, levels, more = student
    torch.manual_seed(0)
    net = HFDNet(NetworkConfig(encoder, BANDS, CLASSES, max_stride, width, align, levels, **more)).eval()
    graph = to_onnx(net)
    reach = bound_reach(graph, net.stride_px, net.logit_stride_px).reach_px
    where = "" if levels is None else " at " + ",".join(map(str, levels))
    light = "".join(f" {key[:4]}={value}" for key, value in more.items())
    return {"student": f"{encoder}@{max_stride}{light}", "width": width, "align": align + where, "fp32_mb": len(graph) / 1e6,
            "reach_px": reach, "halo_px": round_up(reach, net.stride_px),
            "activation_bytes_per_px": activation_bytes_per_px(graph, BANDS, net.stride_px)}, graph


def time_in_turns(sessions: list, tile_px: int, repeats: int) -> list[list[float]]:
    """Milliseconds per megapixel of each run, one list per session."""
    pixels = np.random.default_rng(0).standard_normal((1, BANDS, tile_px, tile_px)).astype(np.float32)
    times: list[list[float]] = [[] for _ in sessions]
    for i in range(repeats + 1):
        for own, session in zip(times, sessions):
            start = time.perf_counter()
            session.run(None, {INPUT_NAME: pixels})
            if i:                                # the first run warms up
                own.append((time.perf_counter() - start) * 1e9 / tile_px ** 2)
    return times


def measure(students: tuple, tile_px: int, repeats: int) -> Iterator[dict]:
    """One row per student, as soon as it is known."""
    baseline = None
    for student in students:
        row, graph = describe(student)
        session = open_session(graph, threads=2)
        baseline = baseline or session
        first, own = time_in_turns([baseline, session], tile_px, repeats)
        yield {**row, "ms_per_mpx": statistics.median(own), "fastest_ms_per_mpx": min(own),
               "ratio_to_first": statistics.median(own) / statistics.median(first), "fastest_ratio_to_first": min(own) / min(first)}


def ends(last: tuple, rows: list[dict], tile_px: int, repeats: int) -> dict:
    """Speeds over the first student, and the last one's convolutions against the machine."""
    _, graph = describe(last)
    session, shape = open_session(graph, threads=2), (1, BANDS, tile_px, tile_px)
    pixels = np.random.default_rng(0).standard_normal(shape).astype(np.float32)

    def run() -> None:
        session.run(None, {INPUT_NAME: pixels})

    bounds = in_turns({"last": run, **bound_jobs(2)}, repeats)
    ratios = {f"{row['student']}_width{row['width']}_over_first".translate(NAMES): round(1 / row["fastest_ratio_to_first"], 3) for row in rows[1:]}
    return {"ratios": ratios, "roofline": roofline(bounds, {"last": graph_work(graph, shape)})}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two students, a small tile")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    options = parser.parse_args()
    torch.set_num_threads(2)
    students, tile, repeats = (QUICK, 512, 5) if options.quick else (STUDENTS, 1024, 5)
    rows, seen = measure(students, tile, repeats), []
    columns = ("student", "width", "align", "fp32_mb", "reach_px", "halo_px", "activation_bytes_per_px", "ms_per_mpx",
               "fastest_ms_per_mpx", "ratio_to_first")
    print(f"{'student':44}{'width':>6} {'align':12}{'MB':>7}{'reach':>7}{'halo':>6}{'B/px':>6}{'ms/Mpx':>9}{'fastest':>9}{'ratio':>7}")
    for row in rows:
        seen.append(row)
        print("{:44}{:6d} {:12}{:7.2f}{:7d}{:6d}{:6d}{:9.0f}{:9.0f}{:7.2f}".format(*(row[name] for name in columns)),
              flush=True)
    tell({"students": seen, "tile_px": tile, **ends(students[-1], seen, tile, repeats)}, options.json)


if __name__ == "__main__":
    main()
