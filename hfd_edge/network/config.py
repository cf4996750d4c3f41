"""What an HFD-Net is built from: a record of names and numbers that travels in the checkpoint's sidecar."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from hfd_edge.errors import SpecError
from hfd_edge.spec import MAX_CLASSES

ALIGNMENTS = ("flow", "local", "none")
FUSIONS = ("concat", "sum")
MAX_STRIDES = (8, 16, 32)
FINEST_STRIDES = (2, 4, 8)


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """One HFD-Net. Teacher and student differ in `in_bands` alone, or in a smaller encoder for the edge."""

    encoder: str                                    # a timm name, e.g. "resnet18", "efficientnet_lite0"
    in_bands: int                                   # bands of the input image
    classes: int                                    # channels of the logits
    max_stride: int = 16                            # 32, 16 or 8: deeper layers of the encoder are removed
    width: int = 64                                 # channels of every level after its 1x1 lateral
    align: str = "local"                            # flow, local or none: how a coarse level is laid onto a finer one
    align_levels: tuple[int, ...] | None = None     # strides of the finer levels it acts on, others are bilinear; None = all
    pretrained: str | None = None                   # "imagenet" (EfficientNet-Lite0, from an installed package) or None = random
    finest_stride: int = 4                          # 2, 4 or 8: the finest encoder level used; the logits' own stride
    max_flow_cells: float = 1.0                     # flow only: largest offset per axis, in cells of the coarse level
    fuse: str = "concat"                            # before the last 3x3: levels side by side, or added up (a third of its work)
    stem_channels: int | None = None                # of the encoder's first convolution, RegNets only; None = the encoder's own
    hallucinate: bool = False                       # guessed EO features are added to each encoder level, in the deployed graph too

    def __post_init__(self) -> None:
        if self.align_levels is not None:
            object.__setattr__(self, "align_levels", tuple(self.align_levels))
        _check_text(self)
        counts = [("in_bands", 1, 4096), ("classes", 1, MAX_CLASSES), ("width", 4, 4096)]
        for name, low, high in counts + [("stem_channels", 4, 4096)] * (self.stem_channels is not None):
            _check_count(name, getattr(self, name), low, high)
        _check_levels(self)

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides of the levels used, finest first, e.g. (4, 8, 16)."""
        return tuple(2 ** i for i in range(self.finest_stride.bit_length() - 1, self.max_stride.bit_length()))

    @property
    def aligned_strides(self) -> tuple[int, ...]:
        """Strides of the levels onto which a coarser one is laid with `align`; empty for align "none"."""
        if self.align == "none":
            return ()
        return self.strides[:-1] if self.align_levels is None else self.align_levels

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON-ready numbers, strings and lists; what came later only where it is not the default."""
        record = asdict(self)
        for name in ("fuse", "stem_channels", "hallucinate"):
            if record[name] == type(self).__dataclass_fields__[name].default:
                del record[name]
        record["align_levels"] = None if self.align_levels is None else list(self.align_levels)
        return record

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> NetworkConfig:
        """A configuration from `to_dict`'s record; keys that are absent take their default.

        Raises:
            SpecError: a key is unknown (another network would be built than the one trained) or missing, or a value is refused.
        """
        if not isinstance(record, dict):
            raise SpecError(f"network record is a {type(record).__name__}: it must be a JSON object with the fields of NetworkConfig")
        names = {f.name for f in fields(cls)}
        if unknown := sorted(set(record) - names):
            raise SpecError(f"network record has unknown keys {unknown}: known are {sorted(names)}; use the version of hfd_edge that wrote it")
        try:
            return cls(**record)
        except TypeError as error:
            raise SpecError(f"network record cannot be read: {error}; give encoder, in_bands and classes at least") from error


def _check_text(config: NetworkConfig) -> None:
    if not isinstance(config.encoder, str) or not config.encoder:
        raise SpecError(f"encoder={config.encoder!r}: it must be the name of a timm model, e.g. resnet18")
    if config.encoder.startswith("tf_"):
        raise SpecError(f"encoder={config.encoder!r}: tf_ models pad by the size of the image, so tiles would not match "
                        f"the scene; use the symmetric {config.encoder.removeprefix('tf_')!r}")
    if config.align not in ALIGNMENTS:
        raise SpecError(f"align={config.align!r} is not known: use one of {', '.join(ALIGNMENTS)}")
    if config.fuse not in FUSIONS:
        raise SpecError(f"fuse={config.fuse!r} is not known: use one of {', '.join(FUSIONS)}")
    if not isinstance(config.hallucinate, bool):
        raise SpecError(f"hallucinate={config.hallucinate!r}: it must be true or false")
    if config.pretrained not in (None, "imagenet"):
        raise SpecError(f"pretrained={config.pretrained!r} is not known: use 'imagenet' or None (random initialisation)")


def _check_count(name: str, value: int, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise SpecError(f"{name}={value!r}: it must be a whole number from {low} to {high}")


def _check_levels(config: NetworkConfig) -> None:
    for name, allowed in (("max_stride", MAX_STRIDES), ("finest_stride", FINEST_STRIDES)):
        if getattr(config, name) not in allowed:
            raise SpecError(f"{name}={getattr(config, name)!r}: it must be one of {', '.join(map(str, allowed))}")
    if config.finest_stride >= config.max_stride:
        raise SpecError(f"finest_stride={config.finest_stride} with max_stride={config.max_stride}: the alignment merges at "
                        "least two levels; lower finest_stride or raise max_stride")
    finer = config.strides[:-1]
    if config.align_levels is not None and not (set(config.align_levels) <= set(finer)):
        raise SpecError(f"align_levels={config.align_levels}: each must be the stride of a level finer than max_stride, one of {finer}")
    flow = config.max_flow_cells
    if not isinstance(flow, (int, float)) or not math.isfinite(flow) or not 0 < flow <= 8:
        raise SpecError(f"max_flow_cells={flow!r}: it must be above 0 and at most 8, or the reach is not bounded by anything useful")
