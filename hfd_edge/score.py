"""What the second plane of a map holds, 0..254 for a softmax probability of 0..1: that of each pixel's own class, its confidence, or
that of one class everywhere. A run makes one of them or none: its `score` is the number of that class, OWN_CLASS, or None."""

from __future__ import annotations

import numpy as np

from hfd_edge.errors import SpecError

OWN_CLASS = -1              # csrc/ops/finish.h


def class_number(classes: tuple[str, ...], word: str | int) -> int:
    """The class that a name, in any case, or a number from 0 stands for. Raises SpecError: none or several."""
    found = [number for number, name in enumerate(classes) if name == word] or \
            [number for number, name in enumerate(classes) if name.lower() == str(word).lower()]
    if not found and str(word).isascii() and str(word).isdigit() and int(word) < len(classes):
        found = [int(word)]
    if len(found) != 1:
        names = ", ".join(f"{number} {name}" for number, name in enumerate(classes))
        raise SpecError(f"class {word!r}: {'several have' if found else 'none has'} this name or number; the engine's "
                        f"classes are {names}")
    return found[0]


def asked_score(classes: tuple[str, ...], confidence: bool, probability: str | int | None) -> int | None:
    """The score of a run that is asked for confidence, or for the probability of a class. Raises SpecError: no such class, or both, or neither yes nor no."""
    if not isinstance(confidence, (bool, np.bool_)):
        raise SpecError(f"confidence={' '.join(repr(confidence).split())[:80]}: it must be True or False; run_raster takes the path of a file")
    if probability is None:
        return OWN_CLASS if confidence else None
    if confidence:
        raise SpecError(f"confidence={confidence!r} and probability={probability!r}: a run makes one of the two planes; leave one out, "
                        "and run twice to get both")
    return class_number(classes, probability)


def score_name(classes: tuple[str, ...], score: int | None) -> str:
    """"confidence", or "probability of" a class; "" for none."""
    if score is None:
        return ""
    return "confidence" if score == OWN_CLASS else f"probability of {classes[score]}"
