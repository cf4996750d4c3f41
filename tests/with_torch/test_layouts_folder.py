"""The plain folder: set.yaml says what the pixels are; what it cannot be is refused in words that name the file."""

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch")

from hfd_edge.spec import Unit  # noqa: E402
from tests.conftest import data_folder  # noqa: E402
from tests.with_torch.tiny_sets import SIDE, pixels, write  # noqa: E402
from training.layouts import open_pairs  # noqa: E402
from training.pairs import SPLITS, DataError  # noqa: E402
from training.statistics import measure  # noqa: E402

SET = {"name": "mine", "bands": ["VV", "VH"], "eo_bands": ["R", "G", "B"], "unit": "db",
       "classes": {"land": [10, 11], "water": 20}, "ignore": [0], "nodata": -99.0, "flips": ["rows", "cols"],
       "looks": 4.4, "pixel_spacing_m": 10.0}


def folder(root, suffix=".tif", pairs=10, **changes):
    for number in range(pairs):
        sar, label = pixels(2, number), np.random.default_rng(number).choice([0, 10, 11, 20], (SIDE, SIDE)).astype(np.uint8)
        sar[0, 0, 0], sar[1, 0, 1] = -99, np.nan
        save(root / f"sar/p{number:02d}", suffix, sar, 500_000 + 1000.0 * number)
        save(root / f"eo/p{number:02d}", suffix, pixels(3, number, np.uint8, 0, 255))
        save(root / f"label/p{number:02d}", suffix, label)
    return describe(root, **changes)


def save(stem, suffix, image, west=None):
    stem.parent.mkdir(parents=True, exist_ok=True)
    if suffix == ".npy":
        np.save(stem.with_suffix(".npy"), image)
    else:
        write(stem.with_suffix(suffix), image, west)


def describe(root, **changes):
    record = {key: value for key, value in {**SET, **changes}.items() if value is not None}
    (root / "set.yaml").write_text(yaml.safe_dump(record))
    return root


@pytest.mark.parametrize("suffix", [".tif", ".npy"])
def test_a_folder_is_read_with_its_own_bands_codes_and_nodata(suffix, tmp_path):
    pairs = open_pairs("folder", folder(tmp_path, suffix))
    pair = pairs.read("p03")
    assert pairs.info.classes == ("land", "water") and pairs.info.sar_unit is Unit.DB and pairs.info.looks == 4.4
    assert not pair.valid[0, 0] and not pair.valid[0, 1] and pair.valid.sum() == pair.valid.size - 2
    code = np.random.default_rng(3).choice([0, 10, 11, 20], (SIDE, SIDE))
    expected = np.select([code == 0, code == 20], [255, 1], 0)
    np.testing.assert_array_equal(pair.labels, np.where(pair.valid, expected, 255))
    np.testing.assert_array_equal(pair.sar[:, pair.valid], pixels(2, 3)[:, pair.valid])
    assert pair.eo.shape == (3, SIDE, SIDE)
    assert measure(pairs).input.unit is Unit.DB
    assert open_pairs("folder", describe(tmp_path, unit="dB")).info == pairs.info


def test_a_pair_without_an_optical_image_has_none(tmp_path):
    folder(tmp_path)
    (tmp_path / "eo/p04.tif").unlink()
    pairs = open_pairs("folder", tmp_path)
    assert pairs.read("p04").eo is None and pairs.read("p05").eo is not None
    assert open_pairs("folder", describe(tmp_path, eo_bands=None)).read("p05").eo is None


def test_complex_pixels_become_intensity_and_stored_integers_are_scaled(tmp_path):
    folder(tmp_path, pairs=5, bands=["VV"], unit="complex", nodata=None)
    slc = (np.random.default_rng(0).standard_normal((5, SIDE, SIDE, 2)) @ [1, 1j]).astype(np.complex64)
    for number in range(5):
        save(tmp_path / f"sar/p{number:02d}", ".tif", slc[number])
    pairs = open_pairs("folder", tmp_path)
    assert pairs.info.sar_unit is Unit.INTENSITY
    np.testing.assert_allclose(pairs.read("p01").sar[0], np.abs(slc[1]) ** 2, rtol=1e-6)
    for number in range(5):
        save(tmp_path / f"sar/p{number:02d}", ".tif", np.full((SIDE, SIDE), -123 - number, np.int16))
    scaled = open_pairs("folder", describe(tmp_path, bands=["VV"], scale=0.1, nodata=None))
    assert (scaled.read("p02").sar == np.float32(-12.5)).all()


def test_splits_by_names_place_and_lists(tmp_path):
    folder(tmp_path)
    by_names = open_pairs("folder", tmp_path)
    assert [by_names.names(s) for s in SPLITS] == [("p00", "p01", "p03", "p05", "p06", "p08"), ("p02", "p07"), ("p04", "p09")]
    by_place = open_pairs("folder", describe(tmp_path, split={"by": "place", "size_m": 2000}))
    assert [by_place.names(s) for s in SPLITS] == [("p00", "p01", "p02", "p03", "p06", "p07"), ("p04", "p05"), ("p08", "p09")]
    (tmp_path / "lists").mkdir()
    for split, names in (("train", "p05\np06.tif\n"), ("select", "p07"), ("test", "p01\n")):
        (tmp_path / f"lists/{split}.txt").write_text(names)
    by_lists = open_pairs("folder", describe(tmp_path, split={"by": "lists", "folder": "lists"}))
    assert [by_lists.names(s) for s in SPLITS] == [("p05", "p06"), ("p07",), ("p01",)]


@pytest.mark.parametrize("changes,words", [
    ({"classes": {"land": 10, "water": 10}}, "one meaning"),
    ({"classes": {"land": 10, "water": 0}}, "one meaning"),
    ({"classes": ["land", "water"]}, "mapping of name"),
    ({"unit": "decibel"}, "db"),
    ({"bands": None}, "at least name, bands"),
    ({"band": ["VV"]}, "band: there is no such key; did you mean bands"),
    ({"flips": ["sideways"]}, "sideways"),
    ({"split": {"by": "chance"}}, "chance"),
    ({"split": {"by": "names", "size": 9}}, "at least 5"),
    ({"split": {"by": "place"}}, "size_m"),
    ({"split": {"by": "lists"}}, "train.txt")])
def test_a_set_file_that_contradicts_itself_is_refused(changes, words, tmp_path):
    with pytest.raises(DataError, match=words):
        open_pairs("folder", folder(tmp_path, **changes))


@pytest.mark.parametrize("line,words", [
    ("split: place", r"write \{by: names\}, \{by: place"), ("split:", "split is empty"),
    ("split: {by: place, size_m: 5 km}", "number of metres; it is '5 km'"), ("split: {by: names, size: -3}", "size=-3.*at least 1"),
    ("split: {by: names, size: 2.5}", "size=2.5"), ("split: {by: names, size_m: 20}", "'size_m' is not known"),
    ("split: {by: lists, folder: 3}", "folder=3"), ("ignore: 0", r"write \[0\]"), ("ignore:", "ignore is empty"),
    ("ignore: [yes]", r"ignore\[0\]=True"), ("nodata: .inf", "infinity always counts"), ("nodata: low", "must be a number"),
    ("bands: [no, yes]", r"bands\[0\]=False.*put it in quotes"), ("classes: {land: 10, land: 11}", r"set.yaml: key 'land' stands twice"),
    ("classes: {land: yes, water: 20}", "code True"), ("classes: {land: [], water: 20}", "'land' has no code"),
    ("colors: {water: blue}", "water='blue'.*red, green, blue"), ("colors: {water: [300, 2, 3]}", "300.*0 to 255"),
    ("colors: {watr: [1, 2, 3]}", "'watr' is no class; did you mean water"), ("looks: about 4", "looks='about 4'.*number"),
    ("looks: 0", "looks=0.*above 0"), ("quantity: gamma nought", "use one of sigma0, gamma0"),
    ("bands: [VV, VV]", "VV.*different from each other"), ("bands: [1, 2]", r"bands\[0\]=1"), ("bands: VV", "bands='VV'.*list of names"),
    ("eo_bands: RGB", r"such as \[R, G, B\]"), ("eo_bands: [R, G, G]", "must differ"), ("name:", "name is empty"),
    ("name: ''", "'' is no name"), ("scale: 0", "scale=0.0.*not 0"), ("pixel_spacing_m: -10", "above 0"), ("flips: rows", r"write \[rows\]"),
    ("unit: decibel", "use one of intensity, amplitude, db"), ("unit: [db]", "unit")])
def test_a_value_of_a_wrong_kind_is_one_line_when_the_set_is_opened(line, words, tmp_path):
    folder(tmp_path, **{line.partition(":")[0]: None})
    with open(tmp_path / "set.yaml", "a") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match=words) as error:
        open_pairs("folder", tmp_path)
    assert "set.yaml" in str(error.value) and "\n" not in str(error.value)


def test_a_class_has_the_name_that_stands_there(tmp_path):
    folder(tmp_path, classes=None)
    with open(tmp_path / "set.yaml", "a") as file:
        file.write("classes: {no: [10, 11], yes: 20}\ncolors: {yes: [1, 2, 3]}\n")
    assert open_pairs("folder", tmp_path).info.classes == ("no", "yes") and open_pairs("folder", tmp_path).info.colors[1] == (1, 2, 3)


def test_no_flips_may_be_written_as_none_and_nodata_may_be_several_values(tmp_path):
    pairs = open_pairs("folder", folder(tmp_path, flips="none", nodata=[-99, float(pixels(2, 3)[1, 5, 5])]))
    assert pairs.info.flips == ()
    assert not pairs.read("p03").valid[[0, 0, 5], [0, 1, 5]].any() and pairs.read("p03").valid.sum() == SIDE ** 2 - 3


def test_upper_and_lower_case_are_one_and_files_that_begin_with_a_dot_are_no_data(tmp_path):
    folder(tmp_path)
    expected = [open_pairs("folder", tmp_path).read(f"p{number:02d}") for number in range(10)]
    for file, name in (("eo/p04.tif", "eo/p04.TIF"), ("label/p05.tif", "label/P05.TIFF"), ("sar/p06.tif", "sar/P06.tif")):
        (tmp_path / file).rename(tmp_path / name)
    np.save(tmp_path / "sar/p07.npy", expected[7].sar)
    (tmp_path / "sar/p07.npy").rename(tmp_path / "sar/p07.NPY")
    (tmp_path / "sar/p07.tif").unlink()
    for junk in ("sar/._p03.tif", "label/.DS_Store", "eo/._p03.tif", "sar/Thumbs.db", "sar/p03.tif.aux.xml"):
        (tmp_path / junk).write_text("no image")
    pairs = open_pairs("folder", tmp_path)
    assert sorted(name for split in SPLITS for name in pairs.names(split)) == ["P06"] + [f"p{i:02d}" for i in range(10) if i != 6]
    for number, pair in enumerate(expected):
        found = pairs.read("P06" if number == 6 else f"p{number:02d}")
        assert np.array_equal(found.sar[:, pair.valid], pair.sar[:, pair.valid]) and np.array_equal(found.eo, pair.eo)
        assert np.array_equal(found.labels[pair.valid], pair.labels[pair.valid])


@pytest.mark.parametrize("first,second", [("label/p04.tif", "label/p04.png"), ("sar/p04.tif", "sar/P04.TIF"), ("eo/p04.tif", "eo/p04.npy")])
def test_two_files_of_one_stem_in_one_folder_are_refused_by_name(first, second, tmp_path):
    folder(tmp_path)
    (tmp_path / second).write_bytes((tmp_path / first).read_bytes())
    with pytest.raises(DataError, match="one stem") as error:
        open_pairs("folder", tmp_path)
    assert first.split("/")[1] in str(error.value) and second.split("/")[1] in str(error.value)


@pytest.mark.parametrize("changes,words", [
    ({"unit": "complex"}, "float32"),
    ({"bands": ["VV"]}, "2 bands, 1"), ({"classes": {"land": 10, "water": 20}}, "11")])
def test_pixels_that_cannot_be_what_the_set_says_are_refused(changes, words, tmp_path):
    root = folder(tmp_path, **changes)
    with pytest.raises(DataError, match=words) as error:
        open_pairs("folder", root).read("p00")
    assert "p00" in str(error.value)


@pytest.mark.parametrize("unit", ["intensity", "amplitude"])
def test_negative_power_is_no_signal_as_in_a_run_and_decibels_called_power_are_refused_when_measured(unit, tmp_path):
    folder(tmp_path, unit=unit)
    with pytest.raises(DataError, match="look like decibels, declare unit=db"):
        measure(open_pairs("folder", tmp_path))
    power = np.abs(pixels(2, 3)) / 100
    power[0, 2, :3] = -1e-4                                                  # as a noise correction leaves it
    save(tmp_path / "sar/p03", ".tif", power, 503_000.0)
    pair = open_pairs("folder", tmp_path).read("p03")
    assert pair.valid.all() and np.array_equal(pair.sar, power)


@pytest.mark.parametrize("nodata", ["nodata: .nan", "nodata: [-99, .nan]"])
def test_nan_may_be_named_as_nodata_and_counts_anyway(nodata, tmp_path):
    text = (folder(tmp_path, nodata=None) / "set.yaml").read_text()
    (tmp_path / "set.yaml").write_text(f"{text}{nodata}\n")
    pair = open_pairs("folder", tmp_path).read("p03")
    assert not pair.valid[0, 1] and pair.valid[0, 0] == ("-99" not in nodata)


def test_display_pixels_are_not_decibel_and_objects_are_not_unpickled(tmp_path):
    folder(tmp_path)
    save(tmp_path / "sar/p01", ".tif", np.zeros((2, SIDE, SIDE), np.uint8))
    with pytest.raises(DataError, match="8-bit"):
        open_pairs("folder", tmp_path)
    (tmp_path / "sar/p01.tif").unlink()
    np.save(tmp_path / "sar/p01.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(DataError, match="p01.npy"):
        open_pairs("folder", tmp_path)


def test_lists_that_name_a_pair_twice_or_one_that_is_not_there_are_refused(tmp_path):
    folder(tmp_path, split={"by": "lists"})
    for split, names in (("train", "p05\n"), ("select", "p07"), ("test", "p05\n")):
        (tmp_path / f"{split}.txt").write_text(names)
    with pytest.raises(DataError, match="p05 is in train.txt and in test.txt"):
        open_pairs("folder", tmp_path)
    (tmp_path / "test.txt").write_text("p99")
    with pytest.raises(DataError, match="p99"):
        open_pairs("folder", tmp_path)


def test_the_example_in_the_documentation_opens(tmp_path):
    from pathlib import Path
    text = (Path(__file__).resolve().parents[2] / "docs" / "data.md").read_text()
    example = text.split("```yaml\n")[1].split("```")[0]
    record = yaml.safe_load(example)
    folder(tmp_path)
    for path in (tmp_path / "eo").iterdir():
        write(path, pixels(4, 0, np.uint16, 0, 3000))
    (tmp_path / "set.yaml").write_text(yaml.safe_dump({**record, "split": {"by": "names"}}))
    assert open_pairs("folder", tmp_path).info.name == record["name"]


@pytest.mark.real_data
def test_land_cover_chips_with_sentinel_1_and_2_become_a_folder(tmp_path):
    source = data_folder() / "terramind-s1-s2-lulc"
    names = sorted(path.name.removesuffix("_lulc.tif") for path in source.glob("*_lulc.tif"))
    if len(names) != 3:
        pytest.skip(f"{source} does not hold three chips")
    for part, ending in (("sar", "s1rtc_vv_vh_db"), ("eo", "s2l2a_12band"), ("label", "lulc")):
        (tmp_path / part).mkdir()
        for name in names:
            (tmp_path / part / f"{name}.tif").symlink_to(source / f"{name}_{ending}.tif")
    codes = ("water", "trees", "flooded", "crops", "built", "bare", "snow", "cloud", "rangeland")
    describe(tmp_path, eo_bands=[f"band {i}" for i in range(12)], classes={name: i + 1 for i, name in enumerate(codes)},
             nodata=None, split={"by": "lists"})
    for split, name in zip(SPLITS, names):
        (tmp_path / f"{split}.txt").write_text(name)
    pairs = open_pairs("folder", tmp_path)
    for name in names:
        pair = pairs.read(name)
        assert pair.sar.shape == (2, 224, 224) and pair.eo.shape == (12, 224, 224) and pair.valid.all()
        assert -35 < pair.sar.mean() < -5 and pair.labels.max() < len(codes)
    assert measure(pairs).input.unit is Unit.DB


def test_a_class_is_drawn_as_maps_usually_show_it_and_no_two_alike():
    from training.layouts.folder_set import _colors
    blue, red, green = (38, 102, 178), (200, 58, 52), (34, 110, 60)
    land, water = _colors(["land", "water"], {})
    assert water == blue and land not in (blue, red)
    assert _colors(["open water", "flooded", "Trees"], {})[0::2] == (blue, green)
    many = _colors([f"class {i}" for i in range(20)] + ["water", "sea", "built-up"], {"sea": [1, 2, 3]})
    assert len({*many}) == 23 and many[20] == blue and many[21] == (1, 2, 3) and many[22] == red
    assert blue not in _colors(["burnt", "unburnt", "ship"], {}), "blue is water"
    assert _colors(["water", "burnt", "city"], {"water": [*blue], "burnt": [*red]})[:2] == (blue, red)
    assert len({*_colors(["water", *map(str, range(200))], {"water": [*blue], "7": [148, 103, 189]})}) == 201
