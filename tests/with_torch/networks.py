"""Small HFD-Nets with weights under which every path matters: what initialisation sets to zero is drawn at random."""

from functools import lru_cache

import torch

from hfd_edge.export.onnx import to_onnx
from hfd_edge.network import HFDNet, NetworkConfig

torch.set_num_threads(2)
BANDS, CLASSES = 2, 5


def network(encoder="resnet10t", seed=0, **fields):
    """In eval mode, with 2 bands, 5 classes and width 16 unless told otherwise."""
    torch.manual_seed(seed)
    net = HFDNet(NetworkConfig(**{"encoder": encoder, "in_bands": BANDS, "classes": CLASSES, "width": 16, **fields})).eval()
    norms = [module for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        torch.nn.init.uniform_(norm.weight, 0.8, 1.2)
        torch.nn.init.normal_(norm.bias, std=0.2)
    for alignment in net.alignments:
        for name in ("flow", "weights"):
            if hasattr(alignment, name):
                torch.nn.init.normal_(getattr(alignment, name).weight, std=0.5)
    _settle(net, norms)
    return net


def _settle(net, norms):
    """Running statistics of noise, as after training: activations stay near one, and rounding errors do not grow with depth."""
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        net.train()(torch.randn(4, net.config.in_bands, 64, 64))
    for norm in norms:
        norm.momentum = 0.1
    net.eval()


@lru_cache(maxsize=None)
def exported(encoder, max_stride, align):
    """(network, its ONNX bytes); an export takes seconds, so tests share it."""
    net = network(encoder, max_stride=max_stride, align=align)
    return net, to_onnx(net)
