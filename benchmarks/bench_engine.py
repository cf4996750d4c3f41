"""One student on every CPU engine, in turns: PyTorch, ONNX Runtime FP32 and INT8, OpenVINO FP32, BF16 and INT8.

    python benchmarks/bench_engine.py [--engine model.engine --checkpoint student.safetensors] [--encoders] [--compile]
        [--quick] [--json]

Without an engine the graph of the shipped demo engine is quantised on simulated scenes; PyTorch then runs a network of the same
shape with random weights, for its time alone. Two threads that sleep when they wait, batch 1. Every engine runs once a round,
so that a busy machine slows all alike: medians, and the median of the rounds' ratios to ONNX Runtime FP32. With --encoders,
other encoders with random weights are quantised too: time only. OpenVINO is used here alone and left out if missing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from roofline import bound_jobs, graph_work, lacking, roofline
from timing import Seconds, forget, in_turns, tell

import hfd_edge
from hfd_edge.export.calibration import calibrate
from hfd_edge.export.calibration_data import simulated_scene, tiles_of
from hfd_edge.export.onnx import to_onnx
from hfd_edge.export.parity import Thresholds
from hfd_edge.export.quantize_cpu import to_int8_cpu
from hfd_edge.export.verify import judge, runner
from hfd_edge.network import HFDNet, NetworkConfig, load_checkpoint
from hfd_edge.package import Package
from hfd_edge.package.manifest import INT8_CPU

THREADS = 2
ENCODERS = (("regnetx_002", 16, 32, "local", (8,)), ("efficientnet_lite0", 16, 32, "local", (8,)),
            ("resnet18", 16, 64, "none", None), ("resnet10t", 16, 32, "local", (8,)))
Run = Callable[[np.ndarray], np.ndarray]


def torch_engines(net: HFDNet, compiled: bool) -> dict[str, Run]:
    """PyTorch as it comes, and compiled where this machine has a compiler for it."""
    def eager(batch: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return net(torch.from_numpy(batch).contiguous(memory_format=torch.channels_last)).numpy()
    net = net.eval().to(memory_format=torch.channels_last)
    engines = {"torch eager": eager}
    if compiled:
        fast = torch.compile(net)

        def run(batch: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                return fast(torch.from_numpy(batch).contiguous(memory_format=torch.channels_last)).numpy()
        engines["torch.compile"] = run
    return engines


def openvino_engines(fp32: bytes, int8: bytes) -> dict[str, Run]:
    """FP32 and BF16 of the float graph, and the very INT8 graph that ONNX Runtime runs; nothing where OpenVINO is missing."""
    if find_spec("openvino") is None:
        return {}
    import openvino

    core, engines = openvino.Core(), {}
    for name, graph, kind in (("openvino fp32", fp32, "f32"), ("openvino bf16", fp32, "bf16"), ("openvino int8", int8, "f32")):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "graph.onnx"
            path.write_bytes(graph)
            settings = {"INFERENCE_PRECISION_HINT": kind, "INFERENCE_NUM_THREADS": THREADS, "PERFORMANCE_HINT": "LATENCY"}
            request = core.compile_model(core.read_model(path), "CPU", settings).create_infer_request()
        engines[name] = lambda batch, request=request: next(iter(request.infer([batch]).values()))
    return engines


def times(engines: dict[str, Run], batch: np.ndarray, rounds: int) -> dict[str, dict[str, float]]:
    """Median and fastest wall milliseconds of each, its median CPU milliseconds, and its speed over ONNX Runtime FP32 in both.

    CPU time says more where other programs want the cores.
    """
    rows = in_turns({name: lambda run=run: forget(run(batch)) for name, run in engines.items()}, rounds)       # ONNX Runtime FP32 is the first
    return {name: {"ms": round(1e3 * row.median, 2), "fastest_ms": round(1e3 * row.fastest, 2), "cpu_ms": round(1e3 * row.cpu, 2),
                   "speed_over_ort_fp32": round(1 / row.ratio, 3), "cpu_speed_over_ort_fp32": round(1 / row.cpu_ratio, 3)}
            for name, row in rows.items()}


def working(engines: dict[str, Run], batch: np.ndarray) -> tuple[dict[str, Run], dict[str, str]]:
    """The engines that answer here, and why the others do not."""
    good, bad = {}, {}
    for name, run in engines.items():
        try:
            run(batch)
            good[name] = run
        except Exception as error:  # noqa: BLE001 - a compiler or a processor without what it needs: the table says so
            bad[name] = " ".join(str(error).split())[:120]
    return good, bad


def agreement(run: Run, reference: Run, tiles: list) -> float:
    """Share of logit positions with the reference's class."""
    same = [(run(t.pixels[None])[0].argmax(0) == reference(t.pixels[None])[0].argmax(0)).mean() for t in tiles]
    return float(np.mean(same))


def main_student(options: argparse.Namespace) -> dict:
    """All engines on one trained student."""
    with Package.open(options.engine) as package:
        fp32, spec = bytes(package.read("graph-fp32.onnx")), package.spec
        int8 = bytes(package.read(INT8_CPU)) if INT8_CPU in package.graph_names else None
        network = package.manifest["provenance"]["network"]
    net = load_checkpoint(options.checkpoint)[0] if options.checkpoint else HFDNet(NetworkConfig.from_dict(network))
    scenes = [simulated_scene(900 + i, spec, 512 if options.quick else 1024) for i in range(2)]
    if int8 is None:
        seen = [tile.pixels for tile in tiles_of(scenes[:1], spec, 512, 8 if options.quick else 32)]
        int8 = to_int8_cpu(fp32, calibrate(fp32, seen, "minmax" if options.quick else "percentile"))
    tiles = list(tiles_of(scenes[1:], spec, 1024))
    batch = np.ascontiguousarray(np.resize(tiles[0].pixels, (2, options.tile, options.tile))[None])
    wanted = {"onnxruntime fp32": runner(fp32), "onnxruntime int8": runner(int8), **openvino_engines(fp32, int8),
              **torch_engines(net, options.compile)}
    engines, missing = working(wanted, batch)
    rows = times(engines, batch, options.rounds)
    for name, run in engines.items():
        if not name.startswith("torch") or options.checkpoint:
            rows[name]["agreement"] = round(agreement(run, engines["onnxruntime fp32"], tiles[:2]), 6)
    bounds = in_turns({**{name: lambda run=engines[name]: forget(run(batch)) for name in ("onnxruntime fp32", "onnxruntime int8")},
                       **bound_jobs(THREADS)}, options.rounds)
    gate = judge(engines["onnxruntime fp32"], INT8_CPU, int8, tiles, Thresholds(min_pixels=100_000))
    return {"engines": rows, "missing": {**missing, **lacking("openvino")}, **ends(rows, bounds, fp32, batch.shape),
            "tile_px": options.tile, "pixels_judged": gate.pixels,
            "int8_over_fp32_speed": rows["onnxruntime int8"]["speed_over_ort_fp32"],
            "int8_over_fp32_cpu_speed": rows["onnxruntime int8"]["cpu_speed_over_ort_fp32"],
            "int8_label_flips": round(gate.flip_rate, 6),
            "int8_label_flips_bound": round(gate.flip_bound, 6), "int8_over_fp32_size": round(len(int8) / len(fp32), 4)}


def ends(rows: dict[str, dict], bounds: dict[str, Seconds], graph: bytes, shape: tuple[int, int, int, int]) -> dict:
    """Ratios, and the convolutions of both graphs against the machine: INT8 does the same operations and moves a quarter of the bytes."""
    work = graph_work(graph, shape)
    fp32_ms = rows["onnxruntime fp32"]["fastest_ms"]
    ratios = {"int8_over_fp32": round(fp32_ms / rows["onnxruntime int8"]["fastest_ms"], 3)}
    if "torch eager" in rows:
        ratios["fp32_over_torch_eager"] = round(rows["torch eager"]["fastest_ms"] / fp32_ms, 3)
    return {"ratios": ratios, "roofline": roofline(bounds, {
        "onnxruntime fp32": work, "onnxruntime int8": replace(work, bytes_moved=work.bytes_moved / 4)})}


def other_encoders(options: argparse.Namespace) -> list[dict]:
    """INT8 over FP32 for students of other encoders, random weights."""
    rows = []
    for encoder, stride, width, align, levels in ENCODERS:
        torch.manual_seed(0)
        fp32 = to_onnx(HFDNet(NetworkConfig(encoder, 2, 5, stride, width, align, levels)).eval())
        random = np.random.default_rng(0).standard_normal((1, 2, options.tile, options.tile)).astype(np.float32)
        int8 = to_int8_cpu(fp32, calibrate(fp32, [random[0, :, :256, :256].copy()]))
        engines = {"onnxruntime fp32": runner(fp32), "onnxruntime int8": runner(int8), **openvino_engines(fp32, int8)}
        rows.append({"encoder": f"{encoder}@{stride}", **times(engines, random, options.rounds)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", type=Path, default=Path(hfd_edge.__file__).parent / "data" / "demo.engine")
    parser.add_argument("--checkpoint", type=Path, help="NAME.safetensors of the engine, for PyTorch's agreement")
    parser.add_argument("--encoders", action="store_true", help="also time other encoders")
    parser.add_argument("--compile", action="store_true", help="also torch.compile, which takes minutes to begin")
    parser.add_argument("--tile", type=int, help="side of the input in pixels; default 1024, with --quick 512")
    parser.add_argument("--rounds", type=int, help="default 15, with --quick 7")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    options = parser.parse_args()
    options.tile = options.tile or (512 if options.quick else 1024)
    options.rounds = options.rounds or (7 if options.quick else 15)
    torch.set_num_threads(THREADS)
    record = main_student(options)
    if options.encoders:
        record["encoders"] = other_encoders(options)
    if options.json:
        print(json.dumps(record))
        return
    names = f"{'median ms':>11}{'fastest':>9}{'speed':>7}{'CPU ms':>9}{'speed':>7}{'agreement':>11}"
    print(f"{'tile ' + str(options.tile):20}{names}")
    for name, row in record["engines"].items():
        print(f"{name:20}{row['ms']:11.1f}{row['fastest_ms']:9.1f}{row['speed_over_ort_fp32']:7.2f}"
              f"{row['cpu_ms']:9.1f}{row['cpu_speed_over_ort_fp32']:7.2f}{row.get('agreement', ''):>11}")
    for name, why in record["missing"].items():
        print(f"{name:20} not here: {why}")
    print(f"INT8 over FP32: {record['int8_over_fp32_speed']:.2f} times the speed, {record['int8_over_fp32_size']:.3f} of the "
          f"size, {record['int8_label_flips']:.3%} of the labels flip (at most {record['int8_label_flips_bound']:.3%})")
    for row in record.get("encoders", ()):
        print(row["encoder"], *(f"{name} {value['cpu_ms']} CPU ms ({value['cpu_speed_over_ort_fp32']}x)"
                                for name, value in row.items() if isinstance(value, dict)), sep="  ")
    tell(record, False)


if __name__ == "__main__":
    main()
