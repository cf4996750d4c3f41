"""The benchmark of rare classes: its ships are as rare as it says, and its command trains, judges and goes on from finished cells."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("lightning")

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from rare_classes import LAND, SEA, SHIP, Ships, spot_pixels, table  # noqa: E402 - a file of benchmarks/, which is no package


def shares(pairs):
    return np.array([np.bincount(pairs.read(name).labels.ravel(), minlength=3) for name in pairs.names("train")])


def test_a_five_hundredth_of_the_pixels_is_ship_in_all_scenes_or_in_one_of_four():
    everywhere, few = shares(Ships()), shares(Ships(4))
    for counts in (everywhere, few):
        assert 0.0018 < counts[:, SHIP].sum() / counts.sum() < 0.0024
    assert (everywhere[:, SHIP] > 0).sum() > 30 and not few[np.arange(48) % 4 > 0, SHIP].any()
    one = Ships().read("test-000000")
    bright = 10 * np.log10(one.sar[0][one.labels == SHIP].mean() / one.sar[0][one.labels == SEA].mean())
    assert 15 < bright < 25 and one.sar[0][one.labels == LAND].max() > 1                                      # spots on land shine as ships do


def test_a_spot_stays_on_its_ground_and_is_as_large_as_said():
    ground, rng = np.zeros((256, 256), bool), np.random.default_rng(0)
    ground[:, 100:] = True
    sizes = []
    for _ in range(200):
        rows, cols = spot_pixels((int(rng.integers(256)), int(rng.integers(100, 256))), ground, rng)
        assert len(rows) and ground[rows, cols].all() and np.ptp(rows) <= 8 and np.ptp(cols) <= 8
        sizes.append(len(rows))
    assert 4 < np.mean(sizes) < 24


def test_the_table_pairs_the_seeds():
    row = {"IoU": 0.4, "F1": 0.5, "precision": 0.5, "recall": 0.5, "mIoU": 0.6, "error": 0.01, "error after": 0.005, "temperature": 1.1}
    cells = {f"plain/{seed}": {**row, "IoU": 0.1 * seed} for seed in range(2)} | {f"dice/{seed}": {**row, "IoU": 0.1 * seed + 0.1 + 0.02 * seed} for seed in range(2)}
    lines = table(cells, ["plain", "dice"], 2).splitlines()
    assert lines[2].startswith("| plain | 5.0 | - |") and lines[3].startswith("| dice | 16.0 | +11.0 ± 1.0 |")


def test_the_command_trains_judges_and_runs_no_finished_cell_again(tmp_path):
    words = [sys.executable, "benchmarks/rare_classes.py", "--work", tmp_path, "--seeds", "1", "--steps", "2", "--only", "by_class+dice"]
    first, again = (subprocess.run(words, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, text=True, capture_output=True) for _ in range(2))
    assert first.returncode == again.returncode == 0, first.stderr + again.stderr
    assert "ship 0.21 %" in first.stdout and first.stdout.count("by_class, dice, seed 0: IoU of ship") == 1 and "seed 0" not in again.stdout
    assert first.stdout.splitlines()[-3:] == again.stdout.splitlines()[-3:] and "\n| by_class, dice |" in again.stdout
