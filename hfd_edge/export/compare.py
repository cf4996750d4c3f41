"""A/B: an old package and a new one on the same scenes: labels that flip and where, accuracy, interleaved speed, size."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hfd_edge.errors import ExportError
from hfd_edge.export.calibration_data import DataScene, open_scenes, with_pixels
from hfd_edge.export.compare_accuracy import Change, PairedCounts, cells
from hfd_edge.export.data_files import Place
from hfd_edge.export.lineage import Difference, differences, relation
from hfd_edge.measure.accuracy import Accuracy, Confusion
from hfd_edge.package import Package
from hfd_edge.raster_run import RasterOptions
from hfd_edge.segmenter import Segmenter
from hfd_edge.spec import NODATA_LABEL

MAP_PX = 512                # longest side of the map of where labels flip
ROUNDS = 5                  # timed rounds, each old and new in turns
_STRIP_ROWS = 512


@dataclass(frozen=True, slots=True)
class SceneFlips:
    """One scene through both packages."""

    name: str
    pixels: int                     # labelled by both
    flips: int
    share: np.ndarray               # (r, c) float32, flipped share of each cell of cell_px x cell_px pixels; NaN = nodata
    cell_px: int
    accuracy: tuple[Accuracy, Accuracy] | None      # old, new; None without labels

    @property
    def flip_rate(self) -> float:
        return self.flips / max(1, self.pixels)


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds of whole runs over one scene, old and new in turns; the ratio is of medians."""

    scene: str
    megapixels: float
    old_s: tuple[float, ...]
    new_s: tuple[float, ...]

    @property
    def new_over_old(self) -> float:
        return statistics.median(self.new_s) / statistics.median(self.old_s)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything an A/B report says."""

    old: str
    new: str
    graphs: tuple[str, str]         # which graph ran of each
    classes: tuple[str, ...]
    relation: str
    scenes: tuple[SceneFlips, ...]
    moves: np.ndarray               # (classes + 1, classes + 1) int64 pixels, [old label, new label]; last = nodata
    speed: Speed
    bytes: tuple[int, int]          # of the files
    differences: tuple[Difference, ...]
    notes: tuple[str, ...] = ()     # of the data
    change: Change | None = None    # of the accuracy; None without labels

    @property
    def pixels(self) -> int:
        return sum(scene.pixels for scene in self.scenes)

    @property
    def flips(self) -> int:
        return sum(scene.flips for scene in self.scenes)

    @property
    def flip_rate(self) -> float:
        return self.flips / max(1, self.pixels)

    @property
    def accuracy(self) -> tuple[Accuracy, Accuracy] | None:
        """Old and new over all scenes with labels: one confusion matrix each, no mean of means."""
        judged = [scene.accuracy for scene in self.scenes if scene.accuracy is not None]
        return tuple(Accuracy(self.classes, sum(pair[i].counts for pair in judged)) for i in (0, 1)) if judged else None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready record."""
        both = self.accuracy
        return {
            "old": self.old, "new": self.new, "graphs": list(self.graphs), "relation": self.relation, "pixels": self.pixels,
            "flips": self.flips, "flip_rate": self.flip_rate, "new_over_old_seconds": self.speed.new_over_old,
            "seconds": {"scene": self.speed.scene, "old": list(self.speed.old_s), "new": list(self.speed.new_s)},
            "bytes": {"old": self.bytes[0], "new": self.bytes[1]}, "classes": list(self.classes), "moves": self.moves.tolist(),
            "accuracy": {"old": both[0].to_dict(), "new": both[1].to_dict()} if both else None,
            "iou_change": None if self.change is None else asdict(self.change),
            "scenes": [{"name": s.name, "pixels": s.pixels, "flips": s.flips, "flip_rate": s.flip_rate, "cell_px": s.cell_px}
                       for s in self.scenes],
            "differences": [{"where": d.where, "old": d.old, "new": d.new} for d in self.differences], "notes": list(self.notes)}


def compare_engines(old: str | Path, new: str | Path, data: Sequence[Place], declared: RasterOptions | None = None,
                    rounds: int = ROUNDS) -> Comparison:
    """Run two packages over the same scenes.

    Args:
        data: see `open_scenes`; the truth of NAME.tif is NAME_labels.tif beside it.
        declared: what is said of all rasters alike; None = as their tags say.
        rounds: timed runs of each package over the smallest scene, in turns.
    Raises:
        PackageError, EngineError: a package cannot be read or run.
        ExportError: bands or classes differ, or the data cannot serve.
    """
    if rounds < 1:
        raise ExportError(f"rounds={rounds}: speed needs at least one run of each")
    with ExitStack() as stack:
        first, second = (stack.enter_context(Package.open(path)) for path in (old, new))
        specs = first.spec, second.spec
        for what in ("bands", "classes"):
            a, b = (getattr(spec, what) for spec in specs)
            if a != b:
                raise ExportError(f"{old} has {what} {', '.join(a)}, {new} has {', '.join(b)}: maps of different {what} cannot "
                                  "be compared pixel by pixel")
        scenes, left_out = with_pixels(open_scenes(data, first.spec, stack, declared), first.spec)
        runs = tuple(stack.enter_context(Segmenter(path)) for path in (old, new))
        moves = np.zeros((len(first.spec.classes) + 1,) * 2, np.int64)
        paired = PairedCounts(len(first.spec.classes))
        found = tuple(_one_scene(runs, scene, moves, paired) for scene in scenes)
        speed = _speed(runs, min(scenes, key=lambda scene: scene.source.rows * scene.source.cols), rounds)
        sizes = tuple(Path(path).stat().st_size for path in (old, new))
        return Comparison(str(old), str(new), tuple(run.engine for run in runs), first.spec.classes, relation(first, second),
                          found, moves, speed, sizes, tuple(differences(first, second)), left_out, paired.change())


def _one_scene(runs: tuple[Segmenter, Segmenter], scene: DataScene, moves: np.ndarray, paired: PairedCounts) -> SceneFlips:
    """Both maps on the disk, then strip by strip; adds to `moves` and `paired`."""
    rows, cols, classes = scene.source.rows, scene.source.cols, runs[0].spec.classes
    cell = max(1, -(-max(rows, cols) // MAP_PX))
    strip = -(-_STRIP_ROWS // cell) * cell
    confusions = tuple(Confusion(classes) for _ in runs) if scene.truth is not None else None
    pixels = flips = 0
    shares = []
    with tempfile.TemporaryDirectory() as folder:
        maps = [_labels(run, scene, Path(folder) / f"{i}.labels") for i, run in enumerate(runs)]
        for row in range(0, rows, strip):
            one, two = (labels[row:row + strip] for labels in maps)
            moves += _moves(one, two, len(classes))
            seen = (one != NODATA_LABEL) & (two != NODATA_LABEL)
            flipped = seen & (one != two)
            pixels, flips = pixels + int(seen.sum()), flips + int(flipped.sum())
            shares.append(cells(flipped, cell) / np.where(counts := cells(seen, cell), counts, np.nan))
            if confusions is not None:
                truth = scene.truth(row, len(one))
                paired.add(truth, one, two)
                for confusion, labels in zip(confusions, (one, two)):
                    confusion.add(truth, np.ascontiguousarray(labels))
        del maps, one, two
    return SceneFlips(scene.name, pixels, flips, np.concatenate(shares).astype(np.float32), cell,
                      tuple(confusion.result() for confusion in confusions) if confusions else None)


def _labels(run: Segmenter, scene: DataScene, path: Path) -> np.ndarray:
    labels = np.memmap(path, np.uint8, "w+", shape=(scene.source.rows, scene.source.cols))

    def write(row: int, strip: np.ndarray, _: np.ndarray | None) -> None:
        labels[row:row + len(strip)] = strip
    run.run_source(scene.source, scene.radiometry, write)
    return labels


def _moves(one: np.ndarray, two: np.ndarray, classes: int) -> np.ndarray:
    count = classes + 1
    pairs = np.minimum(one, classes).astype(np.int64) * count + np.minimum(two, classes)
    return np.bincount(pairs.ravel(), minlength=count * count).reshape(count, count)


def _speed(runs: tuple[Segmenter, Segmenter], scene: DataScene, rounds: int) -> Speed:
    seconds: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        for i in ((0, 1), (1, 0))[number % 2]:                      # who runs second finds warm files
            report = runs[i].run_source(scene.source, scene.radiometry, lambda *_: None)
            seconds[i].append(report.timings["total"])
    return Speed(scene.name, scene.source.rows * scene.source.cols / 1e6, tuple(seconds[0]), tuple(seconds[1]))
