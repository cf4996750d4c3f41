"""What decides a run: one record, read from YAML. Every open point of the paper is a key here, with our choice and the
reason."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hfd_edge.spec import MAX_TILE_PX
from training.augment import AugmentOptions
from training.pairs import FLIPS
from training.schema import ConfigError, build, key, read_config, to_record

TEACHER_KINDS = ("eo", "eo+sar", "sar")
PRECISIONS = ("32", "bf16", "16")


@dataclass(frozen=True, slots=True)
class Augment:
    flips: tuple[str, ...] = key(FLIPS, "used where the data set allows them too; a look direction forbids some")
    speckle_looks: float | None = key(None, "looks of a gamma multiplied onto SAR alone; off, because real pairs bring their "
                                      "own speckle")
    shift_px: int = key(0, "EO against SAR, 0 to 3 px; give what your registration is worth")
    drop_eo: float = key(0.0, "probability that a pair loses its optical image")
    nodata_wedge: float = key(0.2, "probability of a border or hole without SAR: scenes have nodata borders")

    def options(self) -> AugmentOptions:
        return AugmentOptions(self.flips, self.speckle_looks, self.shift_px, self.drop_eo, self.nodata_wedge)


@dataclass(frozen=True, slots=True)
class DataConfig:
    layout: str = key(why="reader of the data set: folder, ombria, spacenet6, ...; see docs/data.md")
    root: str = key(".", "folder of the data set; a relative path starts where the command is run")
    options: dict[str, Any] = key(make=dict, why="of the reader, e.g. the counts and the scene of `simulated`")
    crop_px: int = key(256, "side of a training crop; larger sees more context and costs more", within=(8, 1 << 14))
    batch: int = key(8, "crops per step and process; batch norm wants at least 8", within=(1, 1 << 14))
    workers: int = key(2, "threads that make batches ahead; 0 = none", within=(0, 256))
    crops_per_pair: int = key(1, "crops taken of a pair before the next pairs; raise it where pairs are large or slow to read", within=(1, 1 << 20))
    by_class: float = key(0.0, "share of the crops placed on a pixel of a class, each class as often as any other, wherever labelled train pairs hold it; the "
                          "others lie anywhere. 0.5 where a class is rare", within=(0, 1))
    measured_pairs: int = key(512, "train pairs read for mean and spread, evenly over their names", within=(1, 1 << 30))
    labelled_share: float = key(1.0, "of the train pairs whose labels are used; the others teach through the teacher alone")
    unlabelled_batch: int = key(0, "crops per step of pairs without labels, beside `batch`; 0 with labelled_share < 1 = as "
                                "many as `batch`", within=(0, 1 << 14))
    augment: Augment = key(make=Augment)


@dataclass(frozen=True, slots=True)
class NetworkKeys:
    encoder: str = key("resnet18", "timm name; [paper: not known] small, exports with plain operators")
    max_stride: int = key(16, "deeper levels of the encoder are cut off, which keeps the reach, and so the tiles' halo, small")
    width: int = key(64, "channels of the alignment module; [paper: not known] the lever on cost, 64 to 128")
    align: Literal["local", "flow", "none"] = key("local", "[paper: not known] `local` has a finite reach by construction and "
                                                  "plain operators; `flow` is the semantic-flow reading, `none` the ablation")
    align_levels: tuple[int, ...] | None = key(None, "strides of the finer levels aligned; null = all")
    pretrained: str | None = key(None, "what the encoder begins with: a file of timm weights (.safetensors, .pth), imagenet (EfficientNet-Lite0, from an "
                                 "installed package) or null; never a download")
    finest_stride: int = key(4, "stride of the logits")
    fuse: Literal["concat", "sum"] = key("concat", "levels side by side before the last 3x3, or added up, which is a third of its work")
    stem_channels: int | None = key(None, "of the encoder's first convolution, RegNets only (timm: 32); two bands need fewer; null = timm's")


@dataclass(frozen=True, slots=True)
class TeacherConfig:
    kinds: tuple[str, ...] = key(("eo",), "what each teacher sees. [eo] is the paper; [eo+sar] sees both, our step beyond it; "
                                 "several are an "
                                 "ensemble (mean of probabilities, features of the first), e.g. [eo, sar] or [eo, eo, eo]")
    network: dict[str, Any] = key(make=dict, why="keys of `network` that differ for the teacher: it may be larger than the "
                                  "student")
    steps: int | None = key(None, "null = loop.steps", within=(1, 1 << 40))
    seed: int = key(1000, "added to `seed`: teacher and student do not start alike")
    checkpoints: tuple[str, ...] = key((), "teachers made elsewhere, instead of those of WORK")


@dataclass(frozen=True, slots=True)
class DistilConfig:
    weight: float = key(1.0, "of the feature loss; [paper: not known] 1 with normalised features; 0 = no feature loss", within=(0, 1e6))
    tap: Literal["encoder", "alignment", "fused"] = key("encoder", "[paper: not known] 'latent EO features' are read as the "
                                                        "encoder's levels")
    distance: Literal["mse", "cosine", "channel-wise", "relational"] = key(
        "mse", "[paper: not known] the plainest; channel-wise and relational are the later literature's")
    normalise: Literal["channel", "batch", "none"] = key("channel", "each pixel's feature vector to length 1: levels of "
                                                         "different magnitude weigh alike, and the weight means the same "
                                                         "on every data set")
    adapter: Literal["conv", "linear", "none"] = key("conv", "from the student's channels to the teacher's; dropped at export")
    adapter_seed: int = key(1, "adapters have random numbers of their own, so that the student's are those of a run without")
    mask: Literal["right", "all", "confident"] = key("right", "a teacher's mistakes are not worth imitating; where there are "
                                                     "no labels "
                                                     "`right` means confident")
    confidence: float = key(0.8, "probability from which the teacher is confident", within=(0, 1))
    channel_temperature: float = key(4.0, "of the spatial softmax of channel-wise; the method's own default", within=(0.1, 100))
    relation_cells: int = key(8, "side of the grid on which relational compares all cells with each other; cost grows with "
                              "its 4th power", within=(2, 64))
    logit_weight: float = key(0.0, "of the soft labels; [paper] names features only. 1 where labels are few", within=(0, 1e6))
    temperature: float = key(2.0, "of the soft labels; > 1 shows what the teacher holds for second best", within=(0.1, 100))
    hallucinate: bool = key(False, "the guessed EO features are added back to the student's and stay in the deployed graph; "
                            "off: [paper] "
                            "says the transfer supervises training, and they cost latency")
    schedule: Literal["constant", "warm-up", "cosine"] = key("constant", "of both weights: `warm-up` rises over warm_up, "
                                                             "`cosine` falls to 0")
    warm_up: float = key(0.1, "share of the steps until a warming-up weight is full")

    @property
    def teaches(self) -> bool:
        """Whether any weight is above 0; where not, pairs without labels are not looked at."""
        return self.weight > 0 or self.logit_weight > 0


@dataclass(frozen=True, slots=True)
class LoopConfig:
    steps: int = key(4000, "optimizer steps; a fixed budget makes runs comparable", within=(1, 1 << 40))
    rate: float = key(3e-3, "highest learning rate; [paper: not known] found on simulated scenes; 1e-3 with pretrained weights", within=(1e-12, 1e3))
    encoder_rate: float = key(1.0, "factor on the encoder's rate; below 1 for pretrained encoders", within=(0, 1e3))
    schedule: Literal["one-cycle", "poly", "constant"] = key("one-cycle", "of the rate; best for short budgets")
    warm_up: float = key(0.1, "share of the steps until the rate is highest", within=(0, 0.99))
    weight_decay: float = key(1e-2, "AdamW's default", within=(0, 1e3))
    clip_norm: float = key(2.0, "of the gradient; network and adapters apart, so that adapters never slow the student", within=(1e-9, 1e9))
    accumulate: int = key(1, "batches per step, where memory is short", within=(1, 1 << 14))
    average: float = key(0.995, "decay of the moving average of weights and batch-norm statistics, which is what is kept; "
                         "starts fast. It smooths over the luck of the last steps", within=(0, 0.999999))
    dice_weight: float = key(0.5, "of soft Dice beside cross entropy; [paper: not known] it counts small classes as much as "
                             "large ones", within=(0, 1e3))
    class_weights: Literal["none", "balanced"] | dict[str, float] | tuple[float, ...] = key(
        "none", "of the cross entropy: `balanced` = by the root of the inverse class frequency in the train labels that it learns from, "
        "whatever crops data.by_class takes; or numbers of your own, {water: 3, land: 1} or in the order of the classes [3, 1]; their ratios count")
    select_every: int = key(0, "steps between judgements on the select split, whose best average is kept; 0 = the last is kept", within=(0, 1 << 40))
    patience: int = key(0, "judgements without a better one until the run stops; 0 = never", within=(0, 1 << 30))
    save_every: int = key(200, "steps between states from which a killed run goes on, to the same bits", within=(1, 1 << 40))
    log_every: int = key(50, "steps between lines of log.csv", within=(1, 1 << 40))
    tensorboard: bool = key(False, "also write TensorBoard events; needs the package tensorboard")
    precision: Literal["32", "bf16", "16"] = key("32", "mixed precision for processors that are faster in it; 32 is what was "
                                                   "measured")
    device: Literal["auto", "cpu", "cuda"] = key("auto", "auto = CUDA where there is one")
    sync_batch_norm: bool = key(False, "batch norm over all processes (GPUs only), where the batch per process is small")
    threads: int = key(0, "of the CPU; 0 = torch's own choice. Equal bits need equal threads", within=(0, 1 << 12))


@dataclass(frozen=True, slots=True)
class EvaluateConfig:
    split: Literal["train", "select", "test"] = key("test", "looked at once, at the end")
    panels: int = key(4, "example pictures in the report", within=(0, 1000))
    package: str | None = key(None, "an .engine file: whole scenes are judged through Segmenter too")
    bins: int = key(15, "of the calibration error", within=(2, 1000))


@dataclass(frozen=True, slots=True)
class AblateConfig:
    seeds: tuple[int, ...] = key((0, 1, 2, 3), "four or more: the difference is a mean over seeds with its standard error")
    alignments: tuple[str, ...] = key(("none", "local", "flow"), "the paper's second claim")
    settings: dict[str, Any] = key(make=lambda: {"features": {}}, why="name: keys of `distil` and `teacher` that differ, as "
                                   "sections; `seeds: [0]` where a setting was given up after these, by its select scores")
    baselines: tuple[str, ...] = key((), "unet, deeplabv3plus of segmentation-models-pytorch, same encoder and budget")


@dataclass(frozen=True, slots=True)
class QatConfig:
    steps: int = key(400, "fine-tuning of a finished student; a tenth of its training", within=(1, 1 << 40))
    rate: float = key(1e-4, "a thirtieth of the training's: the weights only settle on the grid", within=(1e-12, 1e3))
    weight_bits: int = key(7, "as many as the CPU graph has, whose 8-bit products saturate on x86 without VNNI; 8 for --weight-bits 8", within=(2, 8))
    activation_bits: int = key(8, "unsigned, one scale per tensor, after ReLU", within=(2, 8))
    observe: float = key(0.5, "share of the steps in which ranges still follow the data; then they are frozen", within=(0, 1))


@dataclass(frozen=True, slots=True)
class Config:
    """One run. WORK holds all it writes."""

    name: str = key(why="goes into the model's spec")
    work: str = key(why="folder of checkpoints, logs and reports")
    data: DataConfig = key(make=DataConfig)
    seed: int = key(0, "equal seeds, equal weights", within=(0, 1 << 31))
    start: str | None = key(None, "checkpoint of an earlier student to go on from, e.g. runs/first/student; null = random numbers. Give a lower loop.rate")
    tile_px: int = key(512, "side of the input tile written into the spec", within=(1, MAX_TILE_PX))
    network: NetworkKeys = key(make=NetworkKeys)
    teacher: TeacherConfig = key(make=TeacherConfig)
    distil: DistilConfig = key(make=DistilConfig)
    loop: LoopConfig = key(make=LoopConfig)
    evaluate: EvaluateConfig = key(make=EvaluateConfig)
    ablate: AblateConfig = key(make=AblateConfig)
    qat: QatConfig = key(make=QatConfig)

    def __post_init__(self) -> None:
        check(self)

    @property
    def folder(self) -> Path:
        return Path(self.work)


def check(config: Config) -> None:
    """Refuse values that contradict themselves or each other."""
    data, loop, distil = config.data, config.loop, config.distil
    if not isinstance(loop.class_weights, str):
        _check_weights(loop.class_weights)
    if not 0 < data.labelled_share <= 1:
        raise ConfigError(f"data.labelled_share={data.labelled_share}: it must be above 0 and at most 1; the judge needs labels too")
    if data.crop_px % config.network.max_stride:
        stride = config.network.max_stride
        raise ConfigError(f"data.crop_px={data.crop_px} is not a multiple of network.max_stride={stride}; use {-(-data.crop_px // stride) * stride}")
    if loop.patience and not loop.select_every:
        raise ConfigError(f"loop.patience={loop.patience} with loop.select_every=0: nothing is judged on the way; give select_every")
    if not config.teacher.kinds or set(config.teacher.kinds) - set(TEACHER_KINDS):
        raise ConfigError(f"teacher.kinds={list(config.teacher.kinds)}: give at least one of {', '.join(TEACHER_KINDS)}")
    if distil.hallucinate and distil.tap != "encoder":
        raise ConfigError(f"distil.hallucinate with distil.tap={distil.tap}: guessed features are added to the encoder's; use tap=encoder")


def _check_weights(weights: dict[str, float] | tuple[float, ...]) -> None:
    named = weights.items() if isinstance(weights, dict) else enumerate(weights)
    for name, value in named:
        if not 0 <= value < math.inf:
            raise ConfigError(f"loop.class_weights: {name}: {value}: a weight is 0 or a number above it")
    if not any(weights.values() if isinstance(weights, dict) else weights):
        raise ConfigError("loop.class_weights: no class weighs more than 0, so nothing would be learnt; give the classes that count a number above 0")


def load_config(path: str | Path, overrides: tuple[str, ...] = ()) -> Config:
    """The configuration in a YAML file, changed by `a.b=value` words."""
    return read_config(Config, Path(path), overrides)


def changed(config: Config, record: dict[str, Any]) -> Config:
    """The configuration with nested keys replaced; refusals as for a file."""
    return build(Config, _merged(to_record(config), record))


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    def value(name: str, new: Any) -> Any:
        return _merged(base[name], new) if isinstance(new, dict) and isinstance(base.get(name), dict) else new
    return {**base, **{name: value(name, new) for name, new in changes.items()}}
