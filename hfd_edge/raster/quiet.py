"""rasterio's warning that a raster has no georeference, kept away: many SAR products have none, and that is fine."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from rasterio.errors import NotGeoreferencedWarning

from hfd_edge.forks import no_fork

_one_at_a_time = threading.RLock()


@contextmanager
def without_place_warning() -> Iterator[None]:
    """Python's filters of warnings are those of the process: threads that set and restore them at once leave each other's behind for ever."""
    with no_fork(), _one_at_a_time, warnings.catch_warnings():         # in this order: a forked process finds the lock free
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield
