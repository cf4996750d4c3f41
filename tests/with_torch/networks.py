"""Small HFD-Nets with weights under which every path matters: what initialisation sets to zero is drawn at random."""

import hashlib
import os
import shutil
from functools import lru_cache
from pathlib import Path

import torch

import hfd_edge
from hfd_edge.export.onnx import to_onnx
from hfd_edge.export.session import tool_versions
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
    """(network, its ONNX bytes)."""
    net = network(encoder, max_stride=max_stride, align=align)
    return net, kept_export(net)


def kept_export(net):
    """`to_onnx(net)`: torch takes ten seconds for it and gives the same bytes again (test_export.py), so they are kept below build/ for all
    processes and runs, until a file or a tool that they are made with is another one."""
    folder = _folder()
    weights = b"".join(value.cpu().contiguous().numpy().tobytes() for value in net.state_dict().values())
    path = folder / f"{hashlib.sha256(repr(net.config).encode() + weights).hexdigest()[:32]}.onnx"
    if not path.exists():
        part = path.with_suffix(f".{os.getpid()}")
        part.write_bytes(to_onnx(net))
        part.replace(path)
    return path.read_bytes()


@lru_cache(maxsize=None)
def _folder():
    """Of the exports that these files and tools make; those of others are removed."""
    package = Path(hfd_edge.__file__).parent
    files = [*sorted((package / "network").glob("*.py")), *(package / name for name in ("export/onnx.py", "export/names.py", "engine/operators.py"))]
    made_with = b"".join(file.read_bytes() for file in files) + repr(tool_versions("torch", "timm", "onnx", "onnxscript", "onnx-ir")).encode()
    folder = Path(__file__).resolve().parents[2] / "build" / f"exports-{hashlib.sha256(made_with).hexdigest()[:16]}"
    for old in {*folder.parent.glob("exports-*")} - {folder}:
        shutil.rmtree(old, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
