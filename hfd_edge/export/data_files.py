"""Which scenes the paths of --calibration and --data name: rasters, one raster per band, SAR products, and folders of any of them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hfd_edge.errors import ExportError
from hfd_edge.products import alos, product_folder, rtc
from hfd_edge.raster.bands import names_it, polarisation_of

if TYPE_CHECKING:
    from hfd_edge.raster_run import RasterOptions

Place = str | Path | Sequence[str | Path]           # a scene or a folder of them; several files in a list, or with commas: those of one scene

SIMULATED = "simulated"     # instead of a path: scenes of hfd_edge.simulate, for networks of its bands
_SUFFIXES = (".tif", ".tiff", ".png", ".jp2", ".img", ".nitf", ".ntf", ".h5", ".hdf5")
_NOT_SCENES = ("truth", "labels", "label", "eo", "mask")     # what is called so is no scene, nor is NAME_truth, ...
_POLARISATION = re.compile(r"[-_. ]?(?<![A-Za-z])(VV|VH|HH|HV)(?![A-Za-z])", re.IGNORECASE)
_NO_WORD = "[^A-Za-z0-9]+"


@dataclass(frozen=True, slots=True)
class SceneFiles:
    """What one scene is opened from."""

    files: tuple[Path, ...]         # a raster, a product, or one raster per band
    stem: Path                      # its truth is STEM_labels.tif, or another of `truths`

    @property
    def inputs(self) -> tuple[Path, ...]:
        """All of it that a run reads."""
        return (*self.files, *self.truths)

    @property
    def truths(self) -> tuple[Path, ...]:
        """Where a truth may lie, the first that is there counts."""
        suffixes = dict.fromkeys((self.files[0].suffix, ".tif", ".png"))
        return (*(self.stem.with_name(f"{self.stem.name}_{word}{suffix}") for word in ("labels", "label") for suffix in suffixes),
                *([self.stem.with_name("truth.tif")] if self.stem.name == "scene" else []))


def given_scenes(where: Sequence[Place], bands: Sequence[str], options: RasterOptions) -> list[SceneFiles]:
    """The files of the scenes that calibrate and judge, none of them opened yet; [] for "simulated".

    Args:
        bands: of the network; options: what is declared of all rasters alike.
    Raises:
        ExportError, RasterError: as `scene_files`; nothing is named, or simulated scenes beside others or with a declaration.
    """
    if [str(place) for place in where] == [SIMULATED]:
        declared = {"--unit": options.unit, "--scale": options.scale, "--offset": options.offset, "--nodata": options.nodata, "--bands": options.bands}
        if named := [name for name, value in declared.items() if value is not None]:
            raise ExportError(f"{', '.join(named)} with {SIMULATED!r}: simulated scenes are made in the network's bands and say their own unit; leave it out")
        return []
    if not where:
        raise ExportError("no scene was given: INT8 ranges, the gate and comparisons need real scenes, never random numbers; "
                          f"give rasters, products, a folder of them, or {SIMULATED!r} for a network trained on simulated scenes")
    if SIMULATED in map(str, where):
        raise ExportError(f"{SIMULATED!r} beside {len(where) - 1} other scenes: simulated scenes stand for all of them; leave one of the two out")
    return scene_files(where, [band for band in options.bands or () if isinstance(band, str)] or bands)


def scene_files(where: Sequence[Place], bands: Sequence[str]) -> list[SceneFiles]:
    """The scenes in the order of the paths, those of a folder in the order of their names.

    Args:
        bands: that are wanted, in their order. Where they are polarisations, rasters in a folder whose names differ in the polarisation alone
            (a_VV.tif, a_VH.tif) are the files of one scene; of others it is not made up of (a_HH.tif) none is taken.
    Raises:
        ExportError: a path leads to nothing, a folder holds no scene, or one scene is named twice.
        RasterError: a product that is still packed.
    """
    found = [scene for place in where for scene in _at(place, bands)]
    named: dict[Path, SceneFiles] = {}
    for scene in found:
        for file in scene.files:
            if named.setdefault(file.resolve(), scene) is not scene:
                raise ExportError(f"{file} is given twice: the same pixels would calibrate and judge; name each scene once, and no scene beside the "
                                  "folder that holds it")
    return found


def _at(place: Place, bands: Sequence[str]) -> list[SceneFiles]:
    if isinstance(place, (str, os.PathLike)):
        path = Path(place)
        if not str(place).strip():                  # Path("") is the folder at hand
            return _at([], bands)
        if not path.exists() and "," in str(place):
            return _at([part.strip() for part in str(place).split(",") if part.strip()], bands)
        folder = product_folder(path)
        if folder is not None or not path.is_dir():
            return [_scene([_there(path if folder is None else folder)])]
        return _in_folder(path, bands)
    files = [_there(Path(part)) for part in place]
    if not files:
        raise ExportError("a scene without one file was given: name a raster, its bands' rasters with commas between them, a product, or a folder of them")
    for file in files:
        if file.is_dir():
            raise ExportError(f"{file} is a folder, beside {len(files) - 1} other files of one scene: give the rasters of its bands, or each scene by itself")
    return [_scene(files)]


def _there(path: Path) -> Path:
    if not path.exists():
        raise ExportError(f"{path}: no such raster, product or folder; give real scenes with --calibration or --data")
    return path


def _in_folder(folder: Path, bands: Sequence[str]) -> list[SceneFiles]:
    there = sorted(folder.iterdir())
    rasters = [path for path in there if path.is_file() and path.suffix.lower() in _SUFFIXES
               and path.stem.lower().rpartition("_")[2] not in _NOT_SCENES and not alos.is_beside(path) and not rtc.is_beside(path)]
    products = [path for path in there if path.is_dir() and product_folder(path) is not None]
    found = [*_by_scene(rasters, bands), *(_scene([path]) for path in products)]
    if not found:
        raise ExportError(f"{folder} holds no scene: rasters ({', '.join(_SUFFIXES)}) that are no labels or masks count, and the unpacked folders of "
                          "SAFE, RADARSAT and TerraSAR-X products; folders in it are not searched")
    return sorted(found, key=lambda scene: scene.files[0])


def _by_scene(rasters: Iterable[Path], bands: Sequence[str]) -> list[SceneFiles]:
    """Each raster a scene, but for the files of one scene: those of the wanted polarisations, or of the bands of two dates, in their order."""
    wanted = [polarisation_of(band) for band in bands]
    dated = "" not in wanted and len({*wanted}) < len(wanted)
    groups: dict[tuple[str, str], list[tuple[str, Path]]] = {}
    for path in rasters:
        band, place = _of_dates(path.stem, bands) if dated else (polarisation_of(path.stem), _common_name(path.stem))
        groups.setdefault((place if band else path.name, path.suffix), []).append((band, path))
    found = []
    for (place, _), files in groups.items():
        by_name = dict(files)
        together = [by_name[band] for band in (bands if dated else wanted) if band and band in by_name]
        found += [_scene(together, place)] if together and len(by_name) == len(files) else [_scene([path]) for _, path in files]
    return found


def _of_dates(stem: str, bands: Sequence[str]) -> tuple[str, str]:
    """Which band's words, such as VV and before, are all in a file's name, and what that says besides; "" and "" where that is not one band."""
    found = [band for band in bands if names_it(polarisation_of(stem), band, stem)]
    if len(found) != 1:
        return "", ""
    words = {*re.split(_NO_WORD, found[0].lower())}
    return found[0], "_".join(word for word in re.split(_NO_WORD, stem) if word.lower() not in words)


def _scene(files: list[Path], place: str | None = None) -> SceneFiles:
    """`place`: what the names of its files have in common, where that is known."""
    first = files[0]
    if len(files) == 1:
        return SceneFiles((first,), first.with_name(first.stem) if first.is_file() or first.suffix.lower() == ".safe" else first)
    common = {_common_name(file.stem) for file in files} if place is None else {place}
    name = common.pop() if len(common) == 1 else first.stem
    return SceneFiles(tuple(files), first.with_name(name or first.absolute().parent.name))


def _common_name(stem: str) -> str:
    """A file's name without its polarisation: the same for all files of a scene."""
    return _POLARISATION.sub("", stem).strip("-_. ") if polarisation_of(stem) else stem
