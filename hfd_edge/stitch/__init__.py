"""Tiles to finished rows, by crop: every scene pixel is taken from the one tile that owns it; nothing is blended (that is `stitch.blend`).

The network's logits leave at their own stride; `finish` up-samples them (bilinear, half-pixel), takes the best class and
drops the halo in one pass, so logits at full resolution never exist.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hfd_edge import _native
from hfd_edge.device.pages import own_pages
from hfd_edge.errors import EngineError, GridError
from hfd_edge.score import OWN_CLASS
from hfd_edge.spec import NODATA_LABEL
from hfd_edge.tiles import Strip, Tile

STATUS_NODATA = 1       # what gather writes into the validity plane for a pixel without value


@dataclass(slots=True)
class PixelCounts:
    """What became of the pixels written so far."""

    written: int = 0
    nodata: int = 0
    saturated: int = 0      # pixels at the end of their scale in one band; counted as they are read, on a GPU all at once
    nan: int = 0            # pixels where the engine answered NaN; they carry NODATA_LABEL and are reported, never hidden
    tiles_run: int = 0
    tiles_empty: int = 0    # tiles without one valid pixel in their core: labelled nodata without asking the engine


def check_logits(tile: Tile, logits: np.ndarray, logit_stride: int) -> None:
    """Raise EngineError where logits (classes, rows, cols) have not the size that the tile's input makes."""
    expected = (tile.in_rows // logit_stride, tile.in_cols // logit_stride)
    if logits.shape[1:] != expected:
        raise EngineError(f"the engine gave logits of {logits.shape[1:]} for the tile at row {tile.row}, column {tile.col}: "
                          f"with a logit stride of {logit_stride} its input of {tile.in_rows} x {tile.in_cols} needs "
                          f"{expected}; the spec and the graph differ")


@dataclass(frozen=True, slots=True)
class MapRows:
    """Memory for finished strips: rows of their own, or those of the whole scene's map, written where they stay."""

    cols: int
    score: int | None               # of which class, see `hfd_edge.score`
    whole: tuple[np.ndarray, np.ndarray | None] | None = None      # labels and score, (rows, cols) uint8 of the scene

    @property
    def score_class(self) -> int:
        """As the native `finish` takes it, a plane or none."""
        return OWN_CLASS if self.score is None else self.score

    def of(self, strip: Strip) -> tuple[np.ndarray, np.ndarray | None]:
        """Labels and score (strip.rows, cols) uint8 of one strip, with whatever is in them."""
        if self.whole is not None:
            there = slice(strip.row, strip.row + strip.rows)
            return self.whole[0][there], None if self.whole[1] is None else self.whole[1][there]
        shape = (strip.rows, self.cols)
        return own_pages(shape, np.uint8), None if self.score is None else own_pages(shape, np.uint8)


@dataclass(frozen=True, slots=True)
class CropFrame:
    """What all strips of a run have in common."""

    first_col: int                  # of the scene, that is kept
    rows: MapRows
    logit_stride: int
    threads: int


class CropStitch:
    """Opens strips from top to bottom and gives each back as soon as its tiles are in."""

    def __init__(self, frame: CropFrame, counts: PixelCounts) -> None:
        self._frame, self._counts = frame, counts

    def open(self, strip: Strip) -> StripStitcher:
        """The strip's rows, empty."""
        return StripStitcher(strip, self._frame, self._counts)

    def close(self, part: StripStitcher) -> list[StripStitcher]:
        """Take a strip whose tiles are all in, and give it back."""
        part.check_complete()
        return [part]

    def end(self) -> list[StripStitcher]:
        """Nothing: no strip waits."""
        return []


class StripStitcher:
    """Collects the tiles of one strip into its rows; refuses a strip whose tiles do not add up to its pixels."""

    def __init__(self, strip: Strip, frame: CropFrame, counts: PixelCounts) -> None:
        self.strip, self._frame, self._counts = strip, frame, counts
        self.labels, self.score = frame.rows.of(strip)
        self._written = 0

    def put(self, tile: Tile, logits: np.ndarray, status: np.ndarray) -> None:
        """Finish one tile: logits (classes, rows / s, cols / s) float32 and status (rows, cols) uint8 of its input."""
        window, stride = self._window(tile), self._frame.logit_stride
        check_logits(tile, logits, stride)
        score = None if self.score is None else self.score[window]
        nodata, nan = _native.finish(logits, stride, status, tile.crop, self.labels[window], score, self._frame.threads,
                                     self._frame.rows.score_class)
        self._count(tile, nodata, nan)
        self._counts.tiles_run += 1

    def put_empty(self, tile: Tile) -> None:
        """Mark a tile whose core holds no valid pixel."""
        window = self._window(tile)
        self.labels[window] = NODATA_LABEL
        if self.score is not None:
            self.score[window] = NODATA_LABEL
        self._count(tile, tile.rows * tile.cols, 0)
        self._counts.tiles_empty += 1

    def check_complete(self) -> None:
        """Raise GridError unless every pixel of the strip was written exactly once."""
        if self._written != self.labels.size:
            raise GridError(f"strip at row {self.strip.row}: {self._written} of {self.labels.size} pixels were written: every pixel belongs to "
                            "exactly one tile; the grid is broken, please report it with the scene's size and tile")

    def _window(self, tile: Tile) -> tuple[slice, slice]:
        col = tile.col - self._frame.first_col
        return slice(0, tile.rows), slice(col, col + tile.cols)

    def _count(self, tile: Tile, nodata: int, nan: int) -> None:
        self._written += tile.rows * tile.cols
        self._counts.written += tile.rows * tile.cols
        self._counts.nodata += nodata
        self._counts.nan += nan
