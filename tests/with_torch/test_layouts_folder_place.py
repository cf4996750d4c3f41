"""Files of one place lie on one place, and every file that a run will need is looked at when the set is opened, not after the training."""

import numpy as np
import pytest
from rasterio.transform import Affine

torch = pytest.importorskip("torch")

from test_layouts_folder import describe, folder, save  # noqa: E402
from test_layouts_folder_images import rewrite  # noqa: E402

from tests.with_torch.tiny_sets import SIDE, pixels  # noqa: E402
from training.layouts import open_pairs  # noqa: E402
from training.pairs import SPLITS, DataError  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
SAR_PLACE = {"crs": "EPSG:32631", "transform": Affine(10, 0, 503_000, 0, -10, 0)}       # of sar/p03.tif
PLANES = {"eo": pixels(3, 3, np.uint8, 0, 255), "label": np.full((1, SIDE, SIDE), 20, np.uint8)}


def place(root, part, number=3, **georeference):
    rewrite(root / f"{part}/p{number:02d}.tif", PLANES[part], **{**SAR_PLACE, **georeference})
    return root


@pytest.mark.parametrize("part", ["eo", "label"])
@pytest.mark.parametrize("elsewhere,words", [
    ({"transform": Affine(10, 0, 503_005, 0, -10, 0)}, "0.5 pixels"), ({"transform": Affine(10, 0, 503_000, 0, -10, 20)}, "2.0 pixels"),
    ({"transform": Affine(5, 0, 503_000, 0, -5, 0)}, "8.0 pixels"), ({"transform": Affine(10, 0, 103_000, 0, -10, 0)}, "e.04 pixels"),
    ({"crs": "EPSG:32633"}, "EPSG:32631 and EPSG:32633"), ({"crs": "EPSG:4326"}, "EPSG:32631 and EPSG:4326")])
def test_a_label_or_an_optical_image_half_a_pixel_or_more_away_is_refused_and_by_how_much(elsewhere, words, part, tmp_path):
    with pytest.raises(DataError, match=words) as error:
        open_pairs("folder", place(folder(tmp_path), part, **elsewhere))
    assert f"{part}/p03.tif" in str(error.value) and "sar/p03.tif" in str(error.value)


def test_less_than_half_a_pixel_the_same_place_in_other_words_and_no_georeference_are_accepted(tmp_path):
    from rasterio.warp import transform
    root = place(folder(tmp_path), "eo", transform=Affine(10, 0, 503_004, 0, -10, 3))
    x, y = (values[0] for values in transform("EPSG:32631", "EPSG:3857", [503_000], [0]))
    place(root, "label", crs="EPSG:3857", transform=Affine(10.0, 0, x, 0, -10.0, y))      # on the equator a metre is nearly one
    assert open_pairs("folder", root).read("p03").eo is not None
    (root / "label/p03.tif").unlink()
    save(root / "label/p03", ".npy", PLANES["label"])
    assert open_pairs("folder", root).read("p03").eo is not None


def test_a_split_by_place_in_degrees_is_refused_and_other_units_of_length_are_converted(tmp_path):
    root = folder(tmp_path, split={"by": "place", "size_m": 2000})
    in_metres = [open_pairs("folder", root).names(s) for s in SPLITS]
    foot = 1200 / 3937
    for number in range(10):
        rewrite(root / f"sar/p{number:02d}.tif", pixels(2, number), crs="EPSG:2263",                    # US survey feet
                transform=Affine(10 / foot, 0, (500_000 + 1000 * number) / foot, 0, -10 / foot, 0))
    assert [open_pairs("folder", root).names(s) for s in SPLITS] == in_metres
    for number in range(10):
        rewrite(root / f"sar/p{number:02d}.tif", pixels(2, number), crs="EPSG:4326", transform=Affine(1e-4, 0, 2 + number / 100, 0, -1e-4, 45))
    with pytest.raises(DataError, match="EPSG:4326.*needs metres.*gdalwarp.*names or lists"):
        open_pairs("folder", root)
    describe(root, split={"by": "names"})
    assert open_pairs("folder", root).names("test")


def tiled(root, step_m, turn=0.0, **changes):
    """Ten tiles of 160 m in a row, `step_m` from one to the next along their own columns, turned about their corner."""
    folder(root, **changes)
    for number in range(10):
        way = Affine.rotation(turn)
        x, y = 500_000 + way.a * step_m * number, way.d * step_m * number
        rewrite(root / f"sar/p{number:02d}.tif", pixels(2, number), crs="EPSG:32631",
                transform=Affine(10 * way.a, -10 * way.b, x, 10 * way.d, -10 * way.e, y))
    return root


def test_pairs_that_share_ground_with_a_pair_that_judges_are_left_out_and_it_is_said(tmp_path):
    beside = open_pairs("folder", tiled(tmp_path / "beside", 160.0))
    assert [beside.names(s) for s in SPLITS] == [("p00", "p01", "p03", "p05", "p06", "p08"), ("p02", "p07"), ("p04", "p09")] and beside.notes == ()
    half = open_pairs("folder", tiled(tmp_path / "half", 80.0))
    assert [half.names(s) for s in SPLITS] == [("p00",), ("p02", "p07"), ("p04", "p09")]
    assert half.notes == ("set.yaml: split by names: 5 of 6 pairs of train lie on ground of pairs that judge (e.g. p01 on that of p02, which is in select); these are left "
                          "out, as figures would be too good; larger blocks, or tiles without overlap, leave more",)
    by_place = open_pairs("folder", describe(tmp_path / "half", split={"by": "place", "size_m": 160}))
    used = [np.array([int(name[1:]) for name in by_place.names(split)]) for split in SPLITS]
    assert all(len(own) for own in used) and min(abs(used[0][:, None] - np.concatenate(used[1:])).min(), abs(used[1][:, None] - used[2]).min()) >= 2


def test_turned_tiles_beside_each_other_share_no_ground_and_two_coordinate_systems_are_not_compared(tmp_path):
    assert open_pairs("folder", tiled(tmp_path, 160.0, turn=40.0)).notes == ()
    assert open_pairs("folder", tiled(tmp_path, 120.0, turn=40.0)).notes
    for number in (2, 4, 7, 9):
        rewrite(tmp_path / f"sar/p{number:02d}.tif", pixels(2, number), crs="EPSG:32632", transform=Affine(10, 0, 500_000 + 1000 * number, 0, -10, 0))
    assert open_pairs("folder", tmp_path).notes == ()


def test_lists_are_kept_as_they_are_given_with_a_warning_and_a_set_of_one_place_is_refused(tmp_path):
    root = tiled(tmp_path, 80.0, split={"by": "lists"})
    for split, names in (("train", "p00\np01\np04"), ("select", "p02"), ("test", "p03")):
        (root / f"{split}.txt").write_text(names)
    pairs = open_pairs("folder", root)
    assert pairs.names("train") == ("p00", "p01", "p04") and pairs.names("select") == ("p02",)
    assert pairs.notes[0].startswith("warning: 1 of 3 pairs of train and 1 of 1 pairs of select lie on ground") and "take them out of the lists" in pairs.notes[0]
    with pytest.raises(DataError, match="^set.yaml: split by names: .*no pair would be left of one split; cut the tiles without overlap"):
        open_pairs("folder", tiled(tmp_path / "one", 0.0))


@pytest.mark.parametrize("declared, others", [(10.0, 0), (11.5, 0), (None, 0), (20.0, 10)])
def test_pixels_of_another_size_than_declared_are_told(declared, others, tmp_path):
    notes = open_pairs("folder", folder(tmp_path, pixel_spacing_m=declared)).notes
    assert len(notes) == bool(others) and (not others or f"pixel_spacing_m: 20, and {others} of 10 pairs have other pixels (e.g. p00: 10 x 10 m" in notes[0])


@pytest.mark.parametrize("damage,words", [
    (lambda root: (root / "label/p09.tif").unlink(), "label has no file p09.*add it"),
    (lambda root: (root / "label/p09.tif").write_bytes((root / "label/p09.tif").read_bytes()[:300]), "label/p09.tif"),
    (lambda root: (root / "sar/p09.tif").write_bytes((root / "sar/p09.tif").read_bytes()[:900]), "sar/p09.tif is truncated"),
    (lambda root: (root / "eo/p09.tif").write_bytes(b""), "eo/p09.tif is empty"),
    (lambda root: save(root / "eo/p09", ".tif", PLANES["eo"][:2]), "eo has 2 bands, 3 are declared"),
    (lambda root: save(root / "label/p09", ".tif", np.zeros((SIDE, SIDE - 1), np.uint8)), "sizes differ"),
    (lambda root: save(root / "label/p09", ".tif", np.zeros((SIDE, SIDE), np.complex64)), "whole codes"),
    (lambda root: save(root / "sar/p09", ".tif", np.zeros((2, SIDE, SIDE), np.complex64)), "complex64"),
    (lambda root: [path.rename(path.with_stem(path.stem + "_rgb")) for path in (root / "eo").iterdir()], "none of 10 pairs has an optical")])
def test_a_missing_or_damaged_file_of_the_test_split_is_found_when_the_set_is_opened(damage, words, tmp_path):
    assert "p09" in open_pairs("folder", folder(tmp_path)).names("test")
    damage(tmp_path)
    with pytest.raises(DataError, match=words):
        open_pairs("folder", tmp_path)


def test_files_of_pairs_that_no_list_names_are_not_looked_at(tmp_path):
    folder(tmp_path, split={"by": "lists"})
    for split, names in (("train", "p05"), ("select", "p07"), ("test", "p01")):
        (tmp_path / f"{split}.txt").write_text(names)
    (tmp_path / "label/p09.tif").unlink()
    (tmp_path / "sar/p08.tif").write_bytes(b"")
    assert open_pairs("folder", tmp_path).names("test") == ("p01",)
