"""What stitching and broken pre-processing do to a trained student's map: the tables of docs/seams.md.

    python benchmarks/seam_table.py [--engine model.engine] [--scenes 8] [--side 1024] [--tile 384] [--halos 16,32,48] [--z]

Simulated scenes that no training saw. An engine without an edge error is measured first, on two other scenes, into a file of its own.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from hfd_edge import speckle
from hfd_edge.measure.edge_error import edge_error_of_scene
from hfd_edge.measure.seam_ratio import Borders, seam_ratio
from hfd_edge.measure.seams import SeamReport, SeamStudy
from hfd_edge.package import Package
from hfd_edge.package.again import write_again
from hfd_edge.plan import PlanRequest
from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.segmenter import Segmenter
from hfd_edge.simulate import Scene, SceneConfig
from hfd_edge.source import ArraySource
from hfd_edge.tiles.shares import MODES

ROOT = Path(__file__).resolve().parent.parent
FIRST_SEED, LOOKS = 1 << 40, 4.4            # far from the seeds of training and of its judgement


class Broken(Segmenter):
    """Does to every tile's input what should be done once to the scene."""

    how = "zscore"

    def stages(self, run):
        stages = super().stages(run)
        begin = stages.begin

        def begin_changed(part, tiles):
            begun = begin(part, tiles)
            for tile in begun.batch:
                tile[:] = self._changed(tile)
            return begun

        stages.begin = begin_changed
        return stages

    def _changed(self, tile: np.ndarray) -> np.ndarray:
        """(bands, rows, cols) network input; the spec's normalisation undone, filtered as if the tile were the scene, done again."""
        if self.how == "zscore":
            return (tile - tile.mean(axis=(1, 2), keepdims=True)) / tile.std(axis=(1, 2), keepdims=True)
        mean, std = (np.float32(v)[:, None, None] for v in (self.spec.input.mean, self.spec.input.std))
        power = np.ascontiguousarray(10 ** ((tile * std + mean) / 10), np.float32)
        looks = LOOKS if self.how == "lee" else float(np.mean([band.mean() ** 2 / band.var() for band in power.astype(float)]))
        return (10 * np.log10(speckle.lee(power, looks)) - mean) / std


class LookingPerTile(Broken):
    how = "looks"


class FilteringPerTile(Broken):
    how = "lee"


def measured_engine(path: Path, folder: Path) -> Path:
    """The engine, or a copy with its edge error."""
    with Package.open(path) as package:
        if package.spec.edge_error is not None:
            return path
        scenes = [scene_of(-1 - number, 1024)[0] for number in range(2)]
        found = edge_error_of_scene(path, ArraySource(np.concatenate(scenes, axis=2), 2), SourceRadiometry("intensity"))
        write_again(package, folder / "measured.engine", replace(package.spec, edge_error=found.values), {})
    return folder / "measured.engine"


def scene_of(number: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    window = Scene(SceneConfig(side, side, seed=FIRST_SEED + number, looks=LOOKS)).window(0, 0, side, side, eo=False)
    return window.sar, window.labels


def studies(options, engine: Path, kind: type[Segmenter], filtered: bool) -> Iterator[SeamStudy]:
    """One scene after the other, with the map made as one tile."""
    with kind(engine) as segmenter:
        for number in range(options.scenes):
            power, truth = scene_of(number, options.side)
            yield SeamStudy.of(segmenter, speckle.lee(power, LOOKS) if filtered else power, "intensity", truth)


def row(name: str, reports: list[SeamReport]) -> str:
    flips, pixels = sum(r.whole.flips for r in reports), sum(r.whole.pixels for r in reports)
    mean = {key: float(np.mean([value(r) for r in reports])) for key, value in {
        "grid": lambda r: r.grid_disagreement, "seam": lambda r: r.seams.ratio, "untiled": lambda r: r.seams_of_whole.ratio,
        "miou": lambda r: r.miou, "drop": lambda r: r.border_drop, "work": lambda r: r.halo_share}.items()}
    z = sum(r.z_against_whole for r in reports) / len(reports) ** 0.5
    return (f"| {name} | {mean['work']:.0%} | {flips / pixels:.2e} | {mean['grid']:.2e} | {mean['seam']:.2f} | {mean['untiled']:.2f} | "
            f"{z:.1f} | {mean['miou']:.4f} | {mean['drop']:+.4f} |")


def z_of_nothing(options, engine: Path) -> None:
    """z of grids that nothing was cut along: on untiled maps it should be a normal number."""
    found = []
    for study in studies(options, engine, Segmenter, False):
        for core in (96, 128, 160, 192, 288):
            for offset in (0, 32):
                at = tuple(range(core - offset, options.side, core))
                found.append(seam_ratio(study.whole, Borders(at, at, study.segmenter.spec.stride_px)).z)
    beyond = np.mean(np.abs(found) > 3)
    print(f"{len(found)} grids on untiled maps: z has mean {np.mean(found):.2f}, standard deviation {np.std(found):.2f}, {beyond:.1%} beyond 3")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", type=Path, default=ROOT / "hfd_edge" / "data" / "demo.engine")
    parser.add_argument("--scenes", type=int, default=8)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--tile", type=int, default=384)
    parser.add_argument("--halos", default="16,32,48")
    parser.add_argument("--z", action="store_true", help="only: how z is spread where there is no seam")
    options = parser.parse_args()
    head = "| work | flips | grid | seam | untiled | z to it | mIoU | drop |\n|" + "---|" * 9
    with tempfile.TemporaryDirectory() as folder:
        engine = measured_engine(options.engine, Path(folder))
        if options.z:
            return z_of_nothing(options, engine)
        print(f"| stitch, halo {head}")
        halos = [int(word) for word in options.halos.split(",")]
        asked = [PlanRequest(tile=options.tile, halo="exact"), PlanRequest(tile=options.tile, halo=0),
                 *(PlanRequest(tile=options.tile, halo=halo, stitch=mode) for halo in halos for mode in MODES)]
        made = [[study.measure(request) for request in asked] for study in studies(options, engine, Segmenter, False)]
        for reports in zip(*made):
            print(row(f"{reports[0].stitch}, {reports[0].halo_px} px", list(reports)), flush=True)
        print(f"\n| every tile for itself, exact halo {head}")
        for name, kind, filtered in (("nothing (control)", Segmenter, False), ("z-score", Broken, False),
                                     ("scene filtered once, Lee 7 x 7 (control)", Segmenter, True),
                                     ("filtered without the filter's halo", FilteringPerTile, False),
                                     ("filtered with its own looks", LookingPerTile, False)):
            request = PlanRequest(tile=options.tile, halo="exact")
            print(row(name, [study.measure(request) for study in studies(options, engine, kind, filtered)]), flush=True)


if __name__ == "__main__":
    main()
