"""Training: the teacher stays as it is, distillation is a branch that leaves no trace, and equal seeds give equal weights."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from hfd_edge.network import HFDNet, load_checkpoint, upsample  # noqa: E402
from hfd_edge.network.alignment import sample  # noqa: E402
from hfd_edge.simulate import CLASS_NAMES  # noqa: E402
from lessons import config, data, equal, silent, student, teacher  # noqa: E402
from training import demo  # noqa: E402
from training import student as learning  # noqa: E402
from training.average import MovingAverage  # noqa: E402
from training.batches import make_batches, shared_out  # noqa: E402
from training.config import LoopConfig  # noqa: E402
from training.loop import DivergedError, Job, fit, make_optimizer  # noqa: E402
from training.losses import balanced, segmentation_loss  # noqa: E402
from training.progress import Progress  # noqa: E402
from training.student import new_student, save, train_student, train_teacher  # noqa: E402


def test_the_teacher_and_its_batch_norm_do_not_move_while_a_student_learns():
    net = teacher().leader
    before = {name: value.clone() for name, value in net.state_dict().items()}
    student(teacher())
    assert equal(before, net.state_dict())
    assert not net.training and not any(p.requires_grad or p.grad is not None for p in net.parameters())


def test_distillation_weights_of_zero_are_the_student_without_a_teacher_bit_for_bit():
    alone = student()
    assert equal(alone, student(teacher(), distil={"weight": 0.0}))
    assert not equal(alone, student(teacher()))


def test_with_few_labels_too_a_weight_of_zero_is_the_student_without_a_teacher():
    alone = student(share=0.5)
    assert equal(alone, student(teacher(), share=0.5, distil={"weight": 0.0}))
    assert not equal(alone, student(teacher(), share=0.5, distil={"weight": 0.0, "logit_weight": 1.0, "confidence": 0.0}))


def test_equal_seeds_give_equal_weights_and_other_seeds_others():
    first = student(teacher())
    assert equal(first, student(teacher()))
    assert not equal(first, student(teacher(), seed=1))


def test_the_loop_is_a_plain_loop_of_torch_bit_for_bit():
    run = config(loop={"steps": 6, "accumulate": 1})
    ours, plain = new_student(run, data()), new_student(run, data())

    def losses_of(net):
        return lambda batch, done: {"segmentation": segmentation_loss(net(batch.sar), batch.labels)}
    batches = make_batches(run, data(), eo=False, unlabelled=False)
    average = fit(Job(ours, losses_of(ours), batches), run.loop, Progress(6, 100, silent))
    optimizer = torch.optim.AdamW(plain.parameters(), lr=3e-3, weight_decay=1e-2)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=6, pct_start=0.1)
    trailing = MovingAverage(plain, 0.995)
    plain.train()
    for _, batch in zip(range(6), batches(0)):
        optimizer.zero_grad()
        losses_of(plain)(batch, 0)["segmentation"].backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 2.0)
        optimizer.step()
        cycle.step()
        trailing.update(plain)
    assert equal(ours.state_dict(), plain.state_dict()) and equal(average.state_dict(), trailing.net.state_dict())


def test_two_halves_of_a_batch_accumulated_are_the_batch():
    def weights(batch, accumulate):
        torch.manual_seed(0)
        net = torch.nn.Conv2d(2, 5, 1)
        batches = make_batches(config(data={"batch": batch}), data(), eo=False, unlabelled=False)
        losses_of = lambda b, done: {"sum": net(b.sar).square().mean()}  # noqa: E731
        fit(Job(net, losses_of, batches), LoopConfig(steps=3, accumulate=accumulate), Progress(3, 100, silent))
        return net.weight
    assert torch.allclose(weights(4, 1), weights(2, 2), atol=1e-6)


def test_adapters_do_not_travel_in_the_checkpoint(tmp_path):
    run = config(network={"align": "flow"})
    net = train_student(run, data(), teacher(), log=silent)
    assert net.state_dict().keys() == HFDNet(net.config).state_dict().keys()
    path = save(tmp_path / "student", net, run, data(), {"kind": "sar"})
    assert equal(load_checkpoint(path)[0].state_dict(), net.state_dict())
    assert path.stat().st_mode & 0o044 == 0o044                  # as the umask says, not for the owner alone


def test_a_short_training_lowers_the_loss():
    lines = []
    train_student(config(loop={"steps": 40, "log_every": 1}), data(), log=lines.append)
    losses = [float(line.split("loss")[1].split()[0]) for line in lines]
    assert np.mean(losses[-5:]) < 0.85 * np.mean(losses[:5])
    assert "s to go" in lines[-1]


def test_the_best_average_on_the_select_split_is_kept_and_patience_ends_a_run():
    scores, seen = iter([0.3, 0.5, 0.4, 0.2, 0.9]), []

    def judge(net):
        seen.append({name: value.clone() for name, value in net.state_dict().items()})
        return next(scores)
    net = new_student(config(), data())
    batches = make_batches(config(), data(), eo=False, unlabelled=False)
    losses_of = lambda b, done: {"s": segmentation_loss(net(b.sar), b.labels)}  # noqa: E731
    kept = fit(Job(net, losses_of, batches, judge=judge), LoopConfig(steps=9, select_every=1, patience=2),
               Progress(9, 100, silent))
    assert len(seen) == 4 and equal(kept.state_dict(), seen[1])


def test_a_loss_that_is_no_number_ends_the_run_and_is_not_kept(tmp_path, monkeypatch):
    real, steps = segmentation_loss, iter(range(12))
    monkeypatch.setattr(learning, "segmentation_loss", lambda *words: real(*words) * (float("nan") if next(steps) == 2 else 1.0))
    with pytest.raises(DivergedError, match=r"step 3: the gradient's norm is nan \(loss: segmentation nan\).*Lower loop.rate \(0.003\).*is from before it"):
        train_student(config(loop={"steps": 12, "save_every": 1}), data(), log=silent, folder=tmp_path)
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    assert saved["step"] == 2 and all(value.isfinite().all() for value in saved["average"].values())


@pytest.mark.parametrize("steps, warm_up", [(10, 0.1), (4, 0.25), (1, 0.1), (2, 0.99), (3, 0.0)])
def test_a_run_of_few_steps_has_a_rate_for_each(steps, warm_up):
    optimizer, schedule = make_optimizer(torch.nn.Conv2d(2, 5, 1), None, LoopConfig(steps=steps, warm_up=warm_up))
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step(), schedule.step()
    assert 0 < min(rates) and max(rates) <= LoopConfig().rate and (warm_up * steps != 1 or rates == sorted(rates, reverse=True))


def test_an_average_that_is_no_number_is_neither_kept_nor_given(tmp_path):
    net = torch.nn.Conv2d(2, 5, 1)
    net.register_buffer("seen", torch.full((1,), float("inf")))
    batches = make_batches(config(), data(), eo=False, unlabelled=False)
    with pytest.raises(DivergedError, match="step 3: weights or batch-norm statistics are not finite"):
        fit(Job(net, lambda b, done: {"s": net(b.sar).square().mean()}, batches), LoopConfig(steps=3), Progress(3, 100, silent))


def test_a_gradient_that_is_no_number_ends_the_run_though_the_loss_is_one(tmp_path):
    net = torch.nn.Conv2d(2, 5, 1)
    losses_of = lambda b, done: {"root": (net(b.sar) * 0).square().sum().sqrt()}  # noqa: E731  a slope without end at 0
    batches = make_batches(config(), data(), eo=False, unlabelled=False)
    with pytest.raises(DivergedError, match=r"step 1: the gradient's norm is nan \(loss: root 0\)"):
        fit(Job(net, losses_of, batches), LoopConfig(steps=3), Progress(3, 100, silent))


def test_a_teacher_that_sees_both_has_the_bands_of_both():
    assert teacher("eo+sar").leader.config.in_bands == 6 and teacher("sar").leader.config.in_bands == 2
    assert not equal(student(teacher("eo+sar")), student(teacher("sar")))


def test_a_teacher_may_be_larger_than_the_student():
    run = config(teacher={"network": {"encoder": "resnet18", "width": 12}})
    large = train_teacher(run, data(), log=silent)
    assert large.config.encoder == "resnet18" and large.config.width == 12
    assert not equal(student(), student(type(teacher())((large,), ("eo",))))


def test_labels_are_shared_out_by_seed_and_share_alone():
    names = tuple(f"p{i}" for i in range(20))
    told, untold = shared_out(names, 0.25, seed=1)
    assert len(told) == 5 and sorted(told + untold) == sorted(names) and shared_out(names[::-1], 0.25, 1)[0][::-1] == told
    assert shared_out(names, 0.25, seed=2)[0] != told and shared_out(names, 0.001,
                                                                     0)[1] and len(shared_out(names, 0.001, 0)[0]) == 1
    batch = next(make_batches(config(data={"labelled_share": 0.5}), data(0.5), eo=True, unlabelled=True)(0))
    assert len(batch.labels) == 8 and (batch.labels[4:] == 255).all() and (batch.labels[:4] != 255).any()
    assert batch.sar.is_contiguous(memory_format=torch.channels_last)


def test_zero_flow_is_half_pixel_bilinear():
    coarse = torch.randn(2, 3, 5, 7)
    assert torch.allclose(sample(coarse, torch.zeros(2, 2, 10, 14)), upsample(coarse, 2), atol=1e-5)


def test_the_loss_is_small_where_the_answer_is_right_and_blind_where_the_truth_is_unknown():
    labels = torch.randint(0, 5, (2, 4, 4)).repeat_interleave(8, 1).repeat_interleave(8, 2)
    logits = torch.nn.functional.one_hot(labels[:, ::4, ::4], 5).permute(0, 3, 1, 2) * 40.0
    assert segmentation_loss(logits, labels) < 0.3 < segmentation_loss(-logits, labels)
    masked = labels.clone()
    masked[:, :, 16:] = 255
    changed = logits.clone()
    changed[:, :, :, 5:] = torch.randn(changed[:, :, :, 5:].shape)            # one cell beyond what is still interpolated
    assert torch.equal(segmentation_loss(logits, masked), segmentation_loss(changed, masked))
    assert segmentation_loss(logits, torch.full_like(labels, 255)) == 0


def test_balanced_weights_are_one_on_average_and_larger_for_rare_classes():
    weights = balanced([900, 100, 0])
    assert weights[1] == pytest.approx(3 * weights[0]) and weights[2] == 1
    assert (0.9 * weights[0] + 0.1 * weights[1]) == pytest.approx(1)


def test_the_moving_average_of_equal_weights_is_those_weights():
    net = torch.nn.BatchNorm2d(3)
    average = MovingAverage(net, 0.9)
    with torch.no_grad():
        net.weight.fill_(2.0)
        net.num_batches_tracked.fill_(7)
    for _ in range(300):
        average.update(net)
    assert average.net.weight == pytest.approx(2.0) and average.net.num_batches_tracked == 7 and not average.net.training


def test_the_demo_command_trains_judges_and_saves_in_small(tmp_path, monkeypatch, capsys):
    plan = demo.Plan
    monkeypatch.setattr(demo, "Plan", lambda **changes: plan(**{"crop_px": 64, "batch": 2, "side_px": 128, "test_scenes": 1,
                                                                **changes}))
    steps = ["--teacher-steps", "2", "--student-steps", "2"]
    monkeypatch.setattr("sys.argv", ["demo", "--work", str(tmp_path), "--no-export", *steps])
    threads = torch.get_num_threads()
    assert demo.main() == 3                                                   # far from the target: nothing may be exported
    torch.set_num_threads(threads)
    said = capsys.readouterr().out
    assert "nothing was exported" in said and f"was left in {tmp_path / 'demo.safetensors'}" in said
    net, part, provenance = load_checkpoint(tmp_path / "demo")
    assert part["classes"] == list(CLASS_NAMES) and net.config.in_bands == 2
    assert set(provenance["unseen_scenes"]) == {"per-pixel Bayes", "EO teacher", "SAR student, distilled"}


def test_the_light_demo_is_the_other_network_and_says_how_it_was_made(tmp_path, monkeypatch):
    small = replace(demo.LIGHT, crop_px=64, batch=2, side_px=128, test_scenes=1, teacher_steps=2, student_steps=2)
    demo.make(small, tmp_path, log=lambda line: None)
    net, part, provenance = load_checkpoint(tmp_path / "demo")
    assert net.config.strides == (4, 8) and net.config.fuse == "sum" and net.config.stem_channels == 16
    assert part["name"] == "demo-light" and provenance["command"] == "python -m training.demo --light"
