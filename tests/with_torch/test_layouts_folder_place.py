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
