"""How an INT8 graph for the CPU is made."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Int8Options:
    """What may differ from one INT8 graph for the CPU to the next."""

    keep_float: tuple[str, ...] = ()        # names of nodes of the float graph that are not quantised; the head's weights are as good as float
    only: str = ""                          # quantise this one convolution and nothing else: to learn what it costs
    weight_bits: int = 7                    # 7: right on processors without VNNI too, where unsigned by signed saturates
    fast_layout: bool = True                # reshape the first and the grouped convolutions into forms with fast int8 kernels; False: the head stays float
