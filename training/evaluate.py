"""What the networks of a run are worth on a split: scores, calibration, whole scenes through a package, pictures, one
report."""

from __future__ import annotations

import json
import math
from itertools import islice
from pathlib import Path
from typing import Any

from hfd_edge.durable import write_whole
from hfd_edge.errors import CheckpointError
from hfd_edge.network import HFDNet, load_checkpoint
from hfd_edge.network.checkpoint import checkpoint_paths, read_sidecar
from hfd_edge.spec import NODATA_LABEL, ModelInput
from training import report as page
from training.batches import Data
from training.config import Config
from training.measures import Answer, Calibration, Judged, answer_of, answer_of_all, calibrate, judge, pairs_of
from training.pictures import draw_curves, draw_panels
from training.progress import Log, read_log, silent
from training.teacher import Teacher, load_teacher
from training.trained_on import tell_of_known_pairs


def load_student(path: Path, data: Data, log: Log) -> HFDNet:
    """A finished student.

    Args:
        log: hears where the set was another when it was trained, though its pixels are normalised as then.
    Raises:
        CheckpointError: it is not there, its bands or classes are not the data set's, or it was trained on other statistics.
    """
    net, spec, provenance = load_checkpoint(path)
    _check_for(path, tuple(spec["bands"]), tuple(spec["classes"]), data)
    if (trained := ModelInput(**spec["input"])) != data.statistics.input:
        raise CheckpointError(f"{path}: trained on pixels of mean {trained.mean} and spread {trained.std}, the train pairs now have "
                              f"{data.statistics.input.mean} and {data.statistics.input.std}: the data or data.measured_pairs have changed since; train again "
                              "(work=FOLDER), restore the one that was changed, or give the start= of that training")
    if provenance.get("data", {}).get("statistics") != data.statistics.hash:
        log(f"warning: {path}: names, split or pixels of the set have changed since it was trained: what judges it now it may have been trained on")
    tell_of_known_pairs(path, provenance, data.pairs, log)
    return net


def _check_for(path: Path, bands: tuple[str, ...], classes: tuple[str, ...], data: Data) -> None:
    if (bands, classes) != (data.info.bands, data.info.classes):
        raise CheckpointError(f"{path}: bands {list(bands)} and classes {list(classes)}; the data set has {list(data.info.bands)} and {list(data.info.classes)}; "
                              "judge it on the data it was made for")


def weights_of(path: Path) -> Path:
    return checkpoint_paths(path)[0]


def teacher_paths(config: Config) -> list[Path]:
    """Where the teachers of a run lie."""
    if config.teacher.checkpoints:
        return [Path(path) for path in config.teacher.checkpoints]
    return [config.folder / f"teacher-{number}" for number in range(len(config.teacher.kinds))]


def find_teacher(config: Config, data: Data, log: Log = silent) -> Teacher:
    """The teacher of a run.

    Raises:
        CheckpointError: it was not made yet, does not fit, or was made of this run's work folder before the set changed.
    """
    paths = teacher_paths(config)
    if missing := [weights for weights in map(weights_of, paths) if not weights.exists()]:
        way_out = "correct teacher.checkpoints" if config.teacher.checkpoints else "make it with python -m training teacher CONFIG"
        raise CheckpointError(f"{missing[0]}: there is no teacher{'' if config.teacher.checkpoints else ' yet'}; {way_out}, or give distil.weight=0 "
                              "distil.logit_weight=0 to train without one")
    for path in paths if not config.teacher.checkpoints else ():
        trained = read_sidecar(path)["provenance"].get("data", {}).get("statistics")
        if trained != data.statistics.hash:
            raise CheckpointError(f"{path}: trained on another set than this is now (pairs, split, pixels or data.measured_pairs have changed since), so it may "
                                  f"have learnt what it is judged by; train it again (delete {path / 'state.pt'} first), or say with "
                                  f"teacher.checkpoints=[{path}] that it is meant")
    return load_teacher(paths, data, log)


def evaluate(config: Config, data: Data, log: Log = print, teacher: Teacher | None = None) -> dict[str, Any]:
    """Judge what the work folder holds; writes report.md, report.html, report.json and pictures there.

    Args:
        teacher: the run's own where it is at hand; None = it is looked for.
    Returns:
        the record in report.json.
    """
    student = load_student(config.folder / "student", data, log)
    answers: dict[str, Answer] = {"SAR student": answer_of(student, "sar", data)}
    if teacher is None and config.distil.teaches and (config.teacher.checkpoints or all(weights_of(path).exists() for path in teacher_paths(config))):
        teacher = find_teacher(config, data, log)
    if teacher is not None:
        answers[f"teacher ({' & '.join(teacher.kinds)})"] = answer_of_all(teacher.members, teacher.kinds, data, teacher.views)
    if config.evaluate.package is not None:
        answers["package, whole scenes"] = package_answer(Path(config.evaluate.package), data)
    split = config.evaluate.split
    log(f"judging on {split}")
    scores = judge(answers, data, split)
    calibration = calibrate(student, data, config.evaluate.bins, split)
    record = {"split": split, "scores": {name: score.to_dict() for name, score in scores.items()},
              "calibration": {"temperature": calibration.temperature, "error_before": calibration.error_before,
                              "error": calibration.error, "bins": calibration.bins}}
    blocks = _blocks(config, data, scores, calibration) + _pictures(config, data, answers)
    path = page.write_report(config.folder, f"{config.name}: {data.info.name}, {split}", blocks)
    write_whole(config.folder / "report.json", f"{json.dumps(record, indent=1)}\n".encode())
    for name, score in scores.items():
        log(f"{name:28s} mIoU {_figure(score.miou)}  accuracy {_figure(score.accuracy)}  F1 {_figure(score.mean_f1)}  ({score.how_many})")
    log(f"calibration error {calibration.error_before:.4f}, with temperature {calibration.temperature:.3f} "
        f"{calibration.error:.4f}; {path}")
    return record


def package_answer(path: Path, data: Data) -> Answer:
    """A package as a classifier of whole pairs, through Segmenter; the set's unit and quantity are declared."""
    from hfd_edge.radiometry import SourceRadiometry
    from hfd_edge.segmenter import Segmenter
    segmenter = Segmenter(path)
    _check_for(path, segmenter.spec.bands, segmenter.spec.classes, data)
    source = SourceRadiometry(data.info.sar_unit, quantity=data.info.quantity)
    return lambda pair: segmenter.run(pair.sar, source, pair.valid, confidence=False, allow_empty=True).labels


def _blocks(config: Config, data: Data, scores: dict[str, Judged], calibration: Calibration) -> list[page.Block]:
    counts = data.class_counts()
    lines = [(name, *(_figure(100 * v, 2) for v in (s.miou, s.accuracy, s.mean_f1)), f"{s.pixels:,}", f"{s.pairs} of {s.of}")
             for name, s in scores.items()]
    classes = [(name, *(f"{_figure(100 * s.iou[i], 1)} / {_figure(100 * s.f1[i], 1)}" if s.present[i] else "-" for s in scores.values()),
                f"{counts[i]:,}") for i, name in enumerate(data.info.classes)]
    bins = [tuple(f"{row[key]:.3f}" for key in ("share", "confidence", "accuracy")) for row in calibration.bins]
    return [page.text(f"{len(data.labelled)} train pairs with labels, {len(data.unlabelled)} without; data set "
                      f"{data.statistics.hash[:12]}, "
                      f"seed {config.seed}, {config.loop.steps} steps. One confusion matrix over all pixels; {NODATA_LABEL} "
                      f"is left out."),
            page.heading("Scores, per cent"), page.table(("network", "mIoU", "accuracy", "F1", "pixels", "pairs"), lines),
            page.text("A network that sees EO is judged on the pairs, and of these on the pixels, that have it."),
            page.heading("Classes: IoU / F1, per cent"), page.table(("class", *scores, "train pixels"), classes),
            page.text("A class that the judged labels do not hold has no figure (-) and is left out of the means."),
            *_confusions(data.info.classes, scores),
            page.heading("Calibration of the student"),
            page.text(f"Expected calibration error {calibration.error_before:.4f}; {calibration.error:.4f} with the logits "
                      f"divided by "
                      f"{calibration.temperature:.3f}, the temperature fitted on the select split."),
            page.table(("share of pixels", "mean confidence", "accuracy"), bins)]


def _confusions(classes: tuple[str, ...], scores: dict[str, Judged]) -> list[page.Block]:
    """Of each network what it said of the pixels of each class."""
    blocks = []
    for title, score in scores.items():
        rows = [(name, *(f"{100 * count / own.sum():.1f}" for count in own), f"{own.sum():,}")
                for name, own in zip(classes, score.counts) if own.any()]
        blocks += [page.heading(f"Confusion of the {title}: per cent of a class's pixels (lines) by answer (columns)"),
                   page.table(("truth", *classes, "no answer", "pixels"), rows)]
    return blocks


def _figure(value: float, digits: int = 4) -> str:
    """A number, or - where it is not defined."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _pictures(config: Config, data: Data, answers: dict[str, Answer]) -> list[page.Block]:
    blocks, folder = [page.heading("Curves")], config.folder
    for run in ("student", *(f"teacher-{i}" for i in range(len(config.teacher.kinds)))):
        if rows := read_log(folder / run / "log.csv"):
            names = [n for n in ("segmentation", "features", "logits") if any(row.get(n, 0) > 0 for row in rows)]
            curves = {name: [(row["step"], row[name]) for row in rows if name in row] for name in names}
            draw_curves(folder / f"curves-{run}.png", curves, f"{run}: losses by step")
            blocks.append(page.picture(f"curves-{run}.png"))
        if rows := read_log(folder / run / "select.csv"):
            draw_curves(folder / f"select-{run}.png", {"mIoU on select": [(r["step"], r["miou"]) for r in rows]}, run)
            blocks.append(page.picture(f"select-{run}.png"))
    blocks.append(page.heading("Examples"))
    for number, pair in enumerate(islice(pairs_of(data, config.evaluate.split), config.evaluate.panels)):
        draw_panels(folder / f"example-{number}.png", pair, {name: labels for name, answer in answers.items() if (labels := answer(pair)) is not None},
                    data.info)
        blocks.append(page.picture(f"example-{number}.png"))
    return blocks
