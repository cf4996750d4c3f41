"""What single pixels know: gradient boosting without any context, on the same split, the floor under every network.

    python -m training.floor LAYOUT ROOT [option=value ...] [--inputs sar,eo] [--seed 0] [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hfd_edge.errors import HfdError
from hfd_edge.extras import missing
from hfd_edge.measure.accuracy import Accuracy, Confusion
from hfd_edge.spec import NODATA_LABEL
from training.layouts import LAYOUTS, open_pairs
from training.pairs import DataError, Pair, PairSet
from training.statistics import to_network_unit

INPUTS = ("sar", "eo", "sar+eo")
FIT_PIXELS = 400_000                     # of the train split, evenly over its pairs: more changes nothing
_TREES, _LEAVES = 200, 31


def floors(pairs: PairSet, inputs: Sequence[str] = INPUTS, seed: int = 0) -> dict[str, Accuracy]:
    """Accuracy of a pixel-wise classifier on the test split, fitted on train, per kind of input.

    Args:
        inputs: some of sar, eo and sar+eo; those with EO look only at pairs that have it.
    Raises:
        DataError: an input is not known, scikit-learn is missing, or no train pixel has what the input needs.
    """
    unknown = [name for name in inputs if name not in INPUTS]
    if unknown:
        raise DataError(f"floor of input {unknown[0]!r}: use some of {', '.join(INPUTS)}")
    return {name: _floor(pairs, name, seed) for name in inputs}


def _floor(pairs: PairSet, name: str, seed: int) -> Accuracy:
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier
        from threadpoolctl import threadpool_limits                  # comes with scikit-learn
    except ImportError as error:
        raise DataError("the floor needs scikit-learn, which is not installed: pip install 'hfd-edge[train]'") from error
    values, labels = _sampled(pairs, name, seed)
    model = HistGradientBoostingClassifier(max_iter=_TREES, max_leaf_nodes=_LEAVES, early_stopping=False, random_state=seed)
    confusion = Confusion(pairs.info.classes)
    with threadpool_limits(1):                                       # its threads spin while they wait, very slow on busy cores
        model.fit(values, labels)
        for pair in _pairs(pairs, "test", name):
            predicted = np.full(pair.labels.shape, NODATA_LABEL, np.uint8)
            if pair.valid.any():
                predicted[pair.valid] = model.predict(_features(pair, pairs, name)[pair.valid])
            confusion.add(pair.labels, predicted)
    return confusion.result()


def _sampled(pairs: PairSet, name: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """((n, features), (n,)): labelled train pixels drawn at random, equally many of every pair where it has them."""
    rng, values, labels = np.random.default_rng(seed), [], []
    each = max(1, FIT_PIXELS // max(1, len(pairs.names("train"))))
    for pair in _pairs(pairs, "train", name):
        where = np.flatnonzero(pair.labels != NODATA_LABEL)
        where = rng.permutation(where)[:each]
        values.append(_features(pair, pairs, name).reshape(pair.labels.size, -1)[where])
        labels.append(pair.labels.ravel()[where])
    if not labels or len(np.unique(np.concatenate(labels))) < 2:
        raise DataError(f"floor of set {pairs.info.name} from {name}: the train split has no pixels of two classes with it; "
                        "choose another input or check the labels")
    return np.concatenate(values), np.concatenate(labels)


def _pairs(pairs: PairSet, split: str, name: str) -> Iterator[Pair]:
    for pair in (pairs.read(each, eo=name != "sar") for each in pairs.names(split)):
        if name == "sar":
            yield pair
        elif pair.eo is not None:
            yield replace(pair, labels=pair.eo_labels)


def _features(pair: Pair, pairs: PairSet, name: str) -> np.ndarray:
    """(rows, cols, features) float32."""
    parts = [to_network_unit(pair.sar, pairs.info.sar_unit)] if "sar" in name else []
    return np.moveaxis(np.concatenate(parts + ([pair.eo] if "eo" in name else [])), 0, -1)


def options_of(words: Sequence[str]) -> dict[str, Any]:
    """`option=value` words, values as YAML: bands=[after, before]."""
    import yaml

    options = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise DataError(f"{word!r} is no option=value")
        options[key] = yaml.safe_load(value)
    return options


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("layout", choices=LAYOUTS)
    parser.add_argument("root", type=Path)
    parser.add_argument("options", nargs="*", help="of the reader: option=value")
    parser.add_argument("--inputs", help=f"some of {', '.join(INPUTS)}, with commas; all that the set has by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_intermixed_args()
    try:
        pairs = open_pairs(given.layout, given.root, **options_of(given.options))
        inputs = given.inputs.split(",") if given.inputs else INPUTS if pairs.info.eo_bands else INPUTS[:1]
        found = floors(pairs, inputs, seed=given.seed)
    except (HfdError, ModuleNotFoundError) as error:
        print(f"error: {missing(error, 'training') if isinstance(error, ModuleNotFoundError) else error}", file=sys.stderr)
        return 1
    if given.json:
        print(json.dumps({name: score.to_dict() for name, score in found.items()}))
        return 0
    print(f"pixel by pixel on {len(pairs.names('test'))} test pairs of {pairs.info.name}")
    for name, score in found.items():
        iou = "  ".join(f"{c} {score.to_dict()['iou'][c]:.3f}" for c in pairs.info.classes)
        print(f"{name:7s} mIoU {score.miou:.3f}  IoU: {iou}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
