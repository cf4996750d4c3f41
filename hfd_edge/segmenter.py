"""The one place that knows the order of the stages: read, gather, infer, finish, write."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from hfd_edge.device import check_threads, thread_budget
from hfd_edge.device.array import is_on_device
from hfd_edge.engine.base import DeviceEngine, Engine
from hfd_edge.engine.choose import GpuOptions, choose_device, open_engine, tile_sides, why_cpu
from hfd_edge.errors import EngineError
from hfd_edge.exits import ends_first
from hfd_edge.package import Package
from hfd_edge.pipeline import Stopwatch, WriteBehind, prefetch
from hfd_edge.plan import PlanRequest, SceneShape, TilePlan, plan_tiles
from hfd_edge.plan.blend import check_stitch
from hfd_edge.plan.device import plan_on_device
from hfd_edge.plan.notes import plan_notes
from hfd_edge.radiometry import SourceRadiometry, differences, make_gather
from hfd_edge.radiometry.fill import filtered_fill
from hfd_edge.results import Result, RunReport
from hfd_edge.run import Run, Window
from hfd_edge.run.device import GpuRuns
from hfd_edge.run.host import HostStages
from hfd_edge.run.stages import FinishedStrip, Stages, finished_strips
from hfd_edge.run.windows import windows_of
from hfd_edge.score import asked_score, score_name
from hfd_edge.source import ArraySource, Source, check_count, sample
from hfd_edge.source.checked import checked
from hfd_edge.source.filter import check_filter, filter_notes, filtered_input, scene_shape
from hfd_edge.source.offset import offset_notes, sample_offset
from hfd_edge.source.vector import scene_vector
from hfd_edge.spec import Unit

if TYPE_CHECKING:
    from hfd_edge.raster_run import RasterOptions, ScenePath

Progress = Callable[[int, int], None]       # rows done, rows in all


class Segmenter:
    """A `.engine` file, ready to segment scenes of any size. Several threads may call one Segmenter; each run takes `memory`.

    Attributes:
        spec: what the network wants and gives, a ModelSpec.
        path: of the package, absolute.
        device, threads: what "auto" and None became.
    """

    @ends_first
    def __init__(self, path: str | Path, device: str = "auto", tile: int | tuple[int, int] | str = "auto",
                 batch: int | str = "auto", halo: int | str = "auto", memory: int | None = None,
                 threads: int | None = None, precision: str = "auto", stitch: str = "crop",
                 overlap: int | str = "auto", build: str = "auto", trust_plans: bool = False) -> None:
        """Open a package, check it, load its engine, and run its golden tile.

        Args:
            path: a `.engine` file.
            device: "auto" or "cpu"; "cuda:0" means cuda or an error that names all that is missing.
            tile: input side in pixels with halo, (rows, cols), or "auto" from the memory budget.
            batch: tiles per engine call; "auto" is 1 on the CPU, where larger batches gain nothing.
            halo: "auto", "exact", "bounded", or pixels (a multiple of spec.stride_px).
            memory: budget in bytes for engine and buffers of one run (where n threads call at once, give the n-th part); None = a quarter of the
                free memory, 1 GiB at most. On a GPU for the strips of a scene in pinned main memory; None = as many as it takes.
            threads: for operations and engine together (of two tiles at once the next one is gathered beside them); None = the cores this
                process may use. A forked worker opens a Segmenter of its own, unless there is 1 thread.
            precision: "fp32", "int8", on a GPU "fp16" too, or "auto": the first that the package has of int8, fp32 (on a GPU of fp16, int8, fp32). The
                report names it; `hfd-edge benchmark` tells which is fastest here, and export's gate where int8 was not.
            stitch: "crop" takes every pixel from the one tile that owns it; "precision", "hann", "gaussian" and "constant" fuse
                tiles where they overlap (docs/seams.md). "precision" is for halos smaller than the network's reach.
            overlap: pixels in which two neighbours are fused; "auto" = all that both computed, twice the halo.
            build: on a GPU, "auto" compiles a missing TensorRT plan and says so, "never" refuses (docs/tensorrt.md).
            trust_plans: run plans that travel in the package; they are native code.
        Raises:
            PackageError: damaged, unsafe, or it does not answer its golden tile as it did when it was exported.
            DeviceError, EngineError: the device or the engine cannot run it.
            RadiometryError: the filter that the network was trained behind cannot run with the numbers its spec has.
            GridError: there is no such stitch, or the package lacks the measurement that "precision" needs.
        """
        self._asked, self.device = device, choose_device(device)
        self.threads, self._made_in = thread_budget(threads), os.getpid()
        self._request = PlanRequest(tile, halo, batch, memory, stitch=stitch, overlap=overlap)
        self._plans = GpuOptions(build, trust_plans, None if batch == "auto" else batch, tile_sides(tile))
        self._package = Package.open(path)
        with ExitStack() as failed:
            failed.callback(self._package.close)
            self._start(precision, stitch)
            failed.pop_all()

    def _start(self, precision: str, stitch: str) -> None:
        self.spec, self.path = self._package.spec, self._package.path.absolute()
        check_filter(self.spec.input)
        check_stitch(stitch, self.spec)
        self._engine: Engine = self._open_engine(precision)
        self._judged = self._package.manifest["provenance"] if "int8" in self._engine.graph else {}
        self._gpu = GpuRuns(self.device, self._engine, self.spec, self.threads) if isinstance(self._engine, DeviceEngine) else None

    def __enter__(self) -> Segmenter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Segmenter({str(self._package.path)!r}, {self.device}, {self.engine}, bands {', '.join(self.spec.bands)} in {self.spec.unit})"

    def __reduce__(self) -> NoReturn:
        raise EngineError("a Segmenter holds an engine and a mapped file, which cannot be copied or sent to another process: "
                          "open one there with Segmenter(path)")

    def _open_engine(self, precision: str) -> Engine:
        return open_engine(self._package, self.device, self.threads, precision, self._plans)

    def close(self) -> None:
        """Free the engine and the file; a run that is still going fails. Closing twice does nothing."""
        if self._gpu is not None:
            self._gpu.close()
        self._engine.close()
        self._package.close()

    @property
    def engine(self) -> str:
        """Engine, its version and the graph that runs."""
        return f"{self._engine.name} {self._engine.version} {self._engine.graph}"

    @property
    def graphs(self) -> tuple[str, ...]:
        """The graphs that the package holds."""
        return self._package.graph_names

    @property
    def engine_hash(self) -> str:
        """SHA-256 of the package's manifest, which holds the hashes of everything else."""
        return self._package.engine_hash

    @ends_first
    def run(self, array: object, unit: Unit | str | SourceRadiometry | None = None, valid: object | None = None, *,
            confidence: bool | None = None, probability: str | int | None = None, stream: object = None, allow_empty: bool = False) -> Result:
        """Segment a scene in memory. A scene on the engine's own GPU is read where it lies, and its map stays there.

        Args:
            array: (bands, rows, cols), or (rows, cols) for one band; numpy, or anything on the CPU with DLPack or the array interface;
                float16/32/64, complex, or 8 to 32-bit integers. Any size from 1 x 1 up. NaN is nodata, and so is what a numpy masked array hides
                or an xarray's attributes call so; an xarray whose labels name other bands, or another order, is refused.
            unit: what the pixels are; None = complex for complex numbers, else the unit the network was trained on
                (spec.unit). A SourceRadiometry also declares scale, offset and nodata values.
            valid: (rows, cols) bool or uint8, nonzero = valid.
            confidence: whether to make the confidence plane (one softmax per pixel); None = unless a probability is asked for.
            probability: a class, by name or number: makes the plane of its softmax probability instead.
            stream: of a scene on a GPU, what the caller's work on it was enqueued on: a handle, or a stream of torch, CuPy, PyCUDA or
                cuda.core; None = what the array says, else the legacy default stream.
            allow_empty: a scene without one valid pixel gets a map of 255 and a note, as a piece of a larger one may; else it is refused.
        Returns:
            Result with labels (rows, cols) uint8, 255 = nodata; a DeviceArray, complete, where the scene is on the GPU.
        Raises:
            ArrayError: wrong shape, dtype or mask.
            SpecError: no such class, or confidence and probability together.
            RadiometryError: the values contradict the unit, the unit cannot be converted, or not one pixel is valid.
            DeviceError: the array is on another device, or the memory budget is too small.
        """
        start = time.perf_counter()
        there = self._gpu is not None and is_on_device(array)
        score = asked_score(self.spec.classes, probability is None if confidence is None else confidence, probability)
        source = self._gpu.source(array, valid, stream) if there else ArraySource(array, len(self.spec.bands), valid)
        run = self.prepare(source, self.declared(unit, source.dtype), score=score, allow_empty=allow_empty)
        if there:
            run.maps = self._gpu.maps(source, score)
            made = run.maps.labels, run.maps.score
        else:
            labels = np.empty((source.rows, source.cols), np.uint8)
            made = run.into = labels, None if score is None else np.empty_like(labels)
        for _ in self.finished_strips(run):
            continue
        return Result(*made, self.spec.classes, self.spec.colors, self._report(run, time.perf_counter() - start))

    __call__ = run

    @ends_first
    def run_source(self, source: Source, radiometry: SourceRadiometry | None, write: Callable[..., None], *,
                   confidence: bool = False, probability: str | int | None = None, progress: Progress | None = None,
                   window: tuple[int, int, int, int] | None = None, allow_empty: bool = False) -> RunReport:
        """Segment any source strip by strip in bounded memory.

        Args:
            source: gives rows of stored pixels; read by a thread of its own.
            radiometry: what its pixels are; None = not known, which is refused.
            write: called with (row, labels, score or None) in order, in a thread of its own; both are (rows of the strip, cols) uint8.
            confidence, probability: which score is made, see `run`.
            progress: called with (rows done, rows in all).
            window: (row, col, rows, cols) to segment; halos are still read from the scene, so the answer is the crop of the
                scene's. `write` then gets its rows and columns, counted from its first row. None = the scene.
            allow_empty: whether a scene may be without one valid pixel, see `run`; a window always may, it can lie beside the pixels.
        Raises:
            ArrayError: another number of bands than the network's.
            GridError: the window does not lie in the scene, or tile, halo or overlap cannot be what was asked for.
            RadiometryError: unknown or contradicted unit, or not one valid pixel.
        """
        start = time.perf_counter()
        check_count(source, self.spec.bands)
        run = self.prepare(source, radiometry, score=asked_score(self.spec.classes, confidence, probability), windows_held=2,
                           request=replace(self._own_request(), window=window), allow_empty=allow_empty or window is not None)
        first_row, _, rows, _ = run.plan.grid.kept

        def write_timed(row: int, labels: np.ndarray, scores: np.ndarray | None) -> None:
            with run.watch("write"):
                write(row, labels, scores)

        # closing: after an error the traceback keeps the generators alive, and the source must not be read once it is closed
        with (closing(prefetch(self.windows(run))) as windows, WriteBehind(write_timed) as behind,
              closing(self.finished_strips(run, windows)) as strips):
            for part in strips:
                row = part.strip.row - first_row
                behind.put(row, part.labels, part.score)
                if progress is not None:
                    progress(row + part.strip.rows, rows)
        return self._report(run, time.perf_counter() - start)

    @ends_first
    def run_raster(self, path: ScenePath, out: str | Path, options: RasterOptions | None = None,
                   progress: Progress | None = None, **named: Any) -> RunReport:
        """Segment a raster file to a GeoTIFF of class labels in bounded memory; paths and errors: `hfd_edge.raster_run.segment_raster`.

        Args:
            options: what is declared of the raster and the map; or the same by name: `unit="db", bands=(4, 3), overwrite=True`.
            progress: called with (rows done, rows in all); what it raises ends the run, and leaves nothing.
        """
        from hfd_edge.raster_run import options_of, segment_raster

        return segment_raster(self, path, out, options_of(options, named), progress)

    def declared(self, unit: Unit | str | SourceRadiometry | None, dtype: np.dtype) -> SourceRadiometry:
        """The declaration that `unit` stands for; None = complex for complex numbers, else the network's own unit."""
        if isinstance(unit, SourceRadiometry):
            return unit
        if unit is None:
            unit = Unit.COMPLEX if np.dtype(dtype).kind == "c" else self.spec.unit
        return SourceRadiometry(unit)

    def prepare(self, source: Source, radiometry: SourceRadiometry | None, *, score: int | None = None, windows_held: int = 0,
                request: PlanRequest | None = None, allow_empty: bool = False) -> Run:
        """Check a scene's declaration against its values and plan its tiles; the first stage of every run."""
        check_threads(self.threads, self._made_in)
        radiometry, stored, fill = checked(source, radiometry, self.spec.bands)
        watch = Stopwatch()
        scene, known = (source, radiometry), (*differences(radiometry, self.spec.input), *((fill.note("were segmented"),) if fill else ()))
        source, radiometry = filtered_input(source, radiometry, self.spec.input, self.threads, watch, allow_empty)
        plan = self._plan(scene_shape(source, windows_held), request or self._own_request())
        if source is not scene[0]:
            stored = sample(source)
            fill = filtered_fill(fill, *stored, radiometry)
        offset = sample_offset(stored, radiometry, self.spec.input, self.spec.bands, fill)
        notes = (*known, *offset_notes(offset, self._judged), *filter_notes(source, scene[1].saturation), *plan_notes(plan, self.spec))
        gather = make_gather(radiometry, self.spec.input, *(() if self._gpu is None else (self._gpu.gpu.native,)))
        run = Run(source, gather, plan, score, notes, offset=offset, stored=None if radiometry.saturation is None else radiometry,
                  allow_empty=allow_empty, watch=watch)
        if self.spec.scene_percentiles is not None:
            with run.watch("scene"):
                run.vector = scene_vector(*scene, self.spec, self.threads, allow_empty)
        return run

    def _own_request(self) -> PlanRequest:
        """What was asked for when this was made, with two tiles at once where the engine can and is not known to be slower so."""
        two = getattr(self._engine, "two_at_once", None)
        return self._request if two is None or two.pays is False else replace(self._request, second_bytes=two.held_bytes)

    def _plan(self, shape: SceneShape, request: PlanRequest) -> TilePlan:
        return (plan_tiles(self.spec, shape, request) if self._gpu is None else
                plan_on_device(self.spec, shape, request, self._engine, self._gpu.gpu.memory_info()[1]))

    def windows(self, run: Run) -> Iterator[Window]:
        """Stored pixels, strip by strip; of a scene on a GPU they are read where they lie."""
        return windows_of(run, self._gpu is not None)

    def finished_strips(self, run: Run, windows: Iterable[Window] | None = None) -> Iterator[FinishedStrip]:
        """Strips with every pixel labelled, of the windows as they are read or as they are given; holds a few strips, never the scene."""
        yield from finished_strips(self.stages(run), self.windows(run) if windows is None else windows, run.plan.batch)

    def stages(self, run: Run) -> Stages:
        """What this device does with each strip of a run."""
        return HostStages(run, self._engine, self.spec, self.threads) if self._gpu is None else self._gpu.stages(run)

    def _report(self, run: Run, total_s: float) -> RunReport:
        ended, grid, counts = run.ended(), run.plan.grid, run.counts
        *_, rows, cols = grid.kept
        return RunReport(
            rows=rows, cols=cols, nodata_share=counts.nodata / (rows * cols), nan_pixels=counts.nan,
            timings={**run.watch.seconds, "total": total_s}, device=self.device, engine=self.engine, engine_hash=self.engine_hash,
            threads=self.threads, halo=run.plan.halo, halo_px=grid.halo_px, tile_px=grid.tile_px, score=score_name(self.spec.classes, run.score),
            tiles_run=counts.tiles_run, tiles_empty=counts.tiles_empty, compute_ratio=run.plan.compute_ratio,
            notes=(*ended, *run.notes, *why_cpu(self._asked, self._package), *getattr(self._engine, "notes", ())),
            stitch=run.plan.stitch, offset=run.offset, saturated_pixels=counts.saturated if run.stored else None,
            overlap_px=2 * grid.spread_px, at_once=run.at_once)
