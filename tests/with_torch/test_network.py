"""HFD-Net: shapes, alignment against bilinear up-sampling, translation by the stride, checkpoints."""

import importlib.util
import json

import numpy as np
import pytest
import torch
from networks import network

from hfd_edge.errors import CheckpointError, ExportError, SpecError
from hfd_edge.network import NetworkConfig, load_checkpoint, save_checkpoint, upsample
from hfd_edge.network.alignment import FlowAlignment, LocalAlignment, sample
from hfd_edge.network.pretrained import IMAGENET_PACKAGE

ENCODERS = ("resnet18", "resnet34", "resnet50", "resnet10t", "efficientnet_lite0", "efficientnet_lite2", "mobilenetv4_conv_small")


def parameters(net):
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_gives_logits_at_stride_4_and_taps_at_its_own_strides(encoder):
    net = network(encoder, align="flow")
    image = torch.randn(1, 2, 64, 96)
    taps = net.features(image)
    assert (net.stride_px, net.logit_stride_px) == (16, 4)
    assert net(image).shape == (1, 5, 16, 24)
    assert [t.shape[-2:] for t in taps["encoder"]] == [(16, 24), (8, 12), (4, 6)]
    assert [t.shape for t in taps["alignment"]] == [(1, 16, 16, 24), (1, 16, 8, 12), (1, 16, 4, 6)]
    assert taps["fused"].shape == (1, 16, 16, 24)
    assert torch.equal(net.classifier(taps["fused"]), net(image))


@pytest.mark.parametrize("finest, deepest", [(2, 8), (4, 8), (4, 32), (8, 16), (8, 32)])
def test_the_levels_run_from_the_finest_to_the_deepest_stride_asked_for(finest, deepest):
    net = network("resnet18", finest_stride=finest, max_stride=deepest)
    assert net(torch.zeros(2, 2, 64, 64)).shape == (2, 5, 64 // finest, 64 // finest)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_cutting_the_encoder_removes_its_deeper_layers(encoder):
    sizes = [parameters(network(encoder, max_stride=stride).encoder) for stride in (8, 16, 32)]
    assert sizes[0] < 0.8 * sizes[1] < 0.8 * sizes[2]


@pytest.mark.parametrize("bands", [1, 2, 3, 5, 13])
def test_any_number_of_bands_goes_in_and_only_the_stem_differs(bands):
    net, three = network(in_bands=bands), network(in_bands=3)
    assert net(torch.zeros(1, bands, 32, 32)).shape == (1, 5, 8, 8)
    differing = [name for (name, a), b in zip(net.state_dict().items(), three.state_dict().values()) if a.shape != b.shape]
    assert len(differing) == (0 if bands == 3 else 1)
    stem = next(iter(three.parameters()))
    assert parameters(net) - parameters(three) == (bands - 3) * stem.numel() // 3


def test_levels_added_up_are_levels_side_by_side_under_one_kernel_for_all():
    side, added = network(fuse="concat"), network(fuse="sum")
    weights = added.state_dict()
    side.load_state_dict({**weights, "fuse.0.weight": weights["fuse.0.weight"].repeat(1, 3, 1, 1)})
    image = torch.randn(1, 2, 64, 96)
    torch.testing.assert_close(added(image), side(image), rtol=1e-4, atol=1e-5)
    assert parameters(side.fuse) > 2.9 * parameters(added.fuse)


def test_a_narrow_stem_is_a_regnets_only():
    net, own = network("regnetx_002", stem_channels=8), network("regnetx_002")
    assert next(net.encoder.parameters()).shape == (8, 2, 3, 3) and next(own.encoder.parameters()).shape == (32, 2, 3, 3)
    assert net.encoder.channels == own.encoder.channels and net(torch.zeros(1, 2, 32, 32)).shape == (1, 5, 8, 8)
    with pytest.raises(SpecError, match=r"stem_channels=8 with encoder='resnet18': only timm's RegNets"):
        network("resnet18", stem_channels=8)


def test_a_flow_of_zero_is_bilinear_upsampling():
    coarse = torch.randn(2, 8, 5, 7)
    assert (sample(coarse, torch.zeros(2, 2, 10, 14)) - upsample(coarse, 2)).abs().max() < 1e-5
    assert (FlowAlignment(8, 1.0)(torch.randn(2, 8, 10, 14), coarse) - upsample(coarse, 2)).abs().max() < 1e-5


def test_a_flow_of_one_moves_by_one_source_cell_and_stops_at_the_edge():
    coarse = torch.randn(1, 3, 6, 8)
    flow = torch.zeros(1, 2, 12, 16)
    flow[:, 0], flow[:, 1] = 1.0, -1.0                     # one cell to the right, one up
    moved = coarse[:, :, [0, 0, 1, 2, 3, 4]][..., [1, 2, 3, 4, 5, 6, 7, 7]]
    inner = (slice(None), slice(None), slice(4, -4), slice(4, -4))
    assert (sample(coarse, flow) - upsample(moved, 2))[inner].abs().max() < 1e-5


def test_the_flow_is_clamped():
    align = FlowAlignment(8, 0.5)
    torch.nn.init.normal_(align.flow.weight, std=100.0)
    fine, coarse = torch.randn(1, 8, 8, 8), torch.zeros(1, 8, 4, 4)
    coarse[..., 2, 2] = 1.0
    reached = align(fine, coarse).abs().amax(dim=(0, 1)) > 0
    cells = np.argwhere(reached.numpy())
    assert cells.min() >= 2 and cells.max() <= 7           # cell 2 spans fine cells 4, 5; one more cell either way for half + 0.5


def test_local_alignment_starts_as_bilinear_upsampling_and_its_weights_sum_to_one():
    align, coarse = LocalAlignment(8), torch.randn(2, 8, 5, 7)
    assert (align(torch.randn(2, 8, 10, 14), coarse) - upsample(coarse, 2)).abs().max() < 1e-6
    torch.nn.init.normal_(align.weights.weight)
    flat = align(torch.randn(2, 8, 10, 14), torch.ones(2, 8, 5, 7))
    assert (flat[..., 1:-1, 1:-1] - 1).abs().max() < 1e-5  # a flat level stays flat whatever the weights


def test_alignment_acts_on_the_levels_asked_for_alone():
    kinds = [type(a).__name__ for a in network(max_stride=32, align="local", align_levels=(8,)).alignments]
    assert kinds == ["BilinearAlignment", "LocalAlignment", "BilinearAlignment"]


@pytest.mark.parametrize("align", ["none", "local", "flow"])
def test_moving_the_image_by_the_stride_moves_the_logits(align):
    net = network("resnet10t", max_stride=8, align=align)
    image = torch.randn(1, 2, 256, 256)
    with torch.no_grad():
        here, there = net(image), net(torch.roll(image, (8, 16), dims=(2, 3)))
    inner = (slice(None), slice(None), slice(24, 40), slice(24, 40))
    assert (torch.roll(here, (2, 4), dims=(2, 3)) - there)[inner].abs().max() < 1e-4


def test_upsample_is_half_pixel_and_clamped_at_the_edge():
    line = torch.tensor([[[[0.0, 4.0, 8.0]]]])
    assert upsample(line, 4)[0, 0, 0].tolist() == [0, 0, 0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8, 8]


@pytest.mark.parametrize("fields, word", [
    ({"encoder": "tf_efficientnet_lite0"}, "symmetric"), ({"encoder": "no_such_net"}, "timm"), ({"encoder": ""}, "timm"),
    ({"align": "warp"}, "align"), ({"max_stride": 64}, "max_stride"), ({"align_levels": (16,)}, "align_levels"),
    ({"finest_stride": 8, "max_stride": 8}, "finest_stride"), ({"classes": 256}, "classes"), ({"in_bands": 0}, "in_bands"),
    ({"fuse": "mean"}, "fuse='mean'"), ({"stem_channels": 2}, "stem_channels=2"),
    ({"pretrained": "http://weights"}, "pretrained"), ({"max_flow_cells": float("nan")}, "max_flow_cells"),
    ({"pretrained": "imagenet"}, "efficientnet_lite0"), ({"encoder": "vit_tiny_patch16_224"}, "levels"),
])
def test_a_configuration_that_contradicts_itself_is_refused(fields, word):
    with pytest.raises(SpecError, match=word):
        network(**fields)


def test_a_configuration_survives_json_and_unknown_keys_are_refused():
    config = NetworkConfig("resnet18", 2, 5, align_levels=(8, 4), max_flow_cells=2.0)
    light = NetworkConfig("regnetx_002", 2, 5, fuse="sum", stem_channels=16)
    for each in (config, light):
        assert NetworkConfig.from_dict(json.loads(json.dumps(each.to_dict()))) == each
    assert not {"fuse", "stem_channels", "hallucinate"} & {*config.to_dict()}, "records of older checkpoints stay as they were"
    with pytest.raises(SpecError, match="unknown keys"):
        NetworkConfig.from_dict({**config.to_dict(), "heads": 2})


@pytest.mark.skipif(importlib.util.find_spec(IMAGENET_PACKAGE) is None, reason=f"{IMAGENET_PACKAGE} is not installed")
def test_imagenet_weights_fill_the_encoder_and_the_stem_is_averaged():
    nets = [network("efficientnet_lite0", in_bands=bands, pretrained="imagenet") for bands in (2, 3)]
    stems = [net.encoder.conv_stem.weight.sum(dim=1) for net in nets]
    assert torch.allclose(stems[0], stems[1], atol=1e-5)
    assert torch.equal(nets[0].encoder.blocks[0][0].conv_dw.weight, nets[1].encoder.blocks[0][0].conv_dw.weight)


def test_a_checkpoint_brings_back_the_network(tmp_path):
    net = network("resnet10t", align="flow")
    save_checkpoint(tmp_path / "student.v1", net, {"name": "x"}, {"seed": 1})
    back, spec, provenance = load_checkpoint(tmp_path / "student.v1.safetensors")
    image = torch.randn(1, 2, 64, 64)
    assert torch.equal(back(image), net(image)) and (spec, provenance) == ({"name": "x"}, {"seed": 1})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["student.v1.json", "student.v1.safetensors"]


def test_weights_beside_the_sidecar_of_another_training_are_refused(tmp_path):
    """Only one of two files copied: the same network, and mean, std and classes of another training."""
    for name, seed in (("old", 0), ("new", 1)):
        save_checkpoint(tmp_path / name, network(seed=seed), {"name": name}, {})
    (tmp_path / "old.safetensors").write_bytes((tmp_path / "new.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="old.safetensors and .*old.json are not of one save .*copy both files of one checkpoint"):
        load_checkpoint(tmp_path / "old")
    record = json.loads((tmp_path / "old.json").read_text())
    del record["weights_sha256"]                                    # as they were written before
    (tmp_path / "old.json").write_text(json.dumps(record))
    assert load_checkpoint(tmp_path / "old")[1] == {"name": "old"}


def test_a_damaged_checkpoint_gets_one_clear_line(tmp_path):
    save_checkpoint(tmp_path / "a", network(), {}, {})
    save_checkpoint(tmp_path / "b", network(width=32), {}, {})
    (tmp_path / "deep.json").write_text("[" * 100_000)
    cases = {"is not JSON .maximum recursion": tmp_path / "deep", "no such file": tmp_path / "missing", "run code": tmp_path / "weights.pth", "not JSON": tmp_path / "text",
             "whole safetensors": tmp_path / "short", "same save": tmp_path / "mixed", "unknown keys": tmp_path / "future"}
    (tmp_path / "text.json").write_text("{")
    (tmp_path / "short.json").write_text((tmp_path / "a.json").read_text())
    (tmp_path / "short.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes()[:1000])
    (tmp_path / "mixed.json").write_text((tmp_path / "a.json").read_text())
    (tmp_path / "mixed.safetensors").write_bytes((tmp_path / "b.safetensors").read_bytes())
    (tmp_path / "future.json").write_text((tmp_path / "a.json").read_text().replace('"width"', '"breadth"'))
    (tmp_path / "future.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes())
    for words, path in cases.items():
        with pytest.raises(CheckpointError, match=words) as caught:
            load_checkpoint(path)
        assert isinstance(caught.value, ExportError) and "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="JSON"):
        save_checkpoint(tmp_path / "c", network(), {"value": float("nan")}, {})
    assert not list(tmp_path.glob("c*"))
