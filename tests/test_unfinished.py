"""An interrupt in the middle of tidying up leaves nothing either."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hfd_edge.errors import RasterError
from hfd_edge.raster import RasterProfile, output
from hfd_edge.raster.cog import CogWriter
from hfd_edge.raster.output import PartialFolder, discard_unfinished
from hfd_edge.raster.pyramid import most_frequent
from tests.engines import random_engine
from tests.rasters import write_tif

ROOT = Path(__file__).resolve().parent.parent
STOPPED_IN = """
import os, shutil, signal, sys
import rasterio, rasterio.env
import hfd_edge.cli, hfd_edge.raster
place, name = {place}
inner, calls = getattr(place, name), []
def stopped(*given, **more):
    calls.append(1)
    if len(calls) == {call}:
        os.kill(os.getpid(), signal.{signal})
    return inner(*given, **more)
setattr(place, name, stopped)
sys.exit(hfd_edge.cli.main(sys.argv[1:]))
"""


def test_what_an_interrupted_discard_leaves_is_removed_at_the_end(tmp_path, monkeypatch):
    file = PartialFolder(tmp_path / "map.tif", False)
    file.begin()
    file.file("0.tif").write_bytes(b"x")
    with monkeypatch.context() as patched:
        patched.setattr(output.shutil, "rmtree", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            file.discard()
    assert os.listdir(tmp_path)
    discard_unfinished()
    assert not os.listdir(tmp_path) and not output._unfinished


@pytest.mark.parametrize("place", ["shutil, 'rmtree'", "os, 'replace'", "rasterio.env, 'delenv'", "rasterio.env, 'defenv'"])
@pytest.mark.parametrize(("call", "signal"), [(1, "SIGTERM"), (2, "SIGINT")])
def test_a_signal_there_is_one_line_and_no_partial_file(tmp_path, place, call, signal):
    values = np.random.default_rng(0).normal(size=(2, 200, 300)).astype(np.float32)
    scene = write_tif(tmp_path / "scene.tif", values)
    engine = random_engine(tmp_path / "random.engine")
    out = tmp_path / "out"
    out.mkdir()
    words = ["predict", str(scene), str(engine), "-o", str(out / "map.tif"), "--confidence", str(out / "c.tif"), "--unit", "dn", "--threads", "1"]
    done = subprocess.run([sys.executable, "-c", STOPPED_IN.format(place=place, call=call, signal=signal), *words], capture_output=True, text=True,
                          cwd=ROOT, check=False)
    assert done.returncode == 1 and done.stderr == "error: interrupted: outputs that were not finished are removed\n", done.stderr
    assert {*os.listdir(out)} <= {"map.tif", "map.tif.aux.xml", "c.tif"}


KILLED = """
import os, signal, sys
import numpy as np
from hfd_edge.raster import RasterProfile
from hfd_edge.raster.cog import CogWriter
from hfd_edge.raster.pyramid import most_frequent
with CogWriter(sys.argv[1], RasterProfile(600, 600, 1, "uint8", 255), most_frequent) as writer:
    writer.write(0, np.zeros((100, 600), np.uint8))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_next_run_takes_away_what_killed_ones_left_and_nothing_else(tmp_path):
    path, profile = tmp_path / "a[1].tif", RasterProfile(600, 600, 1, "uint8", 255)
    for other in ("a[1].tif", "a[1].tif.tif", "a1.tif"):
        for _ in range(2):
            assert subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / other)], cwd=ROOT, check=False).returncode == -signal.SIGKILL
    left, theirs = {*tmp_path.iterdir()}, tmp_path / ".a[1].tif.notes.partial"
    theirs.mkdir()
    with CogWriter(path, profile, most_frequent) as writer:
        writer.write(0, np.zeros((600, 600), np.uint8))
    names = {each.name for each in tmp_path.iterdir()}
    assert {"a[1].tif", theirs.name, ".a1.tif.lock", ".a[1].tif.tif.lock"} <= names and len(left) == 3 * 2
    assert len(names) == 6, "one folder each of the other two, and their locks"


def test_what_a_writer_at_work_has_is_not_taken_away(tmp_path):
    profile = RasterProfile(600, 600, 1, "uint8", 255)
    with CogWriter(tmp_path / "a.tif", profile, most_frequent) as writer:
        with pytest.raises(RasterError, match="is being written by another run"), CogWriter(tmp_path / "a.tif", profile, most_frequent):
            pass
        writer.write(0, np.zeros((600, 600), np.uint8))
    assert [each.name for each in tmp_path.iterdir()] == ["a.tif"]
