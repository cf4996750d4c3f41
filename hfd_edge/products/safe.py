"""A Sentinel-1 SAFE folder: its manifest says which files belong to it; no other file is opened."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

from hfd_edge.errors import RasterError
from hfd_edge.products.inside import resolved
from hfd_edge.raster.xml_file import plain_name, read_xml

MANIFEST = "manifest.safe"
_KINDS = {"s1Level1ProductSchema": "annotation", "s1Level1CalibrationSchema": "calibration", "s1Level1NoiseSchema": "noise",
          "s1Level1MeasurementSchema": "measurement"}
_PREFIX = {"annotation": "", "calibration": "calibration-", "noise": "noise-", "measurement": ""}
_STEM = re.compile(r"s1[a-z]-[a-z0-9]+-[a-z]+-(vv|vh|hh|hv)-.+")


@dataclass(frozen=True, slots=True)
class Channel:
    """The files of one polarisation, inside the product's folder."""

    polarisation: str               # VV, VH, HH or HV
    annotation: Path
    calibration: Path
    noise: Path | None              # None = the product has none
    measurement: Path


@dataclass(frozen=True, slots=True)
class Safe:
    """What the manifest says."""

    folder: Path
    ipf: float | None               # version of the processor, such as 3.31; None = not stated
    channels: dict[str, Channel]    # by polarisation


def safe_folder(path: object) -> Path | None:
    """The folder of the SAFE that a path names (the folder, or its manifest.safe); None if it names something else.

    Raises:
        RasterError: a folder called .SAFE without manifest, or a .SAFE that is still zipped.
    """
    if not isinstance(path, (str, os.PathLike)) or isinstance(os.fspath(path), bytes):
        return None
    path = Path(path)
    if path.name.lower().endswith((".safe.zip", ".safe.tar", ".safe.tgz")) or (
            path.suffix.lower() == ".zip" and re.match(r"S1[A-Z]_", path.name)):
        raise RasterError(f"{path} is a Sentinel-1 product in an archive: unpack it first (unzip) and give the .SAFE folder")
    if path.name.lower() == MANIFEST and path.is_file():
        return path.parent
    if path.is_dir() and ((path / MANIFEST).is_file() or path.name.upper().endswith(".SAFE")):
        return path
    return None


def read_safe(folder: Path) -> Safe:
    """The channels of a SAFE folder.

    Raises:
        RasterError: no manifest, a damaged one, a file that it names lies outside the folder or is missing.
    """
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise RasterError(f"{folder} has no {MANIFEST}: it is no complete SAFE product; unpack the product again")
    root = read_xml(manifest, "XFDU")
    files: dict[str, dict[str, Path]] = {kind: {} for kind in _PREFIX}
    for item in root.iter():
        kind = _KINDS.get(item.get("repID", "")) if plain_name(item) == "dataObject" else None
        if kind is not None:
            file = _inside(folder, _href(item, manifest), manifest)
            files[kind][file.stem.lower().removeprefix(_PREFIX[kind])] = file
    channels: dict[str, Channel] = {}
    for stem in files["annotation"]:
        channel = _channel(stem, files, manifest)
        if channel.polarisation in channels:
            raise RasterError(f"{manifest} names several annotations of {channel.polarisation}: products of several swaths "
                              "(SLC, wave mode) are not read; take the GRD product of this pass")
        channels[channel.polarisation] = channel
    if not channels:
        raise RasterError(f"{manifest} names no annotation of an image: it is no level-1 product of Sentinel-1; take the GRD product of a pass")
    return Safe(folder, _ipf(root), channels)


def _href(item: Element, manifest: Path) -> str:
    found = next((part.get("href") for part in item.iter() if plain_name(part) == "fileLocation"), None)
    if not found:
        raise RasterError(f"{manifest}: data object {item.get('ID')!r} names no file; unpack the product again")
    return found


def _inside(folder: Path, href: str, manifest: Path) -> Path:
    """The file that a manifest's href names; one that leads out of the folder is refused, whether it exists or not."""
    relative = Path(href)
    escapes = relative.is_absolute() or ".." in relative.parts or len(href) > 255 or any(sign in href for sign in ":\\\0")
    file = folder / relative
    if escapes or not resolved(file).is_relative_to(folder.resolve()):
        raise RasterError(f"{manifest} names {href!r}, which leads out of {folder}: a product is read from its own folder "
                          "only; copy the file into it, or unpack the product again")
    return file


def _channel(stem: str, files: dict[str, dict[str, Path]], manifest: Path) -> Channel:
    match = _STEM.fullmatch(stem)
    if not match:
        raise RasterError(f"{manifest} names the annotation {stem!r}, which is no name of a Sentinel-1 image "
                          "(s1a-iw-grd-vv-...): files keep the names they were published with; unpack the product again")
    for kind in ("calibration", "measurement"):
        if stem not in files[kind]:
            raise RasterError(f"{manifest} names no {kind} of {stem}: without it the pixels have no physical meaning; unpack the product again")
    found = {kind: files[kind].get(stem) for kind in _PREFIX}
    for kind, file in found.items():
        if file is not None and not file.is_file():
            raise RasterError(f"{file} is missing: {manifest.name} names it as the {kind} of {match[1].upper()}; unpack the product again")
    return Channel(match[1].upper(), **found)


def _ipf(root: Element) -> float | None:
    """The lowest version of Sentinel-1 IPF that had a part in the product."""
    versions = []
    for item in root.iter():
        version = item.get("version", "")
        if plain_name(item) == "software" and "IPF" in item.get("name", "") and re.fullmatch(r"\d{1,4}(\.\d{1,4})?", version):
            versions.append(float(version))
    return min(versions, default=None)
