"""python -m training scenes: what training kept apart becomes rasters that export reads back to the bit."""

from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest
import rasterio

pytest.importorskip("torch")

from hfd_edge.export.calibration_data import open_scenes  # noqa: E402
from hfd_edge.spec import ModelInput, Unit  # noqa: E402
from test_layouts_folder import describe, folder  # noqa: E402
from tests.engines import make_spec  # noqa: E402
from tests.with_torch import tiny_sets as tiny  # noqa: E402
from training.__main__ import main  # noqa: E402
from training.layouts import open_pairs  # noqa: E402
from training.pairs import DataError  # noqa: E402
from training.scenes import write_scenes  # noqa: E402


def silent(line):
    pass


def spec_for(info):
    unit = ModelInput(info.sar_unit, (0.0,) * len(info.bands), (1.0,) * len(info.bands), quantity=info.quantity,
                      floor=-35.0 if info.sar_unit is Unit.DB else None)
    return replace(make_spec(len(info.bands), len(info.classes), 8, 4, 40), bands=info.bands, classes=info.classes, input=unit)


@pytest.mark.parametrize("layout", ["ombria", "sen1floods11"])
def test_scenes_hold_the_pixels_units_and_labels_of_their_pairs(tmp_path, layout):
    pairs = open_pairs(layout, getattr(tiny, layout)(tmp_path / "set"))
    names = [name for split in ("select", "test") for name in pairs.names(split)]
    assert write_scenes(pairs, tmp_path / "scenes", silent) == len(names) >= 2
    by_file = {name.replace("_", "-"): pairs.read(name) for name in names}
    with ExitStack() as stack:
        scenes = open_scenes([tmp_path / "scenes"], spec_for(pairs.info), stack)
        assert len(scenes) == len(names)
        for scene in scenes:
            pair = by_file.pop(scene.name.removesuffix(".tif").partition("-")[2])
            values, valid = scene.source.read(0, scene.source.rows)
            known = np.isfinite(values).all(axis=0) if valid is None else valid
            np.testing.assert_array_equal(known, pair.valid)
            np.testing.assert_array_equal(values[:, known], pair.sar[:, known])
            assert scene.radiometry.unit is pairs.info.sar_unit is not Unit.COMPLEX
            np.testing.assert_array_equal(scene.truth(0, scene.source.rows), pair.labels)
    assert not by_file
    if layout == "sen1floods11":
        assert not pair.valid.all()                             # the set has pixels without a measurement, or this tests less


def test_labels_are_an_engines_classes_of_the_same_name_whatever_their_numbers(tmp_path):
    pairs = open_pairs("folder", folder(tmp_path / "set"))
    write_scenes(pairs, tmp_path / "scenes", silent)
    spec = spec_for(pairs.info)
    with ExitStack() as stack:
        own, other = (open_scenes([tmp_path / "scenes"], replace(spec, classes=classes), stack)[0] for classes in (spec.classes, spec.classes[::-1]))
        labels, turned = (scene.truth(0, scene.source.rows) for scene in (own, other))
        assert set(np.unique(labels)) == {0, 1, 255}
        np.testing.assert_array_equal(turned, np.where(labels == 255, 255, 1 - labels))


@pytest.mark.parametrize("layout", ["folder", "dfc2020"])
def test_scenes_lie_where_the_sar_files_lie(tmp_path, layout):
    folder(tmp_path / "set") if layout == "folder" else tiny.dfc2020(tmp_path / "set")
    pairs, lines = open_pairs(layout, tmp_path / "set"), []
    count = write_scenes(pairs, tmp_path / "scenes", lines.append)
    assert f"{count} with the georeference" in lines[0]
    originals = {path.stem.replace("_", "-"): path for path in (tmp_path / "set").rglob("*.tif") if "sar" in path.parts or "_s1_" in path.name}
    for path in (tmp_path / "scenes").iterdir():
        with rasterio.open(path) as scene, rasterio.open(originals[path.stem.removesuffix("_labels").partition("-")[2]]) as original:
            assert scene.crs == original.crs is not None and scene.transform == original.transform and scene.shape == original.shape


def test_scenes_of_files_without_a_georeference_have_none(tmp_path):
    folder(tmp_path / "set", suffix=".npy")
    lines = []
    write_scenes(open_pairs("folder", tmp_path / "set"), tmp_path / "scenes", lines.append)
    assert ", 0 with the georeference" in lines[0]
    tiny.ombria(tmp_path / "flat")
    write_scenes(open_pairs("ombria", tmp_path / "flat"), tmp_path / "more", lines.append)
    assert ", 0 with the georeference" in lines[1]


def test_a_set_itself_says_which_file_places_a_pair_and_those_that_cut_or_turn_say_none(tmp_path, monkeypatch):
    pairs, lines = open_pairs("folder", folder(tmp_path / "set")), []
    assert pairs.placed_file("p04") == tmp_path / "set" / "sar" / "p04.tif"
    for layout in ("whu_opt_sar", "spacenet6", "ombria"):
        cut = open_pairs(layout.replace("_", "-"), getattr(tiny, layout)(tmp_path / layout))
        assert cut.placed_file(cut.names("test")[0]) is None
    monkeypatch.setattr(pairs, "placed_file", lambda name: None)
    write_scenes(pairs, tmp_path / "scenes", lines.append)
    assert ", 0 with the georeference" in lines[0]


def test_two_pairs_of_one_file_name_and_a_file_in_the_way_are_refused(tmp_path, monkeypatch):
    pairs = open_pairs("ombria", tiny.ombria(tmp_path / "set"))
    named = pairs.names("test")[0]
    monkeypatch.setattr(pairs, "names", lambda split: ("a/b", "a b") if split == "test" else (named,))
    with pytest.raises(DataError, match="1 file names for several pairs, e.g. test-a-b"):
        write_scenes(pairs, tmp_path / "scenes", silent)
    monkeypatch.setattr(pairs, "names", lambda split: ())
    with pytest.raises(DataError, match="no pair in the select and test splits"):
        write_scenes(pairs, tmp_path / "scenes", silent)
    assert not (tmp_path / "scenes").exists()


def test_scenes_of_an_earlier_split_are_not_left_among_those_of_this_one(tmp_path):
    """p01 was in the test, and is trained on now."""
    root, lines = folder(tmp_path / "set"), []
    lists = {"train": [0, 2], "select": [3], "test": [1]}
    for test in (1, 4):
        for split, numbers in {**lists, "test": [test]}.items():
            (root / f"{split}.txt").write_text("".join(f"p{number:02d}\n" for number in numbers))
        pairs = open_pairs("folder", describe(root, split={"by": "lists"}))
        if test == 1:
            write_scenes(pairs, tmp_path / "scenes", lines.append)
            write_scenes(pairs, tmp_path / "scenes", lines.append)
            (tmp_path / "scenes" / "own.tif").touch()
    before = sorted(path.name for path in (tmp_path / "scenes").iterdir())
    with pytest.raises(DataError, match="scenes holds test-p01.tif and 1 more files of pairs that are not in the select and test splits of mine now"):
        write_scenes(pairs, tmp_path / "scenes", lines.append)
    assert sorted(path.name for path in (tmp_path / "scenes").iterdir()) == before and len(lines) == 2


def test_the_verb_says_where_they_lie_and_one_line_where_it_cannot(tmp_path, capsys):
    config = tmp_path / "run.yaml"
    config.write_text(f"name: tiny\nwork: {tmp_path}/work\ndata: {{layout: ombria, root: {tiny.ombria(tmp_path / 'set')}}}\n")
    assert main(["scenes", str(config)]) == 0
    assert f"scenes with labels in {tmp_path}/work/scenes" in capsys.readouterr().out
    for path in (tmp_path / "work" / "scenes").iterdir():
        path.unlink()
    (tmp_path / "work" / "scenes").rmdir()
    (tmp_path / "work" / "scenes").write_text("in the way")
    assert main(["scenes", str(config)]) == 1
    assert capsys.readouterr().err.count("error: ") == 1
