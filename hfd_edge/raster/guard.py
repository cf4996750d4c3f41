"""Which files are opened at all, and how: an allow-list of formats, limits before any allocation, a bounded GDAL cache."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import RasterioError

from hfd_edge.errors import RasterError
from hfd_edge.raster.output import is_remote
from hfd_edge.raster.quiet import without_place_warning

GDAL_CACHE_BYTES = 16 << 20
# GDAL reads this once, at its first block, and by default takes 5 % of the machine. A rasterio.Env would bound it only as long
# as the innermost one lives, in one thread; readers and writers of ours overlap in several. A value that the user set stays.
os.environ.setdefault("GDAL_CACHEMAX", str(GDAL_CACHE_BYTES))

_threads_process: int | None = None         # where GDAL first had several threads

CONVERT = "convert it first: rio convert INPUT scene.tif"
CONVERT_ONE = ("convert each band first: rio info --subdatasets INPUT lists them, rio convert 'ONE OF THEM' vv.tif writes one (or load it with xarray, and "
               "give the array to Segmenter.run)")

# A file's first bytes choose its driver; GDAL is never left to guess. Formats that can name other files (VRT, WMS) are not here.
_DRIVERS = {
    b"II*\0": "GTiff", b"MM\0*": "GTiff", b"II+\0": "GTiff", b"MM\0+": "GTiff", b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JP2OpenJPEG", b"\xff\x4f\xff\x51": "JP2OpenJPEG"}
READ_DRIVERS = tuple(dict.fromkeys(_DRIVERS.values()))
_REFUSED = {
    b"<VRTDataset": f"a VRT, which can name any other file or run code; {CONVERT}",
    b"<": f"XML; give the raster itself, or {CONVERT} (of a BEAM-DIMAP .dim, each .img in its .data folder)",
    b"PK\x03\x04": "a zip (or an .engine); unpack the raster",
    b"\x89HDF": f"HDF5 or netCDF; predict, scene and despeckle take a NISAR GCOV or a COSMO-SkyMed product, given alone; else {CONVERT_ONE}",
    b"CDF": f"netCDF; {CONVERT_ONE}",
    b"\x93NUMPY": "a numpy array; load it and use Segmenter.run(array)", b"\x1f\x8b": "gzip; unpack it"}
_TIFF_SIGNATURES = tuple(k for k, v in _DRIVERS.items() if v == "GTiff")


@dataclass(frozen=True, slots=True)
class RasterLimits:
    """What a file may claim of itself before it is believed. Passed to RasterSource(limits=...)."""

    pixels: int = 1 << 36               # per band; a whole Sentinel-1 scene is 2^29
    bands: int = 256
    block_bytes: int = 512 << 20        # one compressed block, decoded at once by GDAL
    expansion: int = 20_000             # decoded bytes per byte of file, where more than `expansion_from` are claimed
    expansion_from: int = 1 << 30


def rasterio_open(path: Path, mode: str = "r", **profile: Any) -> Any:
    """rasterio.open without the warning that a raster has no georeference: many SAR products have none, and that is fine."""
    with without_place_warning(), rasterio.Env(GDAL_VRT_ENABLE_PYTHON="NO"):
        return rasterio.open(path, mode, **profile)


def gdal_version() -> dict[str, str]:
    """Versions of rasterio and the GDAL it brings."""
    return {"rasterio": rasterio.__version__, "gdal": rasterio.__gdal_version__}


def one_line(error: BaseException) -> str:
    """GDAL's own words, without line breaks."""
    return " ".join(str(error.__cause__ or error).split())[:300]


def gdal_threads(wanted: int) -> int:
    """Threads GDAL may work with: 1 in a process forked from one where it had several.

    GDAL keeps its threads for the life of the process; a forked one inherits their queue without them and would wait for ever.
    """
    global _threads_process
    if wanted > 1 and _threads_process is None:
        _threads_process = os.getpid()
    return wanted if _threads_process == os.getpid() else 1


def open_raster(path: str | Path, limits: RasterLimits, threads: int = 1) -> Any:
    """A rasterio dataset open for reading; GDAL decodes the blocks of a compressed TIFF with so many threads.

    Raises:
        RasterError: not a local file, not an allowed format, damaged, or it claims more than the limits.
    """
    path = local_file(path)
    driver = _driver_of(path)
    try:
        dataset = rasterio_open(path, driver=driver)
        if driver == "GTiff" and dataset.compression is not None and gdal_threads(threads) > 1:
            dataset.close()                                         # without compression threads only cost: 0.18 s for 0.11 s
            dataset = rasterio_open(path, driver=driver, NUM_THREADS=gdal_threads(threads))
    except RasterioError as error:
        raise RasterError(f"{path} begins like {driver} but cannot be opened ({one_line(error)}): the file is damaged or "
                          "incomplete; copy or download it again") from error
    try:
        _check_claims(path, dataset, limits)
        _check_last_blocks(path, dataset)
    except BaseException:
        dataset.close()
        raise
    return dataset


def local_file(path: str | Path) -> Path:
    """The path, if it names a file on this machine and nothing else.

    Raises:
        RasterError: a URL, a GDAL virtual path, a folder, or nothing there.
    """
    try:
        text = os.fspath(path)
    except TypeError as error:
        raise RasterError(f"{path!r} is no path of a raster: give a text or a pathlib.Path") from error
    if isinstance(text, bytes):
        text = os.fsdecode(text)
    if is_remote(text) and ("://" in text or text.startswith("/vsi") or not os.path.exists(text)):
        raise RasterError(f"{text} is a URL or a GDAL virtual path: only files on this machine are opened, nothing is "
                          "downloaded; fetch it first and give the file")
    if not _is_utf8(text):
        raise RasterError(f"{text!r} is no UTF-8 name, which GDAL cannot open: rename it, or give a symbolic link to it")
    path = Path(text)
    if path.is_dir():
        raise RasterError(f"{path} is a folder: give the raster file inside it, or, where its rasters are tiles of one scene, --mosaic too "
                          "(predict, scene, despeckle, seams, benchmark; in Python hfd_edge.Mosaic)")
    if path.exists() and not path.is_file():
        raise RasterError(f"{path} is a pipe or a device: a raster is read in pieces and more than once; write it to a file first")
    if not path.is_file():
        broken = f": it is a symbolic link to {os.readlink(path)}, which is not there" if path.is_symlink() else ""
        raise RasterError(f"{path} does not exist{broken}; check the path")
    return path.absolute()


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
        return True
    except UnicodeEncodeError:
        return False


def _driver_of(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            head = file.read(64)
    except OSError as error:
        raise RasterError(f"{path} cannot be read: {error.strerror}; check its permissions") from error
    if not head:
        raise RasterError(f"{path} is empty (0 bytes): it is no raster; copy or download it again")
    for start, driver in _DRIVERS.items():
        if head.startswith(start):
            if driver == "GTiff":
                _check_sidecars(path)
            return driver
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    found = next((what for start, what in _REFUSED.items() if text.startswith(start)), None)
    if found:
        raise RasterError(f"{path} is {found}; read are GeoTIFF, PNG, JPEG and JPEG 2000")
    raise RasterError(f"{path} is not a raster (it begins with {head[:8]!r}): read are GeoTIFF, PNG, JPEG and JPEG 2000; {CONVERT}")


def _check_sidecars(path: Path) -> None:
    """GDAL opens NAME.msk and NAME.ovr with any driver it has, so they must be what they should be."""
    for suffix in (".msk", ".ovr"):
        sidecar = path.with_name(path.name + suffix)
        if sidecar.is_file():
            with open(sidecar, "rb") as file:
                if not file.read(4).startswith(_TIFF_SIGNATURES):
                    raise RasterError(f"{sidecar} belongs to {path.name} but is no TIFF: it could name any other file; remove it")


def _check_claims(path: Path, dataset: Any, limits: RasterLimits) -> None:
    rows, cols, bands = dataset.height, dataset.width, dataset.count
    claim = f"{path} claims {rows} x {cols} pixels in {bands} bands"
    if min(rows, cols, bands) < 1:
        raise RasterError(f"{claim}: there is nothing to read; check how it was written")
    if rows * cols > limits.pixels:
        raise RasterError(f"{claim}: more than the limit of {limits.pixels} pixels; cut it with gdal_translate -srcwin, or raise "
                          "RasterLimits.pixels (RasterOptions(limits=...))")
    if bands > limits.bands:
        raise RasterError(f"{claim}: more than the limit of {limits.bands} bands; keep some with gdal_translate -b, or raise "
                          "RasterLimits.bands (RasterOptions(limits=...))")
    sizes = [_pixel_bytes(dtype) for dtype in dataset.dtypes]
    per_block = sum(sizes) if dataset.interleaving and dataset.interleaving.name == "pixel" else max(sizes)
    block = max(r * c for r, c in dataset.block_shapes) * per_block
    if block > limits.block_bytes:
        raise RasterError(f"{claim} in blocks of {block} bytes: more than the limit of {limits.block_bytes}, and a block is "
                          "decoded at once; rewrite it with gdal_translate -co TILED=YES, or raise RasterLimits.block_bytes "
                          "(RasterOptions(limits=...))")
    claimed, stored = rows * cols * sum(sizes), path.stat().st_size
    if claimed > limits.expansion_from and claimed > limits.expansion * stored:
        raise RasterError(f"{claim}, {claimed} bytes from a file of {stored}: more than {limits.expansion} to 1 looks like a "
                          "decompression bomb; if it is sound, raise RasterLimits.expansion (RasterOptions(limits=...))")


def _pixel_bytes(dtype: str) -> int:
    return {"complex_int16": 4}.get(dtype) or np.dtype(dtype).itemsize


def _check_last_blocks(path: Path, dataset: Any) -> None:
    """A truncated TIFF opens without complaint; its last blocks then lie beyond the end of the file."""
    if dataset.driver != "GTiff":
        return
    size = path.stat().st_size
    for band in {1, dataset.count}:
        block_rows, block_cols = dataset.block_shapes[band - 1]
        last = -(-dataset.height // block_rows) - 1
        for column in range(-(-dataset.width // block_cols)):
            offset = dataset.get_tag_item(f"BLOCK_OFFSET_{column}_{last}", "TIFF", bidx=band)
            length = dataset.get_tag_item(f"BLOCK_SIZE_{column}_{last}", "TIFF", bidx=band)
            if offset and length and int(offset) + int(length) > size:
                raise RasterError(f"{path} is truncated: a block ends at byte {int(offset) + int(length)}, the file at {size}; "
                                  "copy or download it again")
