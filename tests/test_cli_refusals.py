"""What the command line must refuse: exit 1, one line, and not a file more than before."""

import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from rasterio.enums import ColorInterp

from hfd_edge.package import Golden, write_package
from tests.command import INPUT, ROOT, failed, power, run
from tests.engines import Graph, make_spec, write_engine
from tests.rasters import ramp, write_tif
from tests.test_cli import engine, scene  # fixtures

pytestmark = pytest.mark.slow


def bad_engine(tmp_path, engine, kind):
    path = tmp_path / f"{kind}.engine"
    if kind == "not a zip":
        path.write_bytes(b"hello" * 100)
    elif kind == "wrong hash":
        data = bytearray(engine.read_bytes())
        with zipfile.ZipFile(engine) as package:
            data[package.getinfo("graph-fp32.onnx").header_offset + 200] ^= 1
        path.write_bytes(data)
    elif kind == "external data":
        graph = onnx.load_from_string(external_graph())
        assert graph.graph.initializer[0].data_location == TensorProto.EXTERNAL
        write_engine_unchecked(path, graph.SerializeToString())
    return path


def external_graph() -> bytes:
    weight = helper.make_tensor("w", TensorProto.FLOAT, [5, 2, 1, 1], np.zeros(10, np.float32).tobytes(), raw=True)
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../../etc/passwd")
    graph = helper.make_graph([helper.make_node("Conv", ["pixels", "w"], ["logits"])], "g",
                              [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 2, "r", "c"])],
                              [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 5, "r", "c"])], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()


def write_engine_unchecked(path, graph):
    """A package that is sound but for its graph."""
    spec = make_spec(2, 5, 1, 1, 0, input=INPUT)
    golden = Golden(np.zeros((2, 64, 64), np.float32), {"graph-fp32.onnx": np.zeros((64, 64), np.uint8)})
    write_package(path, spec, {"graph-fp32.onnx": graph}, golden, {"made_by": "tests"})


@pytest.mark.parametrize("kind,word", [("not a zip", "zip"), ("wrong hash", "graph-fp32.onnx"), ("external data", "external")])
def test_a_bad_engine_is_one_line_and_no_output(kind, word, scene, engine, tmp_path):
    bad = bad_engine(tmp_path, engine, kind)
    before = sorted(tmp_path.iterdir())
    failed(run("predict", scene, bad, "-o", tmp_path / "map.tif"), word)
    failed(run("inspect", bad), bad.name) if kind != "external data" else None
    assert sorted(tmp_path.iterdir()) == before


def bad_scene(tmp_path, kind):
    path, db = tmp_path / "scene.tif", (10 * np.log10(power())).astype(np.float32)
    if kind == "not a raster":
        path.write_text("no pixels here")
    elif kind == "zero size":
        path.write_bytes(b"")
    elif kind == "truncated":
        data = write_tif(path, power(400, 400)).read_bytes()
        path.write_bytes(data[:len(data) // 2])
    elif kind == "not there":
        return path
    else:
        values = {"bands": power()[:1], "db as linear": db, "nan": np.full_like(db, np.nan), "unknown unit": db,
                  "all nodata": np.zeros_like(db),
                  "8 bit": ramp(2, 90, 70, "uint8"), "linear as db": power(), "digital numbers": power() * 1e6}[kind]
        write_tif(path, values, **({"nodata": 0} if kind == "all nodata" else {}))
    return path


@pytest.mark.parametrize("kind,options,words", [
    ("not a raster", (), ["not a raster"]), ("zero size", (), ["0 bytes"]), ("truncated", (), ["truncated"]),
    ("not there", (), ["does not exist"]),
    ("bands", ("--unit", "intensity"), ["1 band and", "one file per band"]), ("db as linear", ("--unit", "intensity"), ["--unit db"]),
    ("nan", ("--unit", "db"), ["valid"]), ("all nodata", ("--unit", "intensity"), ["valid"]), ("unknown unit", (), ["--unit"]),
    ("8 bit", (), ["8-bit", "--scale"]), ("8 bit", ("--unit", "db"), ["8-bit", "--scale"]),
    ("linear as db", ("--unit", "db"), ["--unit"]),
    ("digital numbers", ("--unit", "intensity"), ["--scale"]),
    ("db as linear", ("--unit", "db", "--bands", "1,3"), ["bands 1 to 2"]),
    ("db as linear", ("--unit", "db", "--tile", "7"), ["stride"]),
    ("db as linear", ("--unit", "db", "--device", "cuda:0"), ["cuda"]),
    ("db as linear", ("--unit", "db", "--memory", "1K"), ["--memory"])])
def test_a_bad_scene_or_option_is_one_line_and_no_output(kind, options, words, engine, tmp_path):
    scene = bad_scene(tmp_path, kind)
    before = sorted(tmp_path.iterdir())
    failed(run("predict", scene, engine, "-o", tmp_path / "map.tif", "--confidence", tmp_path / "c.tif", *options), *words)
    assert sorted(tmp_path.iterdir()) == before


def test_outputs_that_cannot_be_written_are_refused_before_any_work(scene, engine, tmp_path):
    out = tmp_path / "map.tif"
    out.write_text("precious")
    failed(run("predict", scene, engine, "-o", out), "--overwrite")
    failed(run("predict", scene, engine, "-o", scene, "--overwrite"), "input")
    failed(run("predict", scene, engine, "-o", engine, "--overwrite"), "input")
    failed(run("scene", scene, "--engine", engine, "--plot", engine, "--overwrite"), "input")
    failed(run("predict", scene, engine, "-o", tmp_path / "none/map.tif"), "mkdir")
    done = run("predict", scene, engine, "-o", tmp_path / "map.png")
    assert done.returncode == 2 and "--quicklook" in done.stderr and not (tmp_path / "map.png").exists()
    failed(run("predict", engine, scene, "-o", tmp_path / "new.tif"), "give the engine", "RASTER ENGINE")
    assert out.read_text() == "precious"
    assert run("predict", scene, engine, "-o", out, "--overwrite", "-q").returncode == 0 and out.read_bytes()[:2] == b"II"


@pytest.mark.parametrize("verb", ["predict", "seams"])
@pytest.mark.parametrize(("given", "missing"), [("scene.tif", "scene.tif is given alone: ENGINE"), ("a.engine", "a.engine is given alone: RASTER"),
                                                ("", "RASTER... ENGINE")])
def test_a_scene_without_an_engine_and_an_engine_without_a_scene_say_which_is_missing(tmp_path, verb, given, missing):
    done = run(verb, *([given] if given else []), *(("-o", tmp_path / "map.tif") if verb == "predict" else ()))
    assert done.returncode == 2 and missing in done.stderr and not done.stdout, done.stderr


def test_nan_answers_are_told_and_end_with_one(tmp_path):
    graph = Graph(1)
    graph.op("Sqrt", graph.x)                                   # of a negative pixel: NaN
    graph.conv(np.array([1.0, -1.0]).reshape(2, 1, 1, 1))
    golden = np.ones((1, 64, 64), np.float32)
    path = write_engine(tmp_path / "nan.engine", graph.serialize(), make_spec(1, 2, 1, 1, 0), golden)
    pixels = np.full((1, 20, 20), 4.0, np.float32)
    pixels[0, 3, :5] = -1
    done = run("predict", write_tif(tmp_path / "scene.tif", pixels), path, "-o", tmp_path / "map.tif", "--unit", "dn", "--json")
    assert done.returncode == 1 and json.loads(done.stdout.splitlines()[-1])["nan_pixels"] == 5
    assert "NaN for 5 pixels" in done.stderr


@pytest.mark.parametrize("options, words", [
    (("--tile", "9" * 5000), ["tile="]), (("--bands", "9" * 5000), ["band '99"]),
    (("--bands", "0,-1"), ["band 0"]), (("--quicklook", "q.xyz"), [".xyz"])])
def test_an_impossible_option_is_refused_before_any_work(options, words, scene, engine, tmp_path):
    before = sorted(tmp_path.iterdir())
    options = [tmp_path / word if "." in word else word for word in options]
    failed(run("predict", scene, engine, "-o", tmp_path / "map.tif", *options), *words)
    assert sorted(tmp_path.iterdir()) == before


def test_two_outputs_of_one_name_are_wrong_usage_however_they_are_spelled(scene, engine, tmp_path):
    before = sorted(tmp_path.iterdir())
    done = run("predict", scene, engine, "-o", tmp_path / "map.tif", "--confidence", f"{tmp_path}/../{tmp_path.name}/map.tif", "--overwrite")
    assert done.returncode == 2 and "must be different files" in done.stderr and sorted(tmp_path.iterdir()) == before


def test_a_truth_of_other_classes_is_named_before_any_work(scene, engine, tmp_path):
    truth = write_tif(tmp_path / "truth.tif", np.full((1, 90, 70), 9, np.uint8))
    failed(run("predict", scene, engine, "-o", tmp_path / "map.tif", "--truth", truth), "truth.tif", "label 9", "translate")
    assert not (tmp_path / "map.tif").exists()


def test_names_in_a_file_cannot_forge_a_line(tmp_path):
    path = tmp_path / "forged.engine"
    golden = Golden(np.zeros((2, 64, 64), np.float32), {"graph-fp32.onnx": np.zeros((64, 64), np.uint8)})
    write_package(path, make_spec(2, 5, 1, 1, 0, input=INPUT), {"graph-fp32.onnx": external_graph()}, golden, {"by\x1b[2J": "us\r\nhash: 0"})
    shown = run("inspect", path)
    assert shown.returncode == 0 and "\x1b" not in shown.stdout and r"by\x1b[2J: us\r\nhash: 0" in shown.stdout
    failed(run("inspect", tmp_path / "no\x1b[2J.engine"), r"no\x1b[2J.engine")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
@pytest.mark.parametrize("more", ["", "--json"])
def test_a_full_disk_behind_the_report_is_told_apart_from_one_behind_the_map(scene, engine, tmp_path, more):
    words = f"{sys.executable} -m hfd_edge.cli predict {scene} {engine} -o {tmp_path}/map.tif {more} > /dev/full"
    done = subprocess.run(["sh", "-c", words], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1 and (tmp_path / "map.tif").exists()
    assert done.stderr == ("error: the report cannot be written to the standard output (No space left on device); "
                           "files that this command writes are complete\n")


def test_a_closed_error_stream_does_not_spill_into_another(scene, engine, tmp_path):
    words = f"{sys.executable} -m hfd_edge.cli predict {scene} none.engine -o {tmp_path}/map.tif 2>&-"
    done = subprocess.run(["sh", "-c", words], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1 and not done.stdout and not done.stderr


@pytest.mark.parametrize("verb", ["predict", "scene"])
def test_a_missing_band_that_is_flagged_as_alpha_has_a_way_out(tmp_path, verb):
    path, demo = write_tif(tmp_path / "a.tif", power(), colorinterp=[ColorInterp.gray, ColorInterp.alpha]), ROOT / "hfd_edge/data/demo.engine"
    words = ("predict", path, demo, "-o", tmp_path / "map.tif") if verb == "predict" else ("scene", path, "--engine", demo)
    failed(run(*words, "--unit", "intensity"), "band 2 is flagged as alpha", "--bands 1,2")
    assert run(*words, "--unit", "intensity", "--bands", "1,2").returncode == 0


@pytest.mark.parametrize(("options", "named"), [
    (("--unit", "db"), "--unit"), (("--keep-float", "conv"), "--keep-float"), (("--calibrator", "minmax"), "--calibrator"), (("--scale", 0), "--scale"),
    (("--offset", 0), "--offset"), (("--nodata", 0), "--nodata"), (("--bands", "2,1"), "--bands"), (("--report", "gate"), "--report"),
    (("--unit", "db", "--nodata", 0), "--unit, --nodata")])
@pytest.mark.parametrize("verb", ["export", "package"])
def test_what_concerns_calibration_scenes_without_any_is_refused(tmp_path, verb, options, named):
    words = ["export", tmp_path / "net"] if verb == "export" else ["package", tmp_path / "net.onnx", "--spec", tmp_path / "spec.yaml"]
    done = run(*words, "-o", tmp_path / "m.engine", *options)
    assert done.returncode == 2 and f"{named} without --calibration: this concerns the scenes" in " ".join(done.stderr.split()), done.stderr
    assert not list(tmp_path.iterdir())
