"""What a scene looks like to the segmenter: something that gives rows of stored pixels. Arrays and rasters are both that."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np

from hfd_edge.errors import ArrayError, DeviceError
from hfd_edge.radiometry import STORED_DTYPES
from hfd_edge.source.labelled import dates_of, names_of, nodata_of, scale_of

_DLPACK_CPU = 1
_SAMPLE_ROWS = 128              # in many low strips: ground varies over some 50 px, so 8 strips of 16 rows miss its mean by 0.2 dB
_STRIP_ROWS, _TALL_STRIP_ROWS = 4, 16
_DECODED_ROWS = 16              # of the sample's rows, at least so many in each row of blocks: more rows of blocks take longer
_SAMPLE_EVERY = 4               # at most, where the sample's rows of blocks are more than
_DECODED_PX = 1 << 23           # of a band: fewer blocks miss the mean of the ground by 0.3 dB, and these cost less than a tile of the network
_TALL_BYTES = 1 << 23           # blocks, or rows of them, above this are decoded anew for each strip: GDAL's cache does not hold one of each band
_LISTED_BANDS = 16              # in an error
_SAMPLE_PX = 1 << 14            # of a wide scene's strips every so many-th pixel


class Source(Protocol):
    """Stored pixels of one scene, row window by row window.

    A source on a disk may offer more: `reader(col, cols, whole_blocks)`, whose `read` gives these columns only and reads what
    consecutive windows share once; `read_part(row, rows, col, cols)`; block_rows, what is worth reading together; and stored_block,
    rows and columns of what is decoded together; without_gaps, the same pixels without what no file holds, to sample. It may tell
    more, with a default wherever it is asked: band_names, band_numbers, alpha_numbers, nodata, notes, quantity and filtered as
    raster.RasterSource has them; zeros_measured, whether a 0 that its mask leaves was measured; spacing_m, that of its pixels on the ground.
    """

    rows: int
    cols: int
    count: int                  # bands
    dtype: np.dtype

    def read(self, row: int, rows: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Stored pixels (bands, rows, cols) of scene rows row..row+rows-1 and their validity (rows, cols), None = all valid."""


class ArraySource:
    """A scene that is an array in memory; windows are views, nothing is copied. labels and label_...: what the array says of itself, see `labelled`."""

    def __init__(self, array: object, bands: int, valid: object | None = None) -> None:
        """Take (bands, rows, cols), or (rows, cols) where one band is expected.

        Args:
            array: numpy, or anything on the CPU with DLPack or the array interface. What a numpy masked array masks in one band is not valid.
            bands: how many bands the network takes.
            valid: (rows, cols) bool or uint8, nonzero = valid, masked = not; None = all that are finite.
        Raises:
            ArrayError: wrong shape, dtype, or mask.
            DeviceError: the array lives on another device.
        """
        if isinstance(array, (str, bytes, os.PathLike)):
            raise ArrayError(f"{array!r} is a path and no array: Segmenter.run_raster(path, map) reads rasters, numpy.load .npy files")
        self.labels = names_of(array)
        values, unmasked = _without_mask(_as_host_array(array))
        if values.ndim == 0:
            raise ArrayError(f"{type(array).__name__} is no array of pixels: give ({bands}, rows, cols), or a list of the bands in the network's order, "
                             "such as [scene[\"VV\"], scene[\"VH\"]]")
        if values.ndim == 2 and bands == 1:
            values = values[np.newaxis]
        if values.ndim != 3 or values.shape[0] != bands or 0 in values.shape:
            raise ArrayError(f"array of shape {values.shape}: this network takes ({bands}, rows, "
                             f"cols){' or (rows, cols)' if bands == 1 else ''}, bands "
                             f"first, with at least one pixel{_axis_hint(values.shape, bands)}{_label_hint(self.labels, values.shape)}")
        self._values = _storable(values)
        self.count, self.rows, self.cols = self._values.shape
        self.dtype = self._values.dtype
        self.label_nodata, self.label_scale, self.label_dates = nodata_of(array, self.dtype), scale_of(array), dates_of(array)
        given = None if valid is None else _as_mask(valid, (self.rows, self.cols))
        self._valid = _both(given, unmasked)

    def read(self, row: int, rows: int) -> tuple[np.ndarray, np.ndarray | None]:
        window = slice(row, row + rows)
        return self._values[:, window], None if self._valid is None else self._valid[window]


def left_out_alpha(source: Source, wanted: int) -> str:
    """What an error about missing bands adds where the file has an alpha band that may be data: drivers and tools flag the last of two or
    four bands as one of their own accord. "" where it has none, or nothing is missing."""
    numbers = getattr(source, "alpha_numbers", ())
    if not numbers or source.count >= wanted:
        return ""
    all_of_them = f" (--bands {','.join(map(str, range(1, wanted + 1)))})" if source.count + len(numbers) == wanted else ""
    return (f"; band {', '.join(map(str, numbers))} is flagged as alpha, which says where pixels are valid, and not counted: if it is data, choose it by "
            f"its number with the others{all_of_them}")


def check_count(source: Source, wanted: tuple[str, ...]) -> None:
    """Raise ArrayError where a scene has more or fewer bands than the network takes."""
    if source.count != len(wanted):
        way = ("give the missing ones too, one file per band will do" if source.count < len(wanted) else
               f"choose them with --bands (bands=){_by_number(source)}")
        raise ArrayError(f"the scene has {source.count} band{'s' * (source.count != 1)} and the network takes {len(wanted)} "
                         f"({', '.join(wanted)}, in this order): {way}{left_out_alpha(source, len(wanted))}")


def _by_number(source: Source) -> str:
    """What an error about too many bands adds where the file names them, so that those of one date, say, can be chosen."""
    names = getattr(source, "band_names", ())
    listed = ", ".join(f"{number} {name or '(unnamed)'}" for number, name in list(zip(getattr(source, "band_numbers", ()), names))[:_LISTED_BANDS])
    return f" by number: {listed}{', ...' if len(names) > _LISTED_BANDS else ''}" if listed and any(names) else ""


def sample(source: Source) -> tuple[np.ndarray, np.ndarray | None]:
    """Many low strips spread over the scene, thinned where it is wide: (bands, 1, n) stored pixels and their validity (1, n).

    Where blocks are decoded whole, strips share 8 rows of blocks; of a wide scene they take some blocks of a row only, others in each.
    """
    source = getattr(source, "without_gaps", source)
    parts = [source.read(row, rows) if cols == source.cols else source.read_part(row, rows, col, cols)
             for row, rows, col, cols in _sample_parts(source)]
    step = sum(v[0].size for v, _ in parts) // _SAMPLE_PX | 1           # odd: no column is met in every row
    values = np.concatenate([v.reshape(len(v), 1, -1)[:, :, ::step] for v, _ in parts], axis=2)
    masks = [np.ones(v.shape[1:], bool) if m is None else np.asarray(m, bool) for v, m in parts]
    return values, np.concatenate([m.reshape(1, -1)[:, ::step] for m in masks], axis=1)


def _sample_parts(source: Source) -> Iterator[tuple[int, int, int, int]]:
    """(row, rows, col, cols) of what is read, block by block."""
    block_rows, block_cols = getattr(source, "stored_block", (1, source.cols))
    tall = block_rows * block_cols * source.count * source.dtype.itemsize > _TALL_BYTES
    strip = _TALL_STRIP_ROWS if tall else _STRIP_ROWS
    height = max(min(block_rows, source.rows), strip)
    bands = _spread(-(-source.rows // height), _SAMPLE_ROWS // min(height, _DECODED_ROWS))
    each = min(-(-_SAMPLE_ROWS // strip // len(bands)), height // strip)
    starts = range(0, source.cols, block_cols)
    every = min(_SAMPLE_EVERY, -(-len(bands) * height * source.cols // _DECODED_PX)) if len(starts) >= 2 * _SAMPLE_EVERY else 1
    if every == 1 and block_rows * source.cols * source.count * source.dtype.itemsize <= _TALL_BYTES:
        block_cols, starts = source.cols, range(1)                      # blocks side by side in one read: several threads decode them
    for number, top in enumerate(bands * height):
        rows = min(height, source.rows - int(top))                      # of the last block fewer than of the others, and fewer strips
        count, low = -(-each * rows // height), strip
        if count * strip >= rows:                                       # all of them in one read, none of them twice
            count, low = 1, rows
        for col in starts[number % every::every]:
            for row in _spread(rows, count) - low // 2:
                yield int(top + row), low, col, min(block_cols, source.cols - col)


def _spread(size: int, count: int) -> np.ndarray:
    """The middles of `count` equal parts of 0..size-1, fewer where it holds fewer."""
    count = min(count, size)
    return ((2 * np.arange(count) + 1) * size) // (2 * count)


class WindowReader(Protocol):
    """Gives the windows of a scene from top to bottom."""

    def read(self, row: int, rows: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Stored pixels (bands, rows, columns) and their validity (rows, columns), None = all valid."""


def window_reader(source: Source, col: int, cols: int, whole_blocks: bool) -> tuple[WindowReader, int]:
    """What gives the windows of these columns, and the scene column of its first: 0 where a source gives whole rows only."""
    reader = getattr(source, "reader", None)
    return (source, 0) if reader is None else (reader(col, cols, whole_blocks), col)


def _as_host_array(array: object) -> np.ndarray:
    if isinstance(array, np.ndarray):
        return array
    if isinstance(array, (list, tuple)) and any(isinstance(band, np.ma.MaskedArray) for band in array):
        return np.ma.stack(array)                   # numpy.asarray would drop the masks
    device = getattr(array, "__dlpack_device__", None)
    if device is not None and _where(device)[0] != _DLPACK_CPU:
        raise DeviceError(f"the array is on device {_where(device)} (DLPack type, index): this engine runs on the CPU and copies nothing "
                          "between devices in silence; copy it to the host first")
    try:
        return np.from_dlpack(_resolved(array)) if device is not None else np.asarray(array)
    except Exception as error:  # noqa: BLE001 - whatever a foreign object raises
        raise ArrayError(f"{type(array).__name__} cannot be read as an array ({error}): give a numpy array, or an object with DLPack or the array "
                         "interface on the CPU (a torch tensor needs .detach(), and .float() where NumPy has not its dtype)") from error


def _resolved(array: Any) -> Any:
    """A tensor whose memory holds what it says: views of torch are negative (z.conj().imag) or conjugate by a flag, and DLPack drops that of the sign."""
    for name in ("resolve_conj", "resolve_neg"):
        array = getattr(array, name, lambda given=array: given)()
    return array


def _where(device: Callable[[], tuple[int, int]]) -> tuple[int, int]:
    try:
        return tuple(device())
    except Exception as error:  # noqa: BLE001 - whatever a foreign object raises
        raise ArrayError(f"the array does not tell its device ({error}): give a numpy array, or a tensor with memory on the CPU") from error


def _without_mask(values: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """The plain values, and where no band is masked, (rows, cols) bool; None where nothing is."""
    if not isinstance(values, np.ma.MaskedArray):
        return values, None
    mask = np.ma.getmask(values)
    if mask is np.ma.nomask or values.dtype.names:
        return values.data, None
    return values.data, ~(mask.any(axis=0) if mask.ndim == 3 else mask)


def _both(one: np.ndarray | None, other: np.ndarray | None) -> np.ndarray | None:
    return other if one is None else one if other is None else (one != 0) & other


def _storable(values: np.ndarray) -> np.ndarray:
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    if values.dtype == np.float16:
        return values.astype(np.float32)
    if values.dtype.name not in STORED_DTYPES:
        raise ArrayError(f"array of dtype {values.dtype}: use one of float16, {', '.join(STORED_DTYPES)}")
    return values


def _as_mask(valid: object, shape: tuple[int, int]) -> np.ndarray:
    mask = _as_host_array(valid)
    if isinstance(mask, np.ma.MaskedArray):
        mask = mask.filled(0)
    if mask.shape != shape or mask.dtype not in (np.dtype(bool), np.dtype(np.uint8)):
        raise ArrayError(f"valid of shape {mask.shape} and dtype {mask.dtype}: it must be bool or uint8 of the scene's shape "
                         f"{shape}, nonzero = valid")
    return mask


def _axis_hint(shape: tuple[int, ...], bands: int) -> str:
    if len(shape) == 4 and shape[1] == bands:
        return "; that seems to be several scenes or dates, give one at a time: array[0]"
    return "; the bands seem to come last, use numpy.moveaxis(array, -1, 0)" if len(shape) == 3 and shape[-1] == bands else ""


def _label_hint(labels: tuple[str, ...], shape: tuple[int, ...]) -> str:
    return f"; the array names its bands {', '.join(labels)}: choose by number from 0, array[[0, 1]]" if len(labels) == shape[0] else ""
