"""Readers of data sets, one file per layout; `open_pairs` finds the reader by name."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

from training.pairs import DataError, PairSet

_READERS = {                                  # layout: (module, class); a module is imported when its layout is asked for
    "folder": ("folder", "FolderPairs"),
    "spacenet6": ("spacenet6", "SpaceNet6Pairs"),
    "sen12ms": ("sen12ms", "Sen12msPairs"),
    "dfc2020": ("dfc2020", "Dfc2020Pairs"),
    "sen1floods11": ("sen1floods11", "Sen1Floods11Pairs"),
    "whu-opt-sar": ("whu_opt_sar", "WhuOptSarPairs"),
    "openearthmap-sar": ("openearthmap_sar", "OpenEarthMapSarPairs"),
    "ombria": ("ombria", "OmbriaPairs"),
    "simulated": ("simulated", "SimulatedPairs"),
}
LAYOUTS = tuple(_READERS)


def open_pairs(layout: str, root: Path | str, **options: Any) -> PairSet:
    """A data set on disk (or simulated).

    Args:
        layout: one of LAYOUTS.
        root: folder of the data set; not looked at by `simulated`.
        options: of the reader; see docs/data.md.
    Raises:
        DataError: unknown layout or option, or a folder that is not of this layout, with what was looked for and found.
    """
    if layout not in _READERS:
        raise DataError(f"layout={layout!r} is not known; use one of {', '.join(LAYOUTS)}")
    module, name = _READERS[layout]
    reader = getattr(importlib.import_module(f"training.layouts.{module}"), name)
    known = [p for p in inspect.signature(reader).parameters if p != "root"]
    unknown = [option for option in options if option not in known]
    if unknown:
        raise DataError(f"layout {layout}: option {unknown[0]!r} is not known; use {', '.join(known) or 'none'}")
    return reader(Path(root), **options)
