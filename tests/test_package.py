"""The .engine file: written as the golden files say, read back equal, and never half there."""

import dataclasses
import hashlib
import json
import os
import runpy
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from hfd_edge.package import zip as package_zip
from hfd_edge.errors import PackageError
from hfd_edge.package import Golden, Package, write_package

FOLDER = Path(__file__).parent / "golden"
MAKE = runpy.run_path(str(FOLDER / "make_golden.py"))
SPEC, GRAPH, PROVENANCE = MAKE["SPEC"], MAKE["GRAPH"], MAKE["PROVENANCE"]


def write(path, **changes):
    given = {"spec": SPEC, "graphs": {GRAPH: MAKE["graph"]()}, "golden": MAKE["golden"](), "provenance": PROVENANCE, **changes}
    write_package(path, **given)
    return path


def relabelled(labels, tile=None):
    return Golden(MAKE["golden"]().input if tile is None else tile, {GRAPH: labels})


@pytest.mark.parametrize("name", MAKE["PACKAGES"])
def test_golden_files_are_made_again_byte_for_byte(name):
    assert MAKE["PACKAGES"][name]() == (FOLDER / name).read_bytes()


def test_a_package_of_version_1_0_opens_with_everything_that_was_put_in():
    with Package.open(FOLDER / "v1_0.engine") as package:
        assert package.spec == SPEC
        assert package.names == ("manifest.json", "golden/input.npy", "golden/labels-graph-fp32.npy", GRAPH)
        assert package.graph_names == (GRAPH,)
        assert package.manifest["provenance"] == PROVENANCE
        assert bytes(package.read(GRAPH)) == MAKE["graph"]()
        assert package.engine_hash == hashlib.sha256(package.read("manifest.json")).hexdigest()
        np.testing.assert_array_equal(package.golden.input, MAKE["golden"]().input)
        np.testing.assert_array_equal(package.golden.labels[GRAPH], MAKE["golden"]().labels[GRAPH])


def test_a_newer_minor_version_opens_and_its_unknown_keys_are_ignored():
    with Package.open(FOLDER / "v1_7.engine") as package:
        assert package.spec == SPEC
        assert "golden/second-input.npy" in package.names
        assert package.manifest["signature"] == {"kind": "not invented yet"}


def test_a_newer_major_version_is_refused_with_the_way_out():
    with pytest.raises(PackageError, match=r"format_version 2\.0 is newer than 1\.x.*update hfd_edge"):
        Package.open(FOLDER / "v2_0.engine")


def test_an_older_major_version_is_refused(tmp_path):
    path = tmp_path / "old.engine"
    path.write_bytes(MAKE["container"](MAKE["manifest"]([0, 9]), MAKE["members"]()))
    with pytest.raises(PackageError, match="older than 1.0"):
        Package.open(path)


def test_the_golden_labels_are_what_onnxruntime_answers():
    onnxruntime = pytest.importorskip("onnxruntime")
    with Package.open(FOLDER / "v1_0.engine") as package:
        session = onnxruntime.InferenceSession(bytes(package.read(GRAPH)), providers=["CPUExecutionProvider"])
        logits = session.run(None, {"input": package.golden.input[None]})[0][0]
        decided = package.golden.labels[GRAPH] != 255
        np.testing.assert_array_equal(logits.argmax(axis=0)[decided], package.golden.labels[GRAPH][decided])
        assert 0 < np.count_nonzero(~decided) < decided.size / 4


def test_any_zip_tool_can_read_a_package(tmp_path):
    path = write(tmp_path / "m.engine")
    with zipfile.ZipFile(path) as archive, Package.open(path) as package:
        assert archive.testzip() is None
        assert tuple(archive.namelist()) == package.names
        assert all(archive.read(name) == package.read(name) for name in package.names)
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
        tile = np.load(archive.open("golden/input.npy"), allow_pickle=False)
        np.testing.assert_array_equal(tile, package.golden.input)


def test_member_data_starts_on_64_byte_boundaries_and_is_not_copied(tmp_path):
    with Package.open(write(tmp_path / "m.engine")) as package:
        for name in package.names:
            assert np.frombuffer(package.read(name), np.uint8).ctypes.data % 64 == 0
            assert package.read(name).readonly
        assert np.shares_memory(package.golden.input, np.frombuffer(package.read("golden/input.npy"), np.uint8))
        assert package.golden.input.ctypes.data % 64 == 0


def test_the_order_of_the_arguments_does_not_change_the_bytes(tmp_path):
    labels = MAKE["golden"]().labels[GRAPH]
    names = [GRAPH, "graph-int8-cpu.onnx"]
    files = []
    for order in (names, names[::-1]):
        golden = Golden(np.asfortranarray(MAKE["golden"]().input), dict.fromkeys(order, labels))
        provenance = {key: PROVENANCE[key] for key in sorted(PROVENANCE, reverse=order is names)}
        path = tmp_path / f"{order[0]}.engine"
        files.append(write(path, graphs=dict.fromkeys(order, b"graph"), golden=golden, provenance=provenance))
    assert files[0].read_bytes() == files[1].read_bytes()
    assert Package.open(files[0]).graph_names == tuple(names)


def test_views_outlive_the_package_but_a_closed_package_reads_no_more(tmp_path):
    package = Package.open(write(tmp_path / "m.engine"))
    view, tile = package.read(GRAPH), package.golden.input
    package.close()
    package.close()
    with pytest.raises(PackageError, match="closed"):
        package.read(GRAPH)
    assert bytes(view) == MAKE["graph"]() and np.isfinite(tile).all()


def test_an_unknown_member_is_named_together_with_what_there_is(tmp_path):
    with Package.open(write(tmp_path / "m.engine")) as package:
        with pytest.raises(PackageError, match="no member 'plans/x'.*graph-fp32"):
            package.read("plans/x")


def test_an_existing_file_stays_unless_overwrite_is_given(tmp_path):
    path = tmp_path / "m.engine"
    path.write_bytes(b"precious")
    with pytest.raises(PackageError, match="exists"):
        write(path)
    assert path.read_bytes() == b"precious"
    write(path, overwrite=True)
    assert Package.open(path).spec == SPEC


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_a_failed_write_leaves_what_was_there_and_nothing_else(tmp_path, monkeypatch, fault, where):
    path = tmp_path / "m.engine"
    path.write_bytes(b"precious")

    def fail(*_):
        raise fault

    monkeypatch.setattr(os, where, fail)
    with pytest.raises((PackageError, KeyboardInterrupt)):
        write(path, overwrite=True)
    assert os.listdir(tmp_path) == ["m.engine"] and path.read_bytes() == b"precious"


def test_a_file_that_appears_during_the_write_is_not_replaced(tmp_path, monkeypatch):
    path = tmp_path / "m.engine"
    monkeypatch.setattr(os, "fsync", lambda _: path.write_bytes(b"somebody else's"))
    with pytest.raises(PackageError, match="appeared while"):
        write(path)
    assert os.listdir(tmp_path) == ["m.engine"] and path.read_bytes() == b"somebody else's"


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(PackageError, match="cannot be written"):
        write(tmp_path / "nowhere" / "m.engine")


@pytest.mark.parametrize("changes, message", [
    ({"graphs": {}}, "at least one of graph-fp32.onnx"),
    ({"graphs": {"../graph.onnx": b""}}, "at least one of graph-fp32.onnx"),
    ({"provenance": {"loss": float("nan")}}, "provenance cannot be written as JSON"),
    ({"provenance": {"array": np.zeros(3)}}, "provenance cannot be written as JSON"),
    ({"provenance": ["a list"]}, "provenance is missing or no JSON object"),
    ({"provenance": {"log": "x" * 5 * 2**20}}, "shorten the provenance"),
    ({"spec": dataclasses.replace(SPEC, name="two\nlines")}, "names are printable"),
    ({"golden": Golden(np.zeros((2, 16, 16), np.float64), {})}, r"golden input is float64"),
    ({"golden": Golden(np.zeros((2, 15, 15), np.float32), {})}, r"a multiple of stride_px=2"),
    ({"golden": Golden(np.zeros((2, 0, 0), np.float32), {})}, r"a multiple of stride_px=2"),
    ({"golden": Golden(np.full((2, 16, 16), np.nan, np.float32), {})}, "NaN or infinity"),
    ({"golden": Golden(np.zeros((2, 16, 16), np.float32), {})}, "give labels for each graph"),
    ({"golden": relabelled(np.zeros((16, 16), np.uint8))}, r"must be uint8 \(8, 8\)"),
    ({"golden": relabelled(np.zeros((8, 8), np.int64))}, r"must be uint8 \(8, 8\)"),
    ({"golden": relabelled(np.full((8, 8), 3, np.uint8))}, r"must be 0\.\.2 or 255"),
    ({"golden": relabelled(np.full((8, 8), 255, np.uint8))}, "some must be decided"),
])
def test_what_a_package_may_not_hold_is_not_written(tmp_path, changes, message):
    with pytest.raises(PackageError, match=message):
        write(tmp_path / "m.engine", **changes)
    assert os.listdir(tmp_path) == []


def test_a_member_above_the_limit_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(package_zip, "MAX_MEMBER_BYTES", 1000)
    with pytest.raises(PackageError, match="at most 1000"):
        write(tmp_path / "m.engine")
    assert os.listdir(tmp_path) == []


def test_packages_and_the_graph_scan_need_neither_onnx_nor_torch():
    program = """
import sys
for name in ("onnx", "torch", "onnxruntime", "tensorrt", "google.protobuf", "rasterio"):
    sys.modules[name] = None
from hfd_edge.engine.graph_scan import check_graph, scan
from hfd_edge.engine.base import Engine
from hfd_edge.package import Package
with Package.open(sys.argv[1]) as package:
    check_graph(scan(package.read("graph-fp32.onnx")))
"""
    subprocess.run([sys.executable, "-c", program, str(FOLDER / "v1_0.engine")], check=True, timeout=60)


def test_the_manifest_is_ascii_json_with_sorted_keys():
    with Package.open(FOLDER / "v1_0.engine") as package:
        text = bytes(package.read("manifest.json")).decode("ascii")
    assert text == json.dumps(json.loads(text), indent=1, sort_keys=True) + "\n"
