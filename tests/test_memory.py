"""From file to file, peak memory depends on a scene's width and tile, not on its height; GDAL's cache is bounded by us."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hfd_edge.device.pages import own_pages
from hfd_edge.raster import GDAL_CACHE_BYTES, RasterProfile, write_raster
from tests.engines import random_engine

ROOT = Path(__file__).resolve().parent.parent
COLS = 2048
CHILD = """
import sys
from hfd_edge.raster_run import RasterOptions
from hfd_edge.segmenter import Segmenter
from tests.peak import peak_kib
with Segmenter(sys.argv[1], threads=2, stitch=sys.argv[4]) as segmenter:
    for _ in range(int(sys.argv[5])):
        segmenter.run_raster(sys.argv[2], sys.argv[3], RasterOptions(unit="dn", confidence=sys.argv[3] + ".c.tif", overwrite=True))
print(peak_kib())
"""


def peak_of_runs(folder, rows, stitch, times):
    strip = (np.add.outer(np.arange(512), np.arange(COLS)) % 7).astype(np.float32)[np.newaxis]
    write_raster(folder / f"{rows}.tif", ((row, strip) for row in range(0, rows, 512)), RasterProfile(rows, COLS, 1, "float32"))
    words = [sys.executable, "-c", CHILD, str(folder / "random.engine"), str(folder / f"{rows}.tif"), str(folder / f"{rows}-map.tif"), stitch,
             str(times)]
    return int(subprocess.run(words, check=True, capture_output=True, text=True, cwd=ROOT).stdout)


@pytest.mark.slow
@pytest.mark.parametrize("stitch", ["crop", "hann"])
def test_a_raster_ten_times_taller_peaks_at_most_a_cache_higher(tmp_path, stitch):
    """600 MB more of pixels; a tall run fills GDAL's cache to its end. The short one is done ten times: sooner or later all strips that may be in
    flight are, and the engine's memory has met every order of two tiles at once."""
    random_engine(tmp_path / "random.engine", bands=1)
    short, tall = peak_of_runs(tmp_path, 8192, stitch, 10), peak_of_runs(tmp_path, 81920, stitch, 1)
    print(f"peak {short} KiB for 8192 rows ten times, {tall} KiB for 81920")
    assert tall - short <= GDAL_CACHE_BYTES >> 10, f"{short} KiB for 8192 rows ten times, {tall} KiB for 81920"


def test_strips_are_private_pages_that_go_back_to_the_system():
    def kib(name):
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
        return int(line.split()[1])
    shared, resident = kib("RssShmem:"), kib("VmRSS:")
    pages = own_pages((64 << 10, 1 << 10), np.uint8)
    assert not pages.any() and pages.flags.writeable
    pages[:] = 1
    assert kib("VmRSS:") - resident > 60 << 10 and kib("RssShmem:") - shared < 1 << 10, "shared pages cost several times as much"
    del pages
    assert kib("VmRSS:") - resident < 8 << 10


HELD = """
import ctypes, gc, sys
import numpy as np
from hfd_edge.raster import MapWriter
class Heap(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks used free keepcost".split()]
library = ctypes.CDLL(None)
if not hasattr(library, "mallinfo2"):
    sys.exit("no mallinfo2")
library.mallinfo2.restype = Heap
def used_after(maps):
    for _ in range(maps):
        with MapWriter(sys.argv[1], 20, 530, None, "confidence", {}, overwrite=True) as writer:
            writer.write(0, np.zeros((20, 530), np.uint8))
    gc.collect()
    return library.mallinfo2().used
used = [used_after(50) for _ in range(9)]
print(min(after - before for before, after in zip(used, used[1:])) / 50)        # the least: caches fill meanwhile
"""


@pytest.mark.slow
def test_a_map_leaves_nothing_in_the_heap(tmp_path):
    """200 bytes of GDAL's, for each VRT of another name whose source was opened, lay between blocks of 256 KiB: a process took 0.12 MB for each map."""
    done = subprocess.run([sys.executable, "-c", HELD, str(tmp_path / "map.tif")], capture_output=True, text=True, cwd=ROOT)
    if "no mallinfo2" in done.stderr:
        pytest.skip("this C library does not tell what its heap holds")
    assert float(done.stdout) < 60, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("engine, shapes, at_once", [
    ("demo-light", [(2000, 1900), (4200, 4100), (1400, 1400)], ["1", "2", "1"]),            # two tiles at once and one
    ("demo", [(2000, 1900), (2200, 4100), (1400, 1400), (2200, 4100)], ["1"] * 4)])         # tiles of several sizes
def test_runs_of_one_segmenter_keep_to_its_budget(engine, shapes, at_once):
    code = """
import sys
from importlib.resources import files
import numpy as np
from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.run import pace
from hfd_edge.segmenter import Segmenter
from tests.peak import peak_kib
budget, pace.CLEARLY = 300 << 20, float("inf")
class Made:
    count, dtype = 2, np.dtype(np.float32)
    def __init__(self, rows, cols):
        self.rows, self.cols = rows, cols
    def read(self, row, rows):
        return np.random.default_rng(row).random((2, rows, self.cols), np.float32), None
with Segmenter(files("hfd_edge") / "data" / f"{sys.argv[1]}.engine", memory=budget, threads=2) as segmenter:
    idle, at_once = peak_kib(), []
    for rows, cols in eval(sys.argv[2]):
        report = segmenter.run_source(Made(rows, cols), SourceRadiometry("intensity"), lambda *rows: None)
        at_once.append(report.at_once)
print((peak_kib() - idle) * 1024 / budget, *at_once)
"""
    words = [sys.executable, "-c", code, engine, str(shapes)]
    share, *found = subprocess.run(words, check=True, capture_output=True, text=True, cwd=ROOT).stdout.split()
    assert 0.4 < float(share) <= 1.0 and found == at_once


@pytest.mark.slow
@pytest.mark.parametrize("stitch", ["crop", "hann"])
def test_a_run_keeps_to_its_memory_budget(stitch):
    """The shipped engine, for its working memory was counted at export: what a run adds to an idle process stays in the budget."""
    code = """
import sys
import numpy as np
from importlib.resources import files
from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.segmenter import Segmenter
from tests.peak import peak_kib
budget = 300 << 20
class Made:
    rows, cols, count, dtype = 1500, 3000, 2, np.dtype(np.float32)
    def read(self, row, rows):
        return np.random.default_rng(row).gamma(4.4, 0.01, (2, rows, self.cols)).astype(np.float32), None
with Segmenter(files("hfd_edge") / "data" / "demo.engine", memory=budget, threads=2, stitch=sys.argv[1]) as segmenter:
    idle = peak_kib()
    report = segmenter.run_source(Made(), SourceRadiometry("intensity"), lambda *rows: None)
print((peak_kib() - idle) * 1024 / budget, report.tiles_run)
"""
    share, tiles = subprocess.run([sys.executable, "-c", code, stitch], check=True, capture_output=True, text=True, cwd=ROOT).stdout.split()
    assert 0.4 < float(share) <= 1.0 and int(tiles) > 1
