"""Some classes of a map: kept with their numbers and colours, everything else one declared number; and how a map is packed."""

import json

import numpy as np
import pytest
import rasterio

from hfd_edge.errors import RasterError
from hfd_edge.raster import OTHER_COLOR, OTHER_LABEL, MapWriter, RasterSource, select_classes
from hfd_edge.segmenter import Segmenter
from tests.test_class_shares import SCENE, engine, scene  # two fixtures
from tests.test_raster_map import COLORS, Legend, labels_of

CLASSES = ("water", "forest", "bare, wet")


@pytest.mark.parametrize("wanted, kept", [
    (("class 3",), [3]), (("Class 5", "class 0"), [0, 5]), (("class 1,class 2, class 6",), [1, 2, 6]), ((4, "2"), [2, 4])])
def test_a_map_of_some_classes_keeps_their_numbers_and_calls_the_rest_other(engine, scene, tmp_path, wanted, kept):
    with Segmenter(engine, threads=2) as segmenter:
        segmenter.run_raster(scene, tmp_path / "map.tif", unit="dn", classes=wanted, confidence=tmp_path / "scores.tif")
        segmenter.run_raster(scene, tmp_path / "all.tif", unit="dn", confidence=tmp_path / "all-scores.tif")
        spec = segmenter.spec
    expected = np.where(np.isin(SCENE, kept), SCENE, OTHER_LABEL)
    expected[SCENE == -1] = 255
    with rasterio.open(tmp_path / "map.tif") as made:
        np.testing.assert_array_equal(made.read(1), expected)
        tags, names, colors = made.tags(), made.tags(1), made.colormap(1)
    assert {k: v for k, v in names.items() if k.startswith("CLASS_")} == {
        **{f"CLASS_{value}": spec.classes[value] for value in kept}, "CLASS_254": "other"}
    assert all(colors[value] == (*spec.colors[value], 255) for value in kept) and colors[OTHER_LABEL] == (*OTHER_COLOR, 255)
    assert all(colors[value][:3] == (0, 0, 0) for value in set(range(7)) - set(kept)), "a class not in the map has no colour"
    assert json.loads(tags["HFD_CLASSES"]) == list(spec.classes)
    assert json.loads(tags["HFD_CLASSES_KEPT"]) == [spec.classes[value] for value in kept]
    with RasterSource(tmp_path / "scores.tif") as scores, RasterSource(tmp_path / "all-scores.tif") as others:
        np.testing.assert_array_equal(scores.read(0, 90)[0], others.read(0, 90)[0])


@pytest.mark.parametrize("wanted, words", [
    (("fire",), "class 'fire': none has.*0 water, 1 forest, 2 bare, wet"), ((3,), "class 3"), ((-1,), "class -1"),
    ((), "none of the"), (("water", "forest", "bare, wet"), "every one"), (("water,",), "class ''"), ((True,), "class True")])
def test_what_is_no_choice_of_classes_is_refused(wanted, words):
    with pytest.raises(RasterError, match=words):
        select_classes(Legend(CLASSES), wanted)


def test_a_name_with_a_comma_is_one_name():
    assert select_classes(Legend(CLASSES), ("bare, wet",)).values == (2, OTHER_LABEL)
    assert select_classes(Legend(CLASSES), "water").classes == ("water", "other")
    many = Legend(tuple(map(str, range(255))), tuple((i, i, i) for i in range(255)))
    with pytest.raises(RasterError, match="255 classes.*no number left"):
        select_classes(many, (7,))


def test_nodata_and_every_number_that_is_not_chosen():
    applied = select_classes(Legend(CLASSES), ("forest",)).applied(np.arange(256, dtype=np.uint8).reshape(16, 16)).ravel()
    assert applied[1] == 1 and applied[255] == 255 and set(np.delete(applied, [1, 255])) == {OTHER_LABEL}


@pytest.mark.parametrize("compress", ["none", "deflate", "zstd", "lzw"])
def test_a_map_is_packed_as_asked_and_holds_the_same(engine, scene, tmp_path, compress):
    out = tmp_path / f"{compress}.tif"
    with Segmenter(engine, threads=2) as segmenter:
        segmenter.run_raster(scene, out, unit="dn", compress=compress, confidence=tmp_path / "scores.tif")
    with rasterio.open(out) as made, rasterio.open(tmp_path / "scores.tif") as scores:
        np.testing.assert_array_equal(made.read(1), np.where(SCENE < 0, 255, SCENE))
        expected = None if compress == "none" else compress
        assert (made.compression and made.compression.name) == expected == (scores.compression and scores.compression.name)
        assert made.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG" and made.colormap(1)[2] == (2, 253, 14, 255)


def test_an_unknown_compression_is_refused_before_any_work(engine, scene, tmp_path):
    with Segmenter(engine, threads=1) as segmenter, pytest.raises(RasterError, match="compress='zip'.*none, deflate"):
        segmenter.run_raster(scene, tmp_path / "map.tif", unit="dn", compress="zip")
    assert [path.name for path in tmp_path.iterdir()] == ["scene.tif"]


def test_threads_do_not_change_a_map(tmp_path):
    from hfd_edge.raster import CogForm

    labels = labels_of(1700, 1300)
    for threads in (1, 4):
        form = CogForm("deflate", threads)
        with MapWriter(tmp_path / f"{threads}.tif", *labels.shape, None, Legend(colors=COLORS), {}, form=form) as writer:
            writer.write(0, labels)
    assert (tmp_path / "1.tif").read_bytes() == (tmp_path / "4.tif").read_bytes()
