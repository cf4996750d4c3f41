"""An encoder that begins with weights from a file: whole, by name and shape, or not at all."""

import json
import os
import pickle

import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
pytest.importorskip("lightning")

from hfd_edge.errors import CheckpointError  # noqa: E402
from hfd_edge.network import HFDNet, NetworkConfig, save_checkpoint  # noqa: E402
from hfd_edge.network.encoder import make_encoder  # noqa: E402
from hfd_edge.network.pretrained import load_encoder  # noqa: E402
from lessons import NETWORK, config, data, equal, silent  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from training.student import new_student, provenance, train_student, train_teacher, weights_record  # noqa: E402

ENCODER = NETWORK["encoder"]


@pytest.fixture
def whole():
    """A classifier of timm over two bands, as others train it: every number random, also its batch norm's."""
    torch.manual_seed(5)
    net = timm.create_model(ENCODER, in_chans=2, num_classes=7)
    return {name: torch.rand_like(value) if value.is_floating_point() else value for name, value in net.state_dict().items()}


def encoder(bands=2, name=ENCODER):
    torch.manual_seed(0)
    return make_encoder(NetworkConfig(name, bands, 3))


def stem(net):
    """The name of the first convolution's weights."""
    return next(name for name, value in net.state_dict().items() if value.ndim == 4)


def holds(net, weights):
    return all(torch.equal(value, weights[name]) for name, value in net.state_dict().items() if not name.endswith("num_batches_tracked"))


def test_any_wrapping_of_timms_weights_fills_the_encoder(whole, tmp_path):
    torch.save(whole, tmp_path / "plain.pth")
    torch.save({"epoch": 3, "state_dict": {f"module.backbone.{name}": value for name, value in whole.items()}}, tmp_path / "lightning.ckpt")
    save_file(whole, tmp_path / "hub.safetensors")
    for name, prefix in (("plain.pth", ""), ("lightning.ckpt", "backbone."), ("hub.safetensors", "")):
        net = encoder()
        assert load_encoder(net, tmp_path / name, 2) == prefix and holds(net, whole), name


def test_a_checkpoint_of_ours_lends_its_encoder_to_another_network(tmp_path):
    torch.manual_seed(1)
    first = HFDNet(NetworkConfig(ENCODER, 2, 5, width=8))
    save_checkpoint(tmp_path / "first", first, {}, {})
    net = encoder()
    assert load_encoder(net, tmp_path / "first.safetensors", 2) == "encoder." and holds(net, first.encoder.state_dict())


def test_feature_levels_that_timm_renames_are_found(tmp_path):
    """ConvNeXt: stages.0 in the network, stages_0 in its levels."""
    torch.manual_seed(1)
    theirs = timm.create_model("convnext_atto", in_chans=2).state_dict()
    save_file(theirs, tmp_path / "convnext.safetensors")
    net = encoder(name="convnext_atto")
    load_encoder(net, tmp_path / "convnext.safetensors", 2)
    assert torch.equal(net.state_dict()["stages_0.blocks.0.conv_dw.weight"], theirs["stages.0.blocks.0.conv_dw.weight"])


@pytest.mark.parametrize("bands", [1, 3])
def test_grey_and_rgb_are_averaged_over_other_bands(whole, tmp_path, bands):
    name = stem(encoder())
    picture = {**whole, name: torch.rand(whole[name].shape[0], bands, *whole[name].shape[2:])}
    save_file(picture, tmp_path / "rgb.safetensors")
    net = encoder()
    load_encoder(net, tmp_path / "rgb.safetensors", 2)
    own = net.state_dict()[name]
    assert torch.equal(own[:, 0], own[:, 1]) and torch.allclose(own.sum(1), picture[name].sum(1), atol=1e-5), "a grey picture gives the same"
    assert holds(net, {**picture, name: own})


def test_what_is_not_one_whole_encoder_is_refused_and_nothing_is_filled(whole, tmp_path):
    name = stem(encoder())
    deep = max(encoder().state_dict(), key=lambda each: each.count("."))
    cases = {
        "bands": ({**whole, name: torch.rand(whole[name].shape[0], 13, *whole[name].shape[2:])}, "sees 13 bands and this network 2"),
        "twice": ({f"{each}.{k}": v for each in ("encoder_q", "encoder_k") for k, v in whole.items()}, "2 times, under 'encoder_q.', 'encoder_k.'"),
        "lacks": ({k: v for k, v in whole.items() if k != deep}, f"{deep} is not among"),
        "other": ({f"stages.{k}": torch.rand(3) for k in range(4)}, "holds 0 of the encoder's"),
        "shape": ({**whole, deep: torch.rand(3, 3)}, "give weights of the same encoder"),
        "empty": ({"epoch": 3}, "holds no tensors")}
    for case, (record, word) in cases.items():
        torch.save(record, tmp_path / f"{case}.pth")
        net = encoder()
        with pytest.raises(CheckpointError, match=word):
            load_encoder(net, tmp_path / f"{case}.pth", 2)
        assert holds(net, encoder().state_dict()), case


class Runs:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("content", [b"", b"not weights", "code", None])
def test_what_is_no_file_of_weights_is_refused_and_never_run(tmp_path, content):
    path, proof = tmp_path / "weights.pth", tmp_path / "ran"
    if content is not None:
        path.write_bytes(pickle.dumps(Runs(str(proof)), protocol=2) if content == "code" else content)
    with pytest.raises(CheckpointError, match=r"pretrained=.*weights\.pth: (no such file|it cannot be read as weights)"):
        load_encoder(encoder(), path, 2)
    assert not proof.exists()


def test_student_and_teacher_begin_with_files_of_their_own(whole, tmp_path):
    save_file(whole, tmp_path / "sar.safetensors")
    name, heard = stem(encoder()), []
    save_file({**whole, name: torch.rand(whole[name].shape[0], 3, *whole[name].shape[2:])}, tmp_path / "rgb.safetensors")
    run = config(network={**NETWORK, "pretrained": str(tmp_path / "sar.safetensors")}, loop={"steps": 1, "rate": 1e-12},
                 teacher={"network": {"pretrained": str(tmp_path / "rgb.safetensors")}})
    assert holds(new_student(run, data(), heard.append).encoder, whole) and "begins with" in heard[0]
    train_teacher(run, data(), heard.append)
    assert any("rgb.safetensors" in line for line in heard)


def test_a_run_knows_its_weights_by_content_and_not_by_place(whole, tmp_path):
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        save_file(whole, tmp_path / place / "sar.safetensors")
    save_file({name: value + 1 for name, value in whole.items()}, tmp_path / "other.safetensors")

    def run(path):
        return config(network={**NETWORK, "pretrained": str(path)}, teacher={"network": {"pretrained": str(path)}})

    here, there, other = (run(tmp_path / place) for place in ("here/sar.safetensors", "there/sar.safetensors", "other.safetensors"))
    assert weights_record(here) == weights_record(there) != weights_record(other)
    assert str(tmp_path) not in json.dumps([weights_record(here), provenance(here, data())])
    assert provenance(here, data())["config"]["network"]["pretrained"]["file"] == "sar.safetensors"
    assert equal(*(train_student(each, data(), log=silent).state_dict() for each in (here, there)))
