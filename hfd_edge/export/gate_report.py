"""What the parity gate found: every graph's judgement, a tiled scene, speeds, and what could not be judged here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hfd_edge.export.judged_scenes import Ranges, told_of
from hfd_edge.export.parity import UNSURE, GateResult
from hfd_edge.export.yardstick import NEAR_PX, STEP_DB

_FRINGE = 0.1                           # of the labels beside nodata: trained with nodata, the demo students change 0.03 of them, without 0.14 and 0.19


@dataclass(frozen=True, slots=True)
class SceneResult:
    """One scene through the whole pipeline, once with the network and once with a graph of the package."""

    scene: str
    graph: str                              # row of the report: the graph, with its engine where that is not ONNX Runtime
    pixels: int
    flips: int
    tiles: int
    halo: str

    @property
    def flip_rate(self) -> float:
        return self.flips / max(1, self.pixels)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready record."""
        return {**{name: getattr(self, name) for name in self.__dataclass_fields__}, "flip_rate": self.flip_rate}


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast an engine ran a tile of the data, in turns with the others."""

    ms: float                               # median of the rounds
    over_fp32: float | None                 # median of the rounds' ratios to the FP32 graph on the CPU; None = that did not run
    tile_px: tuple[int, int]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready record."""
        return {"ms": self.ms, "over_fp32": self.over_fp32, "tile_px": list(self.tile_px)}


@dataclass(frozen=True, slots=True)
class GateReport:
    """Every graph's judgement, and what could not be judged here."""

    graphs: dict[str, GateResult]
    scenes: tuple[SceneResult, ...]
    not_verified: tuple[str, ...]
    data: tuple[str, ...]                   # names of the scenes
    notes: tuple[str, ...] = ()
    refused: dict[str, str] = field(default_factory=dict)       # by row: why an engine of this machine would not run the graph
    speeds: dict[str, Speed] = field(default_factory=dict)      # by row
    sensitivity: dict[str, float] = field(default_factory=dict)     # by convolution, the worst first; empty = not measured
    brighter_flips: float | None = None     # labels the float network changes when all is 0.1 dB brighter; None = no decibels
    offsets: Ranges = field(default_factory=dict)           # by band the lowest and highest mean of a scene less the training data's, dB
    beside_nodata: float | None = None      # of the labels beside nodata, those the float network changes for it; None = not measured

    @property
    def failures(self) -> tuple[str, ...]:
        own = [f"{graph}: {failure}" for graph, result in self.graphs.items() for failure in result.failures]
        own += [f"{graph}: {why}" for graph, why in self.refused.items()]
        for scene in self.scenes:
            most = self.graphs[scene.graph].thresholds.flips
            if scene.flip_rate > most:
                own.append(f"{scene.graph}: {scene.flip_rate:.3%} of the labels of the tiled scene {scene.scene} flip, at most "
                           f"{most:.3%} are allowed")
        return tuple(own)

    @property
    def passed(self) -> bool:
        return not self.failures

    @property
    def slow(self) -> tuple[str, ...]:
        """What is said of a graph that is not worth its name on this machine."""
        return tuple(f"{graph} is NOT faster than FP32 on this machine: {speed.over_fp32:.2f} times its speed"
                     for graph, speed in self.speeds.items() if speed.over_fp32 is not None and speed.over_fp32 < 1
                     and "fp32" not in graph)

    @property
    def scenes_told(self) -> tuple[str, ...]:
        """How far the scenes lie off the training data, and warnings where they are few or unlike it."""
        return told_of(self.data, self.offsets)

    @property
    def sureness(self) -> tuple[str, ...]:
        """How sure the network is of the labels that flip: what a flip means on these scenes."""
        flipping = {name: result for name, result in self.graphs.items() if result.flips}
        lines = [f"{name}: {result.flips_unsure:.0%} of the flipped labels are those of which the network itself was less than "
                 f"{UNSURE:.0%} sure" for name, result in flipping.items()]
        if self.brighter_flips is not None:
            lines.append(f"for comparison: {STEP_DB} dB more in every pixel changes {self.brighter_flips:.3%} of the network's own "
                         "labels")
        if self.beside_nodata is not None:
            lines.append(f"beside nodata: {self.beside_nodata:.1%} of the labels within {NEAR_PX} px of it are others than with the pixels there"
                         + (": maps show a fringe along borders and holes, as of a network that saw no nodata in training; train it with borders "
                            "and holes of 0 (data.augment.nodata_wedge: docs/data.md)" if self.beside_nodata > _FRINGE else ""))
        return tuple(lines)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready record."""
        return {"passed": self.passed, "failures": list(self.failures), "data": list(self.data), "notes": list(self.notes),
                "graphs": {name: result.to_dict() for name, result in self.graphs.items()},
                "scenes": [scene.to_dict() for scene in self.scenes], "not_verified_here": list(self.not_verified),
                "refused": dict(self.refused), "speeds": {name: speed.to_dict() for name, speed in self.speeds.items()},
                "sensitivity": dict(self.sensitivity), "brighter_flips": self.brighter_flips,
                "beside_nodata": self.beside_nodata, "offsets": {band: list(ends) for band, ends in self.offsets.items()}}

    def __str__(self) -> str:
        lines = [f"{'gate':20}{'flips':>9}{'bound':>9}{'IoU change':>12}{'bound':>8}{'logits':>9}{'confidence':>12}  verdict"]
        lines += [_line(name, result) for name, result in self.graphs.items()]
        lines += [f"tiled scene {s.scene}, {s.graph}: {s.flip_rate:.3%} of {s.pixels} labels flip, {s.tiles} tiles, {s.halo}"
                  for s in self.scenes]
        lines += [f"speed {name}: {speed.ms:.1f} ms a tile of {speed.tile_px[0]} x {speed.tile_px[1]}"
                  + ("" if speed.over_fp32 is None or "fp32" in name else f", {speed.over_fp32:.2f} times FP32's speed")
                  for name, speed in self.speeds.items()]
        return "\n".join([*lines, *self.sureness, *self.scenes_told, *(f"refused: {name}: {why}" for name, why in self.refused.items()),
                          *(f"not verified here: {what}" for what in self.not_verified), *self.notes, *self.slow])


def _line(name: str, result: GateResult) -> str:
    change, bound = "-", "-"
    if result.iou_reference is not None:
        change = f"{100 * max((b - a for a, b in zip(result.iou_reference, result.iou_candidate)), key=abs):+.2f}"
        bound = f"{100 * max((value for value in result.iou_bound if value is not None), default=float('nan')):.2f}"
    return (f"{name:20}{result.flip_rate:>9.3%}{result.flip_bound:>9.3%}{change:>12}{bound:>8}"
            f"{result.logit_error['0.99']:>9.2g}"
            f"{result.confidence_error:>12.4f}  {'passed' if result.passed else 'FAILED: ' + '; '.join(result.failures)}")
