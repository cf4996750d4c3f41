"""Looks of the scene against looks of the training data: the closed forms, and what a run says of them."""

import json
import math

import numpy as np
import pytest

from hfd_edge import RadiometryError
from hfd_edge.radiometry import SourceRadiometry, differences
from hfd_edge.radiometry.looks import bias_db, digamma, looks_difference, spread_db, trigamma
from hfd_edge.spec import ModelInput
from tests import command
from tests.engines import plain_input

# mean and standard deviation in dB of L-look speckle around its mean power
KNOWN = {1: (-2.507, 5.570), 2: (-1.174, 3.488), 3: (-0.764, 2.729), 4.4: (-0.512, 2.193), 10: (-0.221, 1.408), 20: (-0.109, 0.983)}


@pytest.mark.parametrize("looks", KNOWN)
def test_bias_and_spread_are_those_of_gamma_speckle(looks):
    assert (round(bias_db(looks), 3), round(spread_db(looks), 3)) == KNOWN[looks]
    db = 10 * np.log10(np.random.default_rng(0).gamma(looks, 1 / looks, 400_000))
    assert abs(db.mean() - bias_db(looks)) < 0.05 and abs(db.std() - spread_db(looks)) < 0.05


def test_digamma_and_trigamma_at_points_known_exactly():
    euler = 0.57721566490153286
    assert digamma(1.0) == pytest.approx(-euler, rel=1e-12)
    assert digamma(0.5) == pytest.approx(-euler - 2 * math.log(2), rel=1e-12)
    assert trigamma(1.0) == pytest.approx(math.pi ** 2 / 6, rel=1e-12)
    assert trigamma(0.5) == pytest.approx(math.pi ** 2 / 2, rel=1e-12)


def test_a_difference_in_looks_is_said_with_its_shift_and_spread():
    model = plain_input(1, unit="db", floor=-35.0, looks=4.4)
    note, = differences(SourceRadiometry("intensity", looks=1.0), model)
    assert "1 looks" in note and "trained on 4.4" in note and "-1.99 dB" in note and "2.54 times" in note


@pytest.mark.parametrize("scene,model", [(4.4, 4.4), (4.4, 4.6), (None, 4.4), (1.0, None)])
def test_equal_or_unknown_looks_are_no_news(scene, model):
    assert looks_difference(scene, model) == ()


def test_quantity_and_looks_are_both_said():
    model = plain_input(1, unit="db", floor=-35.0, looks=4.4, quantity="sigma0")
    assert len(differences(SourceRadiometry("intensity", quantity="gamma0", looks=1.0), model)) == 2


def test_complex_numbers_are_a_single_look_where_nothing_else_is_declared():
    model = plain_input(1, unit="db", floor=-35.0, looks=4.4)
    note, = differences(SourceRadiometry("complex"), model)
    assert "1 looks" in note and "trained on 4.4" in note
    assert SourceRadiometry("complex", looks=4.4).looks == 4.4 and SourceRadiometry("intensity").looks is None


@pytest.mark.slow
def test_predict_of_a_complex_scene_blames_its_looks(tmp_path):
    done = command.run("simulate", tmp_path / "simc", "--product", "complex", "--rows", "256", "--cols", "256", "--quiet")
    assert done.returncode == 0, done.stderr
    demo = command.ROOT / "hfd_edge" / "data" / "demo.engine"
    done = command.run("predict", tmp_path / "simc" / "scene.tif", demo, "-o", tmp_path / "map.tif", "--json")
    assert done.returncode == 0, done.stderr
    assert any("the scene has 1 looks" in note for note in json.loads(done.stdout)["notes"])


@pytest.mark.parametrize("looks", [0, -1.0, math.nan, math.inf, "many"])
def test_looks_that_are_none_are_refused(looks):
    with pytest.raises(RadiometryError, match="looks="):
        SourceRadiometry("intensity", looks=looks)


@pytest.mark.parametrize("scene,model,words", [
    ("gamma0", "sigma0", "gamma0 lies +0.6 dB off at 30 and +1.5 dB at 45 degrees"), ("beta0", "sigma0", "+3.0 dB off at 30 and +1.5 dB"),
    ("sigma0", "beta0", "-3.0 dB off at 30 and -1.5 dB"), ("beta0", "gamma0", "+2.4 dB off at 30 and +0.0 dB"),
    ("rcs", "sigma0", "incidence angle, which is not")])
def test_how_far_two_quantities_lie_apart_is_told(scene, model, words):
    spec = ModelInput("db", (-12.0,), (4.0,), floor=-35.0, quantity=model)
    (told,) = differences(SourceRadiometry("db", quantity=scene), spec)
    assert words in told and "not corrected" in told
