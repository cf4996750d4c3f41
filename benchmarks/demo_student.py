"""The shipped demo students as checkpoints, and from each an engine with FP32 and INT8: what the benchmarks run on.

    python benchmarks/demo_student.py [--out runs/bench]        # the same as `make bench-engine`

The packages keep the weights under the names of the modules, batch norm folded; they go back into HFD-Net with a batch norm that adds the
bias alone, and its logits are compared with the shipped graph's. Then `hfd-edge export` quantises it on simulated scenes, judges it, and
measures the bounded halo: OUT/demo.safetensors and OUT/model.engine, and of the light one OUT/light.safetensors and OUT/light.engine. Takes
a minute or two each.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import nn

import hfd_edge
from hfd_edge.network import HFDNet, NetworkConfig, save_checkpoint
from hfd_edge.package import Package

DATA = Path(hfd_edge.__file__).parent / "data"
SHIPPED, LIGHT = DATA / "demo.engine", DATA / "demo-light.engine"
EXPORT = Path(hfd_edge.__file__).parent / "export"
TOLERANCE = 1e-3                # of logits up to about 11: rounding of another order of sums


def fill(net: HFDNet, arrays: dict[str, np.ndarray]) -> HFDNet:
    """`net` with the weights of a folded graph; a bias goes to the convolution, or to the batch norm that follows it.

    Raises:
        KeyError: the graph has no weight of that name.
    """
    waiting = None
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data.copy_(torch.from_numpy(arrays[f"{name}.weight"]))
            waiting = next((arrays[key] for key in (f"{name}.bias", f"{name}.weight_bias") if key in arrays), None)
            if module.bias is not None:
                module.bias.data.copy_(torch.from_numpy(waiting))
        elif isinstance(module, nn.BatchNorm2d):
            module.weight.data.fill_(1)
            module.bias.data.copy_(torch.from_numpy(waiting))
            module.running_mean.fill_(0)
            module.running_var.fill_(1 - module.eps)
    return net.eval()


def rebuilt(engine: Path) -> tuple[HFDNet, dict]:
    """The network of a package, and the checkpoint's part of its spec.

    Raises:
        SystemExit: it answers otherwise than the package's graph.
    """
    import onnx
    import onnxruntime
    with Package.open(engine) as package:
        graph, spec, config = bytes(package.read("graph-fp32.onnx")), package.spec, package.manifest["provenance"]["network"]
    arrays = {each.name: onnx.numpy_helper.to_array(each).copy() for each in onnx.load_from_string(graph).graph.initializer}
    net = fill(HFDNet(NetworkConfig.from_dict(config)), arrays)
    batch = np.random.default_rng(0).standard_normal((1, len(spec.bands), 256, 256)).astype(np.float32)
    expected = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"]).run(None, {"pixels": batch})[0]
    with torch.inference_mode():
        error = float(np.abs(net(torch.from_numpy(batch)).numpy() - expected).max())
    if not error < TOLERANCE:
        raise SystemExit(f"{engine}: the network put together from its graph differs by {error:.3g} in the logits (at most {TOLERANCE}); "
                         "its weights have other names than HFD-Net's modules: export it again")
    part = {"name": spec.name, "bands": list(spec.bands), "input": {**asdict(spec.input), "unit": str(spec.input.unit)},
            "classes": list(spec.classes), "colors": [list(color) for color in spec.colors], "pixel_spacing_m": spec.pixel_spacing_m,
            "tile_px": spec.tile_px}
    return net, part


def make(out: Path, shipped: Path = SHIPPED) -> tuple[Path, Path]:
    """(checkpoint, engine) in `out`, made where they are missing, the engine also where a file of the export is newer."""
    names = ("light.safetensors", "light.engine") if shipped == LIGHT else ("demo.safetensors", "model.engine")
    checkpoint, target = (out / name for name in names)
    if not checkpoint.is_file():
        net, part = rebuilt(shipped)
        save_checkpoint(checkpoint, net, part, {"kind": "sar", "about": f"put together from the graph of the shipped {shipped.name}"})
    newest = max(each.stat().st_mtime for each in EXPORT.glob("*.py"))
    if not target.is_file() or target.stat().st_mtime < newest:
        words = ["export", str(checkpoint), "-o", str(target), "--calibration", "simulated", "--quiet", "--overwrite"]
        subprocess.run([sys.executable, "-m", "hfd_edge.cli", *words], check=True)
    return checkpoint, target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    options = parser.parse_args()
    torch.set_num_threads(2)
    for shipped in (SHIPPED, LIGHT):
        for path in make(options.out, shipped):
            print(path)


if __name__ == "__main__":
    main()
