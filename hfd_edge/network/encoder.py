"""The encoder: a timm network cut at a stride, for any number of input bands. Nothing is ever downloaded."""

from __future__ import annotations

import timm
from torch import nn

from hfd_edge.errors import SpecError
from hfd_edge.network.config import NetworkConfig

IMAGENET_EPSILON = 1e-3     # batch norm of the network those weights were trained in; timm's default is 1e-5


def make_encoder(config: NetworkConfig) -> nn.Module:
    """The encoder with random weights; layers behind the last level used do not exist in it.

    Returns:
        a module from (n, in_bands, h, w) float32, h and w multiples of max_stride, to a list of
        (n, channels, h / s, w / s), one per s of `config.strides`; `.channels` are theirs.
    Raises:
        SpecError: timm does not know the name, or the network has no such levels.
    """
    levels = _level_indices(config)
    body = timm.create_model(config.encoder, pretrained=False, features_only=True, in_chans=config.in_bands, out_indices=levels,
                             **_stem(config))
    _drop_unused_blocks(body)
    if config.pretrained == "imagenet":
        _set_epsilon(body, IMAGENET_EPSILON)
    body.channels = tuple(body.feature_info.channels())
    return body


def _stem(config: NetworkConfig) -> dict[str, int]:
    if config.stem_channels is None:
        return {}
    if not config.encoder.startswith("regnet"):
        raise SpecError(f"stem_channels={config.stem_channels} with encoder={config.encoder!r}: only timm's RegNets (regnetx_002 and "
                        "its like) take the width of their stem; leave it out")
    return {"stem_width": config.stem_channels}


def _level_indices(config: NetworkConfig) -> tuple[int, ...]:
    if config.encoder not in timm.list_models():
        near = ", ".join(timm.list_models(f"*{config.encoder.split('_')[0]}*")[:5]) or "resnet18"
        raise SpecError(f"encoder={config.encoder!r}: timm {timm.__version__} has no such model; try one of {near}")
    try:
        reductions = timm.create_model(config.encoder, pretrained=False, features_only=True).feature_info.reduction()
    except (RuntimeError, AttributeError, IndexError, TypeError, NotImplementedError) as error:
        raise SpecError(f"encoder={config.encoder!r} gives no feature levels in timm {timm.__version__} ({error}); "
                        "use a convolutional encoder such as resnet18") from error
    if missing := [s for s in config.strides if s not in reductions]:
        raise SpecError(f"encoder={config.encoder!r} has levels of stride {reductions}: {missing} is missing; "
                        "change max_stride or finest_stride, or use another encoder")
    return tuple(reductions.index(s) for s in config.strides)


def _drop_unused_blocks(body: nn.Module) -> None:
    """EfficientNet-like feature extractors of timm keep and run every block, whatever levels were asked for."""
    stages = getattr(body, "_stage_out_idx", None)
    if stages is not None and isinstance(getattr(body, "blocks", None), nn.Sequential):
        body.blocks = body.blocks[:max(stages)]


def _set_epsilon(body: nn.Module, epsilon: float) -> None:
    for module in body.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = epsilon
