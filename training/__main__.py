"""python -m training VERB CONFIG [key=value ...]: teacher, student, evaluate, ablate, qat, scenes; `keys` prints what a
CONFIG may hold.

Every key may be changed on the command line, e.g. loop.steps=1000 work=runs/longer. A command that was stopped goes on when it
is given again. Exit codes: 0 done, 1 failed (one line says why), 2 wrong usage.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict

from hfd_edge.extras import missing
from hfd_edge.errors import HfdError

try:
    from training.config import Config, load_config
    from training.processes import Processes
    from training.progress import Log, silent
    from training.schema import ConfigError
except ModuleNotFoundError as _error:
    raise SystemExit(f"error: {missing(_error, 'training')}") from _error


def teacher(config: Config, log: Log) -> None:
    """Train the teachers: WORK/teacher-0.safetensors, one per entry of teacher.kinds."""
    from training.batches import open_data
    from training.measures import answer_of, judged
    from training.student import save, teacher_config, train_teacher
    data = open_data(config, log)
    for number, kind in enumerate(config.teacher.kinds):
        log(f"teacher {number}: sees {kind}")
        net = train_teacher(config, data, log, config.folder / f"teacher-{number}", number)
        if not Processes.here().first:
            continue
        score = judged(answer_of(net, kind, data), data, "select")
        path = save(config.folder / f"teacher-{number}", net, teacher_config(config, number), data,
                    {"kind": kind, "select_miou": score.miou})
        log(f"{path}: mIoU on select {score.miou:.4f} ({score.how_many})")


def student(config: Config, log: Log) -> None:
    """Train the SAR student, from its teacher where a distillation weight is above 0, and judge it:
    WORK/student.safetensors."""
    from training.batches import open_data
    from training.evaluate import evaluate as judge_run
    from training.evaluate import find_teacher
    from training.measures import answer_of, calibrate, judged
    from training.student import save, train_student
    data = open_data(config, log)
    taught = find_teacher(config, data, log) if config.distil.teaches else None
    log("student, " + (f"distilled from {' & '.join(taught.kinds)}" if taught else "SAR alone"))
    net = train_student(config, data, taught, log, config.folder / "student")
    if not Processes.here().first:
        return
    score = judged(answer_of(net, "sar", data), data, "select")
    calibration = asdict(calibrate(net, data, config.evaluate.bins, "select"))
    path = save(config.folder / "student", net, config, data, {"kind": "sar", "calibration": {"split": "select", **calibration}, "select_miou": score.miou})
    log(f"{path}: mIoU on select {score.miou:.4f} ({score.how_many})")
    judge_run(config, data, log, taught)


def evaluate(config: Config, log: Log) -> None:
    """Judge what WORK holds: WORK/report.md, report.html, report.json, pictures."""
    from training.batches import open_data
    from training.evaluate import evaluate as judge_run
    judge_run(config, open_data(config, log), log)


def ablate(config: Config, log: Log) -> None:
    """The table of the paper, cell by cell: WORK/ablation.md and ablation.json; finished cells are not run again."""
    from training.ablate import ablate as run
    log(run(config, log).markdown())


def qat(config: Config, log: Log) -> None:
    """Fine-tune WORK/student with fake quantisation: WORK/student-qat.safetensors, its ranges in the sidecar."""
    from training.batches import open_data
    from training.qat import tune
    tune(config, open_data(config, log), log)


def scenes(config: Config, log: Log) -> None:
    """Write SAR and labels of the select and test pairs as GeoTIFFs: WORK/scenes, for `hfd-edge export --calibration`."""
    from training.batches import open_data
    from training.scenes import write_scenes
    write_scenes(open_data(config, log).pairs, config.folder / "scenes", log)


VERBS: dict[str, Callable[[Config, Log], None]] = {"teacher": teacher, "student": student, "evaluate": evaluate, "ablate": ablate,
                                                   "qat": qat, "scenes": scenes}


def keys() -> None:
    """All keys with default and reason, as a Markdown table."""
    from training.schema import key_table
    print(key_table(Config))


def main(words: list[str] | None = None) -> int:
    """Run one verb; gives the exit code."""
    words = sys.argv[1:] if words is None else words
    if words == ["keys"]:
        keys()
        return 0
    if len(words) < 2 or words[0] not in VERBS or any("=" not in word for word in words[2:]):
        text = "\n".join(f"  {name:9s} {verb.__doc__}" for name, verb in VERBS.items())
        print(f"{__doc__}\n{text}", file=sys.stderr)
        return 0 if words and words[0] in ("-h", "--help") else 2
    try:
        config = load_config(words[1], tuple(words[2:]))
        if words[0] not in ("teacher", "student") and Processes.here().count > 1:
            raise ConfigError(f"{words[0]} runs in one process, and torchrun started {Processes.here().count}; start it "
                              "without, or several with different ablate.seeds")
        VERBS[words[0]](config, print if Processes.here().first else silent)
        return 0
    except ModuleNotFoundError as error:
        return _failed(missing(error, "training"))
    except (HfdError, ImportError, OSError, MemoryError) as error:
        return _failed(" ".join(str(error).split()) or type(error).__name__)
    except KeyboardInterrupt:
        return _failed("interrupted; the same command goes on from the last state, where one was saved (loop.save_every)")


def _failed(text: str) -> int:
    if os.environ.get("HFD_EDGE_DEBUG", "0") not in ("", "0"):
        traceback.print_exc()
    print(f"error: {text}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
