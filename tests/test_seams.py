"""The seam metrics bite: broken stitching shows in them, exact stitching does not."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hfd_edge import Segmenter, speckle
from hfd_edge.errors import ArrayError
from hfd_edge.measure.seams import Borders, border_drop, disagreement, measure_seams, seam_ratio
from hfd_edge.plan import PlanRequest
from hfd_edge.simulate import CLASSES, CROPLAND, URBAN, Scene, SceneConfig
from hfd_edge.tiles import TileGrid
from tests import command
from tests.rasters import write_tif

SIDE, TILE = 768, 109       # no multiple of the simulator's rows of houses, which would look like seams, or the absence of them
BORDERS = Borders(tuple(range(TILE, SIDE, TILE)), tuple(range(TILE, SIDE, TILE)))


@pytest.fixture(scope="module")
def scene():
    window = Scene(SceneConfig(SIDE, SIDE, seed=3)).window(0, 0, SIDE, SIDE, eo=False)
    return window.sar[0], window.labels


def nearest_mean(power: np.ndarray) -> np.ndarray:
    """The class whose mean backscatter is nearest, in dB."""
    means = np.array([c.sigma0_db[0] for c in CLASSES[:4]])
    return np.abs(10 * np.log10(power)[..., None] - means).argmin(axis=-1).astype(np.uint8)


def tile_by_tile(make, offset: int = 0) -> np.ndarray:
    labels = np.empty((SIDE, SIDE), np.uint8)
    for row in range(-offset, SIDE, TILE):
        for col in range(-offset, SIDE, TILE):
            window = (slice(max(row, 0), row + TILE), slice(max(col, 0), col + TILE))
            labels[window] = make(window)
    return labels


def test_a_filter_without_its_halo_shows_as_a_seam_and_with_it_does_not():
    """On ground without houses: a town changes class from pixel to pixel with any filter and hides what borders do."""
    labels = Scene(SceneConfig(SIDE, SIDE, seed=3, region_px=96)).window(0, 0, SIDE, SIDE, eo=False).labels
    mean = np.float32([10 ** (c.sigma0_db[0] / 10) for c in CLASSES])[np.where(labels == URBAN, CROPLAND, labels)]
    power = (mean * np.random.default_rng(0).gamma(4.4, 1 / 4.4, mean.shape)).astype(np.float32)
    whole = nearest_mean(speckle.lee(power, 4.4))
    broken = tile_by_tile(lambda at: nearest_mean(speckle.lee(np.ascontiguousarray(power[at]), 4.4)))
    good, bad = seam_ratio(whole, BORDERS), seam_ratio(broken, BORDERS)
    assert 0.8 < good.ratio < 1.2 and abs(good.z) < 3
    assert bad.ratio > 1.5 and bad.z > 10


def test_statistics_of_each_tile_show_as_a_seam_and_as_grid_disagreement(scene):
    quiet = 10 * np.log10(speckle.boxcar(scene[0]))

    def by_tile(at):
        return np.digitize((quiet[at] - quiet[at].mean()) / quiet[at].std(), [-1, 0, 1]).astype(np.uint8)

    maps = [tile_by_tile(by_tile, offset) for offset in (0, TILE // 2)]
    assert seam_ratio(maps[0], BORDERS).ratio > 1.5
    assert disagreement(*maps) > 0.05


def test_looks_of_each_tile_show_as_grid_disagreement(scene):
    power = scene[0]

    def by_tile(at):
        values = power[at].astype(float)
        looks = float(values.mean() ** 2 / values.var())            # what estimating per tile comes to
        return nearest_mean(speckle.lee(power, looks)[at])

    assert disagreement(*(tile_by_tile(by_tile, offset) for offset in (0, TILE // 2))) > 0.003


def test_figures_counted_by_hand():
    labels = np.zeros((40, 60), np.uint8)
    labels[20:, :30] = 1                        # 30 of 60 pairs change across row 20
    labels[0, 50] = 2                           # beside it 3 pairs, farther than 8 px from the border
    labels[39, 59] = 255
    found = seam_ratio(labels, Borders((20,), ()))
    assert found.border_pairs == 60
    down = (19 - 8) * 60 + (39 - 28) * 60 - 1   # pairs of rows farther than 8 from row 20, one with nodata
    along = 40 * 59 - 1
    assert found.interior_pairs == down + along
    assert found.ratio == pytest.approx((30 / 60) / ((1 + 2 + 20) / (down + along)))
    assert disagreement(labels, np.where(labels == 2, 0, labels)) == pytest.approx(1 / (40 * 60 - 1))
    with pytest.raises(ArrayError, match="one scene"):
        disagreement(labels, labels[1:])
    assert np.isnan(seam_ratio(labels, Borders((), ())).ratio)


def test_errors_beside_borders_show_as_border_drop(scene):
    truth = scene[1]
    names = tuple(c.name for c in CLASSES)
    assert border_drop(truth, truth, BORDERS, names) == 0
    worse = truth.copy()
    for at in BORDERS.rows:
        worse[at - 2:at + 2] = (worse[at - 2:at + 2] + 1) % 5
    assert border_drop(truth, worse, BORDERS, names) > 0.15
    far = truth.copy()
    far[TILE // 2::TILE] = (far[TILE // 2::TILE] + 1) % 5
    assert border_drop(truth, far, BORDERS, names) < 0


def test_the_command_measures_a_crop_and_tells(db_engine, power, tmp_path):
    path = write_tif(tmp_path / "scene.tif", power)
    done = command.run("seams", path, db_engine, "--unit", "intensity", "--halo", "0", "--tile", "32", "--side", "64", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["rows"] == told["cols"] == 64 and told["halo"] == "custom" and told["grid_disagreement"] > 0
    assert "seam ratio" in command.run("seams", path, db_engine, "--unit", "intensity").stdout
    command.failed(command.run("seams", path, db_engine), "--unit")


def test_borders_are_where_cores_begin():
    assert Borders.of(TileGrid(100, 90, 32, 48, 8, 4, (16, 0))) == Borders((16, 48, 80), (48,))


def test_an_engine_with_its_exact_halo_has_no_seams_and_without_it_has(db_engine):
    power = np.random.default_rng(0).gamma(4.4, 0.05 / 4.4, (2, 200, 260)).astype(np.float32)
    with Segmenter(db_engine) as segmenter:
        halo, stride = segmenter.spec.halo_px, segmenter.spec.stride_px
        core = 8 * stride
        exact = measure_seams(segmenter, power, PlanRequest(tile=core + 2 * halo, halo="exact"), "intensity",
                              truth=np.zeros((200, 260), np.uint8))
        assert exact.seams == exact.seams_of_whole
        assert exact.grid_disagreement == 0 and exact.whole_disagreement == 0 and exact.halo == "exact"
        short = measure_seams(segmenter, power, PlanRequest(tile=core, halo=0), "intensity")
        assert short.grid_disagreement > 0 and short.whole_disagreement > 0 and short.border_drop is None
        assert short.to_dict()["seams"]["border_pairs"] == exact.seams.border_pairs
