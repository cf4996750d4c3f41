"""A raster file to a map file: where rasters meet the segmenter."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hfd_edge.errors import RadiometryError, RasterError, SpecError
from hfd_edge.plan import check_window
from hfd_edge.products import Mosaic, SceneRequest, open_scene, run_notes
from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.raster import (
    CogForm, Legend, MapWriter, MosaicSource, RasterLimits, RasterPart, RasterSource, Selection, check_different, check_output, select_classes)
from hfd_edge.raster.bounds import check_bounds, window_of
from hfd_edge.raster.bands import names_it
from hfd_edge.raster.class_counts import ClassCounts
from hfd_edge.results import ClassShare, RunReport
from hfd_edge.score import OWN_CLASS, asked_score, score_name
from hfd_edge.spec import ModelSpec, Unit

if TYPE_CHECKING:
    from hfd_edge.products.scene import Scene
    from hfd_edge.segmenter import Progress, Segmenter

ScenePath = str | Path | Sequence[str | Path] | Mosaic


@dataclass(frozen=True, slots=True)
class RasterOptions:
    """What the caller declares about a raster and its map; None = as the file's tags say."""

    unit: Unit | str | None = None                  # of value = stored * scale + offset: db, intensity, amplitude, complex or dn
    scale: float | None = None
    offset: float | None = None
    nodata: tuple[float, ...] | None = None         # besides the nodata value in the file's tags
    bands: tuple[int | str, ...] | None = None      # numbers from 1 or names, network's order; None = by name, else as stored
    confidence: str | Path | None = None            # second file: uint8, 0..254 for 0..1, 255 = nodata
    overwrite: bool = False
    window: tuple[int, int, int, int] | None = None     # (row, col, rows, cols) to segment; its map is the crop of the scene's
    classes: tuple[str | int, ...] | None = None        # names or numbers to keep; every other class becomes 254 "other"
    compress: str = "zstd"                          # of the map: none, deflate, zstd or lzw
    limits: RasterLimits = RasterLimits()           # what the raster may claim of itself; larger ones for files that are trusted
    saturation: float | None = None                 # stored value from which a pixel's power is a lower bound only
    allow_empty: bool = False                       # whether a scene may be without one valid pixel; a window always may
    bounds: tuple[float, float, float, float] | None = None     # the window as a box in the raster's coordinate system: west, south, east, north
    probability: tuple[str | int, str | Path] | None = None     # (class, second file): its probability in place of the confidence

    def __post_init__(self) -> None:
        """Raises RasterError where a value is of a kind that no use could be made of."""
        several = "a list or tuple of names or numbers", (Iterable, int, type(None))
        kinds = {"bands": several, "classes": several, "confidence": ("the path of a file", (str, os.PathLike, type(None))),
                 "compress": ("none, deflate, zstd or lzw", (str,)), "limits": ("a RasterLimits", (RasterLimits,)),
                 "overwrite": ("True or False", (bool, np.bool_)), "allow_empty": ("True or False", (bool, np.bool_))}     # "no" is true
        for name, (wanted, kind) in kinds.items():
            if not isinstance(value := getattr(self, name), kind):
                raise RasterError(f"{name}={value!r}: it must be {wanted}; leave it out for the default")
        if self.probability is not None:
            check_probability(self.probability, self.confidence)
        if self.bounds is not None:
            check_bounds(self.bounds)
            if self.window is not None:
                raise RasterError(f"window={self.window} and bounds={self.bounds}: both say which pixels are segmented; give one of them")


def options_of(options: RasterOptions | None, named: Mapping[str, Any]) -> RasterOptions:
    """The options that were given, as a record or by name. Raises RasterError or TypeError: neither, or both."""
    if not isinstance(options, (RasterOptions, type(None))):
        raise RasterError(f"options={options!r}: it must be a RasterOptions; give its fields by name, unit=\"db\", and a function as progress=")
    if options is not None and named:
        raise TypeError(f"give options, or {', '.join(named)} by name, not both")
    return options or RasterOptions(**named)


def segment_raster(segmenter: Segmenter, path: ScenePath, out: str | Path, options: RasterOptions,
                   progress: Progress | None = None) -> RunReport:
    """Segment a raster to a GeoTIFF of class labels with the raster's georeference, in bounded memory.

    Args:
        path: a raster of backscatter, or one file per band on one grid, or a Mosaic of tiles; see docs/rasters.md for the formats.
        out: uint8 GeoTIFF, 255 = nodata; appears only when it is complete. Neither the scene nor the engine in use is ever replaced.
        progress: called with (rows done, rows in all).
    Raises:
        RasterError: the raster cannot be read, the map cannot be written, the window or box is not in the raster, or a class is
            not the engine's; nothing is left at `out`.
        RadiometryError: unknown or contradicted unit, or not one valid pixel without `allow_empty`.
        ArrayError: wrong number of bands.
    """
    start, spec = time.perf_counter(), segmenter.spec
    if not isinstance(out, (str, os.PathLike)):
        raise RasterError(f"out={out!r}: it must be the path of the map, a text or a pathlib.Path")
    if progress is not None and not callable(progress):
        raise RasterError(f"progress={progress!r}: it must be a function of (rows done, rows in all)")
    score = score_of(spec.classes, options)
    of_class, score_path = options.probability or (None, options.confidence)
    if score_path is not None:
        check_different((out, score_path))
    form = CogForm(options.compress, segmenter.threads)
    legend = spec if options.classes is None else select_classes(spec, options.classes)
    with ExitStack() as stack:
        source = stack.enter_context(open_as_declared(path, options, spec, threads=segmenter.threads))
        radiometry = declared_radiometry(source, options)
        tags = {"HFD_ENGINE_SHA256": segmenter.engine_hash, "HFD_ENGINE": spec.name, "HFD_SOURCE": source.name}

        window = chosen_window(source, options)
        place = source if window is None else RasterPart(source, window)

        def open_map(target: str | Path, meaning: Legend | str) -> MapWriter:
            check_output(target, options.overwrite, inputs=[segmenter.path])
            writer = MapWriter(target, place.rows, place.cols, place.geo, meaning, tags, options.overwrite, form)
            return stack.enter_context(writer)

        counts = ClassCounts(len(spec.classes), place.geo)
        scores = None if score_path is None else open_map(score_path, score_name(spec.classes, score))
        labels = open_map(out, legend)              # entered last, so the first to get its name

        def write(row: int, strip_labels: np.ndarray, strip_scores: np.ndarray | None) -> None:
            counts.add(row, strip_labels)
            labels.write(row, legend.applied(strip_labels) if isinstance(legend, Selection) else strip_labels)
            if scores is not None:
                scores.write(row, strip_scores)

        report = segmenter.run_source(source, radiometry, write, confidence=score == OWN_CLASS, probability=of_class,
                                      progress=progress, window=window, allow_empty=options.allow_empty)
        taken = read_as(source, radiometry, spec.bands)
        written = time.perf_counter()
        known = {"HFD_HALO": f"{report.halo} {report.halo_px} px", "HFD_READ_AS": taken, "HFD_STITCH": report.stitch}
        for writer in (labels, scores):
            if writer is not None:
                writer.add_tags(known if window is None else {**known, "HFD_WINDOW": ",".join(map(str, window))})
                writer.complete()                   # both, before one has its name
        end = time.perf_counter()
        timings = {**report.timings, "write": report.timings["write"] + end - written, "total": end - start}
        return replace(report, timings=timings, read_as=taken, window=window, classes=class_shares(counts, legend), notes=(*report.notes, *run_notes(source, spec)))


def open_as_declared(path: ScenePath, options: RasterOptions, spec: ModelSpec | None = None, **driver: Any) -> Scene:
    """The open scene that options of a run, and the network that it runs, want of a path; raises as `open_scene`.

    Args:
        spec: None = no network is to be run: all bands are taken.
        driver: further options of RasterSource, such as threads.
    """
    wanted, quantity = (None, None) if spec is None else (spec.bands, spec.input.quantity)
    return open_scene(path, SceneRequest(options.bands, wanted, options.limits, quantity, options.unit, driver, options.nodata))


def check_probability(pair: object, confidence: object) -> None:
    """Raises RasterError where it is no class and file, or the confidence is asked for too."""
    kinds = (str, int, np.integer), (str, os.PathLike)
    if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not all(map(isinstance, pair, kinds)):
        raise RasterError(f"probability={pair!r}: it must be a class and the path of its file, such as (\"water\", \"water.tif\")")
    if confidence is not None:
        raise RasterError(f"confidence={str(confidence)!r} and probability={tuple(map(str, pair))}: a run makes one of the two files; leave one out, "
                          "and run twice to get both")


def score_of(classes: tuple[str, ...], options: RasterOptions) -> int | None:
    """What the second file of the options holds, see `hfd_edge.score`. Raises RasterError: no such class."""
    try:
        return asked_score(classes, options.confidence is not None, options.probability[0] if options.probability else None)
    except SpecError as error:
        raise RasterError(str(error)) from error


def chosen_window(scene: RasterSource, options: RasterOptions) -> tuple[int, int, int, int] | None:
    """(row, col, rows, cols) of the options' window or box of this scene; None = all of it. Raises as `check_window` and `window_of`."""
    if options.bounds is not None:
        return window_of(scene, options.bounds)
    return None if options.window is None else check_window(options.window)


def class_shares(counts: ClassCounts, legend: Legend) -> tuple[ClassShare, ...]:
    """What each value of a finished map covers."""
    pixels, km2 = counts.pixels, counts.km2
    groups = [[number] for number in range(len(pixels) - 1)]                    # the engine's classes behind each value of the map
    if isinstance(legend, Selection):
        kept = [*legend.values[:-1]]
        groups = [*([number] for number in kept), [number for number in range(len(pixels) - 1) if number not in kept]]
    with_a_class = max(int(pixels[:-1].sum()), 1)
    return tuple(ClassShare(value, name, int(pixels[group].sum()), float(pixels[group].sum() / with_a_class), None if km2 is None else float(km2[group].sum()))
                 for value, name, group in zip(getattr(legend, "values", range(len(legend.classes))), legend.classes, groups))


def read_as(source: RasterSource, radiometry: SourceRadiometry, wanted: Sequence[str] = ()) -> str:
    """How a raster was taken, such as "bands VV, VH in amplitude, scale 0.001".

    A band without a name goes by its number; one whose name does not say that it is the `wanted` one in its place, as both: "bands 2 as VV". Of
    names that are several bands' the numbers stand before them.
    """
    numbers = getattr(source, "band_numbers", range(1, source.count + 1))
    names = [f"{number} {name}" if source.band_names.count(name) > 1 and name else name for number, name in zip(numbers, source.band_names)]
    taken = [_taken(name, number, wanted[place] if place < len(wanted) else "") for place, (name, number) in enumerate(zip(names, numbers))]
    text = f"bands {', '.join(taken)} in {radiometry.unit}"
    text += f", scale {radiometry.scale:g}" if radiometry.scale != 1 else ""
    text += f", offset {radiometry.offset:g}" if radiometry.offset != 0 else ""
    masked = dict.fromkeys((*radiometry.nodata, *getattr(source, "nodata", ())))       # the file's own counts beside what was declared
    return text + "".join(f", nodata {value:g}" for value in masked)


def _taken(name: str, number: int, wanted: str) -> str:
    known = not wanted or names_it(name, wanted)
    return (name or str(number)) if known else f"{name or number} as {wanted}"


def declared_radiometry(source: RasterSource, options: RasterOptions) -> SourceRadiometry | None:
    """What the options and the file's tags together say the pixels are; None if neither names a unit.

    Raises RadiometryError: a scale or offset for a product, whose own calibration has made power of its pixels.
    """
    for name, value in (("scale", options.scale), ("offset", options.offset)):
        if value is not None and not isinstance(source, (RasterSource, MosaicSource)):
            raise RadiometryError(f"{name}={value:g} with {source.name}: its pixels are power by its own calibration, which a {name} would change; leave it out")
    if isinstance(options.unit, SourceRadiometry):
        raise RadiometryError("RasterOptions(unit=SourceRadiometry(...)): a raster's options name a unit only; give its fields "
                              "to unit=, scale=, offset= and nodata= of RasterOptions")
    unit = options.unit if options.unit is not None else source.declared.unit if source.declared else None
    if unit is None:
        return None
    nodata = options.nodata if options.nodata is not None else source.nodata
    return SourceRadiometry(
        unit=unit, scale=source.scale if options.scale is None else options.scale,
        offset=source.offset if options.offset is None else options.offset, nodata=nodata,
        quantity=source.declared.quantity if source.declared else getattr(source, "quantity", None),
        looks=source.declared.looks if source.declared else None,
        saturation=options.saturation if options.saturation is not None else source.declared.saturation if source.declared else None)
