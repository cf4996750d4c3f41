"""Old against new: flips are counted and shown where they are, versions count up, differences are named."""

import json
import struct
import zlib

import numpy as np
import pytest

from hfd_edge.errors import ExportError
from hfd_edge.export.compare import compare_engines
from hfd_edge.export.compare_accuracy import Change, PairedCounts
from hfd_edge.export.compare_page import flip_map, png, write_report
from hfd_edge.export.lineage import KEY, differences, lineage_of, recorded, relation
from hfd_edge.measure.accuracy import Accuracy, accuracy_of
from hfd_edge.package import Golden, Package, write_package
from tests.command import failed, run
from tests.engines import Graph, levels_engine, make_spec
from tests.rasters import write_tif

SHIFTED_FROM = 40           # columns from here on get another class from the new engine


def engine(path, provenance, offset=0.0, **changes):
    """Pixel value k (0..4) becomes label k; with an offset, value 3 and above become one class lower."""
    graph, k = Graph(1), np.arange(5, dtype=np.float32)
    bias = -k * k - np.where(k >= 3, offset, 0)
    graph.conv(2 * k.reshape(-1, 1, 1, 1), bias=bias)
    spec = make_spec(1, 5, 1, 1, 0, **changes)
    golden = np.ones((1, spec.tile_px, spec.tile_px), np.float32)
    labels = np.ones(golden.shape[1:], np.uint8)
    write_package(path, spec, {"graph-fp32.onnx": graph.serialize()}, Golden(golden, {"graph-fp32.onnx": labels}), provenance)
    return path


@pytest.fixture
def engines(tmp_path):
    """Old says 3 for 3, new says 2; both agree elsewhere."""
    old = engine(tmp_path / "old.engine", {"training": {"epochs": 10}})
    new = engine(tmp_path / "new.engine", {"training": {"epochs": 20}, KEY: lineage_of(old)}, offset=1.5)
    return old, new


@pytest.fixture
def scene(tmp_path):
    values = np.ones((1, 90, 130), np.float32)
    values[:, 20:40, SHIFTED_FROM:] = 3
    values[:, :5] = np.nan
    path = write_tif(tmp_path / "scene.tif", values)
    truth = np.nan_to_num(values[0], nan=255).astype(np.uint8)
    write_tif(tmp_path / "scene_labels.tif", truth[None])
    return path


def test_flips_accuracy_and_the_place_are_those_that_were_made(engines, scene, tmp_path):
    found = compare_engines(*engines, [scene], _declared(), rounds=2)
    assert (found.pixels, found.flips) == (85 * 130, 20 * 90) and found.moves[3, 2] == 20 * 90
    assert found.moves[5, 5] == 5 * 130 and found.moves.sum() == 90 * 130
    old, new = found.accuracy
    assert old.miou == 1 and new.iou[3] == 0 and new.pixels == 85 * 130
    share = found.scenes[0].share
    assert share.shape == (90, 130) and np.isnan(share[:5]).all()
    assert (share[20:40, SHIFTED_FROM:] == 1).all() and np.nansum(share) == 20 * 90
    assert len(found.speed.old_s) == len(found.speed.new_s) == 2 and found.speed.new_over_old > 0
    assert found.relation == "version 2 descends from version 1, 1 step back"
    written = write_report(tmp_path / "report", found)
    assert {path.name for path in written} == {"report.html", "report.md", "report.json", "flips-0-scene.png"}
    assert json.loads((tmp_path / "report" / "report.json").read_text())["flips"] == 20 * 90
    words = (tmp_path / "report" / "report.md").read_text()
    assert "| nan" not in words and words.count("| - | - | not in the labels |") == 3         # the labels hold classes 1 and 3 alone
    assert "<script" not in (tmp_path / "report" / "report.html").read_text()


def test_the_change_of_accuracy_comes_with_how_sure_it_is(tmp_path):
    """Against drawing the blocks anew, again and again; nodata and pixels without a label count as in an accuracy."""
    random, paired = np.random.default_rng(1), PairedCounts(3)
    truth = random.integers(0, 2, (12 * 64, 10 * 64)).astype(np.uint8)
    truth[:9] = 255
    old, new = truth.copy(), truth.copy()
    for labels, share in ((old, 0.05), (new, 0.08)):
        wrong = np.kron(random.random((24, 20)) < share, np.ones((32, 32), bool))      # in clusters
        labels[wrong & (truth < 2)] = 1 - truth[wrong & (truth < 2)]
        labels[100:120, 5:30] = 255
    for row in range(0, len(truth), 128):
        paired.add(*(labels[row:row + 128] for labels in (truth, old, new)))
    change, both = paired.change(), [accuracy_of(truth, labels, ("a", "b", "c")) for labels in (old, new)]
    np.testing.assert_allclose(change.iou[:2], (both[1].iou - both[0].iou)[:2], atol=1e-12)
    assert change.miou == pytest.approx(both[1].miou - both[0].miou) and change.iou[2] is None
    blocks = [tuple(labels[i:i + 64, j:j + 64] for labels in (truth, old, new)) for i in range(0, 768, 64) for j in range(0, 640, 64)]
    counts = [[accuracy_of(block[0], block[k], ("a", "b", "c")).counts for k in (1, 2)] for block in blocks]
    drawn = []
    for _ in range(400):
        one, two = np.sum([counts[i] for i in random.integers(0, len(counts), len(counts))], axis=0)
        drawn.append(Accuracy(("a", "b", "c"), two).miou - Accuracy(("a", "b", "c"), one).miou)
    assert change.miou_within == pytest.approx(1.96 * np.std(drawn), rel=0.15)


@pytest.mark.parametrize(("change", "within", "worse"), [
    (-0.02, 0.01, ("mean IoU -2.00 ± 1.00 points", "b -2.00 ± 1.00 points")), (-0.01, 0.02, ()), (0.02, 0.01, ()), (-0.5, float("inf"), ())])
def test_worse_is_what_lost_more_than_its_uncertainty(change, within, worse):
    assert Change((None, change), (None, within), change, within).worse(("a", "b")) == worse


def test_the_last_line_says_that_the_new_one_is_less_accurate_and_nothing_where_it_is_not(engines, scene, tmp_path):
    old, new = engines
    words = ("--data", scene, "--unit", "dn", "--rounds", "1")
    done = run("compare", old, new, *words, "-o", tmp_path / "report")
    last = done.stdout.splitlines()[-1]
    assert last == f"{new} is LESS ACCURATE than {old} on these scenes, beyond their uncertainty (95 %): mean IoU -50.00 ± 0.00 points, " \
                   "class 3 -100.00 ± 0.00 points"
    assert "<b>The new one is LESS ACCURATE" in (tmp_path / "report" / "report.html").read_text()
    better = run("compare", new, old, *words, "-o", tmp_path / "better", "--json")
    assert json.loads(better.stdout)["less_accurate"] is None
    (tmp_path / "scene_labels.tif").unlink()
    assert "no labels lie beside the scenes" in run("compare", old, new, *words, "-o", tmp_path / "none").stdout


def _declared():
    from hfd_edge.raster_run import RasterOptions
    return RasterOptions(unit="dn")


def test_a_package_against_itself_flips_nothing(engines, scene):
    found = compare_engines(engines[0], engines[0], [scene], _declared(), rounds=1)
    assert found.flips == 0 and not found.differences and found.relation == "the same package" and found.bytes[0] == found.bytes[1]


def test_a_large_scene_is_shown_in_cells(engines, tmp_path):
    values = np.ones((1, 40, 1100), np.float32)
    values[:, :, 1000:] = 3
    found = compare_engines(*engines, [write_tif(tmp_path / "wide.tif", values)], _declared(), rounds=1)
    scene = found.scenes[0]
    assert scene.cell_px == 3 and scene.share.shape == (14, 367) and found.accuracy is None
    assert scene.share[:, :333].max() == 0 and scene.share[:, 334:].min() == 1 and scene.flips == 4000


def test_the_picture_is_red_where_labels_flip_and_any_reader_opens_it(engines, scene):
    image = flip_map(compare_engines(*engines, [scene], _declared(), rounds=1).scenes[0])
    assert tuple(image[30, 100]) == (200, 20, 30) and tuple(image[60, 10]) == (246, 246, 246) and tuple(image[0, 0]) == (128, 128, 128)
    data = png(image)
    at, chunks = 8, {}
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + size]
        assert struct.unpack(">I", data[at + 8 + size:at + 12 + size])[0] == zlib.crc32(kind + body)
        chunks[kind] = body
        at += 12 + size
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(90, 1 + 130 * 3)
    np.testing.assert_array_equal(rows[:, 1:].reshape(90, 130, 3), image)


def test_versions_count_up_along_the_line(tmp_path):
    paths, record = [], lineage_of(None)
    for number in range(3):
        paths.append(engine(tmp_path / f"{number}.engine", {KEY: record, "run": number}))
        record = lineage_of(paths[-1])
    first, second, third = map(Package.open, paths)
    assert record["version"] == 4 and record["parents"] == [p.engine_hash for p in (third, second, first)]
    assert record["replaces"] == third.engine_hash and recorded(second)["version"] == 2
    assert relation(first, third) == "version 3 descends from version 1, 2 steps back"
    assert relation(third, first).startswith("the second is older")
    sibling = Package.open(engine(tmp_path / "s.engine", {KEY: lineage_of(first), "run": "s"}))
    assert relation(third, sibling).startswith("siblings with the common ancestor " + first.engine_hash[:12])
    alone = Package.open(engine(tmp_path / "a.engine", {KEY: {"version": "x"}}))
    assert recorded(alone) == lineage_of(None) and relation(first, alone) == "no common ancestor is recorded"


def test_a_replacement_has_the_same_bands_and_classes(engines, tmp_path):
    with pytest.raises(ExportError, match="bands B0, the new network has B0, B1.*--replaces"):
        lineage_of(engines[0], make_spec(2, 5, 1, 1, 0))
    with pytest.raises(ExportError, match="classes class 0.*the new network has"):
        lineage_of(engines[0], make_spec(1, 4, 1, 1, 0))
    assert lineage_of(engines[0], make_spec(1, 5, 1, 1, 0))["version"] == 2
    with pytest.raises(ExportError, match="cannot be compared pixel by pixel"):
        compare_engines(engines[0], levels_engine(tmp_path / "six.engine", 6), [tmp_path])


def test_differences_name_the_value_and_the_place(engines, tmp_path):
    other = engine(tmp_path / "other.engine", {"training": {"epochs": 10}}, pixel_spacing_m=10.0)
    with Package.open(engines[0]) as old, Package.open(engines[1]) as new, Package.open(other) as spaced:
        found = {d.where: (d.old, d.new) for d in differences(old, new)}
        assert found["provenance.training.epochs"] == ("10", "20") and found["lineage.version"] == ("1", "2")
        assert "sha256.graph-fp32.onnx" in found and not any(where.startswith("spec.") for where in found)
        assert {d.where: (d.old, d.new) for d in differences(old, spaced)}["spec.pixel_spacing_m"] == ("null", "10.0")


@pytest.mark.slow
def test_the_commands_write_the_report_and_show_the_difference(engines, scene, tmp_path):
    done = run("compare", *engines, "--data", scene, "-o", tmp_path / "report", "--unit", "dn", "--rounds", 1)
    assert done.returncode == 0 and "16.290% of 11050 labels flip" in done.stdout and "mIoU 1.0000 -> " in done.stdout, done
    failed(run("compare", *engines, "--data", scene, "-o", tmp_path / "report", "--unit", "dn"), "holds a report", "--overwrite")
    failed(run("compare", *engines, "--data", tmp_path / "no.tif", "-o", tmp_path / "other"), "no such raster")
    assert not (tmp_path / "other").exists()
    done = run("inspect", "--diff", *engines)
    assert done.returncode == 0 and "provenance.training.epochs\n  - 10\n  + 20" in done.stdout, done.stdout + done.stderr
    assert json.loads(run("inspect", "--diff", *engines, "--json").stdout)["relation"].startswith("version 2 descends")
    assert run("inspect", "--diff", engines[0], engines[0]).stdout.endswith("no differences\n")
    assert run("inspect", "--diff", engines[0]).returncode == run("inspect", *engines).returncode == 2
