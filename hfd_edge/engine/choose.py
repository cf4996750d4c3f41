"""Which engine runs a package here, and the proof that it answers as it did when the package was made."""

from __future__ import annotations

import numpy as np

from hfd_edge.engine.base import Engine
from hfd_edge.errors import EngineError, PackageError
from hfd_edge.package import Package
from hfd_edge.package_golden import UNDECIDED

GRAPHS_FOR_CPU = ("graph-int8-cpu.onnx", "graph-fp32.onnx")     # fastest first
PRECISIONS = {"auto": GRAPHS_FOR_CPU, "int8": GRAPHS_FOR_CPU[:1], "fp32": GRAPHS_FOR_CPU[1:]}


def open_engine(package: Package, device: str, threads: int, precision: str = "auto") -> Engine:
    """The engine for the fastest graph of the package that this device runs, after its golden tile was answered.

    Args:
        precision: "auto" for the fastest, else "fp32" or "int8" and no other.
    Raises:
        EngineError: the package holds no graph for this device and precision, or the engine refuses it.
        PackageError: the engine's answer to the golden tile is another than at export.
    """
    if precision not in PRECISIONS:
        raise EngineError(f"precision={precision!r}: it must be one of {', '.join(PRECISIONS)}")
    if device != "cpu":
        raise EngineError(f"device={device!r}: this version has no engine for GPUs and does not fall back in silence; use device='cpu' or 'auto'")
    wanted = PRECISIONS[precision]
    graph = next((name for name in wanted if name in package.graph_names), None)
    if graph is None:
        raise EngineError(f"{package.path} holds {', '.join(package.graph_names) or 'no graph'}: device {device!r} runs "
                          f"{' or '.join(wanted)}{'' if precision == 'auto' else f' for precision {precision}'}; "
                          "export it again for this target")
    from hfd_edge.engine.onnxruntime import OnnxRuntimeEngine

    engine = OnnxRuntimeEngine(package, graph, threads)
    try:
        check_golden(package, engine)
    except BaseException:
        engine.close()
        raise
    return engine


def check_golden(package: Package, engine: Engine) -> int:
    """Run the golden tile through an engine and compare the classes, logit by logit.

    Returns:
        How many logit positions were compared; those too close to call at export are not.
    Raises:
        PackageError: one class differs, or the shape of the answer does.
    """
    golden = package.golden
    expected = golden.labels[engine.graph]
    logits = engine.infer(golden.input[np.newaxis])[0]
    if logits.shape != (len(package.spec.classes), *expected.shape):
        raise PackageError(f"{package.path}: {engine.graph} answers its golden tile with shape {logits.shape}, the spec says "
                           f"{(len(package.spec.classes), *expected.shape)}; the package contradicts itself, export it again")
    compared = expected != UNDECIDED
    wrong = int(((logits.argmax(axis=0) != expected) & compared).sum()) + int(np.isnan(logits).any())
    if wrong:
        raise PackageError(f"{package.path}: {engine.name} {engine.version} answers the golden tile otherwise than at export in "
                           f"{wrong} of "
                           f"{int(compared.sum())} places: this engine must not be used here; run hfd-edge doctor, then export "
                           f"again on this machine")
    return int(compared.sum())
