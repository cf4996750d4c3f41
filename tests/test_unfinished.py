"""An interrupt in the middle of tidying up leaves nothing either."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hfd_edge.raster import output
from hfd_edge.raster.output import PartialFolder, discard_unfinished
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
