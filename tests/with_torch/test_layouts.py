"""Every public layout is read from tiny files of its own names and codes; a wrong folder is told what was looked for."""

import json
import shutil

import numpy as np
import pytest
import rasterio

torch = pytest.importorskip("torch")

from hfd_edge.errors import HfdError  # noqa: E402
from hfd_edge.spec import Unit  # noqa: E402
from tests.conftest import data_folder  # noqa: E402
from tests.with_torch import tiny_sets as tiny  # noqa: E402
from training.layouts import LAYOUTS, open_pairs  # noqa: E402
from training.pairs import SPLITS, DataError  # noqa: E402
from training.statistics import check_labels, measure  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

MADE = {"ombria": tiny.ombria, "sen1floods11": tiny.sen1floods11, "sen12ms": tiny.sen12ms, "dfc2020": tiny.dfc2020,
        "spacenet6": tiny.spacenet6, "whu-opt-sar": tiny.whu_opt_sar, "openearthmap-sar": tiny.openearthmap_sar}


def stored(path):
    with rasterio.open(path) as file:
        return file.read()


@pytest.mark.parametrize("layout", MADE)
def test_every_pair_of_every_split_is_read_and_fits_what_the_set_says_of_itself(layout, tmp_path):
    pairs = open_pairs(layout, MADE[layout](tmp_path))
    names = [name for split in SPLITS for name in pairs.names(split)]
    assert names and len(set(names)) == len(names) and all(pairs.names(split) for split in SPLITS)
    for name in names:
        pair, alone = pairs.read(name), pairs.read(name, eo=False)
        assert pair.name == name and len(pair.sar) == len(pairs.info.bands) and len(pair.eo) == len(pairs.info.eo_bands)
        assert np.isfinite(pair.sar).all() and not pair.sar[:, ~pair.valid].any() and (pair.labels[~pair.valid] == 255).all()
        check_labels(pair, pairs)
        assert alone.eo is None
        for plane in ("sar", "labels", "valid"):
            np.testing.assert_array_equal(getattr(alone, plane), getattr(pair, plane))
    assert measure(pairs).hash == measure(open_pairs(layout, tmp_path)).hash


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "simulated"])
def test_a_wrong_folder_is_told_what_was_looked_for_and_what_is_there(layout, tmp_path):
    for name in "gfedcba":
        (tmp_path / f"{name}.txt").write_text("x")
    with pytest.raises(DataError) as error:
        open_pairs(layout, tmp_path)
    words = str(error.value)
    assert "looked for" in words and layout in words and "a.txt, b.txt" in words and "g.txt" not in words
    assert isinstance(error.value, HfdError) and isinstance(error.value, ValueError)
    with pytest.raises(DataError, match="not there|none|not a folder"):
        open_pairs(layout, tmp_path / "nowhere")


def test_an_unknown_layout_or_option_is_refused_with_the_ones_there_are(tmp_path):
    with pytest.raises(DataError, match="spacenet6"):
        open_pairs("spacenet7", tmp_path)
    with pytest.raises(DataError, match="eo_bands"):
        open_pairs("ombria", tiny.ombria(tmp_path), band="after")
    with pytest.raises(DataError, match="select"):
        open_pairs("ombria", tmp_path).names("val")
    with pytest.raises(DataError, match="does not exist"):
        open_pairs("ombria", tmp_path).read("train_9999")


def test_ombria_blocks_are_25_numbers_and_do_not_depend_on_which_chips_are_there(tmp_path):
    some = open_pairs("ombria", tiny.ombria(tmp_path / "some", (26, 51, 124)))
    more = open_pairs("ombria", tiny.ombria(tmp_path / "more", (24, 25, 26, 49, 50, 51, 74, 75, 99, 100, 124, 125, 160)))
    assert more.names("select") == ("train_0050", "train_0051", "train_0074")
    assert more.names("test") == ("train_0100", "train_0124")
    assert set(some.names("select")) <= set(more.names("select")) and set(some.names("test")) <= set(more.names("test"))


def test_ombria_bands_are_the_times_asked_for_in_their_order(tmp_path):
    pairs = open_pairs("ombria", tiny.ombria(tmp_path), bands=["before", "after"], eo_bands=["after", "before"])
    pair, stem = pairs.read("train_0001"), tmp_path / "train_0001"
    np.testing.assert_array_equal(pair.sar, np.concatenate([stored(f"{stem}_s1before.png"), stored(f"{stem}_s1after.png")]))
    np.testing.assert_array_equal(pair.eo, np.concatenate([stored(f"{stem}_s2after.png"), stored(f"{stem}_s2before.png")]))
    np.testing.assert_array_equal(pair.labels == 1, stored(f"{stem}_mask.png")[0] == 255)
    assert pairs.info.bands == ("SAR before", "SAR after") and pairs.info.sar_unit is Unit.DN
    with pytest.raises(DataError, match="bands"):
        open_pairs("ombria", tmp_path, bands=["during"])


def test_ombria_chips_of_another_event_can_be_held_out(tmp_path):
    tiny.ombria(tmp_path)
    for path in list(tmp_path.glob("train_0030_*")):
        path.with_name(path.name.replace("train_0030", "albania_0007")).write_bytes(path.read_bytes())
    plain, held = open_pairs("ombria", tmp_path), open_pairs("ombria", tmp_path, hold_out="albania")
    assert held.names("test") == ("albania_0007",) and held.names("select") == plain.names("select")
    assert set(held.names("train")) == {*plain.names("train"), *plain.names("test")} - {"albania_0007"}
    for prefix in ("france", ""):
        with pytest.raises(DataError, match="hold_out"):
            open_pairs("ombria", tmp_path, hold_out=prefix)


def test_ombria_is_read_as_published_too(tmp_path):
    pairs = open_pairs("ombria", tiny.ombria_published(tmp_path))
    assert pairs.names("train") == ("train_0001", "train_0030")
    np.testing.assert_array_equal(pairs.read("train_0030").sar, stored(tmp_path / "OmbriaS1/train/AFTER/S1_after_0030.png"))
    (tmp_path / "OmbriaS2/train/AFTER/S2_after_0030.png").unlink()
    with pytest.raises(DataError, match="missing"):
        pairs.read("train_0030")


def test_sen1floods11_ignores_label_minus_one_and_pixels_without_sar(tmp_path):
    pairs = open_pairs("sen1floods11", tiny.sen1floods11(tmp_path))
    pair = pairs.read("Ghana_1")
    code = stored(tmp_path / "data/flood_events/HandLabeled/LabelHand/Ghana_1_LabelHand.tif")[0]
    assert not pair.valid[0, :3].any() and pair.valid.sum() == pair.valid.size - 3
    np.testing.assert_array_equal(pair.labels, np.where(pair.valid & (code >= 0), code, 255))
    assert pairs.info.sar_unit is Unit.DB


def test_sen1floods11_takes_the_published_lists_where_they_are_and_whole_events_elsewhere(tmp_path):
    events = open_pairs("sen1floods11", tiny.sen1floods11(tmp_path))
    assert all(len({events_of(events, split) for split in SPLITS if event in events_of(events, split)}) == 1
               for event in ("Ghana", "India", "Spain", "USA", "Bolivia"))
    tiny.sen1floods11_lists(tmp_path)
    listed, bolivia = open_pairs("sen1floods11", tmp_path), open_pairs("sen1floods11", tmp_path, split="bolivia")
    assert [listed.names(s) for s in SPLITS] == [("Ghana_1", "India_3"), ("Spain_4",), ("Ghana_2", "USA_5")]
    assert [bolivia.names(s) for s in SPLITS] == [("Ghana_1", "India_3"), ("Spain_4",), ("Bolivia_6",)]
    with pytest.raises(DataError, match="random"):
        open_pairs("sen1floods11", tmp_path, split="random")


def events_of(pairs, split):
    return frozenset(name.split("_")[0] for name in pairs.names(split))


def test_sen12ms_skips_the_damaged_patch_and_maps_seventeen_classes_to_ten(tmp_path):
    pairs = open_pairs("sen12ms", tiny.sen12ms(tmp_path))
    names = [name for split in SPLITS for name in pairs.names(split)]
    assert "ROIs1868_summer_s1_146_p202" not in names and "ROIs1868_summer_s1_146_p30" in names and len(names) == 9
    expected = [255, 0, 0, 0, 0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 5, 7, 8, 9]
    pair = pairs.read("ROIs1868_summer_s1_1_p30")
    igbp = stored(tmp_path / "ROIs1868_summer/lc_1/ROIs1868_summer_lc_1_p30.tif")[0]
    np.testing.assert_array_equal(pair.labels, np.array(expected, np.uint8)[igbp])
    scenes = [{name.split("_")[3] for name in pairs.names(split)} for split in SPLITS]
    assert sum(map(len, scenes)) == len(set().union(*scenes)) == 5                         # whole scenes


def test_sen12ms_holds_out_the_published_scenes_where_the_lists_are(tmp_path):
    tiny.sen12ms(tmp_path)
    name = "ROIs1868_summer_s1_{}_p30.tif\n"
    (tmp_path / "train_list.txt").write_text("".join(name.format(s) for s in (1, 3, 4)))
    (tmp_path / "test_list.txt").write_text(name.format(2).replace("_s1_", "_s2_"))
    pairs = open_pairs("sen12ms", tmp_path)
    assert pairs.names("test") == ("ROIs1868_summer_s1_2_p30",)
    assert set(pairs.names("train")) | set(pairs.names("select")) == {name.format(s).strip()[:-4] for s in (1, 3, 4)}
    assert pairs.names("select") == ("ROIs1868_summer_s1_4_p30",)


def test_dfc2020_keeps_its_test_part_and_selects_by_place(tmp_path):
    pairs = open_pairs("dfc2020", tiny.dfc2020(tmp_path))
    assert all("_test_" in name for name in pairs.names("test")) and len(pairs.names("test")) == 2
    west = {name: 500_000 + 6_000 * int(name.rsplit("p", 1)[1]) for name in (*pairs.names("train"), *pairs.names("select"))}
    squares = {split: {west[name] // 10_240 for name in pairs.names(split)} for split in ("train", "select")}
    assert squares["train"] and squares["select"] and not squares["train"] & squares["select"]
    pair = pairs.read("ROIs0000_test_s1_0_p1")
    code = stored(tmp_path / "ROIs0000_test/dfc_0/ROIs0000_test_dfc_0_p1.tif")[0]
    np.testing.assert_array_equal(pair.labels, np.array([255, 0, 1, 255, 2, 3, 4, 5, 255, 6, 7], np.uint8)[code])
    assert "savanna" not in pairs.info.classes and len(pairs.info.classes) == 8


def test_spacenet6_turns_tiles_imaged_from_south_images_and_labels_alike(tmp_path):
    root = tiny.spacenet6(tmp_path) / "AOI_11_Rotterdam"
    north, south = (open_pairs("spacenet6", tmp_path).read(f"{strip}_tile_0") for strip, _ in tiny.STRIPS)
    raw = stored(root / f"SAR-Intensity/SN6_Train_AOI_11_Rotterdam_SAR-Intensity_{tiny.STRIPS[0][0]}_tile_0.tif")
    np.testing.assert_array_equal(north.sar, raw)
    for plane in ("sar", "eo", "labels", "valid"):
        np.testing.assert_array_equal(getattr(south, plane), getattr(north, plane)[..., ::-1, ::-1])
    assert not north.valid[-1].any() and north.valid[:-1].all()                            # SAR 0 is no measurement
    as_stored = open_pairs("spacenet6", tmp_path, turn=False)
    np.testing.assert_array_equal(as_stored.read(f"{tiny.STRIPS[1][0]}_tile_0").sar, raw)
    assert open_pairs("spacenet6", tmp_path).info.flips == ("cols",)


def test_spacenet6_draws_buildings_where_they_stand_and_drops_small_ones_in_training_only(tmp_path):
    pairs = open_pairs("spacenet6", tiny.spacenet6(tmp_path))
    train, test = pairs.read(f"{tiny.STRIPS[0][0]}_tile_0"), pairs.read(f"{tiny.STRIPS[0][0]}_tile_4")
    expected = np.zeros((tiny.SIDE, tiny.SIDE), np.uint8)
    expected[1:5, 1:9] = 1
    np.testing.assert_array_equal(train.labels[:-1], expected[:-1])
    expected[2:4, 11:13] = 1
    np.testing.assert_array_equal(test.labels[:-1], expected[:-1])


def test_spacenet6_splits_by_eastings_and_never_by_strip(tmp_path):
    pairs = open_pairs("spacenet6", tiny.spacenet6(tmp_path))
    tiles = {split: {name.rsplit("_", 1)[1] for name in pairs.names(split)} for split in SPLITS}
    assert tiles == {"train": {"0", "1", "2"}, "select": {"3"}, "test": {"4"}}
    assert all(len(pairs.names(split)) == 2 * len(tiles[split]) for split in SPLITS)


def test_spacenet6_says_which_strip_or_polygon_it_cannot_use(tmp_path):
    aoi = tiny.spacenet6(tmp_path) / "AOI_11_Rotterdam"
    pairs = open_pairs("spacenet6", tmp_path)
    house = next((aoi / "geojson_buildings").glob(f"*{tiny.STRIPS[0][0]}_tile_0.geojson"))
    house.write_text(json.dumps({"features": [{"geometry": {"type": "Point", "coordinates": [1, 2]}}]}))
    with pytest.raises(DataError, match=r"tile_0\.geojson.*Point"):
        pairs.read(f"{tiny.STRIPS[0][0]}_tile_0")
    (aoi / "SummaryData/SAR_orientations.txt").write_text(f"{tiny.STRIPS[0][0]} 0\n")
    with pytest.raises(DataError, match=tiny.STRIPS[1][0]):
        open_pairs("spacenet6", tmp_path)
    shutil.rmtree(aoi / "SummaryData")
    with pytest.raises(DataError, match="SAR_orientations.txt"):
        open_pairs("spacenet6", tmp_path)


def test_whu_opt_sar_chips_cover_every_scene_once_and_multiples_of_ten_become_classes(tmp_path):
    pairs = open_pairs("whu-opt-sar", tiny.whu_opt_sar(tmp_path), chip_px=32)
    sheet = "NH49E000013"
    code, seen = stored(tmp_path / f"lbl/{sheet}.tif")[0], np.zeros((40, 70), int)
    for name in (n for split in SPLITS for n in pairs.names(split) if n.startswith(sheet)):
        row, col = map(int, name.split("/")[1].split("-"))
        pair = pairs.read(name)
        part = np.s_[row:row + pair.labels.shape[0], col:col + pair.labels.shape[1]]
        seen[part] += 1
        np.testing.assert_array_equal(pair.labels, np.where(code[part] == 0, 255, code[part] // 10 - 1).astype(np.uint8))
    assert (seen == 1).all()
    assert not pairs.read(f"{sheet}/0-0").valid[:2, :2].any()
    sheets = [{name.split("/")[0] for name in pairs.names(split)} for split in SPLITS]
    assert not sheets[0] & sheets[1] and not sheets[0] & sheets[2] and not sheets[1] & sheets[2]


def test_openearthmap_sar_ignores_background_and_takes_zero_as_dark_unless_told(tmp_path):
    pairs = open_pairs("openearthmap-sar", tiny.openearthmap_sar(tmp_path))
    code = stored(tmp_path / "train/labels/Rotterdam_1.tif")[0]
    pair = pairs.read("Rotterdam_1")
    np.testing.assert_array_equal(pair.labels, np.where(code == 0, 255, code - 1).astype(np.uint8))
    assert pair.valid.all() and pairs.info.flips == ()
    sar = stored(tmp_path / "train/sar_images/Rotterdam_1.tif")[0]
    marked = open_pairs("openearthmap-sar", tmp_path, nodata=int(sar[0, 0])).read("Rotterdam_1")
    np.testing.assert_array_equal(marked.valid, sar != sar[0, 0])


def test_a_missing_part_an_unknown_code_and_another_size_are_errors_that_name_the_pair(tmp_path):
    root, pairs = tmp_path, open_pairs("openearthmap-sar", tiny.openearthmap_sar(tmp_path))
    tiny.write(root / "train/labels/Rotterdam_30.tif", np.full((tiny.SIDE, tiny.SIDE), 77, np.uint8))
    with pytest.raises(DataError, match=r"Rotterdam_30.*77"):
        pairs.read("Rotterdam_30")
    tiny.write(root / "train/rgb_images/Rotterdam_55.tif", np.zeros((3, 8, 8), np.uint8))
    with pytest.raises(DataError, match=r"Rotterdam_55.*8 x 8"):
        pairs.read("Rotterdam_55")
    tiny.write(root / "train/rgb_images/Rotterdam_55.tif", np.zeros((1, tiny.SIDE, tiny.SIDE), np.uint8))
    with pytest.raises(DataError, match=r"Rotterdam_55.*1 bands, 3"):
        pairs.read("Rotterdam_55")
    (root / "train/labels/Rotterdam_80.tif").unlink()
    with pytest.raises(DataError, match=r"Rotterdam_80.*missing"):
        pairs.read("Rotterdam_80")
    (root / "train/sar_images/Rotterdam_1.tif").write_bytes(b"II*\0" + b"x" * 100)
    with pytest.raises(DataError, match=r"Rotterdam_1\.tif"):
        pairs.read("Rotterdam_1")


@pytest.mark.real_data
@pytest.mark.parametrize("bands", [["after"], ["after", "before"]])
def test_the_ombria_chips_that_are_there_are_read_and_split(bands):
    pairs = open_pairs("ombria", data_folder() / "ombria-flood-no-explicit-licence", bands=bands)
    counts = [len(pairs.names(split)) for split in SPLITS]
    assert sum(counts) == 190 and min(counts) >= 30
    for split in SPLITS:
        pair = pairs.read(pairs.names(split)[0])
        assert pair.sar.shape == (len(bands), 256, 256) and pair.eo.shape == (3, 256, 256)
        assert set(np.unique(pair.labels)) == {0, 1}


@pytest.mark.real_data
def test_the_sen1floods11_chip_that_is_there_is_read():
    pairs = open_pairs("sen1floods11", data_folder() / "sen1floods11-spain")
    pair = pairs.read(pairs.names("train")[0])
    assert pair.sar.shape == (2, 256, 512) and pair.eo.shape == (13, 256, 512) and set(np.unique(pair.labels)) == {0, 1, 255}
    assert -20 < pair.sar[0][pair.valid].mean() < -5
