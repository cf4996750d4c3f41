"""A raster to a filtered raster: strips with a halo in, georeferenced float32 out, in the input's unit or the one asked for."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hfd_edge.device import thread_budget
from hfd_edge.errors import ArrayError
from hfd_edge.raster import RasterProfile, RasterSource, RasterWriter
from hfd_edge.raster.declaration import FILTER_TAG
from hfd_edge.raster_run import RasterOptions, ScenePath, declared_radiometry, open_as_declared, read_as
from hfd_edge.scene import measure_scene
from hfd_edge.scene.strips import IntensitySource, OutputUnit, strips_of
from hfd_edge.speckle import NEED_LOOKS, SpeckleFilter
from hfd_edge.spec import Unit
from hfd_edge.text import codes_of

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class DespeckleOptions:
    """Which filter, and what the caller declares about the raster."""

    filter: str = "lee"
    looks: float | None = None                      # None = estimated over the whole scene
    radius: int = 3
    border: str = "mask"
    damping: float = 2.0                            # frost
    sigma: float = 0.9                              # lee_sigma
    output_unit: Unit | str | None = None           # intensity, amplitude or db; None = as the input (complex: intensity)
    raster: RasterOptions = field(default_factory=RasterOptions)
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class DespeckleReport:
    """What a run did."""

    rows: int
    cols: int
    nodata_share: float
    filter: str
    radius: int
    halo_px: int
    looks: float | None                             # None where the filter needs none
    looks_from: str                                 # "given", "estimated" or "not used"
    bright: tuple[float, ...] | None
    unit: str                                       # of the output
    read_as: str
    seconds: float
    notes: tuple[str, ...] = ()                     # what is said of the file, and a border of one value that was filtered

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "note_codes": codes_of(self.notes)}


def despeckle_raster(path: ScenePath, out: str | Path, options: DespeckleOptions = DespeckleOptions(),
                     progress: Progress | None = None) -> DespeckleReport:
    """Filter a raster of any size in bounded memory; the values are those of the whole scene, to the bit.

    Args:
        path: a raster of backscatter, or one file per band on one grid, or a Mosaic; filtered in linear intensity whatever its unit.
        out: float32 GeoTIFF, nodata NaN; appears only when it is complete. Tags say filter, looks and unit.
        progress: called with (rows done, rows in all), once more per pass.
    Raises:
        RasterError: the raster cannot be read, or the output cannot be written; nothing is left at `out`.
        RadiometryError: unknown or contradicted unit, or an output unit that cannot be.
        ArrayError: a number of the filter is out of its range, or the looks cannot be estimated.
    """
    start, threads = time.perf_counter(), thread_budget(options.threads)
    with ExitStack() as stack:
        source = stack.enter_context(open_as_declared(path, options.raster))
        scene = IntensitySource(source, declared_radiometry(source, options.raster), threads)
        unit = OutputUnit(_output_unit(options, scene), source.count, threads)
        _check_numbers(options)
        profile = _profile(source, scene, unit.unit)
        writer = stack.enter_context(RasterWriter(out, profile, options.raster.overwrite))
        chosen, looks_from = _filter(options, scene, threads, progress)
        writer.add_tags(_tags(chosen, looks_from))
        nodata = 0
        for strip in strips_of(scene, chosen.halo_px):
            made = chosen.apply(strip.values, strip.mask, (strip.first, strip.rows), threads)
            nodata += int(np.isnan(made[0]).sum())
            writer.write(strip.row, unit.convert(made))
            if progress is not None:
                progress(strip.row + strip.rows, source.rows)
    return DespeckleReport(                             # the file has its name by now
        source.rows, source.cols, nodata / (source.rows * source.cols), chosen.name, chosen.radius, chosen.halo_px,
        chosen.looks, looks_from, chosen.bright, str(unit.unit), read_as(source, scene.radiometry),
        time.perf_counter() - start, (*(() if scene.fill is None else (scene.fill.note("were filtered"),)), *getattr(source, "notes", ())))


def _check_numbers(options: DespeckleOptions) -> None:
    """Refuse what is wrong before any work; what a scene pass is still to find is stood in for."""
    looks = 1.0 if options.looks is None else options.looks
    SpeckleFilter(options.filter, looks, options.radius, options.border, options.damping, options.sigma, 1.0)


def _output_unit(options: DespeckleOptions, scene: IntensitySource) -> Unit:
    if options.output_unit is None:
        return Unit.INTENSITY if scene.radiometry.unit is Unit.COMPLEX else scene.radiometry.unit
    try:
        return Unit(options.output_unit)
    except ValueError as error:
        raise ArrayError(f"output_unit={options.output_unit!r} is not known: use intensity, amplitude or db") from error


def _filter(options: DespeckleOptions, scene: IntensitySource, threads: int,
            progress: Progress | None) -> tuple[SpeckleFilter, str]:
    """The filter with what only the whole scene tells, and where its looks come from."""
    needs_looks = options.filter in NEED_LOOKS
    bright, looks, looks_from = None, options.looks, "given" if needs_looks else "not used"
    if (needs_looks and looks is None) or options.filter == "lee_sigma":
        statistics = measure_scene(scene, threads, progress)
        bright = statistics.bright if options.filter == "lee_sigma" else None
        if looks is None:
            looks, looks_from = statistics.enl, "estimated"
    return SpeckleFilter(options.filter, looks if needs_looks else None, options.radius, options.border, options.damping,
                         options.sigma, bright), looks_from


def _profile(source: RasterSource, scene: IntensitySource, unit: Unit) -> RasterProfile:
    tags = {"HFD_UNIT": str(unit), "HFD_SOURCE": source.name}
    if scene.radiometry.quantity:
        tags["HFD_QUANTITY"] = scene.radiometry.quantity
    return RasterProfile(source.rows, source.cols, source.count, "float32", float("nan"), source.band_names,
                         ("dB",) * source.count if unit is Unit.DB else (), tags=tags, geo=source.geo)


def _tags(chosen: SpeckleFilter, looks_from: str) -> dict[str, str]:
    words = [chosen.name, f"radius {chosen.radius}", f"border {chosen.border}"]
    words += [f"looks {chosen.looks:.4g} ({looks_from})"] if chosen.looks is not None else []
    words += [f"damping {chosen.damping:g}"] if chosen.name == "frost" else []
    words += [f"sigma {chosen.sigma:g}", f"bright {chosen.bright}"] if chosen.name == "lee_sigma" else []
    return {FILTER_TAG: ", ".join(words)}
