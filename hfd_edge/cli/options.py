"""The options that several verbs have, and how their words are read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hfd_edge.spec import Unit

if TYPE_CHECKING:
    from hfd_edge.products import Mosaic
    from hfd_edge.raster_run import RasterOptions

SceneAndEngine = Annotated[list[Path], typer.Argument(
    metavar="RASTER... ENGINE", help="The scene (or one file per band, all on one grid), then the .engine file.")]
MosaicOption = Annotated[bool, typer.Option(
    "--mosaic", help="RASTER... are tiles of one scene, or folders of them: files of one place are bands, of different places tiles.")]
UnitOption = Annotated[Unit | None, typer.Option(case_sensitive=False, help="What the pixels are, where the file's tags do not say.")]
ScaleOption = Annotated[float | None, typer.Option(help="value = stored * SCALE + OFFSET, in UNIT.")]
OffsetOption = Annotated[float | None, typer.Option(help="See --scale.")]
NodataOption = Annotated[list[float] | None, typer.Option(help="Stored value without meaning, besides the file's own; may be repeated.")]
BandsOption = Annotated[str | None, typer.Option(help="Names or numbers from 1, in the network's order: VV,VH or 4,3.")]
AnyBandsOption = Annotated[str | None, typer.Option(help="Names or numbers from 1: VV,VH or 4,3; default: all.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
PrecisionsOption = Annotated[str | None, typer.Option(
    help="fp32, fp16, int8, separated by commas. Default: fp32, and with --calibration all that the targets take.")]
TargetsOption = Annotated[str, typer.Option(help="cpu, tensorrt, separated by commas.")]
CalibratorOption = Annotated[str, typer.Option(help="percentile, minmax or entropy.")]
KeepFloatOption = Annotated[str | None, typer.Option(
    help="Nodes that stay in float, separated by commas; more are found where the gate asks for it.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the report as one line of JSON.")]

CALIBRATOR = "percentile"                   # the default of --calibrator
SCENES = "a raster, the rasters of its bands (a_VV.tif,a_VH.tif), a SAR product, a folder of these, or 'simulated'; may be repeated"

_FACTORS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_INTEGER = r"-?[0-9]{1,18}"                 # what is longer is no number of pixels or bands and stays a word, to be refused


def declared_options(unit: Unit | None, scale: float | None, offset: float | None, nodata: list[float] | None, bands: str | None,
                     **more: Any) -> RasterOptions:
    """What the options of these names declare of a raster; `more`: other fields of RasterOptions."""
    from hfd_edge.raster_run import RasterOptions

    return RasterOptions(unit, scale, offset, tuple(nodata) if nodata else None, parse_bands(bands), **more)


def scene_and_engine(files: list[Path], verb: str) -> tuple[list[Path], Path]:
    """The rasters and the engine after them."""
    if len(files) < 2:
        missing = "RASTER, the scene," if files[0].suffix.lower() == ".engine" else "ENGINE, the .engine file,"
        raise typer.BadParameter(f"{files[0]} is given alone: {missing} is missing; the order is hfd-edge {verb} scene.tif model.engine")
    return files[:-1], files[-1]


def scene_of(rasters: list[Path], mosaic: bool) -> list[Path] | Mosaic:
    """What RASTER... stands for; iterates over the scene's files."""
    if not mosaic:
        return rasters
    from hfd_edge.products import Mosaic

    return Mosaic(rasters)


def check_outputs(files: Sequence[Path | None], picture: Path | None, inputs: Sequence[Path], overwrite: bool) -> None:
    """What can be known to fail as it is written is asked before any work; None = not asked for."""
    from hfd_edge.raster import check_output

    for path in (*files, picture):
        if path is not None:
            check_output(path, overwrite, inputs=inputs)
    if picture is not None:
        from hfd_edge.view import check_picture
        check_picture(picture)


def check_calibrated(calibration: list[str] | None, given: dict[str, Any]) -> None:
    """Refuse options (name to value, None or [] = not given) that say something of the calibration scenes or are made from them, where there are none."""
    if not calibration and (named := [name for name, value in given.items() if value not in (None, [])]):
        raise typer.BadParameter(f"{', '.join(named)} without --calibration: this concerns the scenes to calibrate and judge on, and there are none; give "
                                 f"--calibration, or leave {'them' if len(named) > 1 else 'it'} out for FP32 alone")


def parse_bands(text: str | None) -> tuple[int | str, ...] | None:
    """"VV,VH" or "4,3" as names or numbers."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise typer.BadParameter(f"--bands {text!r}: give names or numbers separated by commas, such as VV,VH or 4,3")
    return tuple(int(part) if re.fullmatch(_INTEGER, part) else part for part in parts)


def parse_window(text: str | None) -> tuple[int, int, int, int] | None:
    """"ROW,COL,ROWS,COLS" as numbers."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 4 or not all(re.fullmatch(_INTEGER, part) for part in parts):
        raise typer.BadParameter(f"--window {text[:60]!r}: give ROW,COL,ROWS,COLS in whole pixels, such as 0,2048,1000,1500; "
                                 "the first pixel is 0,0")
    return tuple(int(part) for part in parts)


def parse_bounds(text: str | None) -> tuple[float, ...] | None:
    """"W,S,E,N" as numbers."""
    if text is None:
        return None
    try:
        numbers = tuple(map(float, text.split(",")))
    except ValueError:
        numbers = ()
    if len(numbers) != 4:
        raise typer.BadParameter(f"--bounds {text[:60]!r}: give W,S,E,N as numbers in the raster's coordinate system, such as 500000,4600000,520000,4615000")
    return numbers


def parse_probability(words: list[str] | None) -> tuple[str, str] | None:
    """"CLASS=FILE", at most once, as class and file."""
    if not words:
        return None
    name, _, path = words[0].partition("=")
    if not name or not path:
        raise typer.BadParameter(f"--probability {words[0][:60]!r}: give a class, by name or number, and the file to write, such as water=water.tif")
    if len(words) > 1:
        raise typer.BadParameter(f"--probability {' and '.join(map(repr, words))}: a run gives the probability of one class; run once for each")
    return name, path


def parse_size(text: str) -> int | str:
    """Pixels where they are digits, else the word as it is."""
    return int(text) if re.fullmatch(_INTEGER, text) else text


def parse_memory(text: str | None, option: str = "--memory") -> int | None:
    """"512M" as bytes."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,18})([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if not match:
        raise typer.BadParameter(f"{option} {text[:40]!r}: give bytes, or a whole number with K, M, G or T, such as 512M")
    return int(match[1]) * _FACTORS[match[2].upper()]


def split_words(text: str | None) -> tuple[str, ...]:
    """"fp32, int8" as words; nothing for None."""
    return tuple(word.strip() for word in (text or "").split(",") if word.strip())
