"""The weights that an encoder begins with, where they lie in a file: into the network, and into records by what they are, not where."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from torch import nn

from hfd_edge.errors import CheckpointError
from hfd_edge.network.pretrained import load_encoder
from training.config import Config
from training.progress import Log

PACKAGE = "imagenet"            # weights of an installed package, which the network itself fills in


def is_file(pretrained: str | None) -> bool:
    return pretrained not in (None, PACKAGE)


def fill_encoder(encoder: nn.Module, config: Config, in_bands: int, log: Log) -> None:
    """`network.pretrained` of a run into an encoder that sees `in_bands`, where it names a file.

    Raises:
        CheckpointError: no such file, or not the weights of this encoder.
    """
    path = config.network.pretrained
    if is_file(path):
        prefix = load_encoder(encoder, path, in_bands)
        log(f"pretrained: the encoder over {in_bands} bands begins with {path}" + (f", {prefix}*" if prefix else ""))


def by_content(record: dict[str, Any]) -> dict[str, Any]:
    """Keys of a network with a file of weights named by its SHA-256: a run is the same wherever the file lies.

    Raises:
        CheckpointError: there is no such file.
    """
    path = record.get("pretrained")
    if not is_file(path):
        return record
    try:
        digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise CheckpointError(f"pretrained={path}: it cannot be read ({error.strerror}); give a file of timm weights, '{PACKAGE}' or null; nothing is "
                              "downloaded") from error
    return {**record, "pretrained": {"file": Path(path).name, "sha256": digest}}
