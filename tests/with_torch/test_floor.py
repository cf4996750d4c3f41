"""The pixel-wise floor finds what single pixels know, and no more."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from hfd_edge.spec import Unit  # noqa: E402
from training import floor  # noqa: E402
from training.floor import floors, options_of  # noqa: E402
from training.pairs import FLIPS, DataError, SetInfo, check_split, pair_of  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


class Told:
    """The label is written into EO, half of it into SAR; pair 1 of train has no EO and some pixels no SAR."""

    info = SetInfo("told", ("VV",), ("R",), ("dark", "light"), ((0, 0, 0), (9, 9, 9)), Unit.INTENSITY, "sigma0", None, None,
                   FLIPS)

    def names(self, split):
        return tuple(f"{check_split(split)}{i}" for i in range(3))

    def read(self, name, eo=True):
        rng = np.random.default_rng([ord(c) for c in name])
        labels, valid = rng.integers(0, 2, (40, 40)), rng.random((40, 40)) > 0.1
        told = np.where(rng.random((40, 40)) < 0.5, labels, rng.integers(0, 2, (40, 40)))
        sar = 10 ** ((told * 6 - 12 + rng.normal(0, 1, (40, 40))) / 10)
        optical = labels[None] + rng.normal(0, 0.1, (1, 40, 40)) if eo and name != "train1" else None
        return pair_of(name, sar[None], optical, labels, valid)


def test_eo_that_tells_all_is_perfect_and_sar_that_tells_half_is_half_way():
    found = floors(Told())
    assert found["eo"].miou > 0.99 and found["sar+eo"].miou > 0.99
    assert 0.5 < found["sar"].miou < 0.68                                  # three quarters of the pixels right: IoU 0.6
    assert found["sar"].pixels == sum((Told().read(n).labels != 255).sum() for n in Told().names("test"))
    assert floors(Told(), ["sar"])["sar"].miou == found["sar"].miou


def test_an_unknown_input_and_a_set_without_eo_are_refused():
    class Blind(Told):
        def read(self, name, eo=True):
            return super().read(name, eo=False)

    with pytest.raises(DataError, match="radar"):
        floors(Told(), ["radar"])
    with pytest.raises(DataError, match="no pixels"):
        floors(Blind(), ["eo"])


def test_options_are_words_with_yaml_values():
    words = ["bands=[after, before]", "turn=false", "chip_px=256"]
    assert options_of(words) == {"bands": ["after", "before"], "turn": False, "chip_px": 256}
    with pytest.raises(DataError, match="option=value"):
        options_of(["bands"])


def test_the_command_prints_the_table_as_json_and_an_error_in_one_line(tmp_path):
    command = [sys.executable, "-m", "training.floor", "simulated", str(tmp_path), "--json", "--inputs", "sar,eo", "side_px=64"]
    done = subprocess.run([*command, "train=2", "test=1"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)) == {"sar", "eo"} and "urban" in json.loads(done.stdout)["sar"]["iou"]
    done = subprocess.run([*command, "scenes=2"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1 and not done.stdout and "scenes" in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_library_that_is_not_there_is_named_with_its_extra(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "yaml", None)
    monkeypatch.setattr(sys, "argv", ["floor", "ombria", "nowhere", "bands=[after]"])
    assert floor.main() == 1
    assert "pip install 'hfd-edge[train]'" in capsys.readouterr().err
