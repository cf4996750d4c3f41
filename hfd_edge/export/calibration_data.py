"""Real scenes as tiles of network input, through the declaration, gather and grid of inference: for calibration and gates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np

from hfd_edge.errors import ArrayError, EmptySceneError, ExportError, HfdError, RasterError
from hfd_edge.export.data_files import Place, SceneFiles, given_scenes
from hfd_edge.plan import PlanRequest, SceneShape, plan_tiles
from hfd_edge.products import run_notes
from hfd_edge.products.scene import Scene
from hfd_edge.radiometry import SourceRadiometry, differences, gathered, make_gather
from hfd_edge.raster import TruthSource
from hfd_edge.raster_run import RasterOptions, declared_radiometry, open_as_declared
from hfd_edge.simulate import BANDS, CLASS_NAMES, SceneConfig
from hfd_edge.simulate import Scene as SimulatedScene
from hfd_edge.source import ArraySource, Source, check_count
from hfd_edge.source.checked import checked
from hfd_edge.source.filter import check_filter, filtered_input
from hfd_edge.source.vector import scene_vector
from hfd_edge.spec import NODATA_LABEL, ModelSpec, Unit
from hfd_edge.stitch import STATUS_NODATA
from hfd_edge.tiles import round_up

_SIMULATED_SCENES, _SIMULATED_PX, _SIMULATED_SEED = 4, 1024, 1 << 45     # of seeds that neither training nor its judgement uses
_THREADS = 2
_STRIP_PX = 1 << 22                     # pixels of all bands read at once, to find a valid one
_LEAST_ROWS = 1024                      # of a part of a scene: a few tiles
_MOST_NAMED = 20                        # empty scenes in one sentence

Truth = Callable[[int, int], np.ndarray]        # (first row, rows) -> (rows, cols) uint8, 255 = not known


@dataclass(frozen=True, slots=True)
class DataScene:
    """One scene to calibrate or judge on."""

    name: str
    source: Source
    radiometry: SourceRadiometry
    truth: Truth | None
    notes: tuple[str, ...] = ()     # what a run's report would say of it


@dataclass(frozen=True, slots=True)
class Tile:
    """One input of the network, as inference would make it."""

    scene: str
    pixels: np.ndarray              # (bands, rows, cols) float32
    status: np.ndarray              # (rows, cols) uint8, 1 = nodata or halo: not to be counted
    labels: np.ndarray | None       # (rows, cols) uint8, 255 = not known
    vector: np.ndarray | None = None        # what the network is told of the tile's scene, (1, n) float32; None = nothing

    def given(self, pixels: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
        """What the network takes: a batch of the tile, or of a part of it, and what it is told of the scene where it is told."""
        batch = (self.pixels if pixels is None else pixels)[None]
        return (batch,) if self.vector is None else (batch, self.vector)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Some rows of a scene, as a scene of their own."""

    whole: Source
    first: int
    rows: int

    @property
    def cols(self) -> int:
        return self.whole.cols

    @property
    def count(self) -> int:
        return self.whole.count

    @property
    def dtype(self) -> np.dtype:
        return self.whole.dtype

    def read(self, row: int, rows: int) -> tuple[np.ndarray, np.ndarray | None]:
        return self.whole.read(self.first + row, rows)


def open_scenes(where: Sequence[Place], spec: ModelSpec, stack: ExitStack, options: RasterOptions | None = None) -> list[DataScene]:
    """Rasters, one raster per band, SAR products, folders of them, or "simulated".

    The truth of NAME.tif, or of the product NAME, is NAME_labels.tif beside it, that of scene.tif also truth.tif: see raster.TruthSource.

    Args:
        where: see `data_files`; in a folder every raster counts that is not itself a truth, labels, mask or optical image.
        stack: closes the files.
        options: what is declared of all rasters alike; None = as their tags say.
    Raises:
        ExportError: nothing is there, simulated scenes lack the network's bands, or a truth does not fit.
        ArrayError, RasterError, RadiometryError: as a run would end: other bands than the network's, a raster that cannot be read, a unit that
            is not known or contradicted.
    """
    check_filter(spec.input)
    options = options or RasterOptions()
    given = given_scenes(where, spec.bands, options)
    if not given:
        return _simulated(spec)
    return _named_apart([_opened(files, spec, stack, options) for files in given], given)


def with_pixels(scenes: list[DataScene], spec: ModelSpec) -> tuple[list[DataScene], tuple[str, ...]]:
    """The scenes that have a valid pixel, and what a report says of them and of those that have none; each is read up to its first one.

    Raises:
        ExportError: none has one.
    """
    kept, empty = [], []
    for scene in scenes:
        if _has_pixel(scene, spec):
            kept.append(scene)
        else:
            empty.append(scene.name)
    if not kept:
        raise ExportError(f"{_named(empty)}: not one pixel is valid, all are NaN or nodata, so there is nothing to measure on; check the nodata "
                          "value, the unit and the band order, or give other scenes")
    left_out = (f"{len(empty)} of {len(scenes)} scenes left out, not one of their pixels is valid: {_named(empty)}",) if empty else ()
    said: dict[str, list[str]] = {}
    for scene in kept:
        for note in scene.notes:
            said.setdefault(note, []).append(scene.name)
    return kept, (*left_out, *(f"{_named(names)}: {note}" for note, names in said.items()))


def halves(scenes: list[DataScene]) -> tuple[list[DataScene], list[DataScene]]:
    """Scenes to calibrate on and others to judge on; a single scene is cut into its upper and lower rows."""
    if len(scenes) > 1:
        return scenes[::2], scenes[1::2]
    (scene,), middle = scenes, scenes[0].source.rows // 2
    if middle == 0:
        return scenes, scenes
    return [_rows_of(scene, 0, middle)], [_rows_of(scene, middle, scene.source.rows - middle)]


def some_rows(scene: DataScene, spec: ModelSpec, most_px: int) -> DataScene:
    """The scene, or of one with more pixels so many rows: around its middle, or the nearest to it where a pixel is valid."""
    source = scene.source
    rows = max(_LEAST_ROWS, most_px // source.cols)
    if rows >= source.rows:
        return scene
    firsts = sorted(range(0, source.rows - rows + 1, rows), key=lambda first: abs(2 * first + rows - source.rows))
    return next((part for part in (_rows_of(scene, first, rows) for first in firsts) if _has_pixel(part, spec)), scene)


def tiles_of(scenes: list[DataScene], spec: ModelSpec, side_px: int, most: int | None = None) -> Iterator[Tile]:
    """Tiles with the exact halo around cores that share no pixel; reflected at the scenes' borders as in inference.

    Args:
        side_px: of the input; raised to hold a core as large as the halo.
        most: at most this many tiles, spread evenly; None = all.
    """
    side = round_up(max(side_px, 3 * spec.halo_px, 2 * spec.halo_px + spec.stride_px), spec.stride_px)
    plans = [_plan(scene, spec, side) for scene in scenes]
    total = sum(plan.grid.tile_count for plan in plans)
    chosen = set(range(total)) if most is None else {int(i) for i in np.linspace(0, total - 1, min(most, total))}
    number = 0
    for scene, plan in zip(scenes, plans):
        source, radiometry, told = _as_seen(scene, spec)
        gather = make_gather(radiometry, spec.input)
        for strip in plan.grid.strips():
            wanted = [tile for i, tile in enumerate(strip.tiles, number) if i in chosen]
            number += len(strip.tiles)
            values, valid = source.read(strip.read_row, strip.read_rows) if wanted else (None, None)
            truth = scene.truth(strip.row, strip.rows) if wanted and scene.truth else None
            for tile in wanted:
                pixels = np.empty((scene.source.count, tile.in_rows, tile.in_cols), np.float32)
                status = np.empty(pixels.shape[1:], np.uint8)
                gather.run(values, (strip.read_row, 0), (scene.source.rows, scene.source.cols), (tile.in_row, tile.in_col),
                           pixels, status, valid, _THREADS)
                (row, col), labels = tile.crop, None
                core = (slice(row, row + tile.rows), slice(col, col + tile.cols))
                counted = np.full_like(status, STATUS_NODATA)
                counted[core] = status[core]
                if truth is not None:
                    labels = np.full_like(status, NODATA_LABEL)
                    labels[core] = truth[:, tile.col:tile.col + tile.cols]
                yield Tile(scene.name, pixels, counted, labels, told)


def valid_pixels(scene: DataScene, spec: ModelSpec) -> int:
    """How many the network would label: one read of the scene."""
    return sum(_valid_by_strip(scene, spec))


def _has_pixel(scene: DataScene, spec: ModelSpec) -> bool:
    return any(_valid_by_strip(scene, spec))


def _valid_by_strip(scene: DataScene, spec: ModelSpec) -> Iterator[int]:
    source, gather = scene.source, make_gather(scene.radiometry, spec.input)
    step = max(1, _STRIP_PX // (source.cols * source.count))
    for row in range(0, source.rows, step):
        _, status = gathered(gather, *source.read(row, min(step, source.rows - row)), _THREADS)
        yield int(np.count_nonzero(status != STATUS_NODATA))


def _named(names: list[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _plan(scene: DataScene, spec: ModelSpec, side: int):
    source = scene.source
    shape = SceneShape(source.rows, source.cols, source.count * source.dtype.itemsize, windows_held=1)
    return plan_tiles(spec, shape, PlanRequest(tile=side, halo="exact"))


def _as_seen(scene: DataScene, spec: ModelSpec) -> tuple[Source, SourceRadiometry, np.ndarray | None]:
    """The scene behind the network's filter, what its pixels are there, and what the network is told of it."""
    try:
        source, radiometry = filtered_input(scene.source, scene.radiometry, spec.input, _THREADS)
        told = None if spec.scene_percentiles is None else scene_vector(scene.source, scene.radiometry, spec, _THREADS)
    except EmptySceneError as error:
        raise ExportError(f"{scene.name}: {error.fact}; a single scene is cut into its upper and lower rows: give more scenes, or one with valid "
                          "pixels in both") from error
    return source, radiometry, told


def _opened(given: SceneFiles, spec: ModelSpec, stack: ExitStack, options: RasterOptions) -> DataScene:
    """Through the door of `predict`, with its refusals, and with what a run's report would say of the scene."""
    source = stack.enter_context(open_as_declared(given.files, options, spec))
    try:
        check_count(source, spec.bands)
        radiometry, _, fill = checked(source, declared_radiometry(source, options))
        make_gather(radiometry, spec.input)
    except HfdError as error:
        apart = (f"; {len(given.files)} files with commas between them are one scene: repeat the option for scenes of their own"
                 if isinstance(error, ArrayError) and len(given.files) > 1 else "")
        raise type(error)(f"{', '.join(map(str, given.files))}: {error}{apart}") from error
    notes = (*run_notes(source, spec), *differences(radiometry, spec.input), *((fill.note("count here"),) if fill else ()))
    return DataScene(source.name, source, radiometry, _truth_of(given, source, spec, stack), notes)


def _named_apart(scenes: list[DataScene], given: list[SceneFiles]) -> list[DataScene]:
    """Scenes of one name are called by their paths."""
    counts = Counter(scene.name for scene in scenes)
    return [replace(scene, name=str(files.files[0])) if counts[scene.name] > 1 else scene for scene, files in zip(scenes, given)]


def _truth_of(given: SceneFiles, scene: Scene, spec: ModelSpec, stack: ExitStack) -> Truth | None:
    path = next((path for path in given.truths if path.is_file()), None)
    if path is None:
        return None
    try:
        known = stack.enter_context(TruthSource(path, spec.classes))
        known.check_place((scene.rows, scene.cols), scene.geo, scene.name)
        known.check()
    except RasterError as error:
        raise ExportError(f"{error}; or move it from beside {scene.name}: without a truth no accuracy is told, and the rest is") from error
    return lambda row, rows: known.read(row, rows)[0][0]


def _simulated(spec: ModelSpec) -> list[DataScene]:
    if spec.bands != BANDS or spec.unit is Unit.DN:
        raise ExportError(f"simulated scenes have the bands {', '.join(BANDS)}, the network takes {', '.join(spec.bands)} in "
                          f"{spec.unit}: give scenes as the network will see them")
    return [simulated_scene(number, spec, _SIMULATED_PX) for number in range(_SIMULATED_SCENES)]


def simulated_scene(number: int, spec: ModelSpec, side_px: int) -> DataScene:
    """A simulated scene with nodata wedges; with its truth where the network has the simulator's classes."""
    config = SceneConfig(side_px, side_px, seed=_SIMULATED_SEED + number, border_px=side_px // 20)
    window = SimulatedScene(config).window(0, 0, side_px, side_px, eo=False)
    truth = (lambda row, rows: window.labels[row:row + rows]) if spec.classes == CLASS_NAMES else None
    return DataScene(f"simulated {number}", ArraySource(window.sar, len(BANDS), window.valid),
                     SourceRadiometry(Unit.INTENSITY), truth)


def _rows_of(scene: DataScene, first: int, rows: int) -> DataScene:
    truth = scene.truth
    part = None if truth is None else (lambda row, count: truth(first + row, count))
    name = f"{scene.name} rows {first} to {first + rows - 1}"
    return DataScene(name, _Rows(scene.source, first, rows), scene.radiometry, part)
