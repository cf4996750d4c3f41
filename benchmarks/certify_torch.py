"""A torch network behind the DeviceEngine protocol: what certify_gpu.py drives the pipeline with where there is no TensorRT."""

from __future__ import annotations

from typing import Any

import numpy as np

from hfd_edge.spec import ModelSpec


class DeviceFloats:
    """Device memory for torch.as_tensor: float32, C order."""

    def __init__(self, address: int, shape: tuple[int, ...]) -> None:
        self.__cuda_array_interface__ = {"version": 2, "shape": shape, "typestr": "<f4", "data": (address, False)}


def network(spec: ModelSpec, width: int = 64) -> Any:
    """A network with a student's strides and random weights, the same at every call: convolutions at the logits' stride and below.

    Its logits have mean 0 and spread 1 over fields under speckle in every class, so that maps hold all classes: where biases decide, one class takes every
    pixel, and a wrong map is the right one.
    """
    import torch
    from torch import nn

    generator, layers, channels, stride = torch.Generator().manual_seed(0), [], len(spec.bands), 1
    while stride < spec.logit_stride_px:
        layers += [nn.Conv2d(channels, width, 3, 2, 1, bias=False), nn.ReLU()]
        channels, stride = width, 2 * stride
    for _ in range(8):
        layers += [nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.ReLU()]
        channels = width
    last = nn.Conv2d(channels, len(spec.classes), 1)
    made = nn.Sequential(*layers, last).eval()
    with torch.inference_mode():
        for layer in made[::2]:
            layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * (2 / layer.weight[0].numel()) ** 0.5)
        last.bias.zero_()
        fields, speckle = (torch.randn((1, len(spec.bands), side, side), generator=generator) for side in (16, 256))
        logits = made(fields.repeat_interleave(16, 2).repeat_interleave(16, 3) + speckle / 4)[0].flatten(1)
        mean, spread = logits.mean(1), logits.std(1)
        last.weight.div_(spread[:, None, None, None])
        last.bias.copy_(-mean / spread)
    return made


class TorchOnHost:
    """The same network in float32 on the CPU: what the GPU's labels are compared with."""

    name, device, graph = "torch", "cpu", "float32"

    def __init__(self, spec: ModelSpec) -> None:
        import torch

        self._torch, self._network, self.version = torch, network(spec), torch.__version__

    def infer(self, batch: np.ndarray, scene: np.ndarray | None = None) -> np.ndarray:
        with self._torch.inference_mode():
            return self._network(self._torch.from_numpy(np.array(batch))).numpy()

    def close(self) -> None:
        """Nothing is held."""


class TorchEngine:
    """On the GPU, in half or single precision, plain, compiled, or replayed as a CUDA graph."""

    name, device = "torch", "cuda:0"

    def __init__(self, spec: ModelSpec, half: bool, cuda_graph: bool = False, compiled: bool = False) -> None:
        import torch

        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = half
        self.torch, self.spec, self.cuda_graph, self.version = torch, spec, cuda_graph, torch.__version__
        self.graph = ("float16" if half else "float32") + (", CUDA graph" if cuda_graph else "") + (", compiled" if compiled else "")
        self.dtype = torch.float16 if half else torch.float32
        self.network = network(spec).to("cuda", self.dtype, memory_format=torch.channels_last)
        if compiled:
            self.network = torch.compile(self.network)

    def infer(self, batch: np.ndarray, scene: np.ndarray | None = None) -> np.ndarray:
        with self.torch.inference_mode():
            return self.network(self.torch.from_numpy(np.array(batch)).to("cuda", self.dtype)).float().cpu().numpy()

    def slot(self, tiles: int, rows: int, cols: int) -> TorchSlot:
        return TorchSlot(self, tiles, rows, cols)

    def close(self) -> None:
        self.network = None


class TorchSlot:
    """One context; it captures its graph, where there is one, before a run begins."""

    def __init__(self, engine: TorchEngine, tiles: int, rows: int, cols: int) -> None:
        spec = engine.spec
        self.tiles, self._engine, self._captured, self._at = tiles, engine, None, None
        self._source = self._target = None
        self.input_shape = (tiles, len(spec.bands), rows, cols)
        self.output_shape = (tiles, len(spec.classes), rows // spec.logit_stride_px, cols // spec.logit_stride_px)

    def enqueue(self, input_ptr: int, output_ptr: int, stream: int) -> None:
        torch = self._engine.torch
        self.prepare(input_ptr, output_ptr, stream)
        with torch.cuda.stream(torch.cuda.ExternalStream(stream)):
            if self._captured is not None:
                self._captured.replay()
            else:
                self._run(torch)

    def prepare(self, input_ptr: int, output_ptr: int, stream: int) -> None:
        """Views of the addresses, kernels chosen, the graph captured; nothing where they are the last call's."""
        if self._at == (input_ptr, output_ptr):
            return
        torch = self._engine.torch
        outer = torch.cuda.ExternalStream(stream)
        with torch.cuda.stream(outer):
            self._source = torch.as_tensor(DeviceFloats(input_ptr, self.input_shape), device="cuda")
            self._target = torch.as_tensor(DeviceFloats(output_ptr, self.output_shape), device="cuda")
            for _ in range(3):
                self._run(torch)
        outer.synchronize()
        if self._engine.cuda_graph:
            self._captured = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._captured, stream=outer, capture_error_mode="thread_local"):      # other threads stage and allocate
                self._run(torch)
        self._at = (input_ptr, output_ptr)

    def _run(self, torch: Any) -> None:
        with torch.inference_mode():
            self._target.copy_(self._engine.network(self._source.to(self._engine.dtype, memory_format=torch.channels_last)))

    def close(self) -> None:
        self._captured = self._source = self._target = None
