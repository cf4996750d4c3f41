"""The command line as a user meets it: a process, its exit code, what it says and what it leaves on the disk."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from hfd_edge.package import Package, write_package
from hfd_edge.raster import RasterSource
from hfd_edge.raster_run import RasterOptions
from hfd_edge.segmenter import Segmenter
from tests.command import BANDS, INPUT, ROOT, failed, power, run
from tests.engines import levels_engine, random_engine
from tests.rasters import UTM, ramp, write_tif


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return random_engine(tmp_path_factory.mktemp("engine") / "small.engine", input=INPUT)


@pytest.fixture
def scene(tmp_path):
    return write_tif(tmp_path / "scene.tif", power(), crs="EPSG:32633", transform=UTM, tags={"HFD_UNIT": "intensity"})


def test_predict_writes_a_map_and_reports_it(scene, engine, tmp_path):
    out = tmp_path / "map.tif"
    done = run("predict", scene, engine, "-o", out, "--json", "--confidence", tmp_path / "c.tif", "--threads", 2, "--memory",
               "512M", "--tile", 104, "--halo", "exact")
    assert done.returncode == 0 and not done.stderr, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert (report["rows"], report["cols"], report["nodata_share"], report["halo"],
            report["map"]) == (90, 70, 0, "exact", str(out))
    with RasterSource(out) as labels, RasterSource(tmp_path / "c.tif") as scores, RasterSource(scene) as source:
        assert labels.geo.same_place(source.geo, 90, 70) and (labels.rows, labels.cols) == (90, 70)
        assert labels.read(0, 90)[0].max() < 5 and scores.read(0, 90)[0].max() < 255


@pytest.mark.slow
def test_predict_blends_when_asked_and_says_what_it_cost(scene, engine, tmp_path):
    done = run("predict", scene, engine, "-o", tmp_path / "a.tif", "--stitch", "hann", "--tile", "64", "--halo", "16",
               "--overlap", "16", "--json")
    report = json.loads(done.stdout)
    assert (report["stitch"], report["overlap_px"], report["halo"], report["halo_px"]) == ("hann", 16, "custom", 16)
    assert report["halo_share"] == pytest.approx(1 - 1 / report["compute_ratio"]) and report["compute_ratio"] > 1.5
    told = run("predict", scene, engine, "-o", tmp_path / "b.tif", "--stitch", "constant", "--tile", "64", "--halo", "16").stdout
    assert "constant, tiles fused over 32 px" in told and "of the engine's work" in told
    failed(run("predict", scene, engine, "-o", tmp_path / "c.tif", "--stitch", "precision"), "--profile")
    failed(run("predict", scene, engine, "-o", tmp_path / "c.tif", "--stitch", "hann", "--overlap", "24"), "overlap=24")


@pytest.mark.slow
def test_a_window_of_some_classes_is_judged_and_drawn_like_the_scene(scene, engine, tmp_path):
    whole, part = tmp_path / "whole.tif", tmp_path / "part.tif"
    assert run("predict", scene, engine, "-o", whole, "--quiet").returncode == 0
    done = run("predict", scene, engine, "-o", part, "--window", "11,20,40,31", "--truth", whole,
               "--quicklook", tmp_path / "a.png", "--compress", "deflate", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["rows"], report["cols"]) == (40, 31)
    assert (report["accuracy"]["pixels"], report["accuracy"]["miou"]) == (40 * 31, 1)
    few = tmp_path / "few.tif"
    done = run("predict", scene, engine, "-o", few, "--classes", "class 1,class 3", "--quicklook", tmp_path / "b.png")
    assert done.returncode == 0 and all(f" {words} " in done.stdout for words in ("1 class 1", "3 class 3", "254 other")), done.stdout + done.stderr
    with RasterSource(whole) as all_, RasterSource(part) as window, RasterSource(few) as kept:
        labels = all_.read(0, 90)[0][0]
        np.testing.assert_array_equal(window.read(0, 40)[0][0], labels[11:51, 20:51])
        np.testing.assert_array_equal(kept.read(0, 90)[0][0], np.where(np.isin(labels, (1, 3)), labels, 254))
    failed(run("predict", scene, engine, "-o", tmp_path / "x.tif", "--window", "0,0,91,5"), "window 0,0,91,5", "inside 90 x 70")
    failed(run("predict", scene, engine, "-o", tmp_path / "x.tif", "--classes", "sea"), "class 'sea'", "0 class 0")
    for words in (("--window", "1,2,3"), ("--window", "a,b,c,d"), ("--classes", "class 1", "--truth", whole)):
        done = run("predict", scene, engine, "-o", tmp_path / "x.tif", *words)
        assert done.returncode == 2 and words[0] in done.stderr


@pytest.mark.slow
def test_a_plain_run_prints_a_report_and_quiet_prints_nothing(scene, engine, tmp_path):
    done = run("predict", scene, engine, "-o", tmp_path / "a.tif")
    assert done.returncode == 0 and not done.stderr and "Mpx/s" in done.stdout and str(tmp_path / "a.tif") in done.stdout
    done = run("predict", scene, engine, "-o", tmp_path / "b.tif", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_the_report_and_the_map_say_how_the_scene_was_read(engine, tmp_path):
    scene = write_tif(tmp_path / "scene.tif", power() ** 0.5 * 1000, descriptions=("VV", "VH"), nodata=-1)
    done = run("predict", scene, engine, "-o", tmp_path / "map.tif", "--unit", "amplitude", "--scale", "0.001", "--nodata", "0")
    expected = "bands VV as B0, VH as B1 in amplitude, scale 0.001, nodata 0, nodata -1"
    assert done.returncode == 0 and "read as " in done.stdout and expected in done.stdout, done.stdout + done.stderr
    with rasterio.open(tmp_path / "map.tif") as labels:
        assert labels.tags()["HFD_READ_AS"] == expected
    with Segmenter(engine) as segmenter:
        named = {"unit": "amplitude", "scale": 0.001, "nodata": (0,), "bands": ("VV", "VH")}
        assert segmenter.run_raster(scene, tmp_path / "named.tif", **named).read_as == expected
        with pytest.raises(TypeError, match="not both"):
            segmenter.run_raster(scene, tmp_path / "x.tif", RasterOptions("db"), unit="db")


@pytest.mark.slow
def test_the_same_scene_in_db_gives_the_same_map(scene, engine, tmp_path):
    in_db = write_tif(tmp_path / "db.tif", 10 * np.log10(power().astype("float64")).astype("float32"), crs="EPSG:32633",
                      transform=UTM)
    tenths = write_tif(tmp_path / "tenths.tif", np.rint(1000 * np.log10(power().astype("float64"))).astype("int16"),
                       crs="EPSG:32633", transform=UTM)
    maps = []
    for name, source, options in (("a", scene, ()), ("b", in_db, ("--unit", "db")),
                                  ("c", tenths, ("--unit", "db", "--scale", "0.01"))):
        assert run("predict", source, engine, "-o", tmp_path / f"map-{name}.tif", *options, "-q").returncode == 0
        with RasterSource(tmp_path / f"map-{name}.tif") as labels:
            maps.append(labels.read(0, 90)[0])
    assert np.mean(maps[0] != maps[1]) < 1e-3 and np.mean(maps[0] != maps[2]) < 0.02


@pytest.mark.slow
def test_truth_gives_accuracy_and_itself_gives_one(scene, engine, tmp_path):
    assert run("predict", scene, engine, "-o", tmp_path / "map.tif", "-q").returncode == 0
    done = run("predict", scene, engine, "-o", tmp_path / "again.tif", "--truth", tmp_path / "map.tif", "--json")
    accuracy = json.loads(done.stdout)["accuracy"]
    assert accuracy["miou"] == 1 and accuracy["pixels"] == 6300
    assert "mIoU" in run("predict", scene, engine, "-o", tmp_path / "third.tif", "--truth", tmp_path / "map.tif").stdout
    other = write_tif(tmp_path / "small.tif", ramp(1, 5, 5, "uint8"))
    failed(run("predict", scene, engine, "-o", tmp_path / "x.tif", "--truth", other), "one grid")
    elsewhere = write_tif(tmp_path / "elsewhere.tif", ramp(1, 90, 70, "uint8") % 5, crs="EPSG:32633",
                          transform=UTM @ Affine.translation(9, 0))
    failed(run("predict", scene, engine, "-o", tmp_path / "x.tif", "--truth", elsewhere), "different places", "gdalwarp")
    legend = write_tif(tmp_path / "legend.tif", np.full((1, 90, 70), 9, np.uint8), crs="EPSG:32633", transform=UTM)
    failed(run("predict", scene, engine, "-o", tmp_path / "x.tif", "--truth", legend), "label 9", "translate")
    assert not (tmp_path / "x.tif").exists(), "a truth that does not fit is refused before the run"
    holes = np.zeros((1, 90, 70), np.uint8)
    holes[:, :10] = 77
    holed = write_tif(tmp_path / "holed.tif", holes, nodata=77, crs="EPSG:32633", transform=UTM)
    done = run("predict", scene, engine, "-o", tmp_path / "x.tif", "--truth", holed, "--json")
    assert json.loads(done.stdout)["accuracy"]["pixels"] == 80 * 70, "the truth's own nodata value is not known"


@pytest.mark.slow
def test_one_file_per_band(scene, engine, tmp_path):
    named = tmp_path / "named.engine"
    with Package.open(engine) as package:
        graphs = {name: bytes(package.read(name)) for name in package.graph_names}
        write_package(named, replace(package.spec, bands=BANDS), graphs, package.golden, {"made_by": "tests"})
    files = [write_tif(tmp_path / f"s_{name}.tif", power()[i:i + 1], tags={"HFD_UNIT": "intensity"})
             for i, name in enumerate(BANDS)]
    for name, order in (("a", files), ("b", files[::-1])):          # the names in the files' names decide
        assert run("predict", *order, named, "-o", tmp_path / f"{name}.tif", "-q").returncode == 0
    assert run("predict", scene, named, "-o", tmp_path / "c.tif", "-q").returncode == 0
    failed(run("predict", *files, named, "-o", tmp_path / "d.tif", "--bands", "VH,VV"), "VV, VH", "by number")
    assert run("predict", *files, named, "-o", tmp_path / "d.tif", "--bands", "2,1", "--unit", "INTENSITY", "-q").returncode == 0
    maps = []
    for name in "abc":
        with RasterSource(tmp_path / f"{name}.tif") as labels:
            maps.append(labels.read(0, 90)[0])
    assert (maps[0] == maps[1]).all() and (maps[0] == maps[2]).all()


@pytest.mark.slow
@pytest.mark.parametrize("product,looks", [("linear", 4.4), ("db", 3), ("amplitude", 4.4), ("complex", 1)])
def test_simulate_is_deterministic_and_its_products_go_straight_through_predict(product, looks, tmp_path):
    sizes = ("--rows", 70, "--cols", 300, "--seed", 5, "--looks", looks, "--product", product, "--border", 20)
    first = run("simulate", tmp_path / "a", *sizes, "--json")
    assert first.returncode == 0, first.stderr
    assert run("simulate", tmp_path / "b", *sizes, "-q").returncode == 0
    for name in ("scene", "truth", "eo"):
        assert (tmp_path / "a" / f"{name}.tif").read_bytes() == (tmp_path / "b" / f"{name}.tif").read_bytes()
    done = run("predict", json.loads(first.stdout)["scene"], "hfd_edge/data/demo.engine", "-o", tmp_path / "map.tif", "--truth",
               tmp_path / "a/truth.tif", "--json")
    assert done.returncode == 0, done.stderr
    with RasterSource(tmp_path / "a/truth.tif") as truth, RasterSource(tmp_path / "map.tif") as labels:
        np.testing.assert_array_equal(truth.read(0, 70)[0] == 255, labels.read(0, 70)[0] == 255)
        assert truth.declared is None, "labels have no radiometric unit"
    failed(run("simulate", tmp_path / "a", *sizes), "--overwrite")


def test_inspect_lists_spec_members_and_hashes(engine):
    done = run("inspect", engine)
    assert done.returncode == 0 and "graph-fp32.onnx" in done.stdout and "made_by: tests" in done.stdout
    record = json.loads(run("inspect", engine, "--json").stdout)
    assert record["manifest"]["spec"]["stride_px"] == 8 and len(record["engine_hash"]) == 64


@pytest.mark.slow
def test_doctor_runs_the_golden_tile(engine, tmp_path):
    record = json.loads(run("doctor", engine, "--json").stdout)
    engines = record["engines"]
    assert record["self_test"]["passed"] is True
    assert "can run" in engines["onnxruntime cpu"] and engines["cuda"].startswith("cannot")
    assert "self-test" in run("doctor", engine).stdout
    (tmp_path / "bad.engine").write_bytes(b"bad")
    done = run("doctor", tmp_path / "bad.engine")
    assert done.returncode == 1 and "self-test failed" in done.stderr


@pytest.mark.slow
def test_demo_writes_everything_it_names(tmp_path):
    done = run("demo", "--out", tmp_path / "demo", "--side", 200, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert all(Path(p).is_file() for p in report["files"].values()) and 0.2 < report["miou_pixel_bayes"] < 0.9
    text = run("demo", "--out", tmp_path / "demo", "--side", 200).stdout
    assert "nodata" in text and "Mpx/s" in text and "mIoU" in text and "per pixel" in text
    failed(run("demo", "--out", tmp_path / "x", "--engine", tmp_path / "none.engine"), "is not there")


def test_quicklook_shows_scene_truth_and_map(scene, engine, tmp_path):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed (extra view)")
    truth = write_tif(tmp_path / "truth.tif", np.zeros((1, 90, 70), np.uint8))
    done = run("predict", scene, engine, "-o", tmp_path / "map.tif", "--quicklook", tmp_path / "q.png", "--truth", truth, "-q")
    assert done.returncode == 0, done.stderr
    assert cv2.imread(str(tmp_path / "q.png")).shape[1] == 3 * 8 * 70 + 2 * 8, "90 x 70 px eight times enlarged"


@pytest.mark.parametrize("words", [("predict",), ("predict", "a.tif", "b.engine"),
                                   ("predict", "a.tif", "b.engine", "-o", "m.tif", "--unit", "watt"),
                                   ("fly",), (), ("predict", "a.tif", "b.engine", "-o", "m.tif", "--bands", "1,,2"),
                                   ("predict", "a.tif", "b.engine", "-o", "m.tif", "--memory", "much"),
                                   ("predict", "a.tif", "b.engine", "-o", "m.tif", "--confidence", "m.tif")])
def test_wrong_usage_exits_with_two(words):
    assert run(*words).returncode == 2


def test_a_failed_gate_exits_with_three(monkeypatch, capsys):
    from hfd_edge.cli import main, verbs
    from hfd_edge.errors import GateError

    def closed(**_):
        raise GateError("flip rate 0.1: at most 0.01")
    monkeypatch.setattr(verbs, "app_for", lambda words: closed)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert main([]) == 3 and "flip rate" in capsys.readouterr().err


def test_debug_shows_the_traceback(engine, tmp_path):
    done = run("--debug", "inspect", tmp_path / "none.engine")
    assert done.returncode == 1 and "Traceback" in done.stderr
    done = run("inspect", tmp_path / "none.engine", env={**os.environ, "HFD_EDGE_DEBUG": "1"})
    assert "Traceback" in done.stderr


@pytest.mark.slow
def test_help_of_every_verb_has_an_example():
    verbs = ("predict", "scene", "despeckle", "seams", "inspect", "build", "plan", "export", "package", "verify", "compare", "doctor", "simulate", "demo")
    assert all(f"  {verb} " in run("--help").stdout for verb in verbs)
    for verb in verbs:
        done = run(verb, "--help")
        assert done.returncode == 0 and done.stdout.count(f"hfd-edge {verb} ") >= 2, done.stdout       # the usage and the examples


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_half_way_is_one_line_and_leaves_nothing(sent, engine, tmp_path):
    scene = write_tif(tmp_path / "large.tif", np.tile(power(512, 1024), (1, 8, 2)), tags={"HFD_UNIT": "intensity"})
    child = subprocess.Popen([sys.executable, "-m", "hfd_edge.cli", "predict", str(scene), str(engine), "-o",
                              str(tmp_path / "map.tif"), "--tile", "120"],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
                             preexec_fn=lambda: signal.signal(sent, signal.SIG_DFL))    # a runner in the background ignores Ctrl-C
    for _ in range(600):
        if list(tmp_path.glob(".map.tif.*")):
            break
        time.sleep(0.05)
    time.sleep(0.5)
    assert child.poll() is None, child.stderr.read()
    child.send_signal(sent)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 1 and err.startswith("error: interrupted") and err.count("\n") == 1 and not out, err
    assert [p.name for p in tmp_path.iterdir()] == ["large.tif"]


@pytest.mark.slow
def test_predict_works_with_torch_onnx_and_opencv_blocked(scene, engine, tmp_path):
    code = ("import sys\nclass Block:\n def find_spec(self, name, path=None, target=None):\n"
            "  if name.split('.')[0] in ('torch', 'onnx', 'timm', 'tensorrt', 'cv2'): raise ImportError('blocked: ' + name)\n"
            "sys.meta_path.insert(0, Block())\nfrom hfd_edge.cli import main\nsys.exit(main(sys.argv[1:]))")
    words = [sys.executable, "-c", code, "predict", str(scene), str(engine), "-o", str(tmp_path / "map.tif")]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    done = subprocess.run([*words, "--overwrite", "--quicklook", str(tmp_path / "q.png")], capture_output=True, text=True,
                          cwd=ROOT)
    assert done.returncode == 1 and "hfd-edge[view]" in done.stderr


def test_an_engine_that_returns_its_input_gives_the_raster_back(tmp_path):
    values = np.random.default_rng(0).integers(0, 7, (1, 301, 517)).astype(np.uint16)
    values[0, :40, :30] = 999
    scene = write_tif(tmp_path / "scene.tif", values, nodata=999)
    levels_engine(tmp_path / "levels.engine")
    assert run("predict", scene, tmp_path / "levels.engine", "-o", tmp_path / "map.tif", "--unit", "dn", "--tile", 64,
               "-q").returncode == 0
    with RasterSource(tmp_path / "map.tif") as labels:
        np.testing.assert_array_equal(labels.read(0, 301)[0], np.where(values == 999, 255, values))
