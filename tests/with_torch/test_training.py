"""Training: the teacher stays as it is, distillation is a branch that leaves no trace, and equal seeds give equal weights."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hfd_edge.measure.accuracy import share_closed  # noqa: E402
from hfd_edge.network import HFDNet, NetworkConfig, load_checkpoint, save_checkpoint  # noqa: E402
from hfd_edge.simulate import CLASS_COLORS, CLASS_NAMES, SceneConfig  # noqa: E402
from training import demo, pairs  # noqa: E402
from training.distil import Distillation  # noqa: E402
from training.evaluate import judge, predict, sar_classifier, unseen  # noqa: E402
from training.fit import MovingAverage, Schedule  # noqa: E402
from training.losses import segmentation_loss  # noqa: E402
from training.student import Lesson, train_student  # noqa: E402
from training.teacher import train_teacher  # noqa: E402

SCENE = SceneConfig(256, 256)
DATA = pairs.StreamConfig(SCENE, crop_px=64, batch=4, scenes_per_round=1, passes_per_round=2)
PLAN = demo.Plan
SMALL = NetworkConfig("resnet10t", 2, 5, max_stride=8, width=8, align="local")
QUICK = Schedule(steps=4, log_every=100)


@pytest.fixture(scope="module")
def spec():
    return pairs.measure_input(SCENE, scenes=1)


@pytest.fixture(scope="module")
def teacher(spec):
    return train_teacher(replace(SMALL, in_bands=4), DATA, spec, QUICK, log=lambda line: None)


def student(spec, teacher=None, weight=1.0, log=lambda line: None, **changes):
    lesson = Lesson(SMALL, replace(DATA, **changes), spec, QUICK)
    return train_student(lesson, teacher, weight, log).state_dict()


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_the_teacher_and_its_batch_norm_do_not_move_while_a_student_learns(spec, teacher):
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    student(spec, teacher)
    assert equal(before, teacher.state_dict())
    assert not teacher.training and not any(p.requires_grad or p.grad is not None for p in teacher.parameters())


def test_a_distillation_weight_of_zero_is_the_student_without_a_teacher_bit_for_bit(spec, teacher):
    alone = student(spec)
    assert equal(alone, student(spec, teacher, weight=0.0))
    assert not equal(alone, student(spec, teacher, weight=1.0))


def test_equal_seeds_give_equal_weights_and_other_seeds_others(spec, teacher):
    first = student(spec, teacher)
    assert equal(first, student(spec, teacher))
    assert not equal(first, student(spec, teacher, seed=1))


def test_adapters_do_not_travel_in_the_checkpoint(spec, teacher, tmp_path):
    net = train_student(Lesson(SMALL, DATA, spec, QUICK), teacher, log=lambda line: None)
    assert net.state_dict().keys() == HFDNet(SMALL).state_dict().keys()
    part = {"name": "t", "bands": ["VV", "VH"], "input": {}, "classes": list(CLASS_NAMES), "colors": list(CLASS_COLORS)}
    save_checkpoint(tmp_path / "student", net, part, {})
    assert equal(load_checkpoint(tmp_path / "student")[0].state_dict(), net.state_dict())


def test_adapters_leave_the_global_generator_alone(teacher):
    net = HFDNet(SMALL)
    torch.manual_seed(3)
    expected = torch.rand(5)
    torch.manual_seed(3)
    Distillation(teacher, net, 1.0)
    assert torch.equal(torch.rand(5), expected)


def test_a_short_training_lowers_the_loss(spec):
    lines = []
    lesson = Lesson(SMALL, DATA, spec, Schedule(steps=40, log_every=1))
    train_student(lesson, log=lines.append)
    losses = [float(line.split("loss")[1].split()[0]) for line in lines]
    assert np.mean(losses[-5:]) < 0.85 * np.mean(losses[:5])
    assert "s to go" in lines[-1]


def test_distillation_pulls_features_together_and_ignores_what_the_teacher_gets_wrong(spec, teacher):
    batch = next(pairs.stream(DATA, spec, eo=True))
    net = HFDNet(SMALL)
    distillation = Distillation(teacher, net, 1.0)
    wrong = torch.full_like(batch.labels, 255)
    assert distillation.loss(net.features(batch.sar)["encoder"], batch.eo, wrong) == 0
    optimizer = torch.optim.Adam([*net.parameters(), *distillation.adapters.parameters()], 3e-3)
    distances = []
    for _ in range(8):
        distances.append(distillation.loss(net.features(batch.sar)["encoder"], batch.eo, batch.labels))
        optimizer.zero_grad()
        distances[-1].backward()
        optimizer.step()
    assert distances[-1] < 0.9 * distances[0]


def test_sar_and_labels_of_the_stream_do_not_depend_on_the_optical_image(spec):
    with_eo, without = (list(islice(pairs.stream(DATA, spec, eo), 6)) for eo in (True, False))
    for one, other in zip(with_eo, without):
        assert torch.equal(one.sar, other.sar) and torch.equal(one.labels, other.labels) and other.eo is None
    assert not torch.equal(with_eo[0].sar, with_eo[1].sar)


def test_pairs_stay_aligned_through_cutting_and_flipping(spec):
    for batch in islice(pairs.stream(DATA, spec, eo=True), 6):
        near_infrared = batch.eo[:, 3] * 0.10 + 0.12
        water, crop = near_infrared[batch.labels == 0], near_infrared[batch.labels == 2]
        assert water.numel() == 0 or water.max() < 0.08
        assert crop.numel() == 0 or crop.min() > 0.18


def test_the_input_is_what_its_record_says(spec):
    batch = torch.cat([b.sar for b in islice(pairs.stream(replace(DATA, scenes_per_round=4), spec, eo=False), 16)])
    assert batch.mean(dim=(0, 2, 3)).abs().max() < 0.6 and (batch.std(dim=(0, 2, 3)) - 1).abs().max() < 0.4
    sar = np.array([1e-9, 0.01, 1e3], np.float32).reshape(1, 1, 3).repeat(2, axis=0)
    expected = (np.array([-35, -20, 10]) - spec.mean[0]) / spec.std[0]        # floor, plain, upper clip
    assert pairs.sar_input(sar, spec)[0, 0].numpy() == pytest.approx(expected, abs=1e-4)
    assert spec.floor == -35 and spec.looks == SCENE.looks


def test_the_loss_is_small_where_the_answer_is_right_and_blind_where_the_truth_is_unknown():
    labels = torch.randint(0, 5, (2, 4, 4)).repeat_interleave(8, 1).repeat_interleave(8, 2)
    logits = torch.nn.functional.one_hot(labels[:, ::4, ::4], 5).permute(0, 3, 1, 2) * 40.0
    assert segmentation_loss(logits, labels) < 0.3 < segmentation_loss(-logits, labels)
    masked = labels.clone()
    masked[:, :, 16:] = 255
    changed = logits.clone()
    changed[:, :, :, 5:] = torch.randn(changed[:, :, :, 5:].shape)            # one cell beyond what is still interpolated
    assert torch.equal(segmentation_loss(logits, masked), segmentation_loss(changed, masked))


def test_the_moving_average_of_equal_weights_is_those_weights():
    net = torch.nn.BatchNorm2d(3)
    average = MovingAverage(net, 0.9)
    with torch.no_grad():
        net.weight.fill_(2.0)
        net.num_batches_tracked.fill_(7)
    for _ in range(300):
        average.update(net)
    assert average.net.weight == pytest.approx(2.0) and average.net.num_batches_tracked == 7 and not average.net.training


def test_judgement_uses_scenes_that_training_does_not(spec):
    seen = {pairs.TRAINING_SEED + number for number in range(10 ** 4)} | {pairs.STATISTICS_SEED + number for number in range(100)}
    windows = list(unseen(SCENE, scenes=2, side_px=256))
    assert all(window.config.seed not in seen for window in windows)
    net = HFDNet(SMALL).eval()
    scores = judge({"truth": lambda window: window.labels, "net": sar_classifier(net, spec)}, iter(windows))
    assert scores["truth"].miou == 1.0 and scores["net"].pixels == 2 * 256 * 256 and scores["net"].miou < 0.5
    assert share_closed(0.9, 0.5) == pytest.approx(0.8)
    assert predict(net, pairs.sar_input(windows[0].sar, spec)).shape == (256, 256)


def test_the_demo_command_trains_judges_and_saves_in_small(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "Plan", lambda **changes: PLAN(**{"crop_px": 64, "batch": 2, **changes}))
    monkeypatch.setattr(demo, "unseen", lambda scene: unseen(scene, scenes=1, side_px=256))
    steps = ["--teacher-steps", "2", "--student-steps", "2"]
    monkeypatch.setattr("sys.argv", ["demo", "--work", str(tmp_path), "--no-export", *steps])
    threads = torch.get_num_threads()
    assert demo.main() == 3                                                   # far from the target: nothing may be exported
    torch.set_num_threads(threads)
    assert "nothing was exported" in capsys.readouterr().out
    net, part, provenance = load_checkpoint(tmp_path / "demo")
    assert part["classes"] == list(CLASS_NAMES) and net.config.in_bands == 2
    assert set(provenance["unseen_scenes"]) == {"per-pixel Bayes", "EO teacher", "SAR student, distilled"}
