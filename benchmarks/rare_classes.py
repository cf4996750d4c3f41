"""What helps a class of 0.2 % of the pixels: students of equal seeds and steps with other weights, losses and crops.

    python benchmarks/rare_classes.py [--work runs/rare] [--seeds 6] [--steps 600] [--only plain,by_class] [--every 4]

Own input: simulated scenes (land and water, 4.4 looks) with bright ships of 2 to 6 px on the water and as many bright spots of the same kind on land,
which are land; with --every 4 all of them in one scene of four, as many in total. A cell is one training and its judgement on 24 unseen scenes (half a
minute on one quiet core); finished cells are kept in WORK/cells.json and not run again: another --every or --steps needs another WORK. The table gives means
over the seeds and, against `plain`, the mean difference of equal seeds +- its standard error.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))         # training/ is run from the checkout
from hfd_edge.durable import write_whole
from hfd_edge.simulate import WATER, Scene, SceneConfig
from hfd_edge.spec import Unit
from training.batches import Data
from training.config import Config, changed
from training.layouts.simulated import FIRST_SEED
from training.measures import answer_of, calibrate, judged
from training.pairs import FLIPS, Pair, SetInfo, check_split, pair_of
from training.progress import silent
from training.schema import build
from training.statistics import measure
from training.student import train_student

LAND, SEA, SHIP = range(3)
SIDE_PX, PER_PIXEL, LOOKS = 256, 1e-3, 4.4          # ships per pixel of water, spots per pixel of land
VV_DB, VH_BELOW_DB = (-6.0, 4.0), 7.0
LONG_PX, WIDE_PX = (2.0, 6.0), (2.0, 4.0)
BASE = {"name": "ships", "work": "", "data": {"layout": "simulated", "crop_px": 64, "batch": 8, "workers": 0},
        "network": {"encoder": "regnetx_002", "width": 16, "align": "local", "align_levels": [8]},
        "loop": {"average": 0.99, "threads": 1, "log_every": 1000}}
BALANCED, DICE, BY_CLASS = {"class_weights": "balanced"}, {"dice_weight": 2.0}, {"by_class": 0.5}
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "balanced": {"loop": BALANCED},
    "dice": {"loop": DICE},
    "by_class": {"data": BY_CLASS},
    "by_class, balanced": {"data": BY_CLASS, "loop": BALANCED},
    "by_class, dice": {"data": BY_CLASS, "loop": DICE},
}


@dataclass(frozen=True)
class Ships:
    """Pairs without EO, a function of the name. One scene of `every` holds ships and spots."""

    every: int = 1
    info: ClassVar = SetInfo("ships", ("VV", "VH"), (), ("land", "water", "ship"), ((150, 120, 80), (38, 102, 178), (240, 220, 40)), Unit.INTENSITY,
                             "sigma0", LOOKS, 10.0, FLIPS)
    counts: ClassVar = {"train": 48, "select": 8, "test": 24}

    def names(self, split: str) -> tuple[str, ...]:
        return tuple(f"{split}-{number:06d}" for number in range(self.counts[check_split(split)]))

    def read(self, name: str, eo: bool = True) -> Pair:
        split, _, number = name.partition("-")
        seed = FIRST_SEED[split] + int(number)
        window = Scene(SceneConfig(SIDE_PX, SIDE_PX, seed=seed, looks=LOOKS)).window(0, 0, SIDE_PX, SIDE_PX, eo=False)
        rng, water = np.random.default_rng(seed), window.labels == WATER
        sar, labels = window.sar.copy(), np.where(water, SEA, LAND).astype(np.uint8)
        for ground, label in ((water, SHIP), (~water, LAND)):
            where = np.flatnonzero(ground)
            count = 0 if int(number) % self.every else min(rng.poisson(self.every * PER_PIXEL * len(where)), len(where))
            for spot in rng.choice(where, count, replace=False) if len(where) else ():
                rows, cols = spot_pixels(divmod(int(spot), SIDE_PX), ground, rng)
                power = 10 ** ((rng.uniform(*VV_DB) - np.array([0.0, VH_BELOW_DB])) / 10)
                sar[:, rows, cols] = power[:, None] * rng.gamma(LOOKS, 1 / LOOKS, (2, len(rows)))
                labels[rows, cols] = label
        return pair_of(name, sar, None, labels, window.valid)


def spot_pixels(at: tuple[int, int], ground: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows and cols of a turned rectangle around a pixel, as far as it lies on its ground."""
    length, width, angle = rng.uniform(*LONG_PX), rng.uniform(*WIDE_PX), rng.uniform(0, np.pi)
    down, right = np.mgrid[-4:5, -4:5]
    along, across = down * np.cos(angle) + right * np.sin(angle), right * np.cos(angle) - down * np.sin(angle)
    inside = (np.abs(along) <= length / 2) & (np.abs(across) <= width / 2)
    rows, cols = down[inside] + at[0], right[inside] + at[1]
    there = (rows >= 0) & (rows < SIDE_PX) & (cols >= 0) & (cols < SIDE_PX)
    rows, cols = rows[there], cols[there]
    return rows[ground[rows, cols]], cols[ground[rows, cols]]


def cell(config: Config, data: Data) -> dict[str, float]:
    """One training and its figures on the test split, all of 0..1 but the temperature."""
    net = train_student(config, data, log=silent)
    score, believed = judged(answer_of(net, "sar", data), data, "test"), calibrate(net, data, config.evaluate.bins, "test")
    hits, said, there = score.counts[SHIP, SHIP], score.counts[:, SHIP].sum(), score.counts[SHIP].sum()
    return {"IoU": float(score.iou[SHIP]), "F1": float(score.f1[SHIP]), "precision": hits / max(said, 1), "recall": hits / there,
            "mIoU": score.miou, "error": believed.error_before, "error after": believed.error, "temperature": believed.temperature}


def table(cells: dict[str, dict[str, float]], names: list[str], seeds: int) -> str:
    """Per cent, but for the temperature."""
    lines = ["| setting | IoU of ship | against plain | F1 | precision | recall | mIoU | against plain | calibration error, after | temperature |",
             "|---|---|---|---|---|---|---|---|---|---|"]
    for name in names:
        rows = [cells[f"{name}/{seed}"] for seed in range(seeds)]
        mean = {key: np.mean([row[key] for row in rows]) * (1 if key == "temperature" else 100) for key in rows[0]}
        plain = [cells.get(f"plain/{seed}", rows[seed]) for seed in range(seeds)]
        against = {key: _difference([100 * (row[key] - other[key]) for row, other in zip(rows, plain)]) for key in ("IoU", "mIoU")}
        lines.append(f"| {name} | {mean['IoU']:.1f} | {against['IoU']} | {mean['F1']:.1f} | {mean['precision']:.0f} | {mean['recall']:.0f} | {mean['mIoU']:.1f} "
                     f"| {against['mIoU']} | {mean['error']:.2f}, {mean['error after']:.2f} | {mean['temperature']:.2f} |")
    return "\n".join(lines)


def _difference(values: list[float]) -> str:
    if not any(values) or len(values) < 2:
        return "-"
    return f"{np.mean(values):+.1f} ± {np.std(values, ddof=1) / len(values) ** 0.5:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/rare"))
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--only", default=",".join(SETTINGS).replace(", ", "+"), help="settings, + for a comma in a name")
    parser.add_argument("--every", type=int, default=1)
    args = parser.parse_args()
    pairs, names, kept = Ships(args.every), [name.replace("+", ", ") for name in args.only.split(",")], args.work / "cells.json"
    data = Data(pairs, measure(pairs), pairs.names("train"), ())
    print(", ".join(f"{name} {100 * own / sum(data.class_counts()):.2f} %" for name, own in zip(pairs.info.classes, data.class_counts())), flush=True)
    cells = json.loads(kept.read_text()) if kept.exists() else {}
    base = build(Config, {**BASE, "work": str(args.work), "loop": {**BASE["loop"], "steps": args.steps}})
    args.work.mkdir(parents=True, exist_ok=True)
    for seed in range(args.seeds):
        for name in names:
            if f"{name}/{seed}" not in cells:
                cells[f"{name}/{seed}"] = cell(changed(base, {"seed": seed, **SETTINGS[name]}), data)
                write_whole(kept, json.dumps(cells, indent=1).encode())
                print(f"{name}, seed {seed}: IoU of ship {100 * cells[f'{name}/{seed}']['IoU']:.1f}", flush=True)
    print(table(cells, names, args.seeds))


if __name__ == "__main__":
    main()
