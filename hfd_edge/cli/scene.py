"""`hfd-edge scene`: what is known of a scene after one read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hfd_edge.cli.options import AnyBandsOption, MosaicOption, NodataOption, OffsetOption, ScaleOption, UnitOption, check_outputs, declared_options, scene_of
from hfd_edge.cli.report import print_json, print_lines, progress_bar
from hfd_edge.text import codes_of

if TYPE_CHECKING:
    from hfd_edge.raster import RasterSource
    from hfd_edge.scene import BandStatistics, SceneStatistics
    from hfd_edge.scene.strips import IntensitySource
    from hfd_edge.source.offset import TrainingOffset
    from hfd_edge.spec import ModelSpec

_PERCENTS = (2, 50, 98)
_LIKE_LOOKS = 1.25              # bands of one product have the same looks; farther apart, their total is explained


def scene(  # an option of the command line is an argument here: more than six are meant
    rasters: Annotated[list[Path], typer.Argument(metavar="RASTER", help="The scene; or one file per band, all on one grid.")],
    engine: Annotated[Path | None, typer.Option(help="Also tell how far the scene lies off this engine's training data, in dB.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Also draw this picture: scene, histograms of power and of looks.")] = None,
    unit: UnitOption = None,
    scale: ScaleOption = None,
    offset: OffsetOption = None,
    nodata: NodataOption = None,
    saturation: Annotated[float | None, typer.Option(help="Stored value from which power is a lower bound: such pixels are counted.")] = None,
    validity: Annotated[Path | None, typer.Option(
        help="Also write this map: 0 valid, 1 nodata, 2 no signal (power 0 or below), 3 saturated.")] = None,
    bands: AnyBandsOption = None,
    mosaic: MosaicOption = False,
    threads: Annotated[int | None, typer.Option(help="Default: all cores of this process.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a picture that exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one line of JSON, histograms included.")] = False,
) -> None:
    """Looks, percentiles, nodata and the unit of a scene, in one streaming read.

    hfd-edge scene scene.tif --plot scene.png

    hfd-edge scene scene.tif --engine model.engine
    """
    from hfd_edge.products import run_notes
    from hfd_edge.raster_run import declared_radiometry, open_as_declared, read_as
    from hfd_edge.scene import measure_scene
    from hfd_edge.scene.strips import IntensitySource
    from hfd_edge.source import check_count

    path = scene_of(rasters, mosaic)
    check_outputs([validity], plot, [*path, *([engine] if engine else [])], overwrite)
    options = declared_options(unit, scale, offset, nodata, bands, saturation=saturation)
    spec = _spec(engine) if engine else None
    with open_as_declared(path, options, spec) as source:
        if spec:
            check_count(source, spec.bands)
        intensity = IntensitySource(source, declared_radiometry(source, options))
        with progress_bar("reading", as_json) as progress, _plane(validity, source, intensity, overwrite):
            statistics = measure_scene(intensity, threads, progress)
        if plot:
            from hfd_edge.view.scene import draw_statistics
            draw_statistics(plot, source, intensity.radiometry, statistics)
        taken = read_as(source, intensity.radiometry, spec.bands if spec else ())
        offset = statistics.offset(spec.input, spec.bands, intensity.radiometry.looks, intensity) if spec else None
        notes = (*(run_notes(source, spec) if spec else getattr(source, "notes", ())), *(offset.notes() if offset else ()))
        written = [str(path) for path in (plot, validity) if path]
        if as_json:
            print_json({"read_as": taken, "plot": plot and str(plot), "validity": validity and str(validity),
                        "offset": offset and asdict(offset), "notes": notes, "note_codes": codes_of(notes), **_record(statistics, intensity)})
        else:
            print_lines({"read as": taken, **_lines(statistics, intensity), **(_offset_lines(spec, offset) if spec else {}),
                         "note": notes, **({"written": ", ".join(written)} if written else {})})


@contextmanager
def _plane(path: Path | None, source: RasterSource, intensity: IntensitySource, overwrite: bool) -> Iterator[None]:
    """Writes the validity plane of the rows as they are read; the file appears when all of them were."""
    if path is None:
        yield
        return
    from hfd_edge.raster import RasterProfile, RasterWriter
    from hfd_edge.scene.strips import VALIDITY

    meaning = {"HFD_VALIDITY": ", ".join(f"{number} {name}" for number, name in enumerate(VALIDITY))}
    profile = RasterProfile(source.rows, source.cols, 1, "uint8", descriptions=("validity",), tags=meaning, geo=source.geo)
    with RasterWriter(path, profile, overwrite) as writer:
        intensity.on_codes = lambda row, codes: writer.write(row, codes[None])
        yield


def _spec(engine: Path) -> ModelSpec:
    from hfd_edge.package import Package

    with Package.open(engine) as package:
        return package.spec


def _offset_lines(spec: ModelSpec, offset: TrainingOffset | None) -> dict[str, str]:
    if offset is None:
        why = ("it was trained on filtered pixels: predict tells it" if spec.input.speckle_filter != "none" else
               "too few valid pixels, digital numbers, or no mean power")
        return {"off training": f"cannot be told here: {why}"}
    return {"off training": str(offset)}


def _lines(statistics: SceneStatistics, intensity: IntensitySource) -> dict[str, str]:
    rows, cols = statistics.rows, statistics.cols
    lines = {"pixels": f"{rows} x {cols} = {rows * cols / 1e6:.2f} Mpx, {statistics.nodata_share:.2%} nodata",
             "unit": f"{intensity.radiometry.unit}; {intensity.checked_pixels} sampled pixels do not contradict it",
             "looks": _looks(statistics)}
    if intensity.fill:
        lines["odd"] = intensity.fill.note("were counted")
    if intensity.radiometry.saturation is not None:
        lines["saturated"] = f"{intensity.saturated} pixels at {intensity.radiometry.saturation:g} and above: their power is a lower bound"
    for band in statistics.bands:
        lines[band.name] = _band_line(band)
    return lines


def _looks(statistics: SceneStatistics) -> str:
    bands = [band.enl for band in statistics.bands if band.enl]
    if not bands:
        return "cannot be estimated: no window of 15 x 15 px is valid in whole and not flat"
    unlike = max(bands) > _LIKE_LOOKS * min(bands)
    return (f"{statistics.enl:.2f} (mode beside the evenest of {sum(int(b.enl_histogram.sum()) for b in statistics.bands)} windows of "
            f"15 x 15 px{', the bands counted together: not a mean of theirs, which differ' if unlike else ''})")


def _band_line(band: BandStatistics) -> str:
    if band.valid == 0:
        return "no valid pixel"
    percentiles = ", ".join(f"{percent} % {_decibel(band.percentile(percent))}" for percent in _PERCENTS)
    looks = "not known" if band.enl is None else f"{band.enl:.2f}"
    return f"looks {looks}, percentiles {percentiles}, no signal {band.no_signal / band.valid:.2%}"


def _decibel(power: float) -> str:
    import math
    return f"{10 * math.log10(power):.1f} dB" if power > 0 else "no signal"


def _record(statistics: SceneStatistics, intensity: IntensitySource) -> dict[str, Any]:
    known = any(band.enl for band in statistics.bands)
    return {"rows": statistics.rows, "cols": statistics.cols, "unit": str(intensity.radiometry.unit),
            "saturated": intensity.saturated if intensity.radiometry.saturation is not None else None,
            "odd": [intensity.fill.note("were counted")] if intensity.fill else [],
            "nodata_share": statistics.nodata_share, "enl": statistics.enl if known else None,
            "bands": [_band_record(band) for band in statistics.bands]}


def _band_record(band: BandStatistics) -> dict[str, Any]:
    """Counts as pairs (bin, count) of bins that hold any; what the bins are: docs/speckle.md."""
    percentiles = {str(percent): band.percentile(percent) for percent in _PERCENTS} if band.valid else {}
    return {"name": band.name, "valid": band.valid, "no_signal": band.no_signal, "enl": band.enl, "mean_db": band.mean_db(),
            "percentiles": percentiles, "power_histogram": _pairs(band.power_histogram),
            "enl_histogram": _pairs(band.enl_histogram)}


def _pairs(counts: Any) -> list[list[int]]:
    return [[int(i), int(counts[i])] for i in counts.nonzero()[0]]
