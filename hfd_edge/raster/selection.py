"""Some classes of a map: they keep their numbers, every other class becomes one number more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hfd_edge.errors import RasterError, SpecError
from hfd_edge.score import class_number
from hfd_edge.spec import NODATA_LABEL

OTHER_LABEL = 254
OTHER_NAME, OTHER_COLOR = "other", (225, 225, 225)


class Legend(Protocol):
    """What the values of a map mean: 0, 1, ... in this order, or those that `values` names."""

    classes: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """The legend of a map of some classes: a chosen class keeps its number, what is none of them is OTHER_LABEL."""

    classes: tuple[str, ...]                    # the chosen ones in the order of their numbers, then "other"
    colors: tuple[tuple[int, int, int], ...]
    values: tuple[int, ...]                     # of each in the map
    all_classes: tuple[str, ...]                # of the engine

    def applied(self, labels: np.ndarray) -> np.ndarray:
        """uint8 labels of any shape with OTHER_LABEL for what was not chosen; nodata stays. New memory."""
        table = np.full(256, OTHER_LABEL, np.uint8)
        kept = (*self.values[:-1], NODATA_LABEL)
        table[list(kept)] = kept
        return table[labels]


def select_classes(legend: Legend, wanted: Sequence[str | int]) -> Selection:
    """The selection that names or numbers stand for; a text may hold several names with commas between them.

    Raises:
        RasterError: no such class, all of them, none, or an engine with so many classes that 254 is taken.
    """
    if isinstance(wanted, (str, int)):
        wanted = (wanted,)
    numbers = sorted({number for word in wanted for number in _numbers(legend.classes, word)})
    names = ", ".join(f"{number} {name}" for number, name in enumerate(legend.classes))
    if not numbers or len(numbers) == len(legend.classes):
        raise RasterError(f"classes={','.join(map(str, wanted))!r}: that is {'none' if not numbers else 'every one'} of the "
                          f"engine's classes ({names}); name some of them, or leave the option out")
    if len(legend.classes) > OTHER_LABEL:
        raise RasterError(f"classes={','.join(map(str, wanted))!r}: the engine has {len(legend.classes)} classes and a map "
                          f"has no number left for all others; at most {OTHER_LABEL} classes leave one")
    return Selection(
        (*(legend.classes[number] for number in numbers), OTHER_NAME),
        (*(legend.colors[number] for number in numbers), OTHER_COLOR),
        (*numbers, OTHER_LABEL), tuple(legend.classes))


def _numbers(classes: tuple[str, ...], word: str | int) -> list[int]:
    if isinstance(word, str) and word not in classes and "," in word:
        return [number for part in word.split(",") for number in _numbers(classes, part.strip())]
    try:
        return [class_number(classes, word)]
    except SpecError as error:
        raise RasterError(str(error)) from error
