"""The SAR of pairs kept from training as GeoTIFFs with their labels: what `hfd-edge export --calibration` and `verify --data` read."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np

from hfd_edge.raster import GeoReference, RasterLimits, RasterProfile, write_raster
from hfd_edge.raster.declaration import QUANTITY_TAG, UNIT_TAG
from hfd_edge.raster.guard import open_raster
from hfd_edge.raster.truth import NAMES_TAG
from hfd_edge.spec import NODATA_LABEL
from training.layouts.files import FileSet
from training.pairs import DataError, Pair, PairSet, SetInfo
from training.progress import Log

SPLITS = ("select", "test")             # a gate on what the student was trained on would flatter it


def write_scenes(pairs: PairSet, folder: Path, log: Log = print) -> int:
    """Write NAME.tif (float32, in the set's unit, NaN = no measurement) and NAME_labels.tif (uint8, 255 = not known, with the classes' names) of every
    pair of the select and test splits, where their files lie on the ground if these say so; files that are there are written again.

    Returns:
        how many pairs were written.
    Raises:
        DataError: a pair cannot be read, both splits are empty, two pairs would get one file name, or the folder holds pairs of another split.
        RasterError: the folder cannot be written to.
    """
    names = [(split, name) for split in SPLITS for name in pairs.names(split)]
    files = [f"{split}-{re.sub(r'[^A-Za-z0-9.+-]+', '-', name)}" for split, name in names]
    twice = {file for file in files if files.count(file) > 1}
    if not names or twice:
        raise DataError(f"{'no pair' if not names else f'{len(twice)} file names for several pairs, e.g. {min(twice)}'} in the "
                        f"{' and '.join(SPLITS)} splits of {pairs.info.name}: scenes are written from pairs that training did not see, one "
                        "file each; give the layout a split, or rename the pairs")
    _check_left(folder, files, pairs.info.name)
    folder.mkdir(parents=True, exist_ok=True)
    placed = 0
    for (_, name), file in zip(names, files):
        pair = pairs.read(name, eo=False)
        geo = _place(pairs, pair)
        placed += geo is not None
        _write(pair, pairs.info, geo, folder / file)
    log(f"{len(names)} scenes with labels in {folder}, {placed} with the georeference of their files: hfd-edge export ... --calibration {folder}")
    return len(names)


def _check_left(folder: Path, files: list[str], name: str) -> None:
    """Refuse scenes of an earlier split that this one would leave there: a pair that training sees now would calibrate and judge."""
    ours = {f"{file}{ending}.tif" for file in files for ending in ("", "_labels")}
    left = sorted(path.name for split in SPLITS for path in folder.glob(f"{split}-*.tif") if path.name not in ours)
    if left:
        raise DataError(f"{folder} holds {left[0]}{f' and {len(left) - 1} more files' if len(left) > 1 else ''} of pairs that are not in the "
                        f"{' and '.join(SPLITS)} splits of {name} now, and training may see them: remove the folder, it is written anew")


def _place(pairs: PairSet, pair: Pair) -> GeoReference | None:
    """Where a pair lies, by its own file; None where there is no georeference, or the pair is not one whole file as it lies.

    A pair does not carry it, as training has no use for it.
    """
    path = pairs.placed_file(pair.name) if isinstance(pairs, FileSet) else None
    if path is None or path.suffix.lower() == ".npy":
        return None
    with open_raster(path, RasterLimits()) as dataset:
        geo = GeoReference.of(dataset, (path,))
        size = dataset.height, dataset.width
    known = geo.transform is not None or geo.gcps or geo.rpcs is not None
    return geo if known and size == pair.labels.shape else None


def _write(pair: Pair, info: SetInfo, geo: GeoReference | None, path: Path) -> None:
    rows, cols = pair.labels.shape
    sar = np.where(pair.valid, pair.sar, np.float32(np.nan))
    tags = {UNIT_TAG: info.sar_unit.value, QUANTITY_TAG: info.quantity}
    write_raster(path.with_name(f"{path.name}.tif"), [(0, sar)],
                 RasterProfile(rows, cols, len(sar), "float32", float("nan"), info.bands, tags=tags, geo=geo), overwrite=True)
    write_raster(path.with_name(f"{path.name}_labels.tif"), [(0, pair.labels[np.newaxis])],
                 RasterProfile(rows, cols, 1, "uint8", NODATA_LABEL, tags={NAMES_TAG: json.dumps(info.classes)}, geo=geo), overwrite=True)
