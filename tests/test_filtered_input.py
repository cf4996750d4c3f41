"""A network trained on filtered pixels: tiles equal 'filter the scene, then run the network over it', at 0 ulp."""

from dataclasses import replace

import numpy as np
import pytest

from hfd_edge.source import filter as source_filter
from hfd_edge.errors import RadiometryError
from hfd_edge.export.calibration_data import DataScene, tiles_of
from hfd_edge.measure.tiling import stitched_logits, whole_request
from hfd_edge.package import Package
from hfd_edge.plan import PlanRequest
from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.scene import measure_array
from hfd_edge.segmenter import Segmenter
from hfd_edge.source import ArraySource
from hfd_edge.speckle import FILTERS, SpeckleFilter
from tests.command import run
from tests.engines import make_spec, plain_input, random_engine
from tests.foreign_networks import SPEC, save, unet
from tests.rasters import write_tif

ROWS, COLS = 171, 237
DB = {"unit": "db", "floor": -40.0, "mean": (-12.0, -15.0), "std": (4.0, 5.0)}
FILTERED = SPEC.replace("dn,", "intensity,").replace("std: [1, 1]", "std: [1, 1], speckle_filter: lee, filter_looks: 3, filter_radius: 2")
CHOICES = [(name, radius, border) for name in FILTERS for radius, border in
           ((3, "mask"), *(() if name == "refined_lee" else ((1, "nearest"), (7, "mask"))))]


@pytest.fixture(scope="module")
def scene():
    power = np.random.default_rng(5).gamma(3.0, 0.03, size=(2, ROWS, COLS)).astype(np.float32)
    power[:, 40:, 90:] *= 6
    power[:, 60:71, 100:140] = np.nan
    power[1, 5, 7], power[0, 100, 30] = np.nan, 0.0
    return power


def filtered_engine(folder, name, radius=3, border="mask", **changes):
    model = plain_input(2, **{**DB, "speckle_filter": name, "filter_looks": 3.0, "filter_radius": radius, "filter_border": border,
                              **changes})
    return random_engine(folder / f"{name}{radius}{border}.engine", input=model), model


def plain_engine(folder):
    return random_engine(folder / "plain.engine", input=plain_input(2, **DB))


def by_hand(scene, name, radius, border):
    """The scene filtered as a whole, by the public filter."""
    mask = np.isfinite(scene).all(axis=0)
    bright = tuple(np.float32(v) for v in measure_array(np.where(mask, scene, np.nan).astype(np.float32)).bright)
    chosen = SpeckleFilter(name, 3.0 if name not in ("boxcar", "frost") else None, radius, border, bright=bright)
    return chosen.apply(np.where(mask, scene, 0).astype(np.float32), mask)


@pytest.mark.parametrize("name, radius, border", CHOICES)
def test_tiles_of_a_filtered_scene_equal_the_whole_filtered_first(tmp_path, scene, name, radius, border):
    path, _ = filtered_engine(tmp_path, name, radius, border)
    with Segmenter(plain_engine(tmp_path), threads=1) as plain:
        quiet = by_hand(scene, name, radius, border)
        whole = stitched_logits(plain, quiet, whole_request(plain, ROWS, COLS), "intensity")
        labels = plain.run(quiet, unit="intensity").labels
    for threads, tile, offset, batch in ((1, 104, (0, 0), 1), (2, 128, (8, 0), 2), (7, (112, 160), (24, 16), 3)):
        with Segmenter(path, threads=threads) as seg:
            tiled = stitched_logits(seg, scene, PlanRequest(tile=tile, offset=offset, batch=batch), "intensity")
            np.testing.assert_array_equal(tiled, whole, err_msg=f"{threads} threads, tile {tile}")
    with Segmenter(path, tile=104) as seg:
        result = seg.run(scene, unit="intensity")
    np.testing.assert_array_equal(result.labels, labels)
    assert any(f"filtered by {name}" in note for note in result.report.notes) and result.report.timings["filter"] > 0


def test_a_filter_halo_one_pixel_short_differs(tmp_path, scene, monkeypatch):
    path, _ = filtered_engine(tmp_path, "lee")
    with Segmenter(path) as seg:
        whole = stitched_logits(seg, scene, whole_request(seg, ROWS, COLS), "intensity")
        monkeypatch.setattr(source_filter.SpeckleFilter, "halo_px", property(lambda self: self.radius - 1))
        assert (stitched_logits(seg, scene, PlanRequest(tile=104), "intensity") != whole).any()


@pytest.mark.parametrize("name", ["lee", "lee_sigma", "frost"])
@pytest.mark.parametrize("window", [None, (40, 33, 101, 97)])
def test_a_raster_and_its_windows_equal_the_array(tmp_path, scene, name, window):
    path, _ = filtered_engine(tmp_path, name)
    write_tif(tmp_path / "scene.tif", scene)
    import rasterio

    with Segmenter(path, tile=104, threads=2) as seg:
        labels = seg.run(scene, unit="intensity").labels
        seg.run_raster(tmp_path / "scene.tif", tmp_path / "map.tif", unit="intensity", window=window)
    row, col, rows, cols = window or (0, 0, ROWS, COLS)
    with rasterio.open(tmp_path / "map.tif") as made:
        np.testing.assert_array_equal(made.read(1), labels[row:row + rows, col:col + cols])


def test_units_are_converted_before_the_filter(tmp_path, scene):
    path, _ = filtered_engine(tmp_path, "kuan")
    with Segmenter(path) as seg:
        power = seg.run(scene, unit="intensity").labels
        amplitude = seg.run(np.sqrt(scene), unit="amplitude").labels
    assert (power != amplitude).mean() < 1e-3 and ((power == 255) == (amplitude == 255)).all()


def test_each_row_is_read_once_and_filtered_once(scene):
    asked = []

    class Counting(ArraySource):
        def reader(self, col, cols, whole_blocks):
            outer = self

            class Rows:
                def read(self, row, rows):
                    asked.append((row, row + rows))
                    values, valid = outer.read(row, rows)
                    return values[:, :, col:col + cols], valid
            return Rows()

    model = plain_input(2, **DB, speckle_filter="lee", filter_looks=3.0)
    made, known = source_filter.filtered_input(Counting(scene, 2), SourceRadiometry("intensity"), model, 2)
    reader = made.reader(20, 100, True)
    first, second = reader.read(0, 90)[0], reader.read(50, 90)[0]
    np.testing.assert_array_equal(first[:, 50:], second[:, :40])
    np.testing.assert_array_equal(second, made.read(50, 90)[0][:, :, 20:120])
    assert asked[:2] == [(0, 93), (87, 143)] and str(known.unit) == "intensity"


def test_the_filters_numbers_travel_and_older_packages_stay_readable(tmp_path):
    path, model = filtered_engine(tmp_path, "lee_sigma", 2, "nearest", filter_sigma=0.8, filter_bright=(1.0, 2.0))
    with Package.open(path) as package:
        assert package.spec.input == model
    record = plain_input(2)
    assert record.filter_radius == 3 and record.filter_bright is None
    with Package.open(plain_engine(tmp_path)) as package:
        assert not any(key.startswith("filter_") for key in package.spec.to_dict()["input"])


@pytest.mark.parametrize("changes, words", [
    ({"filter_looks": None}, "looks=None"), ({"filter_radius": 9}, "radius=9"), ({"filter_border": "zero"}, "border='zero'"),
    ({"speckle_filter": "median"}, "filter='median'"), ({"unit": "dn"}, "input.unit=dn")])
def test_a_filter_that_cannot_run_is_refused_when_the_engine_is_opened(tmp_path, changes, words):
    path = random_engine(tmp_path / "bad.engine", input=plain_input(2, **{**DB, "speckle_filter": "lee", "filter_looks": 3.0, **changes}))
    with pytest.raises(RadiometryError, match=words):
        Segmenter(path)


@pytest.mark.slow
def test_a_foreign_network_with_a_filter_is_packaged_and_runs_behind_it(tmp_path, scene):
    network, page = save(tmp_path, unet(), FILTERED)
    made = run("package", network, "--spec", page, "-o", tmp_path / "net.engine")
    assert made.returncode == 0, made.stderr
    assert "lee" in run("inspect", tmp_path / "net.engine").stdout
    with Segmenter(tmp_path / "net.engine") as seg:
        assert (seg.spec.input.filter_looks, seg.spec.input.filter_radius) == (3, 2)
        assert any("filtered by lee" in note for note in seg.run(scene, unit="intensity").report.notes)


def test_calibration_and_gate_take_filtered_tiles(tmp_path, scene):
    spec = make_spec(2, 3, 8, 8, 40, input=plain_input(2, **DB, speckle_filter="gamma_map", filter_looks=3.0), tile_px=128)
    plain = replace(spec, input=plain_input(2, **DB))
    intensity = SourceRadiometry("intensity")
    made = list(tiles_of([DataScene("s", ArraySource(scene, 2), intensity, None)], spec, 128))
    wanted = list(tiles_of([DataScene("s", ArraySource(by_hand(scene, "gamma_map", 3, "mask"), 2), intensity, None)], plain, 128))
    assert len(made) == len(wanted) > 1
    for ours, theirs in zip(made, wanted):
        np.testing.assert_array_equal(ours.pixels, theirs.pixels)
        np.testing.assert_array_equal(ours.status, theirs.status)
