"""The picture of a run: scene, truth if there is one, and map side by side, with the legend."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hfd_edge.raster import RasterPart, RasterSource
    from hfd_edge.raster_run import RasterOptions, ScenePath
    from hfd_edge.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class Pictured:
    """What is drawn, in this order; each with its title."""

    scene: tuple[str, ScenePath]                        # "" = the scene's name
    truth: tuple[str, Path] | None                      # on the scene's grid
    map: tuple[str, Path]


def draw_run(picture: Path, pictured: Pictured, spec: ModelSpec, options: RasterOptions) -> None:
    """Write the picture of a run made with these options; a window of it is `options.window`. Raises HfdError where OpenCV is missing."""
    from hfd_edge.raster import OTHER_COLOR, OTHER_LABEL, RasterSource, TruthSource, select_classes
    from hfd_edge.raster_run import declared_radiometry, open_as_declared
    from hfd_edge.view import Panel, draw_map, draw_quicklook, draw_scene

    title, rasters = pictured.scene
    with open_as_declared(rasters, options, spec) as source:
        scene = draw_scene(windowed(source, options), declared_radiometry(source, options))
        panels = [Panel(title or f"scene: {source.name}", scene)]
    colors = dict(enumerate(spec.colors))
    if pictured.truth is not None:
        title, path = pictured.truth
        with TruthSource(path, spec.classes, options.limits) as truth:
            panels.append(Panel(title, draw_map(windowed(truth, options), colors)))
    title, path = pictured.map
    with RasterSource(path, limits=options.limits) as labels:
        panels.append(Panel(title, draw_map(labels, {**colors, OTHER_LABEL: OTHER_COLOR} if options.classes else colors)))
    draw_quicklook(picture, panels, select_classes(spec, options.classes) if options.classes else spec)


def windowed(source: RasterSource, options: RasterOptions) -> RasterSource | RasterPart:
    """The window of the options, where they hold one, of a raster on the scene's grid."""
    from hfd_edge.raster import RasterPart

    return source if options.window is None else RasterPart(source, options.window)
