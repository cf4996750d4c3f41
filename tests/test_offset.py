"""How far a scene lies off the training data is told in dB, and what the figure cannot tell is said."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.radiometry.fill import find_fill
from hfd_edge.scene import measure_array
from hfd_edge.segmenter import Segmenter
from hfd_edge.simulate import WATER, Scene, SceneConfig
from hfd_edge.source import ArraySource, sample
from hfd_edge.source.checked import checked
from hfd_edge.source.offset import BandOffset, TrainingOffset, int8_notes, sample_offset
from hfd_edge.spec import ModelInput
from tests import command
from tests.engines import Graph, make_spec, plain_input, write_engine
from tests.rasters import write_tif

NAMES = ("VV", "VH")
FLOOR = -35.0


def scene(seed: int, looks: float = 4.4, side: int = 512):
    return Scene(SceneConfig(side, side, seed=seed, looks=looks)).window(0, 0, side, side, eo=False)


def decibel(power):
    return np.maximum(10 * np.log10(np.maximum(power.astype(np.float64), 1e-12)), FLOOR)


@pytest.fixture(scope="module")
def trained():
    """What a training on other scenes would have measured."""
    values = np.concatenate([decibel(scene(seed).sar).reshape(2, -1) for seed in (11, 12, 13, 14)], axis=1)
    return ModelInput("db", tuple(values.mean(axis=1)), tuple(values.std(axis=1)), ((FLOOR, 10.0),) * 2, FLOOR, looks=4.4)


def offset_of(power, model, looks=None, unit="intensity", **radiometry):
    stored = sample(ArraySource(power, 2))
    return sample_offset(stored, SourceRadiometry(unit, looks=looks, **radiometry), model, NAMES)


@pytest.mark.parametrize("factor_db", [0.0, 0.5, 1.0, 3.0, -3.0])
def test_a_factor_on_a_scene_like_the_training_is_found_to_half_a_decibel(trained, factor_db):
    found = offset_of(scene(21).sar * np.float32(10 ** (factor_db / 10)), trained)
    for band in found.bands:
        assert abs(band.offset_db - factor_db) < 0.5 and 0.9 < band.spread < 1.1
    assert found.sampled
    if abs(factor_db) >= 1:
        assert found.like_a_factor and "wrong calibration factor" in found.notes()[0] and "nothing was corrected" in found.notes()[0]
    if factor_db == 0:
        assert found.notes() == ()


@pytest.mark.parametrize("kept", [(WATER,), (1,), (3,)], ids=["water", "bare soil", "forest"])
def test_other_ground_does_not_look_like_a_factor(trained, kept):
    window = scene(21)
    power = np.where(np.isin(window.labels, kept), window.sar, np.nan).astype(np.float32)
    found = offset_of(power, trained)
    assert found.warns and not found.like_a_factor and "other ground" in found.notes()[0]


@pytest.mark.parametrize(("moved_db", "words"), [
    ((78, 78), "check --unit and --scale first"), ((40, 30), "check --unit and --scale first"), ((-20, -9), "check --unit and --scale first.*open water"),
    ((7.8, -6.8), "opposite directions.*another order.*check --bands"), ((-7, 7), "check --bands"),
    ((0, 28), "so far above in VH alone: check what that band.*--bands"), ((5, 3), "other ground .water, forest."), ((2, -2), "other ground .water")])
def test_what_other_ground_does_not_explain_is_not_laid_to_it(trained, moved_db, words):
    power = scene(21).sar * np.float32(10) ** (np.array(moved_db, np.float32)[:, None, None] / 10)
    (note,) = offset_of(power, trained).notes()
    assert re.search(words, note), note


def test_bands_in_another_order_are_told():
    quiet = ModelInput("db", (-5.0, -20.0), (3.0, 3.0), ((FLOOR, 10.0),) * 2, FLOOR)
    noise = np.random.default_rng(1).normal(0, 3, (2, 64, 64)).astype(np.float32)
    stored = noise + np.array([-20, -5], np.float32)[:, None, None]
    assert "another order" in sample_offset(sample(ArraySource(stored, 2)), SourceRadiometry("db"), quiet, NAMES).notes()[0]


@pytest.fixture(scope="module")
def identity(tmp_path_factory):
    graph = Graph(2)
    graph.conv(np.eye(2).reshape(2, 2, 1, 1))
    spec = make_spec(2, 2, 1, 1, 0, input=plain_input(2, unit="db", mean=(-12.0, -19.0), floor=FLOOR))
    return write_engine(tmp_path_factory.mktemp("identity") / "m.engine", graph.serialize(), spec)


def bordered(value, unit="db"):
    """(2, 100, 150) of `unit`, its first 20 columns one value."""
    values = np.random.default_rng(2).normal(-12, 3, (2, 100, 150))
    values = {"db": values, "intensity": 10 ** (values / 10), "amplitude": 10 ** (values / 20), "complex": 10 ** (values / 20) + 0j}[unit]
    values[:, :, :20] = value
    return values.astype(np.complex64 if unit == "complex" else np.float32)


@pytest.mark.parametrize(("value", "declared", "told"), [
    (0, {}, "0 dB"), (-99, {}, "-99 dB"), (-99.5, {"scale": 1.0000001}, "-99.5"), (0, {"unit": "intensity"}, "0"), (0, {"unit": "amplitude"}, "0"),
    (0, {"unit": "complex"}, "0"), (-1, {"unit": "intensity"}, "-1"), (0, {"nodata": (0,)}, None), (np.nan, {}, None),
    (0, {"nodata": (0,), "unit": "intensity"}, None), (9.0, {"unit": "amplitude", "saturation": 9.0}, None)])
def test_a_border_of_one_value_is_told_with_its_way_out(identity, value, declared, told):
    radiometry = SourceRadiometry(**{"unit": "db", **declared})
    with Segmenter(identity) as segmenter:
        notes = segmenter.run(bordered(value, str(radiometry.unit)), radiometry).report.notes
    found = [note for note in notes if "in every band and" in note]
    assert len(found) == (told is not None)
    if told:
        assert f"about 13% of the pixels (of a sample) are exactly {told} in every band" in found[0] and f"--nodata {told.removesuffix(' dB')} " in found[0]


@pytest.mark.parametrize("values", [bordered(0)[:, :, 20:], bordered(0) - [[[0]], [[1]]], np.round(bordered(0)[:, :, 20:])],
                         ids=["none", "in one band alone", "whole decibels"])
def test_what_is_no_border_of_one_value_is_not_told(identity, values):
    with Segmenter(identity) as segmenter:
        assert not [note for note in segmenter.run(values.astype(np.float32), "db").report.notes if "in every band and" in note]


@pytest.mark.parametrize(("judged", "beyond"), [
    ({"VV": [-1.0, 1.0], "VH": [-1, 1]}, ""), ({"VV": [-1.0, 1.0], "VH": [1.0, 2.0]}, "(VH -0.00 dB)"), ({"VV": [-4.0, -1.0]}, "(VV -0.00 dB)"),
    ({}, ""), ({"VV": "far"}, ""), (7, ""), (None, "")])
def test_a_scene_beyond_those_that_int8_was_judged_on_is_told(judged, beyond):
    at = TrainingOffset((BandOffset("VV", -0.001, 1.0), BandOffset("VH", -0.001, 1.0)), 1000, True)
    notes = int8_notes(at, {"gate": {"offsets": judged}})
    assert len(notes) == bool(beyond) and all(f"lies further {beyond}" in note and "precision fp32" in note for note in notes)
    assert int8_notes(at, {}) == int8_notes(at, {"gate": 3}) == ()


def framed(power, value):
    """The scene, its first 60 columns one value, as a border without nodata."""
    framed = power.copy()
    framed[:, :, :60] = value
    return framed


@pytest.mark.parametrize("factor_db", [0.0, 3.0])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_border_that_is_told_is_left_out_of_the_verdict(trained, factor_db, value):
    power = scene(21).sar * np.float32(10 ** (factor_db / 10))
    stored, radiometry = sample(ArraySource(framed(power, value), 2)), SourceRadiometry("intensity")
    fill = find_fill(*stored, radiometry)
    found, polluted = (sample_offset(stored, radiometry, trained, NAMES, each) for each in (fill, None))
    assert found.left_out == f"{value:g}" and f"without those that are exactly {value:g} in every band" in str(found)
    for band in found.bands:
        assert abs(band.offset_db - factor_db) < 0.5 and 0.9 < band.spread < 1.1
    assert polluted.warns and not polluted.like_a_factor and polluted.left_out is None
    assert found.warns == (factor_db != 0) and (not factor_db or (found.like_a_factor and "without those" in found.notes()[0]))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_scene_and_predict_leave_the_same_border_out(tmp_path, value):
    demo, path = command.ROOT / "hfd_edge" / "data" / "demo.engine", tmp_path / "a.tif"
    write_tif(path, framed(scene(21).sar, value), descriptions=NAMES)
    bare = write_tif(tmp_path / "b.tif", scene(21).sar[:, :, 60:], descriptions=NAMES)
    words = ("--unit", "intensity", "--json")
    run = json.loads(command.run("predict", path, demo, "-o", tmp_path / "map.tif", *words).stdout)
    all_of_it, without = (json.loads(command.run("scene", each, "--engine", demo, *words).stdout)["offset"] for each in (path, bare))
    assert run["offset"]["left_out"] == all_of_it["left_out"] == f"{value:g}" and without["left_out"] is None
    assert all_of_it["pixels"] == without["pixels"] == 512 * 452
    for one, other, sampled in zip(all_of_it["bands"], without["bands"], run["offset"]["bands"]):
        assert one["offset_db"] == pytest.approx(other["offset_db"], abs=1e-9) and one["spread"] == pytest.approx(other["spread"], abs=1e-9)
        assert abs(sampled["offset_db"] - one["offset_db"]) < 0.2


@pytest.mark.parametrize(("unit", "value"), [("intensity", 0.0), ("intensity", 1.0), ("db", 0.0)])
def test_a_border_is_left_out_behind_a_filter_too(tmp_path, unit, value):
    graph = Graph(2)
    graph.conv(np.eye(2).reshape(2, 2, 1, 1))
    model = plain_input(2, unit="db", mean=(-12.0, -12.0), std=(3.0, 3.0), floor=FLOOR, looks=4.4, speckle_filter="lee")
    engine = write_engine(tmp_path / "m.engine", graph.serialize(), make_spec(2, 2, 1, 1, 0, input=model))
    values = np.random.default_rng(3).gamma(4.4, 0.063 / 4.4, (2, 300, 400)).astype(np.float32)
    values = np.float32(10) * np.log10(values) if unit == "db" else values
    with Segmenter(engine, device="cpu") as segmenter:
        report, bare = (segmenter.run(each, unit).report for each in (framed(values, value), values))
    assert report.offset.left_out == (f"{value:g} dB" if unit == "db" else f"{value:g}") and bare.offset.left_out is None
    for one, other in zip(report.offset.bands, bare.offset.bands):
        assert abs(one.offset_db - other.offset_db) < 0.2


def test_whole_decibels_in_one_band_are_no_border():
    stored = np.round(bordered(0)[:1, :, 20:])
    assert find_fill(stored, None, SourceRadiometry("db")) is None
    stored = np.round(bordered(-99)[:1], 1)
    assert find_fill(stored, None, SourceRadiometry("db")).words == "-99 dB"


def test_scene_tells_a_border_of_one_value_and_a_calibrated_product_has_none(tmp_path):
    path = write_tif(tmp_path / "a.tif", bordered(0, "intensity"), descriptions=["VV", "VH"])
    assert "--nodata 0" in command.run("scene", path, "--unit", "intensity").stdout
    assert json.loads(command.run("scene", path, "--unit", "intensity", "--json").stdout)["odd"]
    assert find_fill(bordered(0, "intensity"), None, SourceRadiometry("intensity"), zeros_measured=True) is None


def test_a_scene_whose_zeros_are_measured_has_no_border_of_them_but_of_any_other_number():
    class Calibrated(ArraySource):
        zeros_measured = True

    for kind, value, found in ((ArraySource, 0, True), (Calibrated, 0, False), (Calibrated, 1, True)):
        fill = checked(kind(bordered(value, "intensity").astype(np.float32), 2), SourceRadiometry("intensity"))[2]
        assert (fill is not None) == found, (kind, value)


def test_looks_that_differ_are_taken_out_where_both_are_known(trained):
    single = scene(21, looks=1).sar
    known, unknown = offset_of(single, trained, looks=1.0), offset_of(single, trained)
    assert all(abs(band.offset_db) < 0.5 for band in known.bands)
    assert all(band.offset_db < -1.4 for band in unknown.bands)


@pytest.mark.parametrize("unit, stored", [("intensity", lambda p: p), ("amplitude", np.sqrt)])
def test_linear_networks_have_an_offset_in_decibels_too(unit, stored):
    values = stored(scene(21).sar.astype(np.float64))
    model = ModelInput(unit, tuple(values.mean(axis=(1, 2))), tuple(values.std(axis=(1, 2))))
    found = offset_of(scene(21).sar * np.float32(2), model)
    for band in found.bands:
        assert band.offset_db == pytest.approx(10 * np.log10(2), abs=0.3) and band.spread == pytest.approx(1, abs=0.2)


def test_a_sample_and_all_pixels_agree_with_float64_and_with_each_other(trained):
    power = scene(22).sar
    power[:, 100:120, 30:300] = np.nan
    power[0, 5, :40] = 0
    values = decibel(power)[:, ~np.isnan(power).any(axis=0)]
    whole = measure_array(power).offset(trained, NAMES)
    assert not whole.sampled and "over all" in str(whole)
    for band, mean, spread, at, std in zip(whole.bands, values.mean(axis=1), values.std(axis=1), trained.mean, trained.std):
        assert band.offset_db == pytest.approx(mean - at, abs=0.03) and band.spread == pytest.approx(spread / std, abs=0.005)
    for one, other in zip(offset_of(power, trained).bands, whole.bands):
        assert one.offset_db == pytest.approx(other.offset_db, abs=0.5)


def test_what_has_no_decibels_has_no_offset(trained):
    dn = ModelInput("dn", (0.0, 0.0), (1.0, 1.0))
    assert offset_of(np.ones((2, 40, 40), np.float32), dn, unit="dn") is None
    assert offset_of(np.full((2, 40, 40), np.nan, np.float32), trained) is None
    assert measure_array(np.full((2, 40, 40), np.nan, np.float32)).offset(trained, NAMES) is None


@pytest.mark.slow
def test_predict_and_scene_tell_it(tmp_path):
    demo = command.ROOT / "hfd_edge" / "data" / "demo.engine"
    path = write_tif(tmp_path / "bright.tif", scene(21).sar * np.float32(2), descriptions=NAMES)
    done = command.run("predict", path, demo, "-o", tmp_path / "map.tif", "--unit", "intensity", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["offset"]["sampled"] and all(1.5 < band["offset_db"] < 4.5 for band in told["offset"]["bands"])
    assert any("lies off the training data" in note for note in told["notes"])
    done = command.run("scene", path, "--unit", "intensity", "--engine", demo)
    assert done.returncode == 0, done.stderr
    assert "off training" in done.stdout and "over all 262144 pixels" in done.stdout and "nothing was corrected" in done.stdout
    one = write_tif(tmp_path / "one.tif", scene(21, side=64).sar[:1], descriptions=("VV",))
    command.failed(command.run("scene", one, "--unit", "intensity", "--engine", demo, "--bands", "VV"),
                   "1 band and the network takes 2", "give the missing ones")


def test_a_filtered_network_is_compared_with_filtered_pixels():
    """Its mean in dB is that of filtered pixels, 0.4 dB above that of the unfiltered ones at 4.4 looks."""
    from hfd_edge.source.filter import filtered_input
    power = np.random.default_rng(0).gamma(4.4, 0.1 / 4.4, (1, 300, 300)).astype(np.float32)
    model = ModelInput("db", (-10.0,), (1.0,), floor=FLOOR, looks=4.4, speckle_filter="boxcar")
    source, radiometry = filtered_input(ArraySource(power, 1), SourceRadiometry("intensity"), model, 1)
    (filtered,) = sample_offset(sample(source), radiometry, model, ("VV",)).bands
    (stored,) = sample_offset(sample(ArraySource(power, 1)), SourceRadiometry("intensity"), model, ("VV",)).bands
    assert abs(filtered.offset_db) < 0.05 and stored.offset_db < -0.4
    assert measure_array(power).offset(model, ("VV",)) is None


def test_a_sample_of_a_wide_scene_is_thinned_evenly_and_a_small_one_is_whole():
    columns = np.tile(np.arange(30000, dtype=np.float32), (1, 200, 1))
    values, valid = sample(ArraySource(columns, 1, columns[0] % 3 > 0))
    assert 10000 < values.shape[2] < 1.5 * 16384 and valid.shape == (1, values.shape[2]) and (valid[0] == (values[0, 0] % 3 > 0)).all()
    assert np.histogram(values, 10, (0, 30000))[0].min() > 0.09 * values.size
    assert sample(ArraySource(columns[:, :, :100], 1))[0].shape == (1, 1, 8 * 16 * 100)
