"""How far the scenes that a gate judged on lie off the training data, and whether they are enough to speak for others.

A graph that flips few labels on these scenes may flip many times more on others: where the network is less sure of its own labels, which it is
where pixels are unlike those it learnt from.
"""

from __future__ import annotations

from collections.abc import Mapping

from hfd_edge.export.calibration_data import DataScene
from hfd_edge.radiometry.fill import filtered_fill
from hfd_edge.source import sample
from hfd_edge.source.checked import checked
from hfd_edge.source.filter import filtered_input
from hfd_edge.source.offset import WARN_DB, TrainingOffset, ranges_of, sample_offset
from hfd_edge.spec import ModelSpec

_ENOUGH = 4             # scenes; fewer are places too few to speak of others
_THREADS = 2
Ranges = Mapping[str, tuple[float, float]]      # by band, dB


def offsets_of(scenes: list[DataScene], spec: ModelSpec) -> dict[str, tuple[float, float]]:
    """By band the lowest and the highest mean of a scene less that of the training data, in dB; {} where none can be told, as of digital numbers."""
    return ranges_of([offset for scene in scenes if (offset := _offset(scene, spec)) is not None])


def told_of(scenes: tuple[str, ...], offsets: Ranges) -> tuple[str, ...]:
    """What a report says of the scenes that a graph was judged on, by their names."""
    lines = []
    if offsets:
        lines.append("the scenes judged on, against the training data (mean of each): "
                     + ", ".join(f"{band} {low:+.2f} to {high:+.2f} dB" for band, (low, high) in offsets.items()))
    away = [band for band, (low, high) in offsets.items() if low > WARN_DB or high < -WARN_DB]
    if away:
        lines.append(f"WARNING: every scene judged on lies off the training data in {', '.join(away)}, all to one side: the figures hold for scenes like "
                     "these alone; check unit, scale and band order, or mean and std of the spec")
    if len(scenes) < _ENOUGH:
        lines.append(f"WARNING: judged on {len(scenes)} scene{'s' * (len(scenes) != 1)}: on others many times more labels may flip; give at least "
                     f"{2 * _ENOUGH}, of every kind of ground that maps are wanted of (every second one is judged)")
    if scenes and all(name.startswith("simulated ") for name in scenes):
        lines.append("WARNING: judged on simulated scenes alone: the figures say nothing of real ones")
    return tuple(lines)


def _offset(scene: DataScene, spec: ModelSpec) -> TrainingOffset | None:
    radiometry, stored, fill = checked(scene.source, scene.radiometry)
    if spec.input.speckle_filter != "none":
        source, radiometry = filtered_input(scene.source, radiometry, spec.input, _THREADS)
        stored = sample(source)
        fill = filtered_fill(fill, *stored, radiometry)
    return sample_offset(stored, radiometry, spec.input, spec.bands, fill)
