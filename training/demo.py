"""The shipped demo engines, re-made from nothing: `python -m training.demo`, and with `--light` the fast one.

Simulated scenes only, random initialisation. An EO teacher first, then the SAR student with feature distillation, then the
judgement on scenes that neither ever saw, a checkpoint, and the package. Same seed, same machine, same weights.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from hfd_edge.durable import write_whole
from hfd_edge.measure.accuracy import Accuracy, share_closed
from hfd_edge.measure.pixel_bayes import PixelBayes
from hfd_edge.simulate import CLASS_NAMES, Scene, SceneConfig
from training.batches import Data, open_data
from training.config import Config
from training.layouts.simulated import FIRST_SEED
from training.measures import answer_of, judge
from training.progress import Log
from training.schema import build, to_record
from training.statistics import normalise, to_network_unit
from training.student import save, train_student, train_teacher
from training.teacher import Teacher

DATA = Path("hfd_edge/data")
TARGET_SHARE = 0.8              # of the way from the per-pixel classifier to perfect
EDGE_SIDE_PX = 2048             # of the scene on which the error at the end of a tile is measured


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that decides what a demo engine becomes."""

    name: str = "demo"
    network: dict[str, Any] = field(default_factory=lambda: {"encoder": "regnetx_002", "width": 32, "align": "local", "align_levels": [8]})
    teacher_steps: int = 300
    student_steps: int = 1000
    weight: float = 0.2         # of the distillation loss; 0.1 and 0.5 gave the same within 0.001 mIoU
    crop_px: int = 128
    batch: int = 8
    side_px: int = 512          # of the scenes; each gives its area three times in crops before fresh ones come
    test_scenes: int = 24
    seed: int = 0

    def config(self, work: Path) -> Config:
        crops = 3 * (self.side_px // self.crop_px) ** 2
        scenes = -(-max(self.student_steps, self.teacher_steps) * self.batch // crops)
        return build(Config, {
            "name": self.name, "work": str(work), "seed": self.seed,
            "data": {"layout": "simulated", "crop_px": self.crop_px, "batch": self.batch, "measured_pairs": 12, "workers": 1,
                     "crops_per_pair": crops, "options": {
                         "side_px": self.side_px, "train": max(scenes, 12), "test": self.test_scenes, "seed": self.seed}},
            "network": self.network, "teacher": {"steps": self.teacher_steps}, "loop": {"steps": self.student_steps},
            "distil": {"weight": self.weight}})


# No level deeper than stride 8 and a third of the stem and the decoder: on these scenes a small context is enough, and so is a halo of 32 px.
LIGHT = Plan("demo-light", {"encoder": "regnetx_002", "max_stride": 8, "width": 32, "align": "none", "fuse": "sum", "stem_channels": 16})


def make(plan: Plan, work: Path, compare: bool = False, log: Log = print) -> dict[str, Any]:
    """Train, judge and save; WORK/demo.safetensors, WORK/demo.json and WORK/report.json are written.

    Args:
        compare: also train the SAR-only student for the same steps and judge it beside.
    Returns:
        the report, JSON-ready.
    """
    start, config = time.monotonic(), plan.config(work)
    data = open_data(config, log)
    spec = data.statistics.input
    log(f"input: dB, mean {spec.mean}, std {spec.std}")
    log("1. EO teacher")
    teacher = train_teacher(config, data, log)
    log("2. SAR student, distilled")
    student = train_student(config, data, Teacher((teacher,), ("eo",)), log)
    pixel = PixelBayes.fit(SceneConfig(plan.side_px, plan.side_px))
    answers = {"per-pixel Bayes": lambda pair: pixel.classify(pair.sar), "EO teacher": answer_of(teacher, "eo", data),
               "SAR student, distilled": answer_of(student, "sar", data)}
    if compare:
        log("   SAR student, without a teacher")
        answers["SAR student, alone"] = answer_of(train_student(config, data, log=log), "sar", data)
    log("3. judgement on unseen scenes")
    report = _report(config, data, judge(answers, data, "test"), time.monotonic() - start)
    save(work / "demo", student, config, data, _provenance(report, plan))
    write_whole(work / "report.json", f"{json.dumps(report, indent=2)}\n".encode())
    return report


def export(work: Path, output: Path, log: Log = print) -> None:
    """The saved checkpoint as a package; its golden tile is a part of an unseen scene."""
    from hfd_edge.export import ExportOptions, export_package
    from hfd_edge.network.checkpoint import read_sidecar
    from hfd_edge.spec import ModelInput, Unit
    spec = ModelInput(**read_sidecar(work / "demo")["spec"]["input"])
    window = Scene(SceneConfig(256, 256, seed=FIRST_SEED["test"] - 1)).window(0, 0, 256, 256, eo=False)
    output.parent.mkdir(parents=True, exist_ok=True)
    options = ExportOptions(overwrite=True, golden_pixels=normalise(to_network_unit(window.sar, Unit.INTENSITY), spec))
    log(str(export_package(work / "demo", output, options)))
    measure_edge(output)


def measure_edge(engine: Path) -> None:
    """Write the package again with its error at the end of a tile, on one unseen scene, for --stitch precision."""
    from hfd_edge.measure.edge_error import edge_error_of_scene
    from hfd_edge.package import Package
    from hfd_edge.package.again import write_again
    from hfd_edge.radiometry import SourceRadiometry
    from hfd_edge.source import ArraySource
    from hfd_edge.spec import Unit
    window = Scene(SceneConfig(EDGE_SIDE_PX, EDGE_SIDE_PX, seed=FIRST_SEED["test"] - 2)).window(
        0, 0, EDGE_SIDE_PX, EDGE_SIDE_PX, eo=False)
    found = edge_error_of_scene(engine, ArraySource(window.sar, len(window.sar)), SourceRadiometry(Unit.INTENSITY))
    with Package.open(engine) as package:
        write_again(package, engine, replace(package.spec, edge_error=found.values), {"edge_error": found.to_dict()}, overwrite=True)


def table(report: dict[str, Any]) -> str:
    """The judgement in lines of text."""
    lines = [f"{'on unseen scenes':26s}  mIoU    way closed  " + "  ".join(f"{name:>9s}" for name in CLASS_NAMES)]
    for name, score in report["scores"].items():
        iou = "  ".join(f"{score['iou'][c]:9.3f}" for c in CLASS_NAMES)
        lines.append(f"{name:26s}  {score['miou']:.4f}  {score['share_closed']:10.3f}  {iou}")
    return "\n".join(lines)


def _report(config: Config, data: Data, scores: dict[str, Accuracy], seconds: float) -> dict[str, Any]:
    pixel = scores["per-pixel Bayes"].miou
    rows = {name: {**score.to_dict(), "share_closed": round(share_closed(score.miou, pixel), 4)}
            for name, score in scores.items()}
    return {"config": to_record(config), "statistics": data.statistics.hash, "scores": rows, "seconds": round(seconds),
            "threads": torch.get_num_threads()}


def _provenance(report: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """What the package keeps beside the run's own record: nothing that differs between two equal runs."""
    scores = {name: {key: score[key] for key in ("miou", "accuracy", "iou", "share_closed")}
              for name, score in report["scores"].items()}
    return {"kind": "sar", "about": "simulated scenes only (hfd_edge.simulate, default configuration), random initialisation",
            "command": "python -m training.demo" + " --light" * (plan.name == LIGHT.name), "unseen_scenes": scores, "python": platform.python_version()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--light", action="store_true", help="the fast student: demo-light instead of demo")
    parser.add_argument("--output", type=Path, help="the package to write; default the shipped one")
    parser.add_argument("--work", type=Path, help="where checkpoint and report go; default runs/demo or runs/demo-light")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--teacher-steps", type=int, default=Plan().teacher_steps)
    parser.add_argument("--student-steps", type=int, default=Plan().student_steps)
    parser.add_argument("--seed", type=int, default=Plan().seed)
    parser.add_argument("--encoder", help="timm name of the student's and the teacher's encoder; default regnetx_002")
    parser.add_argument("--compare", action="store_true", help="also train the student without a teacher, for comparison")
    parser.add_argument("--no-export", action="store_true", help="stop after the checkpoint")
    parser.add_argument("--export-only", action="store_true", help="no training: package the checkpoint that lies in --work")
    options = parser.parse_args()
    plan = LIGHT if options.light else Plan()
    plan = replace(plan, teacher_steps=options.teacher_steps, student_steps=options.student_steps, seed=options.seed,
                   network={**plan.network, **({"encoder": options.encoder} if options.encoder else {})})
    output, work = options.output or DATA / f"{plan.name}.engine", options.work or Path("runs") / plan.name
    if options.export_only:
        export(work, output)
        return 0
    torch.set_num_threads(options.threads)
    work.mkdir(parents=True, exist_ok=True)
    report = make(plan, work, options.compare)
    print(table(report))
    share = report["scores"]["SAR student, distilled"]["share_closed"]
    if share < TARGET_SHARE:
        print(f"the student closes {share:.3f} of the way: at least {TARGET_SHARE} is asked for; train longer (--student-steps); "
              f"nothing was exported. The checkpoint was left in {work / 'demo.safetensors'} (and .json): look at it, or "
              "package it as it is with --export-only")
        return 3
    if not options.no_export:
        export(work, output)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
