"""Those who teach: frozen networks that see what the student does not. One, or several whose answers are averaged."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hfd_edge.errors import CheckpointError
from hfd_edge.network import HFDNet, load_checkpoint, upsample
from hfd_edge.network.checkpoint import weights_digest
from training.batches import Data
from training.config import TEACHER_KINDS
from training.loader import Batch, View
from training.pairs import SetInfo
from training.progress import Log, silent
from training.statistics import Normalisation
from training.trained_on import teacher_view, tell_of_known_pairs


def freeze(net: HFDNet) -> HFDNet:
    """The same network in eval mode without gradients: neither weights nor batch-norm statistics can move."""
    return net.eval().requires_grad_(False)


def sees(kind: str, batch: Batch | View) -> Tensor:
    """What a network of this kind is shown of a batch: (n, bands, h, w)."""
    return {"eo": lambda: batch.eo, "sar": lambda: batch.sar, "eo+sar": lambda: torch.cat([batch.eo, batch.sar], dim=1)}[kind]()


def bands_of(kind: str, sar_bands: int, eo_bands: int) -> int:
    """Input bands of a network of this kind."""
    return {"eo": eo_bands, "sar": sar_bands, "eo+sar": eo_bands + sar_bands}[kind]


def band_names(kind: str, info: SetInfo) -> tuple[str, ...]:
    """Of the input of a network of this kind, in its order."""
    return {"eo": info.eo_bands, "sar": info.bands, "eo+sar": (*info.eo_bands, *info.bands)}[kind]


@dataclass(frozen=True)
class Lesson:
    """What a teacher says of a batch. No gradient leads back into it."""

    taps: dict[str, Any]                 # as HFDNet.features, of the first member
    logits: tuple[Tensor, ...]           # of each member at full resolution: (n, classes, h, w)
    knows: Tensor                        # (n, h, w) bool, where it saw what it needs

    def shares(self, temperature: float = 1.0) -> Tensor:
        """(n, classes, h, w) float32, mean of the members' probabilities."""
        return torch.stack([(logits.float() / temperature).softmax(dim=1) for logits in self.logits]).mean(dim=0)


@dataclass(frozen=True)
class Teacher:
    """One or several frozen networks with the kind of their input; the first gives the features."""

    members: tuple[HFDNet, ...]
    kinds: tuple[str, ...]
    views: tuple[Normalisation | None, ...] = ()     # of each, how it is shown pixels; None = as the set's networks; () = that for all
    _at: list[torch.device] = field(default_factory=lambda: [torch.device("cpu")], repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "views", self.views or (None,) * len(self.members))
        for net in self.members:
            freeze(net)

    @property
    def leader(self) -> HFDNet:
        return self.members[0]

    @torch.no_grad()
    def teach(self, batch: Batch) -> Lesson:
        """What the teacher says of a batch, on the batch's device."""
        if self._at[0] != batch.sar.device:
            self._at[0] = batch.sar.device
            nn.ModuleList(self.members).to(batch.sar.device)
        side, taps, logits = batch.labels.shape[-1], None, []
        for net, kind, by in zip(self.members, self.kinds, self.views, strict=True):
            own = net.features(sees(kind, batch if by is None else batch.views[by]))
            answer = net.classifier(own["fused"])
            logits.append(upsample(answer, side // answer.shape[-1]))
            taps = taps or own
        return Lesson(taps, tuple(logits), batch.eo_seen if self.needs_eo else torch.ones_like(batch.valid))

    @property
    def digests(self) -> list[str]:
        """SHA-256 of each member's weights, as of its checkpoint's file: a student knows by them who taught it."""
        return [weights_digest(net) for net in self.members]

    @property
    def needs_eo(self) -> bool:
        return any("eo" in kind for kind in self.kinds)

    def shown(self, data: Data) -> Data:
        """The set, whose batches hold each image in the normalisations of these teachers too."""
        return replace(data, views=tuple({by: None for by in self.views if by is not None}))


def load_teacher(paths: list[Path], data: Data, log: Log = silent) -> Teacher:
    """The teacher in one or several checkpoints.

    Args:
        data: the set that it teaches on. log: hears where pixels are normalised in another way than the set's, and of pairs that judge now and taught a teacher.
    Raises:
        CheckpointError: missing or damaged, its kind is not recorded, its bands or classes are not the data set's, in their order, or the set's
            pixels are of another unit or scale than those it learnt from.
    """
    members, kinds, views, info = [], [], [], data.info
    for path in paths:
        net, spec, provenance = load_checkpoint(path)
        kind = provenance.get("kind")
        if kind not in TEACHER_KINDS:
            raise CheckpointError(f"{path}: kind={kind!r} in its provenance; a teacher is one of {', '.join(TEACHER_KINDS)}; "
                                  f"make it "
                                  "with python -m training teacher CONFIG")
        for what, needed in (("bands", band_names(kind, info)), ("classes", info.classes)):
            if (theirs := tuple(spec.get(what, ()))) != needed:
                raise CheckpointError(f"{path}: a teacher of kind {kind} with the {what} {', '.join(theirs)}; the set {info.name} has "
                                      f"{', '.join(needed)}: names and order must be the same; correct the set, or train a teacher on it")
        members.append(net.to(memory_format=torch.channels_last))
        kinds.append(kind)
        views.append(teacher_view(path, spec, provenance, data.statistics, log))
        tell_of_known_pairs(path, provenance, data.pairs, log)
    return Teacher(tuple(members), tuple(kinds), tuple(views))
