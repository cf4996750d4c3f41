"""Weights of classes in the loss: by their frequency, or numbers of one's own, which are refused where they cannot be meant."""

from dataclasses import replace

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from lessons import RECORD, config, data, silent  # noqa: E402
from training import student as learning  # noqa: E402
from training.batches import what_there_is  # noqa: E402
from training.config import Config, load_config  # noqa: E402
from training.losses import balanced, segmentation_loss  # noqa: E402
from training.schema import ConfigError, key_table, to_record  # noqa: E402
from training.student import class_weights, train_student, train_teacher  # noqa: E402

CLASSES = ("water", "bare soil", "cropland", "forest", "urban")
NUMBERS = (3, 1, 0.5, 0, 1)


@pytest.mark.parametrize("given, expected", [
    (dict(zip(CLASSES, NUMBERS)), NUMBERS), (dict(reversed([*zip(CLASSES, NUMBERS)])), NUMBERS), (NUMBERS, NUMBERS), ("none", None)])
def test_weights_are_given_by_name_or_in_the_order_of_the_classes(given, expected):
    assert data().info.classes == CLASSES
    found = class_weights(config(loop={"class_weights": given}), data())
    assert found is None if expected is None else found.tolist() == list(expected)


def test_balanced_weights_are_those_of_the_measured_labels():
    found = class_weights(config(loop={"class_weights": "balanced"}), data())
    assert torch.equal(found, balanced(data().statistics.class_counts))


class OneClassEach:
    """The small set: pair number k of train holds class k alone, and only the first has an optical image."""

    def __init__(self):
        self.info, self._pairs = data().info, data().pairs

    def names(self, split):
        return self._pairs.names(split)

    def read(self, name, eo=True):
        pair, number = self._pairs.read(name, eo=eo), self.names("train").index(name)
        return replace(pair, labels=np.full_like(pair.labels, number), eo=None if number else pair.eo)


def test_balanced_weights_come_from_the_labels_that_training_sees():
    pairs, used = OneClassEach(), config(loop={"class_weights": "balanced"})
    names, pixels = pairs.names("train"), 64 * 64
    few = replace(data(), pairs=pairs, labelled=names[1:3], unlabelled=(names[0], names[3]))
    assert few.class_counts() == (0, pixels, pixels, 0, 0)
    assert torch.equal(class_weights(used, few), balanced((0, pixels, pixels, 0, 0)))
    whole = replace(data(), pairs=pairs)
    assert whole.class_counts(eo=True) == (pixels, 0, 0, 0, 0)                                      # a teacher that needs EO
    assert torch.equal(class_weights(used, whole, eo=True), balanced((pixels, 0, 0, 0, 0)))
    said = [line for line in what_there_is(few, 7) if "warning" in line]
    assert ["bare soil" not in line and "2 train pairs with labels in use (seed 7)" in line for line in said] == [True] * 3
    one = replace(few, statistics=replace(few.statistics, pairs=1))
    assert sum("in the 1 of 2 train pairs with labels in use (seed 7) that was looked at" in line for line in what_there_is(one, 7)) == 4


@pytest.mark.parametrize("kind, eo", [("sar", False), ("eo", True), ("eo+sar", True)])
def test_a_teacher_that_needs_optical_images_is_weighed_where_there_are_some(monkeypatch, kind, eo):
    class Asked(Exception):
        pass

    def ask(config, data, eo=False):
        raise Asked(eo)

    monkeypatch.setattr(learning, "class_weights", ask)
    with pytest.raises(Asked) as asked:
        learning.train_teacher(config(teacher={"kinds": [kind]}), data(), silent)
    assert asked.value.args == (eo,)


def test_weights_of_a_command_line_are_kept_as_they_were_given(tmp_path):
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({**RECORD, "loop": {"steps": 4}}))
    named = load_config(tmp_path / "run.yaml", ("loop.class_weights={water: 3, land: 1e-1}",)).loop.class_weights
    assert named == {"water": 3.0, "land": 0.1} and all(isinstance(value, float) for value in named.values())
    assert load_config(tmp_path / "run.yaml", ("loop.class_weights.water=3", "loop.class_weights.land=1")).loop.class_weights == {"water": 3.0, "land": 1.0}
    for text in ("{no: 3, on: 1, 1: 2}", "{'no': 3, 'on': 1, '1': 2}"):
        assert load_config(tmp_path / "run.yaml", (f"loop.class_weights={text}",)).loop.class_weights == {"no": 3.0, "on": 1.0, "1": 2.0}
    listed = load_config(tmp_path / "run.yaml", ("loop.class_weights=[3, 1]",))
    assert listed.loop.class_weights == (3.0, 1.0) and to_record(listed)["loop"]["class_weights"] == [3.0, 1.0]
    assert "none, balanced, mapping of numbers or list of numbers" in key_table(Config)


@pytest.mark.parametrize("given, words", [
    ({"water": -1}, "water: -1.0: a weight is 0 or a number above it"), ([1, float("nan")], "1: nan: a weight is"), ([float("inf"), 1], "0: inf: a weight is"),
    ({"water": 0, "land": 0}, "no class weighs more than 0"), ([], "no class weighs more than 0"), ({}, "no class weighs more than 0"),
    ({"water": "much"}, "loop.class_weights.water='much': it must be a number"), ({"water": None}, "loop.class_weights.water=None"),
    ([1, "x"], r"loop.class_weights\[1\]='x'"),
    ("heavy", "='heavy': it must be none, balanced, mapping of numbers or list of numbers"), (3, "=3: it must be none, "), (None, "=None: it must be none, ")])
def test_weights_that_cannot_be_meant_are_refused_with_the_configuration(given, words):
    with pytest.raises(ConfigError, match=words):
        config(loop={"class_weights": given})


@pytest.mark.parametrize("given, words", [
    ({"water": 3, "land": 1}, "'land' is no class; give one for each class of the set simulated: water, bare soil"),
    (dict(zip(CLASSES[:4], NUMBERS)), "'urban' has no weight"), ([3, 1], "2 numbers, and the set simulated has 5 classes; .* in this order: water, bare soil")])
@pytest.mark.parametrize("train", [train_student, train_teacher])
def test_weights_of_other_classes_are_refused_before_the_first_step(given, words, train, monkeypatch):
    monkeypatch.setattr(learning, "fit", lambda *rest: pytest.fail("it was trained"))
    with pytest.raises(ConfigError, match=words):
        train(config(loop={"class_weights": given}), data(), log=silent)


def test_the_weighted_loss_is_the_mean_over_pixels_by_their_weights():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(2, 3, 8, 8)), rng.integers(0, 3, (2, 8, 8))
    labels[0, :2] = 255
    weights = np.array([3.0, 1.0, 0.25])
    share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    known = labels != 255
    each = -np.log(np.take_along_axis(share, np.where(known, labels, 0)[:, None], axis=1)[:, 0])[known]
    expected = (weights[labels[known]] * each).sum() / weights[labels[known]].sum()
    found = segmentation_loss(torch.from_numpy(logits).float(), torch.from_numpy(labels), 0.0, torch.from_numpy(weights).float())
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_a_batch_of_classes_that_weigh_nothing_teaches_nothing_instead_of_nan():
    logits, labels = torch.randn(2, 2, 4, 4, requires_grad=True), torch.zeros(2, 4, 4, dtype=torch.long)
    loss = segmentation_loss(logits, labels, 0.0, torch.tensor([0.0, 1.0]))
    loss.backward()
    assert loss == 0 and not logits.grad.any()


def test_a_baseline_is_trained_with_the_weights_of_the_student(monkeypatch):
    from training import baselines
    seen, real = [], segmentation_loss
    monkeypatch.setattr(baselines, "Baseline", lambda name, run, bands, classes, log: learning.new_student(run, data()))
    monkeypatch.setattr(baselines, "segmentation_loss", lambda *words: seen.append(words[3]) or real(*words))
    baselines.train_baseline("unet", config(loop={"class_weights": NUMBERS, "steps": 1}), data(), silent)
    assert seen and seen[0].tolist() == list(NUMBERS)


def test_a_cell_of_a_baseline_from_before_it_had_the_weights_of_the_student_is_made_again(tmp_path, monkeypatch):
    from training import ablate
    records = []
    monkeypatch.setattr(ablate.Bench, "cell", lambda bench, name, record, make: records.append(record) or {})
    for given in ("none", "balanced", NUMBERS):
        run = config(tmp_path, loop={"class_weights": given})
        ablate.Bench(run, data(), silent).baseline("unet")
        assert (records[-1] == ablate.weights_record(run)) == (given == "none")
