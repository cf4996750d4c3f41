"""Distillation: every tap with every distance teaches the student and never the teacher; masks, schedules, refusals."""

import math
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from dataclasses import replace  # noqa: E402

from hfd_edge.errors import CheckpointError  # noqa: E402
from hfd_edge.network import HFDNet  # noqa: E402
from lessons import config, data, student, teacher  # noqa: E402
from training import distances, qat  # noqa: E402
from training.batches import make_batches  # noqa: E402
from training.config import DistilConfig  # noqa: E402
from training.distil import Distillation, schedule  # noqa: E402
from training.schema import ConfigError  # noqa: E402
from training.student import network_of, new_student, save  # noqa: E402
from training.teacher import Teacher, load_teacher  # noqa: E402


@pytest.fixture(scope="module")
def batch():
    return next(make_batches(config(), data(), eo=True, unlabelled=False)(0))


def lesson_of(batch, net, taught=None, **options):
    """(losses, distillation) of a network on a batch."""
    distillation = Distillation(taught or teacher(), net, DistilConfig(**options))
    taps = net.features(batch.sar)
    return distillation.losses(taps, net.classifier(taps["fused"]), batch, 0.5), distillation


@pytest.mark.parametrize("distance", ["mse", "cosine", "channel-wise", "relational"])
@pytest.mark.parametrize("tap", ["encoder", "alignment", "fused"])
def test_every_tap_and_distance_gives_the_student_a_finite_gradient_and_the_teacher_none(batch, tap, distance):
    net = new_student(config(), data())
    for normalise in ("channel", "batch", "none"):
        net.zero_grad()
        losses, distillation = lesson_of(batch, net, tap=tap, distance=distance, normalise=normalise, mask="all")
        losses["features"].backward()
        grads = [p.grad for p in net.encoder.parameters() if p.grad is not None]
        assert losses["features"] > 0 and grads and all(torch.isfinite(g).all() for g in grads) and any(g.abs().max() > 0
                                                                                                        for g in grads)
        assert any(p.grad is not None for p in distillation.adapters.parameters())
        assert all(p.grad is None and not p.requires_grad for p in distillation.teacher.leader.parameters())


@pytest.mark.parametrize("distance", [distances.mse, distances.cosine, lambda *a: distances.channel_wise(*a, 4.0),
                                      lambda *a: distances.relational(*a, 4)])
def test_a_distance_is_zero_between_equals_positive_else_and_blind_where_nothing_counts(distance):
    torch.manual_seed(0)
    one, other, cells = torch.randn(2, 6, 8, 8), torch.randn(2, 6, 8, 8), torch.ones(2, 8, 8)
    assert distance(one, one, cells).abs() < 1e-5 < distance(one, other, cells)
    assert distance(one, other, torch.zeros(2, 8, 8)) == 0
    half, changed = cells.clone(), other.clone()
    half[:, :, 4:] = 0
    changed[:, :, :, 4:] += 1
    assert distance(one, changed, half) == pytest.approx(float(distance(one, other, half)), rel=1e-3)


def test_mse_of_vectors_of_length_one_is_twice_the_cosine_distance():
    one, other = (distances.normalised(torch.randn(2, 6, 4, 4), "channel") for _ in range(2))
    cells = torch.rand(2, 4, 4)
    assert distances.mse(one, other, cells) == pytest.approx(2 * float(distances.cosine(one, other, cells)), rel=1e-4)


def test_features_are_pulled_together_and_what_the_teacher_gets_wrong_is_ignored(batch):
    net = new_student(config(), data())
    told = replace(batch, labels=torch.where(batch.labels == 255, 255, (teacher().teach(batch).shares().argmax(1) + 1) % 5))
    assert lesson_of(told, net)[0]["features"] == 0                            # labels say: the teacher is wrong everywhere
    distillation = Distillation(teacher(), net, DistilConfig(mask="all"))
    optimizer = torch.optim.Adam([*net.parameters(), *distillation.adapters.parameters()], 3e-3)
    found = []
    for _ in range(8):
        taps = net.features(batch.sar)
        found.append(distillation.losses(taps, net.classifier(taps["fused"]), batch, 0.0)["features"])
        optimizer.zero_grad()
        found[-1].backward()
        optimizer.step()
    assert found[-1] < 0.9 * found[0]


def test_the_masks_listen_where_they_say_and_never_without_eo_or_sar(batch):
    def counts(seen, **options):
        distillation = Distillation(teacher(), new_student(config(), data()), DistilConfig(**options))
        return distillation.counts(teacher().teach(seen), seen)
    lesson = teacher().teach(batch)
    sure, answer = lesson.shares().max(dim=1)
    assert torch.equal(counts(batch, mask="all"), batch.valid.float())
    assert torch.equal(counts(batch, mask="right"), ((answer == batch.labels) & batch.valid).float())
    assert torch.equal(counts(batch, mask="confident", confidence=0.3), ((sure >= 0.3) & batch.valid).float())
    untold = replace(batch, labels=torch.full_like(batch.labels, 255))
    assert torch.equal(counts(untold, mask="right", confidence=0.3), ((sure >= 0.3) & batch.valid).float())
    seen = torch.ones(4, 32, 32, dtype=torch.bool)
    seen[1], seen[2, :16] = False, False
    blind = replace(batch, eo_seen=seen, valid=batch.valid & (torch.arange(32) < 20))
    for mask in ("all", "right", "confident"):
        heard = counts(blind, mask=mask, confidence=0.0)
        assert heard[1].sum() == heard[2, :16].sum() == heard[..., 20:].sum() == 0
        assert mask == "right" or (heard[0, :, :20].sum() > 0 and heard[2, 16:, :20].sum() > 0)


def test_soft_labels_fall_to_zero_at_the_teachers_own_answer(batch):
    net = teacher().leader
    distillation = Distillation(teacher(), net, DistilConfig(logit_weight=1.0, mask="all"))
    own = net.features(batch.eo)
    same = distillation.losses(own, net.classifier(own["fused"]), batch, 0.0)["logits"]
    other = distillation.losses(own, -net.classifier(own["fused"]), batch, 0.0)["logits"]
    assert same.abs() < 1e-5 < other


def test_an_ensemble_answers_with_the_mean_of_the_probabilities(batch):
    both = Teacher((teacher().leader, teacher("sar").leader), ("eo", "sar"))
    parts = [t.teach(batch).shares(2.0) for t in (teacher(), teacher("sar"))]
    assert torch.allclose(both.teach(batch).shares(2.0), (parts[0] + parts[1]) / 2, atol=1e-6)
    assert both.needs_eo and not teacher("sar").needs_eo


def test_the_schedule_of_the_weight():
    at = lambda kind, done: schedule(DistilConfig(schedule=kind, warm_up=0.2), done)  # noqa: E731
    assert [at("constant", d) for d in (0, 0.5, 1)] == [1, 1, 1]
    assert [at("warm-up", d) for d in (0, 0.1, 0.2, 1)] == pytest.approx([0, 0.5, 1, 1])
    assert [at("cosine", d) for d in (0, 0.5, 1)] == pytest.approx([1, 0.5, 0]) and math.isfinite(at("cosine", 0.3))


def test_adapters_leave_the_global_generator_alone():
    net = new_student(config(), data())
    torch.manual_seed(3)
    expected = torch.rand(5)
    torch.manual_seed(3)
    Distillation(teacher(), net, DistilConfig())
    assert torch.equal(torch.rand(5), expected)


def test_adapters_that_cannot_fit_are_refused(batch):
    wide = HFDNet(replace(network_of(config(), 4, 5), width=24))
    net = new_student(config(), data())
    with pytest.raises(ConfigError, match="adapter=none: student channels"):
        Distillation(Teacher((wide,), ("eo",)), net, DistilConfig(tap="fused", adapter="none"))
    losses, _ = lesson_of(batch, net, Teacher((wide,), ("eo",)), tap="fused", adapter="none", distance="relational", mask="all")
    assert losses["features"] > 0
    coarse = HFDNet(replace(network_of(config(), 4, 5), finest_stride=8, max_stride=16))
    with pytest.raises(ConfigError, match="student has levels of stride"):
        Distillation(Teacher((coarse,), ("eo",)), net, DistilConfig(tap="fused"))
    # stride 8 is in both
    assert lesson_of(batch, net, Teacher((coarse,), ("eo",)), tap="encoder", mask="all")[0]["features"] > 0


def test_the_hallucinating_student_keeps_its_guesses_and_no_adapter():
    run = config(distil={"hallucinate": True})
    net = new_student(run, data())
    extra = net.state_dict().keys() - new_student(config(), data()).state_dict().keys()
    assert extra and all(name.startswith("guesses.") for name in extra)
    weights = student(teacher(), distil={"hallucinate": True})
    assert weights.keys() == net.state_dict().keys()
    assert HFDNet(type(net.config).from_dict(net.config.to_dict())).state_dict().keys() == net.state_dict().keys()
    assert "hallucinate" not in new_student(config(), data()).config.to_dict()


def test_a_teacher_of_the_same_bands_in_another_order_is_refused(tmp_path):
    info = data().info
    save(tmp_path / "teacher-0", teacher().leader, config(), data(), {"kind": "eo"})
    assert load_teacher([tmp_path / "teacher-0"], data()).kinds == ("eo",)
    swapped = replace(data(), pairs=SimpleNamespace(info=replace(info, eo_bands=info.eo_bands[::-1])))
    with pytest.raises(CheckpointError, match="a teacher of kind eo with the bands .*: names and order must be the same"):
        load_teacher([tmp_path / "teacher-0"], swapped)


def test_fine_tuning_for_int8_weighs_classes_as_the_training_did(tmp_path, monkeypatch):
    given = dict(zip(data().info.classes, (3, 1, 0, 0.5, 1)))
    run = config(tmp_path, loop={"class_weights": given}, qat={"steps": 1})
    save(tmp_path / "student", new_student(run, data()), run, data(), {"kind": "sar"})
    seen, real = [], qat.segmentation_loss
    monkeypatch.setattr(qat, "segmentation_loss", lambda *words: seen.append(words[3]) or real(*words))
    qat.tune(run, data(), lambda line: None)
    assert seen and seen[0].tolist() == list(given.values())


@pytest.mark.parametrize("after, warned", [(0.4, True), (0.5, False), (0.6, False)])
def test_a_fine_tuning_that_made_it_worse_says_so(after, warned, tmp_path, monkeypatch):
    run, lines, scores = config(tmp_path, qat={"steps": 1}), [], iter((0.5, after))
    save(tmp_path / "student", new_student(run, data()), run, data(), {"kind": "sar"})
    monkeypatch.setattr(qat, "_quantised_miou", lambda *words: next(scores))
    qat.tune(run, data(), lines.append)
    said = [line for line in lines if "warning" in line]
    assert len(said) == warned and all("10.00 points of select mIoU worse" in line and "qat.rate (0.0001)" in line for line in said)
