"""`hfd-edge demo`: simulate an unseen scene, segment it with the shipped engine, and say how well that went."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hfd_edge.cli.options import JsonOption, QuietOption
from hfd_edge.cli.quicklook import Pictured, draw_run
from hfd_edge.cli.report import accuracy_lines, print_json, print_lines, progress_bar

if TYPE_CHECKING:
    from hfd_edge.spec import ModelSpec

DEMO_ENGINE = Path(__file__).resolve().parent.parent / "data" / "demo.engine"
DEMO_SEED = 20_261_123                      # training uses other seeds; see the engine's provenance


def demo(  # an option of the command line is an argument here: more than six are meant
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder, made if it is not there; files are replaced.")] = Path("demo"),
    engine: Annotated[Path, typer.Option(help="Another engine for the simulator's classes.")] = DEMO_ENGINE,
    side: Annotated[int, typer.Option(help="Height and width of the scene in pixels.")] = 2048,
    seed: Annotated[int, typer.Option(help="Which scene.")] = DEMO_SEED,
    threads: Annotated[int | None, typer.Option(help="Default: all cores of this process.")] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Segment a simulated scene: georeferenced map, quicklook picture, and a report with the accuracy.

    hfd-edge demo --out demo
    """
    from hfd_edge.cli.predict import accuracy_of_map
    from hfd_edge.errors import PackageError
    from hfd_edge.measure.accuracy import share_closed
    from hfd_edge.raster_run import RasterOptions
    from hfd_edge.results import run_lines
    from hfd_edge.segmenter import Segmenter

    if not engine.is_file():
        raise PackageError(f"{engine} is not there: this installation ships no demo engine; give one with --engine, or train it "
                           "with make demo-engine")
    pixel_bayes = _simulate(out, side, seed, quiet or as_json)
    with Segmenter(engine, threads=threads) as segmenter:
        with progress_bar("segmenting", quiet or as_json) as progress:
            report = segmenter.run_raster(out / "scene.tif", out / "map.tif", RasterOptions(overwrite=True), progress)
        accuracy = accuracy_of_map(out / "truth.tif", out / "map.tif", segmenter.spec.classes, RasterOptions())
        picture = _draw(out, segmenter.spec)
    closed = share_closed(accuracy.miou, pixel_bayes)
    names = ("scene.tif", "truth.tif", "map.tif", *(("quicklook.png",) if picture else ()))
    files = {name: str(out / name) for name in names}
    if as_json:
        print_json({**report.to_dict(), "accuracy": accuracy.to_dict(), "miou_pixel_bayes": pixel_bayes,
                    "share_of_way_closed": closed, "files": files})
    elif not quiet:
        print_lines({
            **run_lines(report), **accuracy_lines(accuracy),
            "per pixel": f"mIoU {pixel_bayes:.4f} is the best that looks at one pixel at a time (Bayes); the engine closes "
            f"{closed:.0%} of its way to 1",
            "written": ", ".join(files.values()) + ("" if picture else " (no picture: install hfd-edge[view])")})


def _simulate(out: Path, side: int, seed: int, quiet: bool) -> float:
    """Write scene and truth; gives the mIoU of the per-pixel Bayes classifier on them."""
    from hfd_edge.cli.simulate import write_scene
    from hfd_edge.measure.accuracy import Confusion
    from hfd_edge.measure.pixel_bayes import PixelBayes
    from hfd_edge.raster import made_folder
    from hfd_edge.simulate import CLASS_NAMES, SceneConfig

    config = SceneConfig(side, side, seed=seed, border_px=min(96, (side - 1) // 8))
    bayes, confusion = PixelBayes.fit(config), Confusion(CLASS_NAMES)
    with made_folder(out), progress_bar("simulating", quiet) as progress:
        write_scene(out, config, eo=False, overwrite=True, progress=progress,
                    watch=lambda window: confusion.add(window.labels, bayes.classify(window.sar)))
    return confusion.result().miou


def _draw(out: Path, spec: ModelSpec) -> Path | None:
    """quicklook.png with scene, truth and map side by side; None where OpenCV is missing."""
    from hfd_edge.errors import HfdError
    from hfd_edge.raster_run import RasterOptions
    from hfd_edge.view import require_opencv

    try:
        require_opencv()
    except HfdError:
        return None                             # the report says so
    draw_run(out / "quicklook.png", Pictured(
        ("SAR scene: VV, VH, VV - VH in dB", out / "scene.tif"), ("truth", out / "truth.tif"),
        (f"map by {spec.name}", out / "map.tif")), spec, RasterOptions())
    return out / "quicklook.png"
