"""The seam metrics bite: broken stitching shows in them, exact stitching does not."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from hfd_edge import Segmenter, speckle
from hfd_edge.errors import ArrayError
from hfd_edge.measure.seam_ratio import Borders, seam_ratio, seam_z_against
from hfd_edge.measure.seams import SeamStudy, border_drop, disagreement, label_noise, smallest_halo
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
    assert 0.8 < good.ratio < 1.2 and abs(good.z) < 3 and seam_z_against(whole, whole, BORDERS) == 0
    assert bad.ratio > 1.5 and bad.z > 5 and seam_z_against(broken, whole, BORDERS) > 5


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
    labels[10, 50] = 2                          # 2 pairs of rows, both farther than 8 px from the border and from the rim
    labels[30, 59] = 255
    found = seam_ratio(labels, Borders((20,), ()))
    assert found.border_pairs == 60
    down = 3 * 60 + 3 * 60 - 2                  # pairs of rows farther than 8 from row 20, and from rows 0 and 40, two with nodata
    assert found.interior_pairs == down                         # there is no border along columns, so none is held against them
    assert found.ratio == pytest.approx((30 / 60) / (2 / down))
    assert disagreement(labels, np.where(labels == 2, 0, labels)) == pytest.approx(1 / (40 * 60 - 1))
    with pytest.raises(ArrayError, match="one scene"):
        disagreement(labels, labels[1:])
    assert np.isnan(seam_ratio(labels, Borders((), ())).ratio) and seam_ratio(labels, Borders((), ())).z == 0
    plain = np.zeros_like(labels)
    assert seam_z_against(labels, plain, Borders((20,), ())) == pytest.approx(1)    # 30 changes, all in one piece of 60 px
    assert seam_z_against(plain, labels, Borders((20,), ())) == pytest.approx(-1)
    assert seam_z_against(labels, labels, Borders((20,), (30,))) == 0


def test_a_calm_rim_of_the_scene_changes_no_figure():
    """Reflection keeps labels from changing there: in maps of the demo engine the outermost pairs change 0.2 times as often."""
    labels = np.random.default_rng(0).integers(0, 4, (400, 300)).astype(np.uint8)
    calm = labels.copy()
    calm[:3], calm[-3:] = 0, 0
    for borders in (Borders((100, 200, 300), ()), Borders((96, 192, 296), (), 8)):
        assert seam_ratio(calm, borders) == seam_ratio(labels, borders)
    calm = np.ascontiguousarray(calm.T)
    assert seam_ratio(calm, Borders((), (100, 200, 300))) == seam_ratio(labels.T, Borders((), (100, 200, 300)))


def test_errors_at_the_rim_of_the_scene_are_no_border_drop(scene):
    truth, names = scene[1], tuple(c.name for c in CLASSES)
    worse = truth.copy()
    for rim in (worse[:3], worse[-3:], worse[:, :3], worse[:, -3:]):
        rim[:] = (rim + 1) % 5
    assert border_drop(truth, worse, BORDERS, names) == 0


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


def test_isolated_labels_are_counted_apart_in_cores_and_overlaps():
    labels = np.zeros((60, 60), np.uint8)
    labels[10, 10] = labels[50, 31] = 1         # one far from column 30, one beside it
    labels[40, 40:42] = 2                       # two together are not alone
    labels[5, 50] = 255
    core, overlap = label_noise(labels, Borders((), (30,)), 8)
    assert core == pytest.approx(1 / (58 * 42 - 5)) and overlap == pytest.approx(1 / (58 * 16))
    assert np.isnan(label_noise(labels, Borders((), ()), 8)[1])


@pytest.mark.parametrize("correlated", [False, True])
def test_z_of_maps_without_seams_is_that_of_a_normal_number(correlated):
    """Class borders as long as a tile do not raise it; pairs taken one by one would, to five and more."""
    rng, found = np.random.default_rng(0), []
    for _ in range(60):
        cells = rng.integers(0, 3, (40, 40)).astype(np.uint8)
        labels = np.kron(cells, np.ones((24, 24), np.uint8)) if correlated else rng.integers(0, 3, (400, 400)).astype(np.uint8)
        labels = np.roll(labels, rng.integers(0, 24, 2), (0, 1))
        at = tuple(range(97, labels.shape[0], 97))
        found.append(seam_ratio(labels, Borders(at, at)).z)
    assert 0.6 < np.std(found) < 1.6 and np.mean(np.abs(found) > 3) <= 0.05


def test_only_lines_in_step_with_the_borders_are_held_against_them():
    labels = np.repeat(np.arange(100, dtype=np.uint8), 4)[:, None] * np.ones((1, 64), np.uint8)     # changes at every fourth row
    assert seam_ratio(labels, Borders((100, 200), (), 4)).ratio == 1
    assert seam_ratio(labels, Borders((100, 200), ())).ratio > 3


def test_the_smallest_halo_is_one_that_keeps_to_the_wanted_rate_as_all_larger_ones_do(db_engine):
    power = np.random.default_rng(0).gamma(4.4, 0.05 / 4.4, (2, 200, 260)).astype(np.float32)
    with Segmenter(db_engine) as segmenter:
        study, stride = SeamStudy.of(segmenter, power, "intensity"), segmenter.spec.stride_px
        reports = [study.measure(PlanRequest(tile=16 * stride, halo=halo))
                   for halo in range(0, segmenter.spec.halo_px + 1, stride)]
    rates = [report.whole.rate for report in reports]
    assert rates[0] > rates[-1] == 0 and all(report.whole.bound > report.whole.rate for report in reports)
    assert smallest_halo(reports, 1.0).halo_px == 0
    strict = smallest_halo(reports, reports[-1].whole.bound)
    assert strict.whole.flips == 0 and strict.whole.bound <= reports[-1].whole.bound
    assert smallest_halo(reports, 1e-9) is None


@pytest.mark.slow
def test_the_command_measures_a_crop_and_tells(db_engine, power, tmp_path):
    path = write_tif(tmp_path / "scene.tif", power)
    done = command.run("seams", path, db_engine, "--unit", "intensity", "--halo", "0", "--tile", "32", "--side", "64", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["rows"] == told["cols"] == 64
    measured, = told["measures"]
    assert measured["halo"] == "custom" and measured["grid_disagreement"] > 0 and measured["whole"]["rate"] > 0
    assert "grid" in command.run("seams", path, db_engine, "--unit", "intensity").stdout
    told = json.loads(command.run("seams", path, db_engine, "--unit", "intensity", "--window", "5,7,60,40", "--json").stdout)
    assert (told["rows"], told["cols"]) == (60, 40)
    command.failed(command.run("seams", path, db_engine, "--unit", "intensity", "--window", "5,7,700,40"), "inside")
    command.failed(command.run("seams", path, db_engine), "--unit")


@pytest.mark.slow
def test_the_command_names_the_halo_and_draws_it(db_engine, power, tmp_path):
    path, truth = write_tif(tmp_path / "scene.tif", power), tmp_path / "truth.tif"
    write_tif(truth, np.zeros((1, *power.shape[1:]), np.uint8))
    done = command.run("seams", path, db_engine, "--unit", "intensity", "--tile", "128", "--wanted", "0.5", "--stitch", "crop,hann",
                       "--truth", truth, "--plot", tmp_path / "a.png", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    halos = {mode: [m["halo_px"] for m in told["measures"] if m["stitch"] == mode] for mode in ("crop", "hann")}
    assert halos["crop"] == list(range(40, -1, -8)) and halos["hann"] == list(range(40, 7, -8))
    assert set(told["halo_for_wanted"]) == {"crop", "hann"} and told["measures"][0]["miou"] is not None
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    said = command.run("seams", path, db_engine, "--unit", "intensity", "--tile", "128", "--wanted", "0.9").stdout
    assert "--halo 0 keeps flips" in said
    assert command.run("seams", path, db_engine, "--unit", "intensity", "--wanted", "0.9", "--halo", "8").returncode == 2


@pytest.mark.slow
def test_the_command_measures_the_edge_error_and_then_precision_runs(db_engine, power, tmp_path):
    path, new = write_tif(tmp_path / "scene.tif", np.tile(power, (1, 3, 3))), tmp_path / "new.engine"
    done = command.run("seams", path, db_engine, "--unit", "intensity", "--profile", new)
    assert done.returncode == 0 and "from the end of a tile" in done.stdout, done.stderr
    assert "measured over" in command.run("inspect", new).stdout and "not measured" in command.run("inspect", db_engine).stdout
    done = command.run("seams", path, new, "--unit", "intensity", "--stitch", "all", "--halo", "8,16", "--tile", "96", "--json")
    assert {(m["stitch"], m["halo_px"]) for m in json.loads(done.stdout)["measures"]} == {
        (mode, halo) for mode in ("crop", "precision", "hann", "gaussian", "constant") for halo in (8, 16)}
    command.failed(command.run("seams", path, db_engine, "--unit", "intensity", "--profile", new), "exists")


def test_borders_are_where_cores_begin():
    assert Borders.of(TileGrid(100, 90, 32, 48, 8, 4, (16, 0))) == Borders((16, 48, 80), (48,), 4)


def test_an_engine_with_its_exact_halo_has_no_seams_and_without_it_has(db_engine):
    power = np.random.default_rng(0).gamma(4.4, 0.05 / 4.4, (2, 200, 260)).astype(np.float32)
    with Segmenter(db_engine) as segmenter:
        halo, stride = segmenter.spec.halo_px, segmenter.spec.stride_px
        core = 8 * stride
        study = SeamStudy.of(segmenter, power, "intensity", truth=np.zeros((200, 260), np.uint8))
        exact = study.measure(PlanRequest(tile=core + 2 * halo, halo="exact"))
        assert exact.seams == exact.seams_of_whole and exact.z_against_whole == 0
        assert exact.grid_disagreement == 0 and exact.whole_disagreement == 0 and exact.halo == "exact"
        short = replace(study, truth=None).measure(PlanRequest(tile=core, halo=0))
        assert short.grid_disagreement > 0 and short.whole_disagreement > 0 and short.border_drop is None
        assert short.z_against_whole > 3
        assert short.to_dict()["seams"]["border_pairs"] == exact.seams.border_pairs
