"""The two trainings: a teacher from what it may see, and the SAR student with or without a teacher. Both give a checkpoint."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hfd_edge.network import HFDNet, NetworkConfig, save_checkpoint
from hfd_edge.network.checkpoint import PAIRS_KEY, read_sidecar
from hfd_edge.spec import NODATA_LABEL
from training.batches import Data, make_batches
from training.config import Config, DistilConfig, changed
from training.distil import Distillation
from training.loader import Batch
from training.loop import Job, Losses, fit
from training.losses import balanced, segmentation_loss
from training.measures import miou_on
from training.pairs import DataError
from training.pretrained import by_content, fill_encoder, is_file
from training.progress import Log, Progress
from training.schema import ConfigError, build, to_record
from training.start import digest, fill, record_of
from training.state import StateFile
from training.teacher import Teacher, band_names, bands_of, freeze, sees
from training.tileable import check_tileable
from training.trained_on import pairs_of, pairs_record

_NOT_THE_RUN = ("work", "start", "evaluate", "ablate", "qat", "name")        # keys that leave the weights as they are, or say where
_NOT_THE_LOOP = ("save_every", "log_every", "tensorboard", "device")


def train_teacher(config: Config, data: Data, log: Log = print, folder: Path | None = None, member: int = 0) -> HFDNet:
    """A frozen teacher, from the pairs with labels.

    Args:
        folder: where log and state are kept; None keeps nothing.
        member: which of `teacher.kinds`; each starts from numbers of its own.
    Raises:
        ConfigError: the set has no optical bands. DataError: no train pair with labels, or none of select, has an optical image.
    """
    kind, run = config.teacher.kinds[member], teacher_config(config, member)
    if "eo" in kind and not data.info.eo_bands:
        raise ConfigError(f"teacher.kinds: {kind} needs optical images and the set {data.info.name} has none; use [sar], or train the "
                          "student alone with distil.weight=0 distil.logit_weight=0")
    check_told(kind, data)
    torch.manual_seed(run.seed + 1)
    net = HFDNet(network_of(run, bands_of(kind, *data.bands), len(data.info.classes))).to(memory_format=torch.channels_last)
    fill_encoder(net.encoder, run, net.config.in_bands, log)
    weights = class_weights(run, data, eo=kind != "sar")

    def losses_of(batch: Batch, done: float) -> Losses:
        if kind != "sar":                                            # it learns nothing from an empty picture
            batch = replace(batch, labels=batch.labels.masked_fill(~batch.eo_seen, NODATA_LABEL))
        return {"segmentation": segmentation_loss(net(sees(kind, batch)), batch.labels, run.loop.dice_weight,
                                                  weights_on(weights, batch))}

    batches = make_batches(run, data, eo=kind != "sar", unlabelled=False, log=log)
    job = Job(net, losses_of, batches, judge=judge_of(run, data, kind), seed=run.seed)
    role = {"role": "teacher", "kind": kind, **(record_of(config.start) if "sar" in kind else {})}        # whose normalisation its SAR has
    return freeze(fit_as(role, job, run, data, log, folder))


def check_told(kind: str, data: Data) -> None:
    """Refuse a network that would be told nothing (its loss would be 0 from the first step on) or could not be judged at the end.

    Raises:
        DataError: no train pair with labels, or none of select, has a known label, of a teacher that needs EO with an optical image.
    """
    blind = kind == "sar"
    for what, names in (("train pairs with labels", data.labelled), ("pairs of the split select", data.pairs.names("select"))):
        pairs = (data.pairs.read(name, eo=not blind) for name in names)
        if not any(((pair.labels if blind else pair.eo_labels) != NODATA_LABEL).any() for pair in pairs):
            needed, way_out = ("a known label", "correct the labels, the codes of ignore or the split") if blind else (
                "an optical image and a known label", "add optical images (the folder eo/), raise data.labelled_share, or use teacher.kinds=[sar]")
            raise DataError(f"set {data.info.name}: none of the {len(names)} {what} has {needed}, and a network of kind {kind} learns and is judged on such "
                            f"pairs alone; {way_out}")
    if blind:
        return
    if not data.statistics.eo_pairs:
        raise DataError(f"set {data.info.name}: none of the {data.statistics.pairs} measured train pairs has an optical image, so the mean and spread of these "
                        "are not known; raise data.measured_pairs, or use teacher.kinds=[sar]")


def train_student(config: Config, data: Data, teacher: Teacher | None = None, log: Log = print,
                  folder: Path | None = None) -> HFDNet:
    """A SAR student in eval mode.

    Args:
        teacher: None trains on SAR and labels alone, which distillation weights of 0 equal bit for bit.
    Raises:
        ConfigError: no engine could be made of the network. CheckpointError: the checkpoint to start from is another network's.
        DataError: no train pair, or none of select, has a label.
    """
    check_told("sar", data)
    net = new_student(config, data, log)
    check_tileable(net)
    distillation = None if teacher is None else Distillation(teacher, net, config.distil)
    weights = class_weights(config, data)

    def losses_of(batch: Batch, done: float) -> Losses:
        taps = net.features(batch.sar)
        logits = net.classifier(taps["fused"])
        losses = {"segmentation": segmentation_loss(logits, batch.labels, config.loop.dice_weight, weights_on(weights, batch))}
        return losses if distillation is None else {**losses, **distillation.losses(taps, logits, batch, done)}

    taught = distillation is not None
    batches = make_batches(config, teacher.shown(data) if taught else data, eo=taught, unlabelled=taught and config.distil.teaches,
                           log=log)
    job = Job(net, losses_of, batches, distillation.adapters if taught else None, judge_of(config, data, "sar"), config.seed)
    return fit_as({"role": "student", "teachers": teacher.digests if taught else []}, job, config, data, log, folder)


def new_student(config: Config, data: Data, log: Log = print) -> HFDNet:
    """The student at the start of a run: a function of the seed, and of the checkpoint or the encoder's weights that it starts from."""
    torch.manual_seed(config.seed + 2)
    network = network_of(config, len(data.info.bands), len(data.info.classes))
    net = HFDNet(replace(network, hallucinate=config.distil.hallucinate), load_pretrained=config.start is None)
    if config.start is None:
        fill_encoder(net.encoder, config, network.in_bands, log)
    else:
        fill(net, config.start, data.info.classes)
    return net.to(memory_format=torch.channels_last)


def class_weights(config: Config, data: Data, eo: bool = False) -> Tensor | None:
    """(classes,) float32 of the cross entropy; None = all alike. `eo`: of a network that learns where there is an optical image.

    Raises:
        ConfigError: a class is not the set's, or one of the set's has no weight.
    """
    given, classes = config.loop.class_weights, data.info.classes
    if isinstance(given, str):
        return balanced(data.class_counts(eo)) if given == "balanced" else None
    if isinstance(given, dict):
        unknown, missing = ([name for name in one if name not in other] for one, other in ((given, classes), (classes, given)))
        if unknown or missing:
            what = f"{unknown[0]!r} is no class" if unknown else f"{missing[0]!r} has no weight"
            raise ConfigError(f"loop.class_weights: {what}; give one for each class of the set {data.info.name}: {', '.join(classes)}")
        given = tuple(given[name] for name in classes)
    if len(given) != len(classes):
        raise ConfigError(f"loop.class_weights={list(given)}: {len(given)} numbers, and the set {data.info.name} has {len(classes)} classes; give one for "
                          f"each, in this order: {', '.join(classes)}")
    return torch.tensor(given, dtype=torch.float32)


def teacher_config(config: Config, member: int = 0) -> Config:
    """The run that makes a teacher: its own network keys, steps and seed. Nobody teaches it, and it knows of no other member."""
    steps, seed = config.teacher.steps or config.loop.steps, config.seed + config.teacher.seed + 100 * member
    return changed(config, {"network": config.teacher.network, "loop": {"steps": steps}, "seed": seed, "start": None, "data": {"unlabelled_batch": 0},
                            "teacher": {"checkpoints": [], "kinds": [config.teacher.kinds[member]]}, "distil": to_record(DistilConfig(weight=0.0))})


def network_of(config: Config, bands: int, classes: int) -> NetworkConfig:
    """What is built; weights of a file leave no trace in it."""
    keys = to_record(config.network)
    if is_file(keys["pretrained"]):
        keys["pretrained"] = None
    return build(NetworkConfig, {**keys, "in_bands": bands, "classes": classes}, "network")


def save(path: Path, net: HFDNet, config: Config, data: Data, found: dict[str, Any]) -> Path:
    """The checkpoint of a student or a teacher; `found` joins the provenance ("kind" says what the network sees).

    A student's spec is what `hfd-edge export` needs. A teacher is never exported; its spec says its bands and how it normalises them.
    """
    info, spec = data.info, data.statistics.input
    part = {"name": config.name, "bands": list(band_names(found["kind"], info)), "input": {**asdict(spec), "unit": str(spec.unit)},
            "classes": list(info.classes), "colors": [list(c) for c in info.colors],
            "pixel_spacing_m": info.pixel_spacing_m, "tile_px": config.tile_px}
    if "eo" in found["kind"]:
        part["eo_input"] = {"mean": list(data.statistics.eo_mean), "std": list(data.statistics.eo_std)}
    start = {} if config.start is None else read_sidecar(config.start)["provenance"]
    learnt = pairs_record(info.name, data.labelled + (data.unlabelled if config.distil.teaches else ()), pairs_of(path, {**start, **found}))
    return save_checkpoint(path, net, part, {**found, **provenance(config, data), PAIRS_KEY: learnt})


def provenance(config: Config, data: Data) -> dict[str, Any]:
    """What a checkpoint keeps of its run: nothing that differs between two equal runs."""
    kept = to_record(config)
    # say where, not what
    kept["data"].pop("root"), kept.pop("work"), kept.pop("start"), kept["teacher"].pop("checkpoints"), kept["evaluate"].pop("package")
    _name_by_content(kept, config)
    return {"data": {"set": data.info.name, "statistics": data.statistics.hash, "labelled_pairs": len(data.labelled),
                     "unlabelled_pairs": len(data.unlabelled)},
            "config": kept, "versions": {"python": platform.python_version(), "torch": torch.__version__}, **record_of(config.start)}


def weights_record(config: Config) -> dict[str, Any]:
    """The keys that decide the weights of a run."""
    record = {k: v for k, v in to_record(config).items() if k not in _NOT_THE_RUN}
    record["data"] = {k: v for k, v in record["data"].items() if k not in ("root", "workers")}
    if not config.data.by_class:                     # runs from before there was this key are those without it
        del record["data"]["by_class"]
    record["loop"] = {k: v for k, v in record["loop"].items() if k not in _NOT_THE_LOOP}
    record["teacher"]["checkpoints"] = [digest(path) for path in config.teacher.checkpoints if config.distil.teaches]     # what they are, not where they lie
    _name_by_content(record, config)
    return {**record, **record_of(config.start)}


def _name_by_content(record: dict[str, Any], config: Config) -> None:
    """Files of weights in a record of a run: those of the student, and of teachers where there are any."""
    record["network"] = by_content(record["network"])
    teacher = record["teacher"]["network"]
    record["teacher"]["network"] = by_content(teacher) if config.distil.teaches else {k: v for k, v in teacher.items() if k != "pretrained"}


def fit_as(role: dict[str, Any], job: Job, config: Config, data: Data, log: Log, folder: Path | None) -> nn.Module:
    """The moving average after a job; `role` tells its state from those of other jobs of this configuration. `folder` None keeps no state."""
    record = {**weights_record(config), **role, "statistics": data.statistics.hash}
    loop = config.loop
    progress = Progress(loop.steps, loop.log_every, log, folder, loop.tensorboard)
    return fit(job, loop, progress, None if folder is None else StateFile(folder, record, data.unknown_files))


def judge_of(config: Config, data: Data, kind: str) -> Callable[[nn.Module], float] | None:
    """How a network of this kind is judged on the way; None = it is not."""
    if not config.loop.select_every:
        return None
    return lambda net: miou_on(net, kind, data, "select")


def weights_on(weights: Tensor | None, batch: Batch) -> Tensor | None:
    return None if weights is None else weights.to(batch.labels.device)
