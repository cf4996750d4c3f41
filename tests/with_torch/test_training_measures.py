"""Judgement: whole pairs of any size, calibration, the table of an ablation, what quantisation does to a network."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from hfd_edge.spec import Unit  # noqa: E402
from lessons import config, data, equal, silent, student  # noqa: E402
from networks import network  # noqa: E402
from training.config import Config, QatConfig  # noqa: E402
from training import measures  # noqa: E402
from training.measures import answer_of, calibrate, fitted_temperature, judge, logits_of, network_input, reflected, reliability  # noqa: E402
from training.pictures import draw_curves, draw_panels  # noqa: E402
from training.qat import QatError, Ranges, quantised  # noqa: E402
from training.schema import key_table, keys  # noqa: E402
from training.table import Row, Table, paired, students_t  # noqa: E402


def test_a_judge_counts_every_known_pixel_once():
    scores = judge({"truth": lambda pair: pair.labels, "water": lambda pair: np.zeros_like(pair.labels)}, data(), "test")
    known = sum(int((data().pairs.read(name).labels != 255).sum()) for name in data().pairs.names("test"))
    assert scores["truth"].miou == 1.0 and scores["truth"].pixels == scores["water"].pixels == known


@pytest.mark.parametrize("shape", [(64, 64), (37, 90), (1, 5), (300, 33)])
def test_pairs_of_any_size_have_logits_of_their_own_size(shape):
    net = network(max_stride=8)
    net.train()
    logits = logits_of(net, torch.randn(2, *shape))
    assert logits.shape == (5, *shape) and torch.isfinite(logits).all() and net.training


@pytest.mark.parametrize("context, same", [(64, True), (0, False)])
@pytest.mark.parametrize("shape", [(150, 130), (64, 65), (200, 40)])
def test_a_large_pair_is_judged_in_windows_as_it_is_whole(shape, context, same, monkeypatch):
    """Negative control: windows that see nothing around them."""
    nets, images = [network(max_stride=8, seed=seed) for seed in (0, 1)], [torch.randn(2, *shape) for _ in range(2)]
    monkeypatch.setattr(measures, "WINDOW_PX", 64)
    monkeypatch.setattr(measures, "CONTEXT_PX", context)
    found, counts = [torch.full((5, *shape), torch.nan) for _ in nets], torch.zeros(shape)
    for core, logits in measures.in_windows(nets, images):
        counts[core] += 1
        for own, part in zip(found, logits):
            own[(slice(None), *core)] = part
    assert (counts == 1).all()
    for net, image, own in zip(nets, images, found):
        assert torch.allclose(own, logits_of(net, image), rtol=1e-4, atol=1e-5) == same


def test_a_figure_does_not_know_of_windows(monkeypatch):
    net = network(max_stride=8)
    before = judge({"": answer_of(net, "sar", data())}, data(), "test")[""], calibrate(net, data(), 10, "test")
    monkeypatch.setattr(measures, "WINDOW_PX", 32)
    monkeypatch.setattr(measures, "CONTEXT_PX", 64)
    after = judge({"": answer_of(net, "sar", data())}, data(), "test")[""], calibrate(net, data(), 10, "test")
    assert before[0].to_dict() == after[0].to_dict() and before[1].temperature == pytest.approx(after[1].temperature, rel=1e-3)


def test_a_pair_as_large_as_its_margin_is_reflected_as_torch_does():
    image = torch.randn(1, 2, 70, 66)
    assert torch.equal(reflected(image, (64, 65, 3, 0)), torch.nn.functional.pad(image, (64, 65, 3, 0), mode="reflect"))
    assert reflected(torch.randn(1, 1, 5, 7), (64, 64, 64, 64)).shape == (1, 1, 133, 135)


def test_what_a_network_sees_is_what_its_kind_says():
    pair = data().pairs.read(data().pairs.names("test")[0])
    parts = {kind: network_input(pair, kind, data()) for kind in ("eo", "sar", "eo+sar")}
    assert torch.equal(torch.cat([parts["eo"], parts["sar"]]), parts["eo+sar"]) and data().info.sar_unit is Unit.INTENSITY
    assert parts["sar"].mean().abs() < 0.7 and 0.4 < parts["sar"].std() < 1.6


def test_the_temperature_undoes_a_factor_on_calibrated_logits_and_lowers_the_error():
    torch.manual_seed(0)
    logits = 2 * torch.randn(20000, 4)
    truth = torch.distributions.Categorical(logits=logits).sample()
    assert fitted_temperature(3 * logits, truth) == pytest.approx(3, rel=0.05)
    calm, bold = reliability(logits, truth, 15), reliability(3 * logits, truth, 15)
    assert calm[0] < 0.02 < 0.1 < bold[0]
    assert sum(row["share"] for row in bold[1]) == pytest.approx(1)


def test_a_confident_error_is_one_and_a_confident_hit_zero():
    sure = torch.tensor([[50.0, 0.0], [50.0, 0.0]])
    assert reliability(sure, torch.tensor([1, 1]), 10)[0] == pytest.approx(1)
    assert reliability(sure, torch.tensor([0, 0]), 10)[0] == pytest.approx(0)


def row(name, kind, *tests, select=None):
    made = Row(name, "local", kind)
    for seed, value in enumerate(tests):
        made.add(seed, {"test": {"miou": value}, "select": {"miou": value if select is None else select}})
    return made


def test_the_table_pairs_by_seed_and_chooses_on_select():
    rows = [row("SAR only", "student", 0.5, 0.6), row("teacher eo", "teacher", 0.8, 0.9),
            row("a", "student", 0.6, 0.72, select=0.1), row("b", "student", 0.5, 0.61, select=0.9)]
    table = Table(rows, "SAR only", {"a": "teacher eo", "b": "teacher eo"})
    gain = paired(rows[2], rows[0])
    assert gain.mean == pytest.approx(0.11) and gain.error == pytest.approx(0.01) and gain.seeds == 2
    assert table.gap_closed(rows[2]) == pytest.approx(0.11 / 0.3) and table.gap_closed(rows[1]) is None
    assert table.chosen is rows[3] and "not to be told from" in table.verdict() and "Fewer than four seeds" in table.verdict()
    four = Table([row("SAR only", "student", *[0.5] * 4), row("a", "student", 0.6, 0.61, 0.62, 0.63)], "SAR only", {"a": "teacher eo"}).verdict()
    assert "better than" in four and "Fewer" not in four and "interval is +9.45 to +13.55." in four        # 11.5 ± 3.182 * 0.6455
    assert "| **b** | local |" in table.markdown() and "+11.00 ± 1.00" in table.markdown() and "37 %" in table.markdown()


def test_a_setting_that_is_below_sar_alone_on_select_is_said_to_be():
    for select, told in ((0.4, True), (0.5, False), (0.6, False)):
        rows = [row("SAR only", "student", 0.5, 0.6, select=0.5), row("a", "student", 0.6, 0.72, select=select)]
        assert ("On select itself SAR only is the better one" in Table(rows, "SAR only", {"a": "teacher eo"}).verdict()) is told


def test_an_interval_is_student_s():
    for freedom, wanted in ((1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (9, 2.262), (10, 2.228), (30, 2.042), (120, 1.980)):
        assert students_t(freedom) == pytest.approx(wanted, abs=5e-4)


def test_every_seed_stands_in_the_table_so_that_any_two_networks_can_be_paired():
    rows = [row("SAR only", "student", 0.5, 0.6), row("short", "student", 0.61234)]
    words = Table(rows, "SAR only", {"short": "teacher eo"}).markdown()
    assert "| test mIoU | alignment | seed 0 | seed 1 |" in words and "| SAR only | local | 50.00 | 60.00 |" in words and "| short | local | 61.23 |  |" in words


def test_a_setting_given_up_early_stays_in_the_table_and_is_not_chosen():
    rows = [row("SAR only", "student", 0.5, 0.6), row("a", "student", 0.6, 0.72, select=0.1),
            row("lucky", "student", 0.9, select=0.9)]
    table = Table(rows, "SAR only", {"a": "teacher eo", "lucky": "teacher eo"})
    assert table.chosen is rows[1] and "| lucky | local | 1 |" in table.markdown() and "+40.00 |" in table.markdown()


def test_no_gap_is_closed_below_a_teacher_that_knows_less():
    rows = [row("SAR only", "student", 0.5, 0.6), row("teacher eo", "teacher", 0.4, 0.5), row("a", "student", 0.6, 0.72)]
    assert Table(rows, "SAR only", {"a": "teacher eo"}).gap_closed(rows[2]) is None


def test_pictures_are_written(tmp_path):
    pair = data().pairs.read(data().pairs.names("test")[0])
    draw_panels(tmp_path / "panels.png", pair, {"answer": pair.labels}, data().info)
    draw_curves(tmp_path / "curves.png", {"loss": [(1, 3.0), (2, 0.1)], "one point": [(1, 1.0)]}, "a run")
    draw_curves(tmp_path / "none.png", {}, "nothing")
    assert all((tmp_path / name).read_bytes()[:4] == b"\x89PNG" for name in ("panels.png", "curves.png", "none.png"))


def test_a_curve_of_one_point_is_a_dot(tmp_path):
    import cv2

    pictures = []
    for name, line in (("empty", []), ("dot", [(1, 2.0)])):
        draw_curves(tmp_path / f"{name}.png", {"long": [(0, 1.0), (2, 3.0)], "short": line}, "a run")
        pictures.append(cv2.imread(str(tmp_path / f"{name}.png")).astype(int))
    rows, cols = np.nonzero((pictures[0] != pictures[1]).any(axis=2))
    assert 20 < len(rows) < 60 and abs(rows.mean() - 180) < 1 and abs(cols.mean() - 380) < 1        # the middle of both axes
    draw_curves(tmp_path / "alone.png", {"loss": [(7, 0.3)]}, "a run")
    draw_curves(tmp_path / "none.png", {"loss": []}, "a run")
    assert (tmp_path / "alone.png").read_bytes() != (tmp_path / "none.png").read_bytes()


def test_fake_quantisation_rounds_weights_per_channel_and_leaves_the_network_as_it_was():
    net, image = network(encoder="resnet10t", max_stride=8), torch.randn(2, 2, 32, 32)
    before, plain = {n: v.clone() for n, v in net.state_dict().items()}, net(image)
    ranges = Ranges(net, QatConfig())
    with quantised(net, ranges):
        net(image)
        ranges.observing = False
        rounded = net(image)
    assert torch.equal(net(image), plain) and equal(before, net.state_dict())
    gap = (rounded - plain).abs().max() / plain.abs().max()
    assert 0 < gap < 0.2
    weight = net.fuse[0].weight
    scale = weight.flatten(1).abs().amax(dim=1)[:, None, None, None] / 63
    steps = ranges.weight(weight) / scale
    assert torch.allclose(steps, steps.round(), atol=1e-3) and torch.allclose(steps, weight / scale, atol=0.501)
    values = ranges.activation(0, torch.linspace(-1, 2 * float(ranges.largest[0]), 1000))
    assert values.min() == 0 and values.max() == pytest.approx(float(ranges.largest[0]), rel=1e-5)
    assert len(values.unique()) <= 256


def test_the_gradient_passes_straight_through_the_grid():
    net = network(encoder="resnet10t", max_stride=8)
    ranges = Ranges(net, QatConfig())
    with quantised(net, ranges):
        net(torch.randn(2, 2, 32, 32)).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    assert sum(p.grad.abs().sum() for p in net.encoder.parameters()) > 0


def test_a_network_without_relu_is_refused():
    with pytest.raises(QatError, match="no ReLU"):
        Ranges(torch.nn.Conv2d(1, 1, 1), QatConfig())


def test_bfloat16_trains_close_to_full_precision():
    full, half = (student(loop={"precision": precision, "steps": 3}) for precision in ("32", "bf16"))
    gap = max(float((full[n].float() - half[n].float()).abs().max()) for n in full)
    assert 0 < gap < 0.3 and all(torch.isfinite(v.float()).all() for v in half.values())
    assert silent("") is None and config().loop.precision == "32"


def test_the_documented_keys_are_the_keys():
    from pathlib import Path
    text = (Path(__file__).resolve().parents[2] / "docs" / "training.md").read_text()
    assert key_table(Config) in text, "docs/training.md: replace its table with the output of python -m training keys"
    assert all(key.why or "." not in key.name for key in keys(Config))


@pytest.mark.parametrize("name", ["simulated", "ombria", "folder"])
def test_the_example_configurations_are_read(name):
    from pathlib import Path

    from training.config import load_config
    assert load_config(Path(__file__).resolve().parents[2] / "training" / "configs" / f"{name}.yaml").name


@pytest.mark.parametrize("name", ["unet", "deeplabv3plus"])
def test_a_baseline_of_another_library_learns_from_the_same_batches(name):
    pytest.importorskip("segmentation_models_pytorch")
    from training.baselines import train_baseline
    from training.measures import miou_on
    run = config(loop={"steps": 2})
    net = train_baseline(name, run, data(), silent)
    assert 0 <= miou_on(net, "sar", data(), "test") < 1 and not net.training
    assert equal(net.state_dict(), train_baseline(name, run, data(), silent).state_dict())


def test_a_baseline_that_is_not_known_is_refused():
    from hfd_edge.errors import HfdError
    from training.baselines import Baseline
    with pytest.raises(HfdError, match="use unet, deeplabv3plus"):
        Baseline("segformer", config(), 2, 5)
