"""Crops by class: which train pairs hold which class, and which crops are placed on a pixel of one."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hfd_edge.durable import write_whole
from training.pairs import DataError, Pair, PairSet, SetInfo
from training.progress import Log, silent
from training.statistics import count_classes, identity

WORK_FILE = "class-pixels.json"          # beside the run's statistics
_FORMAT = 1                              # of that file: what an older one holds is counted again

Counts = dict[str, tuple[int, ...]]      # pixels of each class, by the pair's name


@dataclass(frozen=True, slots=True)
class ByClass:
    """A share of the crops goes to a class, each alike; to a pair that holds it, each alike; onto a pixel of it there, each alike."""

    share: float                                         # of the items of a loader, evenly among them
    holders: tuple[tuple[int, tuple[str, ...]], ...]     # a class and the pairs that hold it; classes that no pair holds are left out

    def takes(self, index: int) -> bool:
        """Whether item number `index` is one of them."""
        return math.floor((index + 1) * self.share) > math.floor(index * self.share)

    def draw(self, rng: np.random.Generator) -> tuple[str, int]:
        """A pair and the class that is wanted of it."""
        wanted, names = self.holders[rng.integers(len(self.holders))]
        return names[rng.integers(len(names))], wanted


def by_class(share: float, counts: Counts, info: SetInfo, log: Log = silent) -> ByClass:
    """Where the crops of a run are sent, given the pixels of each class in its pairs with labels.

    Raises:
        DataError: no pair holds a pixel of any class.
    """
    holders = [tuple(name for name, own in counts.items() if own[number]) for number in range(len(info.classes))]
    pixels = np.sum(list(counts.values()), axis=0)
    if not pixels.any():
        raise DataError(f"set {info.name}: data.by_class={share:g} and none of the {len(counts)} train pairs with labels has a pixel of a class; correct the "
                        "labels or the codes of ignore, or leave the key out")
    found = [f"{name} (in {len(pairs)}, {100 * own / pixels.sum():.2g} % of the pixels)" for name, own, pairs in zip(info.classes, pixels, holders) if own]
    log(f"data.by_class: {100 * share:g} % of the crops are placed evenly on the classes of {len(counts)} train pairs with labels: " + ", ".join(found))
    for name, own in zip(info.classes, pixels):
        if not own:
            log(f"warning: no crop can be placed on the class {name}: no pixel of it in the {len(counts)} train pairs with labels")
    return ByClass(share, tuple((number, names) for number, names in enumerate(holders) if names))


def class_pixels(pairs: PairSet, names: Sequence[str], path: Path, files: str = "", log: Log = silent) -> Counts:
    """Pixels of each class in each of some pairs: those kept at `path` (JSON) if they are of this set and these files, the others are read.

    Args:
        names: pairs whose labels are used; no other label is looked at.
        files: fingerprint of the set's files; "" = it has none (simulated scenes).
    Raises:
        DataError: a label is no class, or `path` holds something else.
    """
    key = [_FORMAT, identity(pairs), files]
    kept = _read(path, key) if path.exists() else {}
    missing = [name for name in names if name not in kept]
    if missing:
        kept |= {name: count_classes(pairs, [name]) for name in missing}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, f"{json.dumps({'key': key, 'pixels': kept})}\n".encode())
        log(f"data.by_class: classes of {len(missing)} train pairs counted, kept in {path}")
    return {name: kept[name] for name in names}


def _read(path: Path, key: list) -> Counts:
    """What is kept, {} where it is of other files."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        kept = {name: tuple(own) for name, own in record["pixels"].items()}
        return kept if record["key"] == key else {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} does not hold the classes of a set's pairs ({type(error).__name__}: {error}); delete it, it is made anew") from error


def pixels_above(pair: Pair, wanted: int) -> np.ndarray:
    """(rows,) int64: pixels of a class in each row of a pair and those above it."""
    return np.cumsum(np.count_nonzero(pair.labels == wanted, axis=1))


def draw_pixel(pair: Pair, wanted: int, above: np.ndarray, rng: np.random.Generator) -> tuple[int, int]:
    """Row and column of a pixel of a class, each alike; memory for one row.

    Raises:
        DataError: there is none.
    """
    if not above[-1]:
        raise DataError(f"pair {pair.name}: no pixel of class number {wanted}, of which it held some when the run began: the file has changed; give the same "
                        "command again")
    row = int(np.searchsorted(above, rng.integers(above[-1]), side="right"))
    return row, int(rng.choice(np.flatnonzero(pair.labels[row] == wanted)))
