"""Networks as torch exports them, by both exporters, with open and with fixed sizes; their other precisions pass a gate of their own."""

import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from hfd_edge.cli.package import package
from hfd_edge.errors import ExportError, GateError, ReachError
from hfd_edge.export import foreign
from hfd_edge.export.build_graphs import GraphPlan
from hfd_edge.export.foreign import ForeignOptions, package_foreign
from hfd_edge.export.lineage import KEY
from hfd_edge.export.parity import Thresholds
from hfd_edge.measure.tiling import stitched_logits, whole_request
from hfd_edge.package import Package
from hfd_edge.plan import PlanRequest
from hfd_edge.raster_run import RasterOptions
from hfd_edge.segmenter import Segmenter
from hfd_edge.spec import Unit
from tests.foreign_networks import SPEC, deeplab, save

DECIBEL = SPEC.replace("{unit: dn, mean: [0, 0], std: [1, 1]}", "{unit: db, mean: [-11, -18], std: [6, 6], floor: -35}")


class UNet(nn.Module):
    """Two poolings, skips, interpolation to the skip's own size as most U-Nets write it."""

    def __init__(self, up="bilinear"):
        super().__init__()
        widths = (8, 12, 16)
        self.down = nn.ModuleList(nn.Sequential(nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
                                  for a, b in zip((2, *widths), widths))
        self.join = nn.ModuleList(nn.Sequential(nn.Conv2d(a + b, b, 3, padding=1), nn.ReLU()) for a, b in ((16, 12), (12, 8)))
        self.head, self.mode = nn.Conv2d(8, 3, 1), up

    def forward(self, x):
        skips = []
        for i, block in enumerate(self.down):
            x = block(nn.functional.max_pool2d(x, 2) if i else x)
            skips.append(x)
        for join, skip in zip(self.join, skips[-2::-1]):
            x = join(torch.cat([nn.functional.interpolate(x, size=skip.shape[-2:], mode=self.mode), skip], 1))
        return self.head(x)


def check_says_the_same(net, engine, rim):
    """A package tiled as whole to the bit, and as torch further than `rim` from the image's edges, where torch pads with zeros."""
    scene = np.random.default_rng(1).normal(size=(2, 96, 164)).astype(np.float32)
    with Segmenter(engine, threads=1) as seg:
        whole = stitched_logits(seg, scene, whole_request(seg, 96, 164))
        np.testing.assert_array_equal(stitched_logits(seg, scene, PlanRequest(tile=2 * seg.spec.halo_px + 20)), whole)
    with torch.no_grad():
        expected = net(torch.from_numpy(scene[None]))[0].numpy()
    keep = np.s_[:, rim:-rim, rim:-rim]
    np.testing.assert_allclose(whole[keep], expected[keep], atol=1e-4)


def exported(net, path, exporter, open_sizes, side=64):
    """The ONNX file of a torch network."""
    torch.manual_seed(0)
    net = net.eval()
    example = torch.zeros(2, 2, 64, 96) if open_sizes else torch.zeros(1, 2, side, side)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if exporter == "dynamo":
            d = torch.export.Dim
            shapes = ({0: d("n", min=1, max=64), 2: 4 * d("r", min=1, max=999), 3: 4 * d("c", min=1, max=999)},) if open_sizes else None
            torch.onnx.export(net, (example,), path, dynamo=True, opset_version=18, external_data=False, verbose=False, dynamic_shapes=shapes)
        else:
            axes = {"x": {0: "n", 2: "r", 3: "c"}, "y": {0: "n", 2: "r", 3: "c"}} if open_sizes else None
            torch.onnx.export(net, (example,), path, dynamo=False, opset_version=17, input_names=["x"], output_names=["y"], dynamic_axes=axes)
    return net


@pytest.mark.parametrize("up", ["bilinear", "nearest"])
@pytest.mark.parametrize("open_sizes", [True, False], ids=["open", "fixed"])
@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_a_torch_unet_is_the_same_tiled_and_whole_and_says_what_torch_says(exporter, open_sizes, up, tmp_path):
    torch.manual_seed(1)
    _, spec = save(tmp_path, deeplab())
    net = exported(UNet(up), tmp_path / "unet.onnx", exporter, open_sizes)
    report = package_foreign(tmp_path / "unet.onnx", spec, tmp_path / "unet.engine")
    assert (report.spec.stride_px, report.spec.logit_stride_px, report.spec.fixed_tile) == (4, 1, False)
    assert not {"Shape", "BatchNormalization", "Identity"} & {*report.operators}
    check_says_the_same(net, tmp_path / "unet.engine", report.spec.halo_px)


@pytest.mark.slow
@pytest.mark.parametrize("name, bounded", [("Unet", True), ("DeepLabV3Plus", False), ("Segformer", False)])
def test_networks_of_segmentation_models_pytorch(name, bounded, tmp_path):
    smp = pytest.importorskip("segmentation_models_pytorch", reason="needs segmentation-models-pytorch, a library of networks")
    net = getattr(smp, name)("mit_b0" if name == "Segformer" else "resnet18", encoder_weights=None, in_channels=2, classes=3)
    _, spec = save(tmp_path, deeplab())
    exported(net, tmp_path / "net.onnx", "torchscript", False, side=256)
    if bounded:
        report = package_foreign(tmp_path / "net.onnx", spec, tmp_path / "net.engine", ForeignOptions(measure=False))
        assert report.spec.stride_px == 32 and 200 < report.spec.reach_px < 400
    else:
        with pytest.raises(ReachError, match="ReduceMean|Reshape.*MatMul"):
            package_foreign(tmp_path / "net.onnx", spec, tmp_path / "net.engine")
        assert not (tmp_path / "net.engine").exists()
        report = package_foreign(tmp_path / "net.onnx", spec, tmp_path / "net.engine", ForeignOptions(unbounded=True))
        assert "NOT promised" in report.warnings[0]
    with Segmenter(tmp_path / "net.engine") as seg:
        labels = seg.run(np.random.default_rng(1).normal(size=(2, 100, 70)).astype(np.float32), unit="dn").labels
    assert labels.shape == (100, 70) and labels.max() < 3


@pytest.mark.slow
def test_all_precisions_of_a_foreign_network_in_one_package(tmp_path):
    network, spec = save(tmp_path, deeplab(), DECIBEL)
    first = package_foreign(network, spec, tmp_path / "first.engine")
    plan = GraphPlan(("simulated",), targets=("cpu", "tensorrt"))
    report = package_foreign(network, spec, tmp_path / "net.engine", ForeignOptions(plan=plan, replaces=first.path))
    with Package.open(tmp_path / "net.engine") as package:
        assert set(package.graph_names) == {f"graph-{name}.onnx" for name in ("fp32", "int8-cpu", "fp16-trt", "int8-trt")}
        assert package.manifest["provenance"][KEY]["version"] == 2
        quantised = onnx.load_from_string(bytes(package.read("graph-int8-cpu.onnx")))
    assert sum(node.op_type == "QuantizeLinear" for node in quantised.graph.node) > 3
    assert report.gate.count("passed") == 4 and report.spec.halo_bounded_px is not None and report.spec.edge_error is not None
    with Segmenter(tmp_path / "net.engine", precision="int8") as seg:
        assert "int8" in seg.engine


def test_calibration_scenes_are_declared_as_a_run_declares_its_scene(monkeypatch):
    asked = []
    monkeypatch.setattr(foreign, "package_foreign", lambda *words: asked.append(words[3]) or SimpleNamespace(warnings=()))
    package(Path("net.onnx"), Path("spec.yaml"), Path("m.engine"), calibration=["scenes"], unit=Unit.DB, scale=0.1, offset=-3.0, nodata=[0.0], bands="2,1",
            quiet=True, as_json=False)
    assert asked[0].plan.declared == RasterOptions(Unit.DB, 0.1, -3.0, (0.0,), (2, 1))


@pytest.mark.slow
def test_scenes_are_judged_on_where_float_alone_is_asked_for(tmp_path):
    network, spec = save(tmp_path, deeplab(), DECIBEL)
    plan = GraphPlan(("simulated",), precisions=("fp32",))
    report = package_foreign(network, spec, tmp_path / "net.engine", ForeignOptions(plan=plan, report=tmp_path / "gate"))
    assert report.gate.count("passed") == 1 and report.spec.halo_bounded_px is not None and (tmp_path / "gate" / "gate.html").is_file()
    with Package.open(tmp_path / "net.engine") as package:
        assert package.graph_names == ("graph-fp32.onnx",)


@pytest.mark.slow
def test_a_failed_gate_leaves_no_package_but_the_evidence(tmp_path):
    network, spec = save(tmp_path, deeplab(), DECIBEL)
    plan = GraphPlan(("simulated",), precisions=("fp32", "fp16"), targets=("cpu", "tensorrt"), thresholds=Thresholds(flips=1e-7))
    with pytest.raises(GateError, match="graph-fp16-trt.onnx: label flips"):
        package_foreign(network, spec, tmp_path / "net.engine", ForeignOptions(plan=plan))
    assert not (tmp_path / "net.engine").exists() and (tmp_path / "net.engine.quarantine" / "gate.html").exists()


def test_precisions_without_data_or_for_one_size_are_refused(tmp_path):
    network, spec = save(tmp_path, deeplab(image=(1, 2, 96, 96)))
    with pytest.raises(ExportError, match="fp16 without calibration data"):
        package_foreign(network, spec, tmp_path / "net.engine", ForeignOptions(
            plan=GraphPlan(precisions=("fp32", "fp16"), targets=("cpu", "tensorrt"))))
    with pytest.raises(ExportError, match="takes 96 x 96 pixels alone"):
        package_foreign(network, spec, tmp_path / "net.engine", ForeignOptions(keep_size=True, plan=GraphPlan(("simulated",))))
    assert not (tmp_path / "net.engine").exists()
