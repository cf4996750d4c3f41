"""Scene file to map file: ours against what people use today, on one student and one scene; each in a process of its own.

    make bench-engine       # once: the shipped demo student as runs/bench/model.engine (FP32 and INT8) and runs/bench/demo.safetensors
    python benchmarks/bench_scene.py [--engine runs/bench/model.engine --checkpoint runs/bench/demo.safetensors] [--side 16000] [--quick]
        [--json] [--only ours_int8,monai_torch] [--state state.json] [--terratorch tiled_inference.py]

The engine holds FP32 and INT8; the checkpoint is the same student for PyTorch. The scene is simulated, Sentinel-1-like intensity, tiled float32.
Halos are equal: everybody's neighbouring tiles share 64 px, ours too (ours_int8, ours_fp32); ours with the bounded halo that the package stores
stands beside (ours_..._bounded). Peers run in the settings that scene_tuning.py found fastest here. With --state every finished measurement is
kept, and a later call measures only what is missing: delete the file to begin anew. A competitor that fails, or wants more memory than
--memory-gb, is a row that says how; one that is not installed is named. Flips: of labels against the FP32 network run untiled over a crop away
from the scene's rim; seam ratio, at everyone's own borders, and that of the untiled map at the same places: docs/seams.md. Times are
from the first line of a competitor's program, imports included, to the closed map; compiling a network is told apart and not charged.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.windows import Window
from roofline import scene_roofline
from timing import tell

from hfd_edge.measure.flips import flips_of
from hfd_edge.measure.seam_ratio import Borders, seam_ratio
from hfd_edge.measure.seams import stitched_labels
from hfd_edge.package import Package
from hfd_edge.plan import PlanRequest
from hfd_edge.segmenter import Segmenter

HERE = Path(__file__).resolve().parent
NAMES = ("ours_int8", "ours_fp32", "ours_int8_bounded", "ours_fp32_bounded", "numpy_ort", "monai_torch", "terratorch", "pytorch_toolbelt",
         "geodeep")
MODULES = {"monai_torch": "monai", "pytorch_toolbelt": "pytorch_toolbelt", "geodeep": "geodeep"}
SLOW = ("monai_torch", "terratorch", "pytorch_toolbelt")      # one round of these with --quick
QUICK = ("ours_int8", "ours_fp32", "ours_int8_bounded", "numpy_ort", "monai_torch")
TILE, OVERLAP, THREADS = 512, 64, 2
CROP_PX, RIM_PX = 2048, 512
MADE = Path("runs/bench")


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
            "our_tile": int(options.tile) if options.tile.isdigit() else options.tile}


def missing(name: str, job: dict) -> str | None:
    """Why a competitor is not here at all."""
    module = MODULES.get(name)
    if module is not None and importlib.util.find_spec(module) is None:
        return f"{module} is not installed (benchmarks/requirements.txt)"
    if name == "terratorch" and not job["terratorch"]:
        return "no --terratorch: give its tiled_inference.py (benchmarks/requirements.txt)"
    return None


def child(words: list[str], memory_gb: float) -> dict:
    """The last line that a program prints as JSON, or {"failed": how}."""
    limit = int(memory_gb * 1e9)
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)))
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()] or [f"ended with {done.returncode}"]
        return {"failed": said[-1][:200]}
    return json.loads(done.stdout.splitlines()[-1])


def one_run(name: str, job: dict, folder: Path, memory_gb: float) -> dict:
    """Wall and CPU seconds and peak memory of one competitor, or how it failed."""
    (folder / "job.json").write_text(json.dumps({**job, "map": str(folder / f"{name}.tif")}))
    return child([str(HERE / "scene_peers.py"), name, str(folder / "job.json")], memory_gb)


def tuned(job: dict, folder: Path, memory_gb: float) -> dict:
    """Settings that suit the peers on this machine."""
    (folder / "job.json").write_text(json.dumps(job))
    found = child([str(HERE / "scene_tuning.py"), str(folder / "job.json")], memory_gb)
    if "failed" in found:
        raise SystemExit(f"the peers' settings could not be tried: {found['failed']}")
    return found


def reference(job: dict, side: int) -> tuple[tuple[int, int], np.ndarray]:
    """Labels of the FP32 network over a crop in one piece, with the exact halo around it; and where the crop begins."""
    crop = min(CROP_PX, side - 2 * RIM_PX)
    at = (side - crop) // 2 // 16 * 16
    with Segmenter(job["engine"], threads=THREADS, precision="fp32", memory=8 << 30) as segmenter, rasterio.open(job["scene"]) as scene:
        halo = segmenter.spec.halo_px
        around = scene.read(window=Window(at - halo, at - halo, crop + 2 * halo, crop + 2 * halo))
        labels, _ = stitched_labels(segmenter, around, PlanRequest(tile=crop + 4 * halo, halo="exact", memory=8 << 30), "intensity")
    return (at, crop), labels[halo:-halo, halo:-halo]


def quality(run: dict, path: Path, step: int, where: tuple[int, int], expected: np.ndarray) -> dict:
    """Flips on the crop, and the seam ratio at the competitor's own borders: `step` pixels apart, or where the run says."""
    at, crop = where
    with rasterio.open(path) as found:
        labels = found.read(1, window=Window(at, at, crop, crop))
        side = found.height
    rows, cols = run.pop("borders", [range(step, side, step)] * 2)
    inside = [tuple(line - at for line in lines if at < line < at + crop) for lines in (rows, cols)]
    flips = flips_of([(expected, labels)])
    ratio, untiled = (seam_ratio(each, Borders(*inside, 4)).ratio for each in (labels, expected))
    return {"flips": flips.rate, "flips_bound": flips.bound, "seam_ratio": _finite(ratio), "seam_ratio_untiled": _finite(untiled)}


def _finite(value: float) -> float | None:
    """None where the crop lies within one tile."""
    return value if math.isfinite(value) else None


def summary(rows: dict[str, dict], side: int, settings: dict) -> dict:
    """Ratios of medians; a figure whose competitor failed or is not here is null."""
    def of(name: str, key: str) -> float | None:
        return rows.get(name, {}).get(key)

    def ratio(a: float | None, b: float | None) -> float | None:
        return round(a / b, 4) if a and b else None

    def speed(name: str) -> float | None:
        return round(side * side / 1e6 / of(name, "wall_s"), 3) if of(name, "wall_s") else None
    found = {"side": side, "speed_over_monai_torch": ratio(of("monai_torch", "wall_s"), of("ours_int8", "wall_s")),
             "memory_over_monai_torch": ratio(of("ours_int8", "peak_mb"), of("monai_torch", "peak_mb")),
             "speed_over_numpy_ort": ratio(of("numpy_ort", "wall_s"), of("ours_int8", "wall_s")),
             "fp32_speed_over_numpy_ort": ratio(of("numpy_ort", "wall_s"), of("ours_fp32", "wall_s")),
             "cpu_over_monai_torch": ratio(of("monai_torch", "cpu_s"), of("ours_int8", "cpu_s")),
             "cpu_over_numpy_ort": ratio(of("numpy_ort", "cpu_s"), of("ours_int8", "cpu_s")),
             "mpx_per_s_int8": speed("ours_int8"), "mpx_per_s_int8_bounded": speed("ours_int8_bounded")}
    named = {"speed_over_monai_torch": found["speed_over_monai_torch"], "speed_over_numpy_ort": found["speed_over_numpy_ort"],
             "fp32_speed_over_numpy_ort": found["fp32_speed_over_numpy_ort"],
             "memory_under_monai_torch": ratio(of("monai_torch", "peak_mb"), of("ours_int8", "peak_mb"))}
    return {**found, "ratios": {name: value for name, value in named.items() if value}, "settings": settings, "rows": rows,
            "missing": {name: row["missing"] for name, row in rows.items() if "missing" in row}}


def measure(options: argparse.Namespace, folder: Path) -> tuple[dict[str, dict], dict[str, Any]]:
    """Everyone's medians and the peers' settings; what --state already holds is not measured again."""
    state = json.loads(options.state.read_text()) if options.state and options.state.exists() else {}
    job = prepare(options, folder)
    settings = state.setdefault("settings", None) or tuned(job, folder, options.memory_gb)
    state["settings"], job = settings, {**job, **settings}
    where, expected = reference(job, options.side)
    for number in range(options.rounds):
        for name in options.only:
            runs = state.setdefault(f"{name} {options.side} {options.tile}", [])
            if number and options.quick and name in SLOW:
                continue
            if len(runs) > number or any("failed" in run or "missing" in run for run in runs):
                continue
            why = missing(name, job)
            runs.append({"missing": why} if why else one_run(name, job, folder, options.memory_gb))
            if "wall_s" in runs[-1]:
                step = (job["numpy_tile"] if name == "numpy_ort" else TILE) - OVERLAP
                runs[-1] |= quality(runs[-1], folder / f"{name}.tif", step, where, expected)
            print(name, runs[-1], file=sys.stderr, flush=True)
            if options.state:
                options.state.write_text(json.dumps(state))
    return {name: merged(state[key]) for name in NAMES if state.get(key := f"{name} {options.side} {options.tile}")}, settings


def bounds_of(options: argparse.Namespace, rows: dict[str, dict]) -> dict:
    """Ours and the hand-written loop against a copy of memory and a matrix product."""
    with Package.open(options.engine) as package:
        graph = bytes(package.read("graph-fp32.onnx"))
    seconds = {name: row["wall_s"] for name, row in rows.items() if "wall_s" in row and (name.startswith("ours") or name == "numpy_ort")}
    return scene_roofline(graph, options.side, seconds, THREADS)


def merged(runs: list[dict]) -> dict:
    """Medians of a competitor's rounds; what is no number as the last round had it."""
    return {key: statistics.median(run[key] for run in runs) if isinstance(value, float) and all(key in run for run in runs) else value
            for key, value in runs[-1].items()}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", type=Path, default=MADE / "model.engine")
    parser.add_argument("--checkpoint", type=Path, default=MADE / "demo.safetensors")
    parser.add_argument("--side", type=int, help="of the scene in pixels; default 16000, with --quick 4096")
    parser.add_argument("--rounds", type=int, help="default 3, with --quick one of those that use PyTorch")
    parser.add_argument("--tile", default="auto", help="ours: side of a tile")
    parser.add_argument("--memory-gb", type=float, default=18.0, help="what a competitor may allocate")
    parser.add_argument("--only", help="names, separated by commas; default all, with --quick without those that no ratio needs")
    parser.add_argument("--state", type=Path, help="file of finished measurements")
    parser.add_argument("--folder", type=Path, help="where scene and maps are kept; default: temporary")
    parser.add_argument("--terratorch", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    options = parser.parse_args()
    for path in (options.engine, options.checkpoint):
        if not path.is_file():
            parser.error(f"{path}: no such file; make bench-engine makes it, or name another with --engine and --checkpoint")
    options.side = options.side or (4096 if options.quick else 16000)
    options.rounds = options.rounds or 3
    options.only = options.only.split(",") if options.only else QUICK if options.quick else NAMES
    return options


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        rows, settings = measure(options, folder)
    print(f"settings of the peers: {settings}")
    print(f"{'':18}{'wall s':>9}{'CPU s':>9}{'peak MB':>9}{'flips':>10}{'seam':>9}{'untiled':>9}")
    for name, row in rows.items():
        if "wall_s" not in row:
            print(f"{name:18} {row.get('missing') or 'failed: ' + row['failed']}")
            continue
        seams = "".join(f"{'none' if row[key] is None else f'{row[key]:.2f}':>9}" for key in ("seam_ratio", "seam_ratio_untiled"))
        print(f"{name:18}{row['wall_s']:9.2f}{row['cpu_s']:9.2f}{row['peak_mb']:9.0f}{row['flips']:10.2e}{seams}")
    found = summary(rows, options.side, settings)
    found["roofline"] = bounds_of(options, rows)
    tell(found, options.json)


if __name__ == "__main__":
    main()
