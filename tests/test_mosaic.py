"""Many files as one scene: the pixels, and the map, are those of the one raster that they would be pasted into."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

from hfd_edge import Mosaic
from hfd_edge.errors import DeviceError
from hfd_edge.products import SceneRequest, open_scene
from hfd_edge.raster import MosaicSource, RasterSource
from hfd_edge.raster.mosaic_tiles import MOST_OPEN_FILES
from hfd_edge.segmenter import Segmenter
from hfd_edge.source import sample
from tests.engines import random_engine
from tests.mosaics import NODATA, TileFile, cut, pasted, write_all
from tests.rasters import UTM, ramp, write_tif

PACKED = {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate"}
LAYOUTS = [{}, PACKED, {"blockysize": 5, "compress": "lzw", "interleave": "pixel"}]


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return random_engine(tmp_path_factory.mktemp("engine") / "random.engine", halo_bounded_px=16)


def noise(rows=90, cols=140, seed=2):
    return np.random.default_rng(seed).normal(size=(2, rows, cols)).astype(np.float32)


def one_raster(path, tiles):
    values, _ = pasted(tiles)
    top, left = min(t.row for t in tiles), min(t.col for t in tiles)
    return TileFile(top, left, values, NODATA, PACKED).write(path)


def maps(segmenter, scene, folder, **options):
    report = segmenter.run_raster(scene, folder / "map.tif", unit="dn", confidence=folder / "score.tif", overwrite=True, **options)
    with rasterio.open(folder / "map.tif") as labels, rasterio.open(folder / "score.tif") as scores:
        return labels.read(1), scores.read(1), labels.transform, labels.crs, report


def check_same(mine, others):
    for a, b in zip(mine[:2], others[:2]):
        np.testing.assert_array_equal(a, b)
    assert mine[2:4] == others[2:4]
    assert mine[4].classes == others[4].classes and mine[4].nodata_share == others[4].nodata_share


@st.composite
def layouts(draw):
    """A few tiles anywhere, overlapping or apart, some tinier than any halo, with holes of nodata, NaN and in one band only."""
    tiles = []
    for number in range(draw(st.integers(1, 5))):
        rows, cols = draw(st.integers(1, 45)), draw(st.integers(1, 45))
        values = noise(rows, cols, draw(st.integers(0, 9)))
        nodata = draw(st.sampled_from([NODATA, -1.0, None]))
        hole = np.random.default_rng(number).random((rows, cols)) < draw(st.sampled_from([0, 0.3, 1]))
        values[draw(st.integers(0, 1)), hole] = np.nan if nodata is None else nodata
        tiles.append(TileFile(draw(st.integers(-50, 50)), draw(st.integers(-50, 50)), values, nodata, draw(st.sampled_from(LAYOUTS))))
    return tiles if len({(t.row, t.col, *t.values.shape) for t in tiles}) == len(tiles) else tiles[:1]


@settings(max_examples=60, deadline=None)
@given(tiles=layouts(), core=st.integers(1, 70), halo=st.integers(0, 40), first=st.integers(0, 30), left=st.integers(0, 60), whole=st.booleans())
def test_windows_of_a_mosaic_hold_what_pasting_gives(tiles, core, halo, first, left, whole):
    values, known = pasted(tiles)
    with tempfile.TemporaryDirectory() as folder:
        with open_scene(Mosaic(write_all(Path(folder), tiles))) as source:
            assert (source.rows, source.cols) == known.shape
            col, reader = min(left, source.cols - 1), source.reader(min(left, source.cols - 1), source.cols - min(left, source.cols - 1), whole)
            for row in range(min(first, source.rows - 1), source.rows, core):
                top, bottom = max(0, row - halo), min(source.rows, row + core + halo)
                for (made, valid), start in ((reader.read(top, bottom - top), col), (source.read(top, bottom - top), 0)):
                    good = valid & np.isfinite(made).all(axis=0)
                    np.testing.assert_array_equal(good, known[top:bottom, start:])
                    np.testing.assert_array_equal(made[:, good], values[:, top:bottom, start:][:, good])


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(tiles=layouts(), tile=st.sampled_from(["auto", 96, (96, 120)]), halo=st.sampled_from(["exact", "bounded", 8]))
def test_the_map_is_the_one_rasters_map(engine, tiles, tile, halo):
    with tempfile.TemporaryDirectory() as name, Segmenter(engine, threads=2, tile=tile, halo=halo) as segmenter:
        folder = Path(name)
        scene = Mosaic(write_all(folder / "tiles", tiles))
        check_same(maps(segmenter, scene, folder, allow_empty=True), maps(segmenter, one_raster(folder / "one.tif", tiles), folder, allow_empty=True))


def test_tiles_one_by_one_are_another_map(engine, tmp_path):
    """The negative control, and what the mosaic is for: they differ along the border, as far as the network sees."""
    tiles = cut(noise(150, 200), [100], [120])
    with Segmenter(engine, threads=2, halo="exact") as segmenter:
        whole = maps(segmenter, Mosaic(write_all(tmp_path / "tiles", tiles)), tmp_path)[0]
        alone = maps(segmenter, tmp_path / "tiles" / "t0000.tif", tmp_path)[0]
    differ = whole[:100, :120] != alone
    assert differ[-8:].any() and differ[:, -8:].any() and not differ[:60, :80].any()


@pytest.mark.parametrize("part", [{"window": (30, 50, 33, 41)}, {"bounds": (500_500, 4_599_370, 500_910, 4_599_700)}])
def test_a_part_of_a_mosaic_is_the_crop(engine, tmp_path, part):
    scene = Mosaic(write_all(tmp_path / "tiles", cut(noise(), [40], [61], 7, profile=PACKED)))
    with Segmenter(engine, threads=2, tile=96, halo="exact") as segmenter:
        whole, scores, geo, *_ = maps(segmenter, scene, tmp_path)
        labels, confidence, place, _, report = maps(segmenter, scene, tmp_path, **part)
    assert report.window == (30, 50, 33, 41)
    np.testing.assert_array_equal(labels, whole[30:63, 50:91])
    np.testing.assert_array_equal(confidence, scores[30:63, 50:91])
    assert place == geo @ rasterio.Affine.translation(50, 30)


def test_the_first_file_given_counts_and_a_folder_is_in_the_order_of_its_names(tmp_path):
    ones, twos = np.ones((1, 5, 9), np.float32), np.full((1, 5, 9), 2, np.float32)
    ones[0, 1, 4] = np.nan
    twos[0, 2, 3] = NODATA
    paths = write_all(tmp_path / "tiles", [TileFile(0, 4, ones), TileFile(0, 0, twos)])
    expected = np.full((5, 13), 2.0)
    expected[:, 4:] = 1
    expected[1, 4 + 4] = 2
    with open_scene(Mosaic(tmp_path / "tiles")) as source:
        values, valid = source.read(0, 5)
        assert not valid[2, 3] and valid.sum() == 5 * 13 - 1
        np.testing.assert_array_equal(values[0][valid], expected[valid])
        assert source.geo.transform == UTM and source.name == "mosaic of 2 files, t0000.tif to t0001.tif"
        assert "of the pixels that several hold differ" in source.notes[0] and "1 of the" in source.notes[0]
    with open_scene(Mosaic(reversed(paths))) as source:
        values, valid = source.read(0, 5)
        assert (values[0, :, :3] == 2).all() and values[0, 2, 4] == 2 and not valid[2, 3]


def test_a_mosaic_in_which_the_last_file_counts_is_seen(tmp_path, monkeypatch):
    """The negative control of the order."""
    tiles = [TileFile(0, 0, noise(20, 30)), TileFile(5, 7, noise(20, 30, 3))]
    paths = write_all(tmp_path, tiles)
    for broken in (False, True):
        if broken:
            monkeypatch.setattr(MosaicSource, "_put_back", lambda self, *given: None)
        with open_scene(Mosaic(paths)) as source:
            made, valid = source.read(0, source.rows)
            assert (made[:, valid] != pasted(tiles)[0][:, valid]).any() == broken


def test_a_declared_nodata_value_does_not_count_where_tiles_overlap(tmp_path):
    ones, twos = np.ones((1, 4, 4), np.float32), np.full((1, 4, 4), 2, np.float32)
    ones[0, 0] = -5
    paths = write_all(tmp_path, [TileFile(0, 0, ones, None), TileFile(0, 1, twos, None)])
    for nodata, there in ((None, [-5, -5, -5, -5, 2]), ((-5.0,), [-5, 2, 2, 2, 2])):
        with open_scene(Mosaic(paths), SceneRequest(nodata=nodata)) as source:
            assert source.read(0, 1)[0][0, 0].tolist() == there


def test_files_of_one_place_are_the_bands_of_one_tile(engine, tmp_path):
    values = noise()
    for number, tile in enumerate(cut(values, [40], [61])):
        for band, name in enumerate(("B0", "B1")):
            TileFile(tile.row, tile.col, tile.values[band:band + 1]).write(tmp_path / f"tile{number}_{name}.tif", descriptions=(name,))
    with open_scene(Mosaic(sorted(tmp_path.glob("*.tif"), reverse=True)), SceneRequest(wanted=("B0", "B1"))) as source:
        assert source.band_names == ("B0", "B1") and len(source.files) == 8
        np.testing.assert_array_equal(source.read(0, 90)[0], values)


def test_masks_alpha_and_integers_are_read_as_of_one_file(tmp_path):
    values = ramp(1, 8, 20, "uint16")
    mask = (values[0] % 3 > 0).astype(np.uint8) * 255
    paths = [write_tif(tmp_path / f"{c}.tif", np.ascontiguousarray(values[:, :, c:c + 10]), mask=mask[:, c:c + 10], crs="EPSG:32633",
                       transform=UTM @ rasterio.Affine.translation(c, 0)) for c in (0, 10)]
    with open_scene(Mosaic(paths)) as source:
        made, valid = source.read(0, 8)
    np.testing.assert_array_equal(made, values)
    np.testing.assert_array_equal(valid, mask > 0)


def test_each_block_of_each_file_is_decoded_once(engine, tmp_path, monkeypatch):
    """Files at rows and columns that are no multiples of a block: sampling apart, no row of a file is read twice, and reads end at ends of blocks."""
    paths = write_all(tmp_path / "tiles", cut(noise(300, 170), [100, 205], [70], profile=PACKED))
    reads, read_into = {}, RasterSource.read_into

    def counting(self, values, row, col):
        reads.setdefault(self.name, []).append((row, values.shape[1], self.rows))
        return read_into(self, values, row, col)

    monkeypatch.setattr(RasterSource, "read_into", counting)
    monkeypatch.setattr("hfd_edge.source.checked.sample", lambda source: (np.ones((2, 1, 99), np.float32), np.ones((1, 99), bool)))
    with Segmenter(engine, threads=2, tile=128, halo="exact") as segmenter:
        report = segmenter.run_raster(Mosaic(paths), tmp_path / "map.tif", unit="dn")
    assert report.tiles_run > 8 and len(reads) == 6
    for of_one in reads.values():
        rows = [row for at, count, _ in of_one for row in range(at, at + count)]
        assert rows == sorted(set(rows)) and len(rows) == of_one[0][2]
        assert all((at + count) % 16 == 0 or at + count == end for at, count, end in of_one)


@pytest.mark.slow
def test_few_files_are_open_at_once_and_none_afterwards(tmp_path):
    values = noise(2 * 3, 150 * 4)
    paths = write_all(tmp_path / "tiles", cut(values, [3], list(range(4, 600, 4))))
    assert MOST_OPEN_FILES < 300
    before = len(os.listdir("/proc/self/fd"))
    with open_scene(Mosaic(tmp_path / "tiles")) as source:
        assert len(paths) == 300 and len(source.files) == 300
        np.testing.assert_array_equal(source.read(0, 6)[0], values)
        assert len(os.listdir("/proc/self/fd")) <= before + MOST_OPEN_FILES + 4
    assert len(os.listdir("/proc/self/fd")) <= before + 1


def test_a_sample_sees_files_that_lie_far_apart(tmp_path):
    tiles = [TileFile(at, at, np.full((1, 40, 50), number + 1, np.float32)) for number, at in enumerate((0, 30_000))]
    with open_scene(Mosaic(write_all(tmp_path / "tiles", tiles))) as source:
        values, valid = sample(source)
        assert (source.rows, source.cols) == (30_040, 30_050) and valid.mean() == pytest.approx(0.5, abs=0.1)
        assert {1.0, 2.0} == {*np.unique(values[0][valid])}
    whole = write_all(tmp_path / "whole", cut(noise(), [40], [61]))
    with open_scene(Mosaic(whole)) as source:
        assert source.without_gaps is source


def test_a_mosaic_opened_before_a_fork_is_not_read_after_it(tmp_path, monkeypatch):
    with open_scene(Mosaic(write_all(tmp_path / "tiles", cut(noise(), [40], [61])))) as source:
        monkeypatch.setattr("os.getpid", lambda: -1)
        with pytest.raises(DeviceError, match="mosaic of 4 files.*forked.*spawn"):
            source.read(0, 1)
        monkeypatch.undo()
