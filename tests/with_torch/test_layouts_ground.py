"""Public layouts whose chips lie on the ground of each other: what judges is not what was learnt."""

import pytest
import rasterio
from rasterio.transform import Affine

pytest.importorskip("torch")

from tests.with_torch import tiny_sets as tiny  # noqa: E402
from training.layouts import open_pairs  # noqa: E402
from training.layouts.ground import Ground, shared  # noqa: E402
from training.pairs import SPLITS  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def test_dfc2020_leaves_out_what_lies_on_ground_of_a_pair_that_judges(tmp_path):
    apart = open_pairs("dfc2020", tiny.dfc2020(tmp_path / "apart", test_west=900_000))
    assert apart.notes == () and len(apart.names("train")) + len(apart.names("select")) == 12
    pairs = open_pairs("dfc2020", tiny.dfc2020(tmp_path / "same"))               # its test chips lie where validation's first two do
    both = {*pairs.names("train"), *pairs.names("select")}
    assert both == {*apart.names("train"), *apart.names("select")} - {"ROIs0000_validation_s1_0_p0", "ROIs0000_validation_s1_0_p1"}
    assert len(pairs.names("test")) == 2 and pairs.notes[0].startswith("dfc2020: split by place: 2 of ") and "these are left out" in pairs.notes[0]


@pytest.mark.parametrize(("crs", "transform", "known"), [
    ("EPSG:32633", Affine(10, 0, 5e5, 0, -10, 5e6), True), ("EPSG:32633", Affine.identity(), False), ("EPSG:32633", Affine(10, 0, 5e5, 0, 0, 5e6), False),
    ("EPSG:32633", None, False), (None, Affine(10, 0, 5e5, 0, -10, 5e6), False)])
def test_ground_is_known_by_a_coordinate_system_and_a_transform_that_places_the_pixels(crs, transform, known):
    """A file with a coordinate system alone reads as at the origin: two such chips would lie on each other's ground."""
    grounds = {name: Ground(crs, transform, (64, 64)) for name in ("a", "b")}
    assert (grounds["a"].system == crs and crs is not None) == known
    assert bool(shared(grounds, {"a": "train", "b": "test"})) == known


def test_sen1floods11_leaves_out_what_overlaps_and_warns_of_the_published_lists(tmp_path):
    tiny.sen1floods11(tmp_path)
    plain = open_pairs("sen1floods11", tmp_path)
    assert plain.notes == ()
    one, other = plain.names("train")[0], plain.names("test")[0]
    for name, west in ((one, 500_000), (other, 500_080)):
        path = next(tmp_path.rglob(f"{name}_LabelHand.tif"))
        with rasterio.open(path) as file:
            values = file.read()
        tiny.write(path, values, west, 5_000_000)
    events = open_pairs("sen1floods11", tmp_path)
    assert events.names("train") == tuple(name for name in plain.names("train") if name != one) and "split=events: 1 of" in events.notes[0]
    tiny.sen1floods11_lists(tmp_path)
    listed = {split: plain.names(split) for split in SPLITS}
    for split, file in (("train", "train"), ("select", "valid"), ("test", "test")):
        (tmp_path / f"splits/flood_handlabeled/flood_{file}_data.csv").write_text("".join(f"{name}_S1Hand.tif\n" for name in listed[split]))
    kept = open_pairs("sen1floods11", tmp_path)
    assert {split: kept.names(split) for split in SPLITS} == listed and kept.notes[0].startswith("warning: 1 of") and one in kept.notes[0]
