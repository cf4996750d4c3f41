"""Labels of the layout `folder`: what the file calls nodata is not known, and what is no code says what it is."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.with_torch.test_layouts_folder import describe, folder  # noqa: E402
from tests.with_torch.tiny_sets import SIDE, write  # noqa: E402
from training.layouts import open_pairs  # noqa: E402
from training.layouts.files import recode  # noqa: E402
from training.pairs import DataError  # noqa: E402


@pytest.mark.parametrize("stored, words", [(np.float32([[10, np.nan]]), "float32 with NaN; labels are whole codes: write integers"),
                                           (np.float32([[10, 12.5]]), "with fractions, e.g. 12.5; .* -r near"),
                                           (np.uint8([[10, 13]]), r"label codes \[13\] are not known; .* where JPEG or an interpolation made them")])
def test_labels_that_are_no_codes_say_what_they_hold(stored, words):
    with pytest.raises(DataError, match=words):
        recode("p00", stored, {10: 0, 20: 1})


def coded(root, label, **profile):
    """A set whose every label file is this one."""
    folder(root)
    for file in (root / "label").iterdir():
        file.unlink()
        write(file.with_suffix(profile.get("suffix", ".tif")), label, **{key: value for key, value in profile.items() if key != "suffix"})
    return root


@pytest.mark.parametrize(("nodata", "dtype"), [(255, np.uint8), (-1, np.int16), (0, np.uint8)])
def test_what_a_label_file_calls_nodata_is_not_known_as_its_truth_is_judged(nodata, dtype, tmp_path):
    label = np.random.default_rng(3).choice([nodata, 10, 11, 20], (SIDE, SIDE)).astype(dtype)
    pair = open_pairs("folder", describe(coded(tmp_path, label, nodata=nodata), ignore=None)).read("p03")
    expected = np.select([label == nodata, label == 20], [255, 1], 0)
    np.testing.assert_array_equal(pair.labels, np.where(pair.valid, expected, 255))


def test_a_transparent_label_is_not_known(tmp_path):
    codes = np.random.default_rng(3).choice([10, 20], (SIDE, SIDE)).astype(np.uint8)
    seen = np.random.default_rng(4).choice([0, 255], (SIDE, SIDE)).astype(np.uint8)
    pair = open_pairs("folder", coded(tmp_path, np.stack([codes, seen]), suffix=".png")).read("p03")
    np.testing.assert_array_equal(pair.labels, np.where(pair.valid & (seen > 0), codes == 20, 255))


@pytest.mark.parametrize("nodata", [10, 20])
def test_a_class_that_a_label_file_calls_nodata_is_refused_when_the_set_is_opened(nodata, tmp_path):
    """gdal_rasterize -a_nodata 0 with 0 as the background writes such files: it was trained on as a class, and as a truth it is not known."""
    label = np.random.default_rng(3).choice([10, 11, 20], (SIDE, SIDE)).astype(np.uint8)
    name = "land" if nodata == 10 else "water"
    with pytest.raises(DataError, match=rf"p00.tif says that {nodata} is its nodata value and set.yaml says that it is class {name}: .*-unsetnodata"):
        open_pairs("folder", coded(tmp_path, label, nodata=nodata))
