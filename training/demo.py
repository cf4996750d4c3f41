"""The shipped demo engine, re-made from nothing: `python -m training.demo`.

Simulated scenes only, random initialisation. An EO teacher first, then the SAR student with feature distillation, then the
judgement on scenes that neither ever saw, a checkpoint, and the package. Same seed, same machine, same weights.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from hfd_edge.measure.accuracy import Accuracy, share_closed
from hfd_edge.measure.pixel_bayes import PixelBayes
from hfd_edge.network import NetworkConfig, save_checkpoint
from hfd_edge.simulate import BANDS, CLASS_COLORS, CLASS_NAMES, EO_BANDS, Scene, SceneConfig
from training.evaluate import eo_classifier, judge, sar_classifier, unseen
from training.fit import Log, Schedule
from training.pairs import EVALUATION_SEED, StreamConfig, measure_input, sar_input
from training.student import Lesson, train_student
from training.teacher import train_teacher

ENGINE = Path("hfd_edge/data/demo.engine")
TILE_PX = 512
TARGET_SHARE = 0.8              # of the way from the per-pixel classifier to perfect


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that decides what the demo engine becomes."""

    encoder: str = "regnetx_002"
    max_stride: int = 16
    width: int = 32
    align: str = "local"
    align_levels: tuple[int, ...] | None = (8,)
    teacher_steps: int = 300
    student_steps: int = 1000
    weight: float = 0.2         # of the distillation loss; 0.1 and 0.5 gave the same within 0.001 mIoU
    crop_px: int = 128
    batch: int = 8
    seed: int = 0

    def network(self, bands: int) -> NetworkConfig:
        return NetworkConfig(self.encoder, bands, len(CLASS_NAMES), self.max_stride, self.width, self.align, self.align_levels)


def make(plan: Plan, work: Path, compare: bool = False, log: Log = print) -> dict[str, Any]:
    """Train, judge and save; WORK/demo.safetensors, WORK/demo.json and WORK/report.json are written.

    Args:
        compare: also train the SAR-only student for the same steps and judge it beside.
    Returns:
        the report, JSON-ready.
    """
    start, scene = time.monotonic(), SceneConfig(TILE_PX, TILE_PX)
    spec = measure_input(scene)
    log(f"input: dB, mean {spec.mean}, std {spec.std}")
    data = StreamConfig(scene, plan.crop_px, plan.batch, seed=plan.seed)
    lesson = Lesson(plan.network(len(BANDS)), data, spec, Schedule(plan.student_steps))
    log("1. EO teacher")
    teacher_data = replace(data, seed=plan.seed + 1000)
    teacher = train_teacher(plan.network(len(EO_BANDS)), teacher_data, spec, Schedule(plan.teacher_steps), log)
    log("2. SAR student, distilled")
    student = train_student(lesson, teacher, plan.weight, log)
    pixel = PixelBayes.fit(scene)
    classifiers = {"per-pixel Bayes": lambda window: pixel.classify(window.sar), "EO teacher": eo_classifier(teacher),
                   "SAR student, distilled": sar_classifier(student, spec)}
    if compare:
        log("   SAR student, without a teacher")
        classifiers["SAR student, alone"] = sar_classifier(train_student(lesson, log=log), spec)
    log("3. judgement on unseen scenes")
    scores = judge(classifiers, unseen(scene))
    report = _report(plan, scores, time.monotonic() - start)
    spec_part = {"name": "demo", "bands": list(BANDS), "input": {**asdict(spec), "unit": str(spec.unit)},
                 "classes": list(CLASS_NAMES), "colors": [list(c) for c in CLASS_COLORS],
                 "pixel_spacing_m": scene.spacing_m, "tile_px": TILE_PX}
    save_checkpoint(work / "demo", student, spec_part, _provenance(report))
    (work / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def export(work: Path, output: Path, log: Log = print) -> None:
    """The saved checkpoint as a package; its golden tile is a part of an unseen scene."""
    from hfd_edge.export import ExportOptions, export_package
    from hfd_edge.network.checkpoint import read_sidecar
    from hfd_edge.spec import ModelInput
    spec = ModelInput(**read_sidecar(work / "demo")["spec"]["input"])
    window = Scene(SceneConfig(256, 256, seed=EVALUATION_SEED - 1)).window(0, 0, 256, 256, eo=False)
    output.parent.mkdir(parents=True, exist_ok=True)
    options = ExportOptions(overwrite=True, golden_pixels=sar_input(window.sar, spec).numpy())
    log(str(export_package(work / "demo", output, options)))


def table(report: dict[str, Any]) -> str:
    """The judgement in lines of text."""
    lines = [f"{'on unseen scenes':26s}  mIoU    way closed  " + "  ".join(f"{name:>9s}" for name in CLASS_NAMES)]
    for name, score in report["scores"].items():
        iou = "  ".join(f"{score['iou'][c]:9.3f}" for c in CLASS_NAMES)
        lines.append(f"{name:26s}  {score['miou']:.4f}  {score['share_closed']:10.3f}  {iou}")
    return "\n".join(lines)


def _report(plan: Plan, scores: dict[str, Accuracy], seconds: float) -> dict[str, Any]:
    pixel = scores["per-pixel Bayes"].miou
    rows = {name: {**score.to_dict(), "share_closed": round(share_closed(score.miou, pixel), 4)}
            for name, score in scores.items()}
    return {"plan": asdict(plan), "scores": rows, "seconds": round(seconds), "threads": torch.get_num_threads()}


def _provenance(report: dict[str, Any]) -> dict[str, Any]:
    """What the package keeps of the run: nothing that differs between two equal runs."""
    scores = {name: {key: score[key] for key in ("miou", "accuracy", "iou", "share_closed")}
              for name, score in report["scores"].items()}
    return {"data": "simulated scenes only (hfd_edge.simulate, default configuration), random initialisation",
            "command": "python -m training.demo", "plan": report["plan"], "unseen_scenes": scores,
            "versions": {"python": platform.python_version(), "torch": torch.__version__}}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ENGINE, help="the package to write")
    parser.add_argument("--work", type=Path, default=Path("runs/demo"), help="where checkpoint and report go")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--teacher-steps", type=int, default=Plan().teacher_steps)
    parser.add_argument("--student-steps", type=int, default=Plan().student_steps)
    parser.add_argument("--seed", type=int, default=Plan().seed)
    parser.add_argument("--encoder", default=Plan().encoder, help="timm name of the student's and the teacher's encoder")
    parser.add_argument("--compare", action="store_true", help="also train the student without a teacher, for comparison")
    parser.add_argument("--no-export", action="store_true", help="stop after the checkpoint")
    parser.add_argument("--export-only", action="store_true", help="no training: package the checkpoint that lies in --work")
    options = parser.parse_args()
    if options.export_only:
        export(options.work, options.output)
        return 0
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    plan = Plan(encoder=options.encoder, teacher_steps=options.teacher_steps, student_steps=options.student_steps,
                seed=options.seed)
    report = make(plan, options.work, options.compare)
    print(table(report))
    share = report["scores"]["SAR student, distilled"]["share_closed"]
    if share < TARGET_SHARE:
        print(f"the student closes {share:.3f} of the way: at least {TARGET_SHARE} is asked for; train longer (--student-steps); "
              "nothing was exported")
        return 3
    if not options.no_export:
        export(options.work, options.output)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
