"""The proof that an engine answers as it did when the package was made."""

from __future__ import annotations

import numpy as np

from hfd_edge.engine.base import Engine
from hfd_edge.errors import PackageError
from hfd_edge.package import Package
from hfd_edge.package.golden import UNDECIDED, Golden


def check_golden(package: Package, engine: Engine, golden: Golden | None = None) -> int:
    """Run the golden tile through an engine and compare the classes, logit by logit.

    Args:
        golden: a copy of the package's, whose file may have been written over; None = as it stands there.
    Returns:
        How many logit positions were compared; those too close to call at export are not.
    Raises:
        PackageError: one class differs, or the shape of the answer does.
    """
    golden = package.golden if golden is None else golden
    expected = golden.labels[engine.graph]
    logits = engine.infer(golden.input[np.newaxis])[0]
    if logits.shape != (len(package.spec.classes), *expected.shape):
        raise PackageError(f"{package.path}: {engine.graph} answers its golden tile with shape {logits.shape}, the spec says "
                           f"{(len(package.spec.classes), *expected.shape)}; the package contradicts itself, export it again")
    compared = expected != UNDECIDED
    wrong = int(((logits.argmax(axis=0) != expected) & compared).sum()) + int(np.isnan(logits).any())
    if wrong:
        raise PackageError(f"{package.path}: {engine.name} {engine.version} answers the golden tile otherwise than at export in {wrong} of "
                           f"{int(compared.sum())} places: this engine must not be used here; run hfd-edge doctor, then export again on this machine")
    return int(compared.sum())
