"""Tiles to finished rows on a CUDA device: the twins of `stitch` and `stitch.blend`. Everything is enqueued, nothing is waited for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hfd_edge.device.pool import DevicePool, DeviceSlotMemory, FieldMemory, StripMemory
from hfd_edge.errors import GridError
from hfd_edge.run import Run
from hfd_edge.spec import ModelSpec
from hfd_edge.stitch.blend import NEIGHBOUR_HELD, BlendFrame, FieldColumns, field_columns, shared_rows
from hfd_edge.tiles import Strip, Tile


@dataclass(slots=True)
class DevicePart:
    """A strip on the device."""

    strip: Strip
    memory: StripMemory
    scene: Any                          # native.Scene
    run: int = 0                        # tiles that the engine was asked for
    empty: int = 0
    answered: int = 0                   # pixels of tiles that were answered
    numbers: dict[int, int] = field(default_factory=dict)      # first column of a tile -> its place in the counts
    field: FieldMemory | None = None    # where it is blended


class DeviceMap:
    """Where the labels of one run's strips are made, and how they are counted."""

    def __init__(self, run: Run, pool: DevicePool, spec: ModelSpec) -> None:
        self._run, self._gpu, self._stride = run, pool.gpu, spec.logit_stride_px
        self._first_row, _, _, self.cols = run.plan.grid.kept

    def row_of(self, part: DevicePart) -> int:
        """The row of the maps at which a strip begins."""
        return 0 if self._run.maps is None else part.strip.row - self._first_row

    def finish(self, part: DevicePart, answer: tuple[tuple[int, int], tuple[int, ...], tuple[int, int]], kept: list[tuple[int, ...]],
               number: int, stream: int) -> None:
        """Enqueue labels and score of tiles.

        Args:
            answer: logits, their shape (classes, rows, cols) of a tile, status.
            kept: of each tile, first row and column, rows, columns, and where they go.
            number: the place of the first tile in the counts.
        """
        memory, maps = part.memory, self._run.maps or part.memory
        labels = (maps.labels.ptr, maps.labels.nbytes, self.cols)
        score = None if self._run.score is None else (maps.score.ptr, maps.score.nbytes, self.cols)
        logits, shape, status = answer
        self._gpu.native.finish(logits, shape, self._stride, status, kept, labels, score,
                                (memory.counts.ptr + 16 * number, 16 * len(kept)), (self._gpu.index, stream),
                                self._run.rows().score_class)


class DeviceCrop:
    """Every pixel from the tile that owns it; a batch is finished on the stream of its slot."""

    def __init__(self, run: Run, pool: DevicePool, spec: ModelSpec) -> None:
        self._gpu, self._down, self._map = pool.gpu, pool.down, DeviceMap(run, pool, spec)
        self._first_col = run.plan.grid.kept[1]

    def put(self, slot: DeviceSlotMemory, part: DevicePart, tiles: list[Tile], seen: np.ndarray) -> None:
        """Finish a batch that the engine has been asked for; tiles without a valid pixel are nodata by their status."""
        row = self._map.row_of(part)
        kept = [(*t.crop, t.rows, t.cols, row * self._map.cols + t.col - self._first_col) for t in tiles]
        answer = slot.logits_memory, slot.engine.output_shape[1:], slot.status_memory
        self._map.finish(part, answer, kept, part.numbers[tiles[0].in_col], slot.stream)
        slot.finished.record(slot.stream)
        self._gpu.wait(self._down, slot.finished)

    def close(self, part: DevicePart) -> Iterator[DevicePart]:
        """Take a strip whose tiles are all in; gives strips whose maps are enqueued."""
        if part.answered != part.strip.rows * self._map.cols:
            raise GridError(f"strip at row {part.strip.row}: {part.answered} of {part.strip.rows * self._map.cols} pixels were "
                            "labelled: every pixel belongs to exactly one tile; please report it with the scene's size and tile")
        yield part

    def end(self) -> Iterator[DevicePart]:
        """The strips that are left: none."""
        yield from ()


class DeviceBlend:
    """Overlapping tiles fused, on one stream of the pool, so that their order is that of the calls.

    Tiles come from left to right, so a cell that two of them cover holds the left one's logits when the right one comes, or nothing
    where the left one had no valid pixel. Two fields are enough: what is enqueued for the strip after the next comes after all of
    this one.
    """

    def __init__(self, run: Run, pool: DevicePool, spec: ModelSpec) -> None:
        self._pool, self._gpu, self._spec, self._map = pool, pool.gpu, spec, DeviceMap(run, pool, spec)
        grid = run.plan.grid
        self._frame = BlendFrame(grid, run.plan.blend, len(spec.classes), spec.logit_stride_px, run.rows(), 1)
        self._kept_col, self._turn = grid.kept[1], 0
        strips = list(grid.strips())
        self._columns = field_columns(strips[0].tiles, self._frame)
        self._col = min(tile.col for tile in strips[0].tiles)
        self._cols = max(tile.col + tile.cols for tile in strips[0].tiles) - self._col
        rows, s = max(strip.tiles[0].rows for strip in strips), spec.logit_stride_px
        self._fields = pool.fields(4 * len(spec.classes) * (rows // s) * (self._cols // s), rows * self._cols)
        self._tables = _Tables(self._columns, pool)
        self._waiting: DevicePart | None = None

    def put(self, slot: DeviceSlotMemory, part: DevicePart, tiles: list[Tile], seen: np.ndarray) -> None:
        """Fuse a batch in that the engine has been asked for."""
        fuse = self._pool.fuse
        if part.field is None:
            self._begin(part)
        slot.answered.record(slot.stream)
        self._gpu.wait(fuse, slot.answered)
        for number, tile in enumerate(tiles):
            self._put_status(slot, part, tile, number)
            if seen[number]:
                self._put_logits(slot, part, tile, number)
        slot.finished.record(fuse)

    def close(self, part: DevicePart) -> Iterator[DevicePart]:
        """Take a strip whose tiles are all in; gives the one above it, whose maps are enqueued."""
        if part.run + part.empty != len(part.strip.tiles):
            raise GridError(f"strip at row {part.strip.row}: {part.run + part.empty} of its {len(part.strip.tiles)} tiles were given: every "
                            "tile is fused exactly once; please report it with the scene's size and tile")
        memory, above = part.memory, self._waiting
        share = shared_rows(above.strip, part.strip, self._frame) if above is not None else np.zeros(0, np.int32)
        memory.share_host[:len(share)] = share
        self._gpu.copy_in(memory.tables.ptr, memory.tables_host, self._pool.fuse)
        self._waiting = part
        if above is not None:
            self._gpu.native.blend_strips((above.field.logits, self._shape(above)), (part.field.logits, self._shape(part)),
                                          (memory.share, len(share)), above.memory.holds, memory.holds, self._queue)
            yield self._finished(above)

    def end(self) -> Iterator[DevicePart]:
        """The last strip."""
        last, self._waiting = self._waiting, None
        if last is not None:
            yield self._finished(last)

    def _begin(self, part: DevicePart) -> None:
        """A strip's field, empty; not before its first answer, when the strip before the last one is finished."""
        part.field = self._fields[self._turn % len(self._fields)]
        self._turn += 1
        self._gpu.fill(part.field.logits[0], 0, part.field.logits[1], self._pool.fuse)
        part.memory.holds_host[...] = 0

    @property
    def _queue(self) -> tuple[int, int]:
        return self._gpu.index, self._pool.fuse

    def _shape(self, part: DevicePart) -> tuple[int, int, int]:
        s = self._frame.logit_stride
        return self._frame.classes, part.strip.tiles[0].rows // s, self._cols // s

    def _put_status(self, slot: DeviceSlotMemory, part: DevicePart, tile: Tile, number: int) -> None:
        (top, left), (_, _, rows, cols) = tile.crop, slot.engine.input_shape
        source = slot.status.ptr + (number * rows + top) * cols + left
        self._gpu.native.copy_rows(part.field.status[0] + tile.col - self._col, self._cols, source, cols, (tile.cols, tile.rows), self._queue)

    def _put_logits(self, slot: DeviceSlotMemory, part: DevicePart, tile: Tile, number: int) -> None:
        s, at, shape = self._frame.logit_stride, self._columns[tile.in_col], slot.engine.output_shape[1:]
        nbytes = 4 * int(np.prod(shape))
        holds = part.memory.holds_host[at.first:at.first + len(at.share)]
        share, state = self._tables.of(tile.in_col, beside=bool(holds[0]))
        self._gpu.native.blend_tile(((slot.logits.ptr + number * nbytes, nbytes), shape), (tile.crop[0] // s, tile.crop[1] // s),
                                    (part.field.logits, self._shape(part)), at.first, share, (state, len(at.share)), self._queue)
        holds[...] = 1

    def _finished(self, part: DevicePart) -> DevicePart:
        """Enqueue the labels of the rows that a strip keeps; none where it only added to its neighbours'."""
        strip, s = part.strip, self._frame.logit_stride
        if strip.rows > 0:
            row = self._map.row_of(part)
            kept = (strip.row - strip.tiles[0].row, self._kept_col - self._col, strip.rows, self._map.cols, row * self._map.cols)
            shape = self._shape(part)
            status = (part.field.status[0], shape[1] * shape[2] * s * s)
            self._map.finish(part, (part.field.logits, shape, status), [kept], 0, self._pool.fuse)
        self._pool.fused.record(self._pool.fuse)
        self._gpu.wait(self._pool.down, self._pool.fused)
        return part


class _Tables:
    """Of each column of tiles: the shares of its cells, and what they hold when it comes, in device memory; sent once a run."""

    def __init__(self, columns: dict[int, FieldColumns], pool: DevicePool) -> None:
        cells = sum(len(at.share) for at in columns.values())
        host, self._memory = pool.tables(6 * cells)
        shares, self._cells, self._at, first = host[:4 * cells].view(np.int32), cells, {}, 0
        states = host[4 * cells:].reshape(2, cells)
        for in_col, at in columns.items():
            there = slice(first, first + len(at.share))
            shares[there], states[0, there], states[1, there] = at.share, 0, at.role == NEIGHBOUR_HELD
            self._at[in_col] = first, len(at.share)
            first += len(at.share)
        pool.gpu.copy_in(self._memory.ptr, host, pool.fuse)

    def of(self, in_col: int, beside: bool) -> tuple[tuple[int, int], tuple[int, int]]:
        """Shares and states of a tile's cells; `beside`: its left neighbour is in."""
        first, count = self._at[in_col]
        state = self._memory.ptr + 4 * self._cells + beside * self._cells + first
        return (self._memory.ptr + 4 * first, 4 * count), (state, count)
