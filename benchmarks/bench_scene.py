"""Scene file to map file: ours against what people use today, on one student and one scene; each in a process of its own.

    python benchmarks/bench_scene.py --engine model.engine --checkpoint student.safetensors [--side 16000] [--quick] [--json]
        [--only ours_int8,monai_torch] [--state state.json] [--terratorch tiled_inference.py]

The engine holds FP32 and INT8; the checkpoint is the same student for PyTorch. The scene is simulated, Sentinel-1-like intensity, tiled float32.
With --state every finished measurement is kept, and a later call measures only what is missing: delete the file to begin anew. A competitor
that fails, or wants more memory than --memory-gb, is a row that says how. Flips: of labels against the FP32 network run untiled over a crop away
from the scene's rim; seam ratio: docs/seams.md. Times are from the opened program to the closed map, imports of libraries that it needs included.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window

from hfd_edge.measure.flips import flips_of
from hfd_edge.measure.seam_ratio import Borders, seam_ratio
from hfd_edge.measure.seams import stitched_labels
from hfd_edge.package import Package
from hfd_edge.plan import PlanRequest
from hfd_edge.segmenter import Segmenter

HERE = Path(__file__).resolve().parent
NAMES = ("ours_int8", "ours_fp32", "numpy_ort", "monai_torch", "terratorch", "pytorch_toolbelt", "geodeep")
TILE, OVERLAP, THREADS = 512, 64, 2
CROP_PX, RIM_PX = 2048, 512


def full_resolution_graph(graph: bytes, classes: int, fixed: int | None = None) -> bytes:
    """The float graph with its logits up-sampled to the input's size, as a user exports it; fixed: the only size it takes."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    model = onnx.load_from_string(graph)
    stride = 4
    for node in model.graph.node:
        node.output[:] = ["small" if name == "logits" else name for name in node.output]
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 1, stride, stride], np.float32), "up_by"))
    model.graph.node.append(helper.make_node("Resize", ["small", "", "up_by"], ["logits"], mode="linear",
                                             coordinate_transformation_mode="half_pixel"))
    bands = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    size = ["rows", "cols"] if fixed is None else [fixed, fixed]
    for value, name, channels in ((model.graph.input[0], "pixels", bands), (model.graph.output[0], "logits", classes)):
        value.CopyFrom(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch" if fixed is None else 1, channels, *size]))
    if fixed is not None:
        for key, text in (("model_type", '"Segmentor"'), ("resolution", "10"), ("tiles_overlap", "12.5"), ("seg_thresh", "-1000"),
                          ("seg_small_segment", "0"), ("class_names", "{}")):
            model.metadata_props.append(onnx.StringStringEntryProto(key=key, value=text))
    return model.SerializeToString()


def prepare(options: argparse.Namespace, folder: Path) -> dict:
    """Scene and graphs for everyone, and the job that the competitors read."""
    from bench_raster import write_scene
    with Package.open(options.engine) as package:
        graph, spec = bytes(package.read("graph-fp32.onnx")), package.spec
    if spec.logit_stride_px != 4 or spec.input.floor is None:
        raise SystemExit("this benchmark is written for students with logits at stride 4 and a floor in dB, as the demo's")
    scene = folder / f"scene-{options.side}.tif"
    if not scene.exists():
        write_scene(scene, options.side, "float32")
    for name, fixed in (("full.onnx", None), ("fixed.onnx", TILE)):
        (folder / name).write_bytes(full_resolution_graph(graph, len(spec.classes), fixed))
    return {"scene": str(scene), "engine": str(options.engine), "checkpoint": str(options.checkpoint), "graph_full": str(folder / "full.onnx"),
            "graph_fixed": str(folder / "fixed.onnx"), "terratorch": str(options.terratorch or ""), "tile": TILE, "overlap": OVERLAP,
            "threads": THREADS, "classes": len(spec.classes), "floor": spec.input.floor, "mean": spec.input.mean, "std": spec.input.std,
            "our_tile": int(options.tile) if options.tile.isdigit() else options.tile, "our_halo": options.halo}


def one_run(name: str, job: dict, folder: Path, memory_gb: float) -> dict:
    """Wall and CPU seconds and peak memory of one competitor, or how it failed."""
    job = {**job, "map": str(folder / f"{name}.tif")}
    (folder / "job.json").write_text(json.dumps(job))
    limit = int(memory_gb * 1e9)
    done = subprocess.run([sys.executable, str(HERE / "scene_peers.py"), name, str(folder / "job.json")], capture_output=True, text=True,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)))
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()] or [f"ended with {done.returncode}"]
        return {"failed": said[-1][:200]}
    return json.loads(done.stdout.splitlines()[-1])


def reference(job: dict, side: int) -> tuple[tuple[int, int], np.ndarray]:
    """Labels of the FP32 network over a crop in one piece, with the exact halo around it; and where the crop begins."""
    crop = min(CROP_PX, side - 2 * RIM_PX)
    at = (side - crop) // 2 // 16 * 16
    with Segmenter(job["engine"], threads=THREADS, precision="fp32", memory=8 << 30) as segmenter, rasterio.open(job["scene"]) as scene:
        halo = segmenter.spec.halo_px
        around = scene.read(window=Window(at - halo, at - halo, crop + 2 * halo, crop + 2 * halo))
        labels, _ = stitched_labels(segmenter, around, PlanRequest(tile=crop + 4 * halo, halo="exact", memory=8 << 30), "intensity")
    return (at, crop), labels[halo:-halo, halo:-halo]


def quality(name: str, folder: Path, where: tuple[int, int], expected: np.ndarray) -> dict:
    """Flips on the crop, and the seam ratio at the competitor's own borders."""
    at, crop = where
    with rasterio.open(folder / f"{name}.tif") as found:
        labels = found.read(1, window=Window(at, at, crop, crop))
        side = found.height
    flips = flips_of([(expected, labels)])
    record = {"flips": flips.rate, "flips_bound": flips.bound}
    if not name.startswith("ours"):
        lines = tuple(line - at for line in range(TILE - OVERLAP, side, TILE - OVERLAP) if at < line < at + crop)
        record["seam_ratio"] = seam_ratio(labels, Borders(lines, lines, 4)).ratio
    return record


def summary(rows: dict[str, dict], side: int) -> dict:
    """Ratios of medians; a figure whose competitor failed is null."""
    def of(name: str, key: str) -> float | None:
        return rows.get(name, {}).get(key)

    def ratio(a: float | None, b: float | None) -> float | None:
        return round(a / b, 4) if a and b else None
    best = of("ours_int8", "wall_s")
    return {"side": side, "speed_over_monai_torch": ratio(of("monai_torch", "wall_s"), best),
            "memory_over_monai_torch": ratio(of("ours_int8", "peak_mb"), of("monai_torch", "peak_mb")),
            "speed_over_numpy_ort": ratio(of("numpy_ort", "wall_s"), best),
            "cpu_over_monai_torch": ratio(of("monai_torch", "cpu_s"), of("ours_int8", "cpu_s")),
            "mpx_per_s_int8": round(side * side / 1e6 / best, 3) if best else None, "rows": rows}


def measure(options: argparse.Namespace, folder: Path) -> dict[str, dict]:
    """Everyone's medians; what --state already holds is not measured again."""
    state = json.loads(options.state.read_text()) if options.state and options.state.exists() else {}
    job, wanted = prepare(options, folder), options.only.split(",") if options.only else NAMES
    where, expected = reference(job, options.side)
    for number in range(options.rounds):
        for name in wanted:
            runs = state.setdefault(f"{name} {options.side} {options.tile} {options.halo}", [])
            if len(runs) > number or any("failed" in run for run in runs):
                continue
            runs.append(one_run(name, job, folder, options.memory_gb))
            if "failed" not in runs[-1]:
                runs[-1] |= quality(name, folder, where, expected)
            print(name, runs[-1], file=sys.stderr, flush=True)
            if options.state:
                options.state.write_text(json.dumps(state))
    rows = {}
    for name in NAMES:
        runs = state.get(f"{name} {options.side} {options.tile} {options.halo}", [])
        if runs:
            rows[name] = runs[-1] if "failed" in runs[-1] else {key: statistics.median(run[key] for run in runs) for key in runs[-1]}
    return rows


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--side", type=int, help="of the scene in pixels; default 16000, with --quick 3072")
    parser.add_argument("--rounds", type=int, help="default 3, with --quick 1")
    parser.add_argument("--tile", default="auto", help="ours: side of a tile")
    parser.add_argument("--halo", default="auto", help="ours: exact, bounded or pixels")
    parser.add_argument("--memory-gb", type=float, default=18.0, help="what a competitor may allocate")
    parser.add_argument("--only", help="names, separated by commas")
    parser.add_argument("--state", type=Path, help="file of finished measurements")
    parser.add_argument("--folder", type=Path, help="where scene and maps are kept; default: temporary")
    parser.add_argument("--terratorch", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    options = parser.parse_args()
    options.side = options.side or (3072 if options.quick else 16000)
    options.rounds = options.rounds or (1 if options.quick else 3)
    return options


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory() as temporary:
        rows = measure(options, options.folder or Path(temporary))
    print(f"{'':18}{'wall s':>9}{'CPU s':>9}{'peak MB':>9}{'flips':>10}{'seam':>7}")
    for name, row in rows.items():
        if "failed" in row:
            print(f"{name:18} failed: {row['failed']}")
            continue
        seam = f"{row['seam_ratio']:7.2f}" if "seam_ratio" in row else ""
        print(f"{name:18}{row['wall_s']:9.2f}{row['cpu_s']:9.2f}{row['peak_mb']:9.0f}{row['flips']:10.2e}{seam}")
    if options.json:
        print(json.dumps(summary(rows, options.side)))


if __name__ == "__main__":
    main()
