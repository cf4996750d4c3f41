"""Whether an engine can be made of a network, asked before it is trained: export refuses what joins all positions of the image."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from hfd_edge.errors import ExportError, ReachError
from hfd_edge.network import HFDNet
from training.schema import ConfigError

# What an encoder may run without a doubt. Of any other operator export itself is asked, which takes half a minute.
_PLAIN = frozenset("""convolution _native_batch_norm_legit_no_training native_batch_norm relu relu_ hardtanh hardtanh_ silu silu_ hardswish hardswish_
    add add_ mul mul_ cat max_pool2d_with_indices avg_pool2d empty zeros""".split())


class _Operators(TorchDispatchMode):
    """Collects the names of the operators that run."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        self.seen.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def check_tileable(net: HFDNet) -> None:
    """Refuse an encoder before it is trained that no engine could be made of; the rest of the network is ours, and never in doubt.

    Raises:
        ConfigError: export would refuse it, with export's reason.
    """
    doubtful = _operators_of(net) - _PLAIN
    if not doubtful:
        return
    from hfd_edge.export.onnx import to_onnx
    from hfd_edge.export.reach import bound_reach
    try:
        bound_reach(to_onnx(net), net.stride_px, net.logit_stride_px)
    except (ReachError, ExportError) as error:
        raise ConfigError(f"network.encoder={net.config.encoder}: no engine could be made of it, so nothing was trained: {error}. As a teacher alone "
                          "it may be used: teacher.network.encoder") from error


def _operators_of(net: HFDNet) -> set[str]:
    """Names of torch's operators in one pass through the encoder."""
    training, side = net.training, 2 * net.stride_px
    with torch.no_grad(), _Operators() as mode:
        net.encoder.eval()(torch.zeros(1, net.config.in_bands, side, side))
    net.train(training)
    return mode.seen
