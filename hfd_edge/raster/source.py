"""A raster, or several of one size, as a scene: stored pixels of the chosen bands and their validity, some rows at a time."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.errors import RasterioError
from rasterio.windows import Window

from hfd_edge.errors import RasterError
from hfd_edge.forks import no_fork
from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.raster.bands import Layer, choose_bands
from hfd_edge.raster.declaration import FILTER_TAG, declared_by_tags, quantity_by_tags
from hfd_edge.raster.georeference import GeoReference
from hfd_edge.raster.guard import RasterLimits, one_line, open_raster
from hfd_edge.raster.layers import as_data, layers_of
from hfd_edge.raster.opened import OpenScene, check_inside, check_process

PathLike = str | Path
_TALLEST_BLOCK = 1024
_ONE_GRID = ("files of one scene hold its bands and must lie on one grid; bring one to the other's (rio warp ONE.tif new.tif --like OTHER.tif), or, if they "
             "are tiles side by side, say so: predict, scene, despeckle, seams and benchmark take --mosaic, Python hfd_edge.Mosaic")


class RasterSource(OpenScene):
    """Reads stored pixels, never converted. A context manager; one thread at a time reads, others wait. Not valid is what is nodata, masked or
    transparent in any chosen band; NaN is left to whoever reads the values.

    Attributes:
        rows, cols: size in pixels.  count: bands chosen.  dtype: of the stored pixels (complex int16 reads as complex64).
        band_names: of the chosen bands, "" where the file names none.  band_numbers: counted from 1 through all files, alpha bands
            after all others.  alpha_numbers: of the alpha bands that were not chosen.
        geo: GeoReference of the first file.  files: all of them.
        declared: SourceRadiometry that the tags state, or None; scale, offset, nodata: of the tags (1, 0 and () without).
        quantity: sigma0, gamma0 or beta0 where names or tags say it, with a unit or without.
        filtered: the speckle filter that `despeckle` wrote into the tags of a file, or None.
        notes: files of several of which no band is taken, and names in a file that cannot be used, in words.
        block_rows: rows that are decoded together; 1 where they can be read by themselves.
        stored_block: rows and columns of the file's largest block.
    """

    def __init__(self, path: PathLike | Sequence[PathLike], bands: Sequence[int | str] | None = None,
                 wanted: Sequence[str] | None = None, limits: RasterLimits = RasterLimits(), threads: int = 1) -> None:
        """Open a file, or several of the same size that hold the bands between them (counted through, in the given order).

        Args:
            bands: 1-based numbers or names, in the order to read; None = all but alpha bands. An alpha band that is chosen is data.
            wanted: names the caller needs, in its order: without `bands` they are taken by name where the file names them.
            threads: that GDAL may decode compressed blocks with.
        Raises:
            RasterError: a file cannot be opened or is refused, the files differ in size or place, or a band is not there.
        """
        paths = list(path) if isinstance(path, (list, tuple, Iterator)) else [path]
        if not paths:
            raise RasterError("no raster was given: name one file, or one per band")
        with no_fork(), ExitStack() as stack:
            datasets = [_closed_by(stack, open_raster(p, limits, threads)) for p in paths]
            self.files = tuple(Path(d.name) for d in datasets)
            if len({file.resolve() for file in self.files}) < len(self.files):
                raise RasterError(f"{', '.join(map(str, self.files))}: a file is given twice; give one per band, each once")
            self.name = " ".join(file.name for file in self.files)
            self.rows, self.cols = _common_size(datasets)
            self.geo = _common_place(datasets, self.files)
            described = [layers_of(dataset, alone=len(datasets) == 1) for dataset in datasets]
            layers = _numbered(layer for found, _ in described for layer in found)
            chosen = choose_bands(self.name, layers, bands, wanted)
            self._layers = as_data(chosen)
            self.count = len(self._layers)
            self.band_names = tuple(layer.name for layer in self._layers)
            numbers = {(id(layer.dataset), layer.index): number for number, layer in enumerate(layers, 1)}
            self.band_numbers = tuple(numbers[id(layer.dataset), layer.index] for layer in self._layers)
            self.alpha_numbers = tuple(numbers[id(layer.dataset), layer.index] for layer in layers
                                       if layer.is_alpha and all(layer is not each for each in chosen))
            self.notes = (*(note for _, notes in described for note in notes), *_not_taken(datasets, self._layers))
            self.dtype = _common_dtype(self.name, self._layers)
            self.block_rows, self.stored_block = _decoded_together(self._layers)
            self.scale, self.offset = _common_scale(self.name, self._layers)
            values = {layer.nodata for layer in self._layers}
            self.nodata: tuple[float, ...] = () if len(values) > 1 or None in values else tuple(values)
            self.filtered: str | None = next((d.tags()[FILTER_TAG] for d in datasets if FILTER_TAG in d.tags()), None)
            self.declared: SourceRadiometry | None = declared_by_tags(self._layers, self.scale, self.offset, self.nodata)
            self.quantity: str | None = quantity_by_tags(self._layers)
            self._process = os.getpid()
            self._lock = threading.Lock()
            self._masks: list[tuple[RasterSource, tuple[int, ...]]] = []
            self._open = stack.pop_all()

    def mask_by(self, path: PathLike, invalid: tuple[int, ...], limits: RasterLimits = RasterLimits()) -> None:
        """Take as not valid, too, where another raster of one band holds one of these numbers.

        Raises RasterError: it cannot be opened, lies on another grid, or has several bands.
        """
        mask = RasterSource(path, limits=limits)
        self._open.callback(mask.close)
        if mask.count != 1 or (mask.rows, mask.cols) != (self.rows, self.cols) or not self.geo.same_place(mask.geo, self.rows, self.cols):
            raise RasterError(f"{path} ({mask.count} band(s), {mask.rows} x {mask.cols} pixels) is no mask of {self.name} ({self.rows} x "
                              f"{self.cols}): one band on the same "
                              "grid is needed; copy or download both again, or take the mask away")
        self._masks.append((mask, invalid))
        self.geo = replace(self.geo, files=(*self.geo.files, *mask.files))

    def read_into(self, values: np.ndarray, row: int, col: int) -> np.ndarray | None:
        """Fill values (bands, rows, cols), any strides, with the stored pixels from (row, col) on; gives `read`'s validity."""
        _, rows, cols = values.shape
        check_inside(self.name, (self.rows, self.cols), row, col, values.shape)
        window = Window(col, row, cols, rows)
        check_process(self.name, self._process)
        try:
            with no_fork(), self._lock:
                for first, last in _runs(self._layers):
                    indexes = [layer.index for layer in self._layers[first:last]]
                    self._layers[first].dataset.read(indexes, window=window, out=values[first:last])
                return self._validity(values, window)
        except RasterioError as error:
            raise RasterError(f"{self.name}: rows {row} to {row + rows - 1} cannot be read ({one_line(error)}): the file is "
                              "damaged or truncated; copy or download it again") from error

    def _validity(self, values: np.ndarray, window: Window) -> np.ndarray | None:
        valid = None
        for mask, invalid in self._masks:
            marks = ~np.isin(mask.read_part(window.row_off, window.height, window.col_off, window.width)[0][0], invalid)
            valid = marks if valid is None else np.logical_and(valid, marks, out=valid)
        for layer, plane in zip(self._layers, values):
            marks = [plane != number for number in {layer.nodata, layer.nodata_too} - {None}]
            if layer.alpha is not None:
                marks.append(layer.dataset.read(layer.alpha, window=window) != 0)
            elif layer.masked:
                marks.append(layer.dataset.read_masks(layer.index, window=window) != 0)
            for mark in marks:
                valid = mark if valid is None else np.logical_and(valid, mark, out=valid)
        return valid


def _closed_by(stack: ExitStack, dataset: Any) -> Any:
    """Entered as a context manager it would hold an environment of this thread, and could be closed in no other."""
    stack.callback(dataset.close)
    return dataset


def _numbered(layers: Iterable[Layer]) -> list[Layer]:
    """In the order of their numbers from 1 on: alpha bands come last."""
    return sorted(layers, key=lambda layer: layer.is_alpha)


def _not_taken(datasets: list[Any], layers: tuple[Layer, ...]) -> tuple[str, ...]:
    """A file that was given for nothing: a mask, say, of which its user thinks that it counts."""
    names = [Path(d.name).name for d in datasets if all(layer.dataset is not d for layer in layers)]
    return (f"no band of {', '.join(names)} is taken: a mask or an angle in a file of its own changes nothing",) if names else ()


def _runs(layers: tuple[Layer, ...]) -> list[tuple[int, int]]:
    """Half-open ranges of neighbouring layers of one file, which are read in one call."""
    starts = [i for i, layer in enumerate(layers) if i == 0 or layer.dataset is not layers[i - 1].dataset]
    return list(zip(starts, [*starts[1:], len(layers)]))


def _decoded_together(layers: tuple[Layer, ...]) -> tuple[int, tuple[int, int]]:
    """Rows worth reading together, and the largest block. Those taller than _TALLEST_BLOCK are not waited for: windows would be huge."""
    shapes = [layer.dataset.block_shapes[layer.index - 1] for layer in layers]
    packed = any(layer.dataset.compression is not None or layer.dataset.driver != "GTiff" for layer in layers)
    rows, cols = (max(side) for side in zip(*shapes))
    return (rows if packed and rows <= _TALLEST_BLOCK else 1), (rows, cols)


def _common_size(datasets: list[Any]) -> tuple[int, int]:
    first = datasets[0]
    for other in datasets[1:]:
        if other.shape != first.shape:
            raise RasterError(f"{other.name} has {other.height} x {other.width} pixels and {first.name} {first.height} x {first.width}: {_ONE_GRID}")
    return first.shape


def _common_place(datasets: list[Any], files: tuple[Path, ...]) -> GeoReference:
    first = GeoReference.of(datasets[0], files)
    for dataset in datasets[1:]:
        other = GeoReference.of(dataset, ())
        if not first.same_place(other, *dataset.shape):
            raise RasterError(f"{dataset.name} and {datasets[0].name} have one size but {_differing_places(other, first, dataset.shape)}")
    return first


def _differing_places(one: GeoReference, other: GeoReference, shape: tuple[int, int]) -> str:
    if (one.crs is None) != (other.crs is None):
        return "not both a coordinate system: if they lie on one grid, give the other one the same with gdal_edit -a_srs"
    if (one.transform is None) != (other.transform is None):
        return "not both a transform from pixels to coordinates: if they lie on one grid, give the other one the same with gdal_edit -a_ullr"
    apart = other.pixels_apart(one, *shape)
    return f"lie on different places{'' if apart is None else f', {apart:.3g} pixels apart'}: {_ONE_GRID}"


def _common_dtype(name: str, layers: tuple[Layer, ...]) -> np.dtype:
    dtypes = {layer.dtype for layer in layers}
    if len(dtypes) != 1:
        raise RasterError(f"{name}: the chosen bands are {', '.join(str(layer.dtype) for layer in layers)}; all must be of one "
                          "kind; choose others with --bands, or convert with gdal_translate -ot")
    return dtypes.pop()


def _common_scale(name: str, layers: tuple[Layer, ...]) -> tuple[float, float]:
    pairs = {(layer.dataset.scales[layer.index - 1], layer.dataset.offsets[layer.index - 1]) for layer in layers}
    if len(pairs) != 1:
        raise RasterError(f"{name}: the chosen bands have different scales and offsets {sorted(pairs)}: apply them first "
                          "(gdal_translate -unscale -ot Float32)")
    return pairs.pop()
