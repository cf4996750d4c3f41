"""What a run gives back: a map in memory (`Result`) or the account of a map on disk (`RunReport`)."""

from __future__ import annotations

import io
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hfd_edge.errors import ArrayError
from hfd_edge.source.offset import TrainingOffset
from hfd_edge.text import aligned, codes_of

_MOST_CLASSES = 12              # of a line


@dataclass(frozen=True, slots=True)
class ClassShare:
    """How much of a map is one class."""

    value: int                      # of its pixels in the map
    name: str
    pixels: int
    share: float                    # 0..1, of the pixels that have a class: nodata does not count
    km2: float | None               # ground that they cover, on the ellipsoid; None where the map has no transform and coordinate system


@dataclass(frozen=True, slots=True)
class RunReport:
    """How a run went; every figure was measured in that run."""

    rows: int
    cols: int
    nodata_share: float             # 0..1, pixels labelled nodata because the scene has no value there
    nan_pixels: int                 # pixels where the engine answered NaN; labelled nodata as well; 0 in a sound run
    timings: dict[str, float]       # seconds per stage, over the calls at once, and "total"; stages overlap, so they may add up to more than the total
    device: str                     # "cpu" or "cuda:0"
    engine: str                     # engine, its version and the graph that ran
    engine_hash: str
    threads: int                    # that the operations and the engine used
    halo: str                       # "exact", "bounded" or "custom"
    halo_px: int
    tile_px: tuple[int, int]        # input of the largest tile, rows and columns
    tiles_run: int
    tiles_empty: int                # tiles without a valid pixel, not sent to the engine
    compute_ratio: float            # input pixels of all tiles over the scene's pixels
    notes: tuple[str, ...] = ()     # what differs from the training data and was not corrected; programs go by note_codes
    score: str = ""                 # what the plane beside the labels is: "confidence" or "probability of" a class; "" = none was made
    read_as: str = ""               # of a raster: its bands ("2 as VV" where no name tells), unit, scale and offset as they were taken; "" for an array
    stitch: str = "crop"            # or "precision", "hann", "gaussian", "constant": overlapping tiles were fused
    saturated_pixels: int | None = None     # valid, but their power is a lower bound; None = no level was declared, or the pixels were filtered
    offset: TrainingOffset | None = None    # how far the scene lies off the training data, in dB; None = cannot be told
    overlap_px: int = 0             # width of the bands in which two neighbours were fused; 0 with crop
    at_once: int = 1                # batches that the engine answered beside each other, once the run had tried; on a GPU 1 is told
    window: tuple[int, int, int, int] | None = None     # row, col, rows, cols of a raster that were segmented; None = all of it
    classes: tuple[ClassShare, ...] = ()    # of a raster's map, in the order of its values; with --classes the chosen ones and "other"; () for an array

    @property
    def mpx_per_s(self) -> float:
        """Scene pixels (not tile pixels) per second of the whole run, in millions."""
        return self.rows * self.cols / 1e6 / self.timings["total"]

    @property
    def halo_share(self) -> float:
        """Share of the engine's work (0..1, of its input pixels) that went into halo and overlap, not into new pixels."""
        return 1 - 1 / self.compute_ratio

    @property
    def note_codes(self) -> tuple[str, ...]:
        """A word for each of the notes, which stays where a note is worded anew; all of them: docs/rasters.md."""
        return codes_of(self.notes)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready record; its keys: docs/rasters.md."""
        return {**asdict(self), "note_codes": self.note_codes, "mpx_per_s": self.mpx_per_s, "halo_share": self.halo_share}

    def __str__(self) -> str:
        return "\n".join(aligned(run_lines(self)))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Result:
    """A map in memory. `numpy.asarray(result)` is its labels; two results are equal only if they are one: compare their labels."""

    labels: np.ndarray              # (rows, cols) uint8, index into classes, 255 = nodata
    score: np.ndarray | None        # (rows, cols) uint8, 0..254 for 0..1, 255 = nodata: what report.score says; None if none was asked for; both DeviceArrays of a scene on a GPU
    classes: tuple[str, ...]        # index = label
    colors: tuple[tuple[int, int, int], ...]        # RGB 0..255 per class
    report: RunReport

    @property
    def confidence(self) -> np.ndarray | None:
        """The score, where it is the probability of each pixel's label; None where it is not."""
        return self.score if self.report.score == "confidence" else None

    @property
    def probability(self) -> np.ndarray | None:
        """The score, where it is the probability of the class that was asked for; None where it is not."""
        return None if self.report.score == "confidence" else self.score

    @property
    def timings(self) -> dict[str, float]:
        """Seconds per stage, see RunReport."""
        return self.report.timings

    @property
    def halo(self) -> str:
        """"exact", "bounded" or "custom": which halo ran."""
        return self.report.halo

    def __repr__(self) -> str:
        rows, cols = self.labels.shape
        return (f"Result({rows} x {cols} labels of {len(self.classes)} classes, {f'with {self.report.score}' if self.report.score else 'without confidence'}, "
                f"{self.report.nodata_share:.2%} nodata, on {self.report.device}{self._noted()})")

    def _noted(self) -> str:
        """That something was seen and not corrected, for whoever only looks at the result."""
        count = len(self.report.notes)
        return f"; {count} note{'s' * (count > 1)}, print(result.report)" if count else ""

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (int, float, np.generic, np.ndarray)):             # it would be False, and a count of it 0
            raise ArrayError(f"a Result was compared with {type(other).__name__}: compare its labels, result.labels == {0 if np.ndim(other) else other}")
        return self is other

    __hash__ = object.__hash__

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if dtype is not None and np.dtype(dtype) != self.labels.dtype:
            if copy is False:
                raise ValueError(f"labels are uint8: an array of {np.dtype(dtype)} needs a copy; leave out copy=False")
            return self.labels.astype(dtype)
        return self.labels.copy() if copy else self.labels

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Write the labels: .tif with class names and colours (no georeference: an array has none), or .npy.

        Written beside, then renamed; a GeoTIFF carries the engine's hash and the halo in its tags.

        Raises:
            ArrayError: another suffix.
            RasterError: the file exists and overwrite is False, or it cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() in (".tif", ".tiff"):
            from hfd_edge.raster import MapWriter

            tags = {"HFD_ENGINE_SHA256": self.report.engine_hash, "HFD_HALO": f"{self.report.halo} {self.report.halo_px} px",
                    "HFD_STITCH": self.report.stitch}
            with MapWriter(path, *self.labels.shape, geo=None, legend=self, tags=tags, overwrite=overwrite) as writer:
                writer.write(0, self.labels)
        elif path.suffix.lower() == ".npy":
            from hfd_edge.raster import write_bytes

            content = io.BytesIO()
            np.save(content, self.labels)
            write_bytes(path, content.getbuffer(), overwrite)
        else:
            raise ArrayError(f"cannot save labels as {path.suffix or 'a file without suffix'}: use .tif or .npy")


def run_lines(report: RunReport) -> dict[str, str | tuple[str, ...]]:
    """A run's report for people."""
    stages = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in report.timings.items() if stage != "total")
    lines: dict[str, str | tuple[str, ...]] = {
        "pixels": f"{report.rows} x {report.cols} = {report.rows * report.cols / 1e6:.2f} Mpx, {report.nodata_share:.2%} nodata"
        + (f", from row {report.window[0]}, column {report.window[1]} of the scene on" if report.window else ""),
        "time": f"{report.timings['total']:.2f} s, {report.mpx_per_s:.2f} Mpx/s",
        "stages": f"{stages} (seconds; they overlap)",
        "device": f"{report.device}, {report.threads} threads, {report.engine}",
        "engine": report.engine_hash,
        "tiles": f"{report.tiles_run} of up to {report.tile_px[0]} x {report.tile_px[1]} px, {report.tiles_empty} empty ones skipped"
        + (", two at once" if report.at_once > 1 else ""),
        "halo": f"{report.halo}, {report.halo_px} px, costs {report.compute_ratio:.2f} times the scene's pixels: "
        f"{report.halo_share:.0%} of the engine's work",
        "stitch": report.stitch + (f", tiles fused over {report.overlap_px} px at each border" if report.overlap_px else "")}
    if report.classes:
        lines["classes"] = _classes(report.classes)
    if report.saturated_pixels is not None:
        lines["saturated"] = f"{report.saturated_pixels} pixels, valid all the same: their power is a lower bound"
    if report.offset:
        lines["off training"] = str(report.offset)
    lines["note"] = report.notes
    if report.read_as:
        lines = {"read as": report.read_as, **lines}
    if report.nan_pixels:
        lines["NaN"] = f"{report.nan_pixels} pixels where the engine answered NaN: labelled nodata"
    return lines


def _classes(shares: tuple[ClassShare, ...]) -> str:
    """Every class of a few, of many the most frequent."""
    shown = shares if len(shares) <= _MOST_CLASSES else sorted((each for each in shares if each.pixels), key=lambda each: -each.pixels)[:_MOST_CLASSES]
    told = [f"{each.value} {each.name} {each.share:.2%}" + ("" if each.km2 is None else f" ({each.km2:.4g} km2)") for each in shown]
    return ", ".join(told) + ("" if len(shown) == len(shares) else f"; all {len(shares)} with --json or to_dict()") if told else "none of them has a pixel"


def json_line(record: dict[str, Any]) -> str:
    """A record as one line of ASCII; what is not a number in JSON (nan, infinity) becomes null."""
    return json.dumps(_finite(record), allow_nan=False, default=str)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
