"""Channels that are shuffled or traded against rows and columns, and operators that torch's exporters leave whole: as local as a convolution."""

import numpy as np
import pytest
import torch
from test_foreign_torch import check_says_the_same, exported
from torch import nn

from hfd_edge.errors import ExportError, ReachError
from hfd_edge.export.foreign import package_foreign
from hfd_edge.measure.tiling import stitched_logits, whole_request
from hfd_edge.plan import PlanRequest
from hfd_edge.segmenter import Segmenter
from tests.foreign_networks import BANDS, Foreign, deeplab, kernel, save

functional = nn.functional


def shuffled(x, groups):
    n, channels, rows, cols = x.shape
    return x.view(n, groups, channels // groups, rows, cols).transpose(1, 2).contiguous().view(n, channels, rows, cols)


def unfolded(x, block):
    """PixelShuffle, written out."""
    n, channels, rows, cols = x.shape
    x = x.view(n, channels // block ** 2, block, block, rows, cols).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(n, channels // block ** 2, rows * block, cols * block)


class Moves(nn.Module):
    """Folded by 2, shuffled as ShuffleNet does it, unfolded again, joined with the image."""

    def __init__(self):
        super().__init__()
        self.fold, self.inner, self.outer = nn.PixelUnshuffle(2), nn.Conv2d(8, 12, 3, padding=1, groups=2), nn.Conv2d(12, 12, 1, groups=3)
        self.head = nn.Conv2d(5, 3, 3, padding=1)

    def forward(self, x):
        return self.head(torch.cat([x, unfolded(self.outer(shuffled(self.inner(self.fold(x)).relu(), 2)), 2)], 1))


class Whole(nn.Module):
    """Bicubic, an Einsum over the channels and one over what comes last, half of the channels, SELU, CELU, an L2 norm."""

    def __init__(self):
        super().__init__()
        self.down, self.head = nn.Conv2d(2, 8, 3, padding=1, stride=2), nn.Conv2d(4, 3, 3, padding=1)
        self.first, self.last = nn.Parameter(torch.randn(8, 8) / 4), nn.Parameter(torch.randn(8, 8) / 4)

    def forward(self, x):
        y = functional.selu(torch.einsum("nchw,dc->ndhw", self.down(x), self.first))
        y = functional.celu(torch.einsum("nhwc,cd->nhwd", y.permute(0, 2, 3, 1), self.last), 0.5).permute(0, 3, 1, 2)
        y = functional.interpolate(y, size=x.shape[-2:], mode="bicubic")
        return self.head(functional.normalize(y[:, :4], dim=1) * y[:, 4:])


def packaged(make, exporter, open_sizes, folder):
    torch.manual_seed(1)
    _, spec = save(folder, deeplab())
    net = exported(make(), folder / "net.onnx", exporter, open_sizes)
    return net, package_foreign(folder / "net.onnx", spec, folder / "net.engine")


@pytest.mark.parametrize("make, exporter, open_sizes, reach, operators", [
    (Moves, "torchscript", True, 4, {"Concat", "Conv", "DepthToSpace", "Gather", "Relu", "SpaceToDepth"}),
    (Moves, "dynamo", False, 4, {"Concat", "Conv", "DepthToSpace", "Gather", "Relu", "SpaceToDepth"}),
    (Whole, "torchscript", False, 6, {"Clip", "Conv", "Div", "Elu", "MatMul", "Mul", "ReduceL2", "Resize", "Slice", "Transpose"})])
def test_what_is_local_has_its_exact_reach_and_is_the_same_tiled_and_whole(make, exporter, open_sizes, reach, operators, tmp_path):
    net, report = packaged(make, exporter, open_sizes, tmp_path)
    assert report.spec.reach_px == report.measured_reach_px == reach and not report.spec.fixed_tile and not report.warnings, report
    assert {*report.operators} == operators
    check_says_the_same(net, tmp_path / "net.engine", reach)


def test_attention_over_windows_is_no_move(tmp_path):
    class Windows(nn.Module):
        def forward(self, x):
            n, c, rows, cols = x.shape
            y = x.view(n, c, rows // 4, 4, cols // 4, 4).permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, c)
            y = (y @ y.transpose(1, 2)).softmax(-1) @ y
            y = y.view(n, rows // 4, cols // 4, 4, 4, c).permute(0, 5, 1, 3, 2, 4).reshape(n, c, rows, cols)
            return torch.cat([x, y[:, :1]], 1)
    with pytest.raises(ReachError, match="Reshape.*whole blocks.*--halo"):
        packaged(Windows, "torchscript", True, tmp_path)


def test_circular_padding_is_seen_in_the_halo_alone_and_mish_is_written_out(tmp_path):
    g = Foreign(BANDS)
    padded = g.op("Pad", "pixels", g.weight(np.array([0, 0, 1, 1, 0, 0, 1, 1])), mode="wrap")
    g.op("Mish", g.op("Conv", padded, g.weight(kernel(np.random.default_rng(0), 3, BANDS).astype(np.float32))))
    report = package_foreign(*save(tmp_path, g.model()), tmp_path / "net.engine")
    assert report.spec.reach_px == report.measured_reach_px == 1 and {*report.operators} == {"Conv", "Mul", "Pad", "Softplus", "Tanh"}
    scene = np.random.default_rng(1).normal(size=(2, 40, 60)).astype(np.float32)
    with Segmenter(tmp_path / "net.engine", threads=1) as seg:
        whole = stitched_logits(seg, scene, whole_request(seg, 40, 60))
        np.testing.assert_array_equal(stitched_logits(seg, scene, PlanRequest(tile=16)), whole)


@pytest.mark.parametrize("equation, operands", [("nchw,nchw->nc", 2), ("nchw,cd->ndw", 1), ("...chw,cd->...dhw", 1)])
def test_an_einsum_that_is_no_product_with_constant_weights_is_refused_with_its_equation(equation, operands, tmp_path):
    g = Foreign(BANDS)
    g.conv(kernel(np.random.default_rng(0), 3, BANDS))
    g.op("Einsum", g.x, *([g.x] if operands == 2 else [g.weight(np.eye(3, dtype=np.float32))]), equation=equation)
    with pytest.raises(ExportError, match="Einsum.*" + equation.replace(".", r"\.") + ".*write it as Conv2d"):
        package_foreign(*save(tmp_path, g.model()), tmp_path / "net.engine")
