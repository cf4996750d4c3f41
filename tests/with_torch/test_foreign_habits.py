"""Habits of U-Nets and ConvNeXts that are as local as a convolution, and others that look local and tell the network where its tile lies."""

import numpy as np
import pytest
import torch
from test_foreign_torch import UNet, exported
from torch import nn

from hfd_edge.errors import ReachError
from hfd_edge.export.foreign import ForeignOptions, package_foreign
from hfd_edge.export.session import open_session
from hfd_edge.measure.tiling import stitched_logits, whole_request
from hfd_edge.package import Package
from hfd_edge.plan import PlanRequest
from hfd_edge.segmenter import Segmenter
from tests.foreign_networks import deeplab, save

functional = nn.functional


class PadToFit(nn.Module):
    """What was up-sampled is padded to its skip, as the most copied U-Net does; the image itself to a multiple of the stride."""

    def __init__(self):
        super().__init__()
        self.first, self.deep, self.up = nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1), nn.ConvTranspose2d(8, 6, 2, 2)
        self.last = nn.Conv2d(12, 3, 3, padding=1)

    def forward(self, x):
        rows, cols = x.shape[-2:]
        skip = self.first(functional.pad(x, (0, (2 - cols % 2) % 2, 0, (2 - rows % 2) % 2), mode="reflect")).relu()
        x = self.up(self.deep(functional.max_pool2d(skip, 2)).relu())
        down, right = skip.size(2) - x.size(2), skip.size(3) - x.size(3)
        x = functional.pad(x, [right // 2, right - right // 2, down // 2, down - down // 2])
        return self.last(torch.cat([skip, x], 1))[..., :rows, :cols]


class ChannelsLast(nn.Module):
    """A ConvNeXt block: layer norm and linear layers over the channels, which lie last for them."""

    def __init__(self):
        super().__init__()
        self.stem, self.depthwise, self.norm = nn.Conv2d(2, 8, 4, 4), nn.Conv2d(8, 8, 7, padding=3, groups=8), nn.LayerNorm(8)
        self.wide, self.narrow, self.head = nn.Linear(8, 32), nn.Linear(32, 8), nn.Conv2d(8, 3, 1)

    def forward(self, x):
        x = self.stem(x)
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        x = x + self.narrow(functional.gelu(self.wide(y))).permute(0, 3, 1, 2)
        return functional.interpolate(self.head(x), scale_factor=4, mode="bilinear")


class BandRatio(nn.Module):
    """A third band out of two, by their numbers."""

    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(3, 3, 5, padding=2)

    def forward(self, x):
        return self.head(torch.cat([x, (x[:, 0] - x[:, 1]).unsqueeze(1)], 1))


class Placed(nn.Module):
    """A U-Net that is told where in the tile a pixel lies, or how large the tile is."""

    def __init__(self, how):
        super().__init__()
        self.net, self.how, self.table = UNet(), how, nn.Parameter(torch.randn(1, 2, 8, 8))

    def forward(self, x):
        rows, cols = x.shape[-2:]
        if self.how == "coordinates":
            x = x + (torch.arange(cols, dtype=x.dtype) / cols).expand(x.shape[0], 2, rows, cols)
        if self.how == "position embedding":
            x = x + functional.interpolate(self.table, size=(rows, cols), mode="bilinear")
        return self.net(x) * (cols / 256 if self.how == "size as a factor" else 1)


@pytest.mark.parametrize("make, exporter, reach", [
    (PadToFit, "torchscript", 6), (ChannelsLast, "torchscript", 17), (ChannelsLast, "dynamo", 17), (BandRatio, "torchscript", 2)])
def test_a_habit_that_is_local_has_its_bound_and_is_the_same_tiled_and_whole(make, exporter, reach, tmp_path):
    torch.manual_seed(1)
    _, spec = save(tmp_path, deeplab())
    net = exported(make(), tmp_path / "net.onnx", exporter, open_sizes=True)
    report = package_foreign(tmp_path / "net.onnx", spec, tmp_path / "net.engine")
    assert report.spec.reach_bounded and report.measured_reach_px <= report.spec.reach_px <= reach + report.spec.stride_px, report
    with Package.open(tmp_path / "net.engine") as package:
        assert b"Pad" not in bytes(package.read("graph-fp32.onnx"))
    scene = np.random.default_rng(1).normal(size=(2, 96, 164)).astype(np.float32)
    with Segmenter(tmp_path / "net.engine", threads=1) as seg:
        whole = stitched_logits(seg, scene, whole_request(seg, 96, 164))
        np.testing.assert_array_equal(stitched_logits(seg, scene, PlanRequest(tile=2 * report.spec.halo_px + 20)), whole)
    with torch.no_grad():
        expected = net(torch.from_numpy(scene[None]))[0]
    if whole.shape != expected.shape:
        whole = functional.interpolate(torch.from_numpy(np.ascontiguousarray(whole))[None], scale_factor=4, mode="bilinear")[0].numpy()
    keep = np.s_[:, report.spec.halo_px:-report.spec.halo_px, report.spec.halo_px:-report.spec.halo_px]
    np.testing.assert_allclose(whole[keep], expected.numpy()[keep], atol=1e-4)


@pytest.mark.parametrize("how", ["coordinates", "position embedding", "size as a factor"])
def test_a_network_that_is_told_its_place_in_the_tile_is_refused(how, tmp_path):
    torch.manual_seed(1)
    _, spec = save(tmp_path, deeplab())
    exported(Placed(how), tmp_path / "net.onnx", "torchscript", open_sizes=True)
    with pytest.raises(ReachError, match="made from the size of the image.*--halo"):
        package_foreign(tmp_path / "net.onnx", spec, tmp_path / "net.engine")
    report = package_foreign(tmp_path / "net.onnx", spec, tmp_path / "net.engine", ForeignOptions(halo_px=32))
    assert not report.spec.reach_bounded and "NOT promised" in report.warnings[0]


class Gated(nn.Module):
    """Channels weighed by what the whole image says: CBAM's mean and maximum through linear layers, ConvNeXt V2's norm."""

    def __init__(self, how):
        super().__init__()
        self.stem, self.head, self.how = nn.Conv2d(2, 8, 3, padding=1, stride=2), nn.Conv2d(8, 3, 1), how
        self.weigh = nn.Sequential(nn.Flatten(), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 8))

    def forward(self, x):
        x = self.stem(x)
        if self.how == "norm":
            spread = torch.linalg.vector_norm(x, dim=(2, 3), keepdim=True)
            return self.head(x * spread / (spread.mean(1, keepdim=True) + 1e-6))
        pooled = (functional.adaptive_avg_pool2d(x, 1), functional.adaptive_max_pool2d(x, 1))
        return self.head(x * sum(self.weigh(part) for part in pooled).sigmoid()[:, :, None, None])


@pytest.mark.parametrize("how", ["CBAM", "norm"])
def test_a_gate_over_the_whole_image_is_packaged_when_asked_for(how, tmp_path):
    torch.manual_seed(1)
    _, spec = save(tmp_path, deeplab())
    net = exported(Gated(how), tmp_path / "net.onnx", "torchscript", open_sizes=True)
    with pytest.raises(ReachError, match="joins all positions"):
        package_foreign(tmp_path / "net.onnx", spec, tmp_path / "net.engine")
    report = package_foreign(tmp_path / "net.onnx", spec, tmp_path / "net.engine", ForeignOptions(halo_px=8))
    assert not {"Gemm", "GlobalMaxPool"} & {*report.operators} and not any("one tile at a time" in note for note in report.notes)
    scene = np.random.default_rng(1).normal(size=(1, 2, 64, 96)).astype(np.float32)
    with Package.open(tmp_path / "net.engine") as package, torch.no_grad():
        ours = open_session(bytes(package.read("graph-fp32.onnx"))).run(None, {"pixels": scene})[0]
        np.testing.assert_allclose(ours, net(torch.from_numpy(scene)).numpy(), atol=1e-5)
