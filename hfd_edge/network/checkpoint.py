"""A checkpoint on disk: NAME.safetensors (weights) and NAME.json (network, spec, provenance) side by side.

Weights are safetensors, which holds numbers and nothing that runs; torch's own pickle format is never opened.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save

from hfd_edge.durable import beside
from hfd_edge.errors import CheckpointError, SpecError
from hfd_edge.network.config import NetworkConfig
from hfd_edge.network.hfdnet import HFDNet

WEIGHTS_KEY = "weights_sha256"      # of the sidecar: which weights it speaks of; older ones do not say
PAIRS_KEY = "trained_on"            # of the provenance: which pairs it learnt from; a package does without
SIDECAR_KEYS = ("network", "spec", "provenance")
MAX_SIDECAR_BYTES = 16 * 2 ** 20


def checkpoint_paths(path: str | os.PathLike) -> tuple[Path, Path]:
    """(NAME.safetensors, NAME.json) from either of them or from the bare NAME."""
    stem = Path(path)
    if not stem.name:
        raise CheckpointError(f"{os.fspath(path)!r} is no checkpoint; a checkpoint is NAME.safetensors with NAME.json beside it")
    if stem.suffix in (".pt", ".pth", ".ckpt", ".bin"):
        raise CheckpointError(f"{stem}: a pickled checkpoint can run code when opened and is refused; save it with hfd_edge.network.save_checkpoint")
    if stem.suffix in (".safetensors", ".json"):
        stem = stem.with_suffix("")
    return stem.with_name(stem.name + ".safetensors"), stem.with_name(stem.name + ".json")


def save_checkpoint(path: str | os.PathLike, net: HFDNet, spec_part: dict[str, Any], provenance: dict[str, Any]) -> Path:
    """Write weights and sidecar; each appears when it is on the disk, the sidecar last.

    Args:
        path: NAME, NAME.safetensors or NAME.json; existing files are replaced.
        net: the network; its weights are stored as they are, on any device.
        spec_part: name, bands, input (the fields of ModelInput), classes, colors, pixel_spacing_m, tile_px.
        provenance: anything JSON can hold about the training run.
    Returns:
        the path of the safetensors file.
    Raises:
        CheckpointError: spec_part or provenance cannot be written as JSON.
    """
    weights, sidecar = checkpoint_paths(path)
    data = _stored(net)
    try:
        record = {"network": net.config.to_dict(), "spec": spec_part, "provenance": provenance, WEIGHTS_KEY: hashlib.sha256(data).hexdigest()}
        text = json.dumps(record, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{sidecar}: spec or provenance cannot be written as JSON ({error}); "
                              "use numbers, strings, lists and dictionaries, and no NaN") from error
    weights.parent.mkdir(parents=True, exist_ok=True)
    with beside(sidecar) as about, beside(weights) as file:
        file.write(data)
        about.write(f"{text}\n".encode())
        about.flush()
        os.fsync(about.fileno())                    # what the disk refuses it refuses before either has its name
    return weights


def weights_digest(net: HFDNet) -> str:
    """SHA-256 of the weights file that `save_checkpoint` writes of a network."""
    return hashlib.sha256(_stored(net)).hexdigest()


def _stored(net: HFDNet) -> bytes:
    """The weights file; save_file's files only their owner may read."""
    return save({name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()})


def read_sidecar(path: str | os.PathLike) -> dict[str, Any]:
    """The checkpoint's JSON record: "network", "spec" and "provenance", each a dictionary.

    Raises:
        CheckpointError: no such file, not JSON, or a key is missing.
    """
    weights, sidecar = checkpoint_paths(path)
    if not sidecar.is_file():
        other = Path(path).exists() and Path(path) not in (weights, sidecar)
        missing = f"{path} is no checkpoint" if other else f"{sidecar if weights.is_file() else path}: no such file"
        raise CheckpointError(f"{missing}; a checkpoint is NAME.safetensors with NAME.json beside it")
    if sidecar.stat().st_size > MAX_SIDECAR_BYTES:
        raise CheckpointError(f"{sidecar} has {sidecar.stat().st_size} bytes: a sidecar has at most {MAX_SIDECAR_BYTES}; "
                              "give the path of a checkpoint")
    try:
        record = json.loads(sidecar.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{sidecar} is not JSON ({error}); save the checkpoint again") from error
    if not isinstance(record, dict) or not all(isinstance(record.get(key), dict) for key in SIDECAR_KEYS):
        raise CheckpointError(f"{sidecar}: it must be an object with the objects {', '.join(SIDECAR_KEYS)}; save the checkpoint again")
    return record


def load_checkpoint(path: str | os.PathLike) -> tuple[HFDNet, dict[str, Any], dict[str, Any]]:
    """(network in eval mode on the CPU, spec part, provenance) of a checkpoint.

    Raises:
        CheckpointError: a file is missing or damaged, or the weights are not those of the described network.
    """
    weights = checkpoint_paths(path)[0]
    record = read_sidecar(path)
    if not weights.is_file():
        raise CheckpointError(f"{weights}: no such file; a checkpoint is NAME.safetensors with NAME.json beside it")
    try:
        net = HFDNet(NetworkConfig.from_dict(record["network"]), load_pretrained=False)
        net.load_state_dict(load_file(weights))
    except SpecError as error:
        raise CheckpointError(f"{checkpoint_paths(path)[1]}: {error}") from error
    except SafetensorError as error:
        raise CheckpointError(f"{weights} is not a whole safetensors file ({error}); copy or save it again") from error
    except RuntimeError as error:
        raise CheckpointError(f"{weights} does not hold the weights of the network in its sidecar: {_first_line(error)}; "
                              "the two files must come from the same save") from error
    if record.get(WEIGHTS_KEY, found := hashlib.sha256(weights.read_bytes()).hexdigest()) != found:
        raise CheckpointError(f"{weights} and {checkpoint_paths(path)[1]} are not of one save (weights of SHA-256 {found}, {WEIGHTS_KEY} says "
                              f"{str(record[WEIGHTS_KEY])[:64]!r}): mean, std and classes would be another training's; copy both files of one checkpoint")
    return net.eval(), record["spec"], record["provenance"]


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300]
