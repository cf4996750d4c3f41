"""The paper's table, cell by cell: {no distillation, settings of it} x {alignments}, teachers above, SAR alone below, over
seeds.

A cell is one training and its judgement. It is kept as JSON under WORK/cells and never made twice; a training that was cut
goes on. Where the pairs that judge have changed since, its network is judged again (a baseline, which is not kept, trained again).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from hfd_edge.durable import write_whole
from hfd_edge.errors import HfdError
from hfd_edge.network import load_checkpoint
from training.baselines import train_baseline
from training.batches import Data, for_seed, open_data, what_there_is
from training.config import Config, changed
from training.measures import answer_of, answer_of_all, judged, judged_pixels
from training.progress import Log
from training.schema import ConfigError
from training.start import record_of
from training.student import save, teacher_config, train_student, train_teacher, weights_record
from training.table import Row, Table
from training.teacher import Teacher

ALONE = "SAR only"


@dataclass(frozen=True)
class Bench:
    """What all cells of one seed and alignment share."""

    config: Config
    data: Data
    log: Log
    judged_on: str = ""                  # digest of the pairs that judge
    kept_by: str = ""                    # digest of those that chose which average is kept, where loop.select_every has them do so

    @property
    def label(self) -> str:
        return f"{self.config.network.align}-s{self.config.seed}"

    def cell(self, name: str, record: dict[str, Any], make: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
        """The result of a cell: read where it is finished, else made. `record` is what it depends on, and part of its file's
        name."""
        text = json.dumps([record, self.data.statistics.hash], sort_keys=True)
        stem = f"{name}-{self.label}-{hashlib.sha256(text.encode()).hexdigest()[:8]}".replace(" ", "-").replace(",", "")
        path = self.config.folder / "cells" / f"{stem}.json"
        found, start = self._found(path), time.monotonic()
        if found.get("judged_on") == self.judged_on:
            return found
        folder = path.with_suffix("")
        why = "pairs of select or test have changed" if found.get("judged_on") else "its judges were not recorded"
        self.log(f"cell {stem}" + (f": {why}; judged again" if found else ""))
        if "checkpoint" in found:
            result = {**found, **self._judged_again(found)}
        else:
            folder.mkdir(parents=True, exist_ok=True)
            result = {"cell": name, "align": self.config.network.align, "seed": self.config.seed, **make(folder),
                      "seconds": round(time.monotonic() - start), "files": self.data.unknown_files,
                      "kept_by": self.kept_by, "record": record}
        result["judged_on"] = self.judged_on
        write_whole(path, f"{json.dumps(result, indent=1)}\n".encode())
        (folder / "state.pt").unlink(missing_ok=True)
        self.log("  mIoU " + ", ".join(f"on {split} {result[split]['miou']:.4f}" for split in ("select", "test")) + f"; {time.monotonic() - start:.0f} s")
        return result

    def _found(self, path: Path) -> dict[str, Any]:
        """A finished cell, {} where there is none; what its training may not have seen is told of."""
        if not path.exists():
            return {}
        # cells that lack these were made before they were kept
        found = {"judged_on": "", "files": self.data.unknown_files, "kept_by": self.kept_by, **json.loads(path.read_text(encoding="utf-8"))}
        if found["files"] != self.data.unknown_files:
            self.log(f"warning: files of the data set have changed or were copied since {path} was made, and only a part of the train pairs is measured (data."
                     "measured_pairs): if pixels or labels of others have changed, its network learnt from the old ones: delete it to train anew")
        if found["kept_by"] != self.kept_by:
            self.log(f"warning: pairs of select have changed since {path} was made, and by the old ones its training chose which weights it kept "
                     "(loop.select_every): delete it to train anew")
        return found

    def _judged_again(self, found: dict[str, Any]) -> dict[str, Any]:
        net, _, made = load_checkpoint(self.config.folder / found["checkpoint"])
        return self.judged(net, made["kind"])

    def baseline(self, name: str) -> dict[str, Any]:
        """The cell of a network of another library."""
        record = weights_record(self.config)
        if record["loop"]["class_weights"] != "none":
            record["loss"] = "student's"             # cells that lack this were trained without the weights of classes
        return self.cell(name, record, lambda folder: self.judged(
            train_baseline(name, self.config, self.data, self.log, folder)))

    def judged(self, net: nn.Module, kind: str = "sar") -> dict[str, Any]:
        """Scores of a network on select and test."""
        answer = answer_of(net, kind, self.data)
        return {split: judged(answer, self.data, split).to_dict() for split in ("select", "test")}


@dataclass(frozen=True)
class Setting:
    """A row to be made: what differs from the configuration, and at which seeds."""

    change: dict[str, Any]
    seeds: tuple[int, ...]


def ablate(config: Config, log: Log = print) -> Table:
    """Run every cell that is missing, seed by seed; the table is written to WORK/ablation.md and WORK/ablation.json after each.

    Raises:
        ConfigError: a setting holds other keys than distil, teacher and seeds, there are too few seeds, or teachers made elsewhere are given.
    """
    settings = {name: _checked(name, change, config.ablate.seeds) for name, change in config.ablate.settings.items()}
    if config.teacher.checkpoints:
        raise ConfigError(f"teacher.checkpoints={list(config.teacher.checkpoints)}: ablate trains teachers of its own for every seed; leave the key out")
    if len(set(config.ablate.seeds)) < 2:
        raise ConfigError(f"ablate.seeds={list(config.ablate.seeds)}: a spread needs at least two different seeds")
    changes = {name: setting.change for name, setting in settings.items()}
    teachers = {name: _teacher_name(run) for name, run in _with(config, changes).items()}
    rows: dict[tuple[str, str], Row] = {}
    data = open_data(changed(config, {"seed": config.ablate.seeds[0]}), log)     # once: it reads the headers of every pair
    judges, keepers = judged_pixels(data, "select", "test"), judged_pixels(data, "select") if config.loop.select_every else ""
    for number, seed in enumerate(config.ablate.seeds, 1):
        wanted = {name: setting.change for name, setting in settings.items() if seed in setting.seeds}
        run = changed(config, {"seed": seed})
        own = for_seed(data, run)
        for line in what_there_is(own, seed) if own.unlabelled and number > 1 else ():
            log(line)
        for align in config.ablate.alignments:
            bench = Bench(changed(run, {"network": {"align": align}}), own, log, judges, keepers)
            for name, kind, result in _cells(bench, wanted):
                rows.setdefault((name, align), Row(name, align, kind)).add(seed, result)
        bench = Bench(run, own, log, judges, keepers)
        for name in config.ablate.baselines:
            rows.setdefault((name, run.network.align), Row(name, run.network.align, "baseline")).add(seed, bench.baseline(name))
        table = Table(list(rows.values()), ALONE, teachers)
        log(f"{_write(table, config.folder)}: seed {seed}, {number} of {len(config.ablate.seeds)}")
    return table


def _write(table: Table, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "ablation.md"
    write_whole(path, f"{table.markdown()}\n".encode())
    write_whole(path.with_suffix(".json"), f"{json.dumps(table.to_dict(), indent=1)}\n".encode())
    return path


def _cells(bench: Bench, settings: dict[str, dict[str, Any]]) -> Any:
    """(row name, kind, result) of one seed and alignment: SAR alone, then for each setting its teacher and its student."""
    alone = changed(bench.config, {"distil": {"weight": 0.0, "logit_weight": 0.0, "hallucinate": False}})

    def student(run: Config, teacher: Teacher | None) -> Callable[[Path], dict[str, Any]]:
        return lambda folder: _judged_student(bench, run, teacher, folder)
    record = {k: v for k, v in weights_record(alone).items() if k not in ("distil", "teacher")}
    yield ALONE, "student", bench.cell("alone", record, student(alone, None))
    taught = set()
    for name, run in _with(bench.config, settings).items():
        teacher = Teacher(tuple(_member(bench, run, i) for i in range(len(run.teacher.kinds))), run.teacher.kinds)
        title = _teacher_name(run)
        if title not in taught:
            yield title, "teacher", bench.cell("teachers", _teacher_record(run), lambda folder: _judged_teacher(bench, teacher))
        taught.add(title)
        yield name, "student", bench.cell(name, weights_record(run), student(run, teacher))


def _member(bench: Bench, run: Config, member: int) -> nn.Module:
    """One teacher, trained once for all settings that use it, and kept as a checkpoint."""
    kind, found = run.teacher.kinds[member], {}

    def make(folder: Path) -> dict[str, Any]:
        found["net"] = train_teacher(run, bench.data, bench.log, folder, member)
        path = save(folder / "teacher", found["net"], teacher_config(run, member), bench.data, {"kind": kind})
        return {"checkpoint": str(path.relative_to(run.folder)), **bench.judged(found["net"], kind)}
    result = bench.cell(f"teacher-{kind}-{member}", _teacher_record(run, member), make)
    return found["net"] if "net" in found else load_checkpoint(run.folder / result["checkpoint"])[0]


def _judged_student(bench: Bench, run: Config, teacher: Teacher | None, folder: Path) -> dict[str, Any]:
    net = train_student(run, bench.data, teacher, bench.log, folder)
    path = save(folder / "student", net, run, bench.data, {"kind": "sar"})
    return {"checkpoint": str(path.relative_to(run.folder)), **bench.judged(net)}


def _judged_teacher(bench: Bench, teacher: Teacher) -> dict[str, Any]:
    answer = answer_of_all(teacher.members, teacher.kinds, bench.data)
    return {split: judged(answer, bench.data, split).to_dict() for split in ("select", "test")}


def _teacher_record(run: Config, member: int | None = None) -> dict[str, Any]:
    record = {k: v for k, v in weights_record(teacher_config(run, member or 0)).items() if k != "distil"}
    record["data"] = {k: v for k, v in record["data"].items() if k != "unlabelled_batch"}
    kinds = list(run.teacher.kinds) if member is None else run.teacher.kinds[member]
    start = record_of(run.start) if any("sar" in kind for kind in run.teacher.kinds) else {}     # whose normalisation its SAR has
    return {**record, "teacher": {"kinds": kinds, "member": member}, **start}


def _teacher_name(run: Config) -> str:
    larger = "".join(f", {k} {v}" for k, v in sorted(run.teacher.network.items()))
    return f"teacher {' & '.join(run.teacher.kinds)}{larger}".replace("/", "-")


def _with(config: Config, settings: dict[str, dict[str, Any]]) -> dict[str, Config]:
    return {name: changed(config, change) for name, change in settings.items()}


def _checked(name: str, change: Any, seeds: tuple[int, ...]) -> Setting:
    change = {} if change is None else change
    if not isinstance(change, dict) or set(change) - {"distil", "teacher", "seeds"}:
        raise ConfigError(f"ablate.settings.{name}={change!r}: it holds the sections distil and teacher, and seeds where it has "
                          f"fewer, e.g. {{distil: {{tap: fused}}, seeds: [0, 1]}}")
    if name == ALONE or name.startswith("teacher"):
        raise HfdError(f"ablate.settings.{name}: that name is taken by the table itself; use another")
    own = change.get("seeds", seeds)
    if not isinstance(own, (list, tuple)) or not own or set(own) - set(seeds):
        raise ConfigError(f"ablate.settings.{name}.seeds={own!r}: it must be a list of some of ablate.seeds={list(seeds)}")
    return Setting({k: v for k, v in change.items() if k != "seeds"}, tuple(own))
