"""From graphs that were made and judged to a package with its name, or to a quarantine folder with the evidence.

The package is written hidden, judged once more as a whole (every engine of this machine, a tiled scene), and only then takes its
name; what fails leaves its graphs, figures and pictures in OUTPUT.quarantine and no package. A package that passes takes away the quarantine of
an earlier one, if nothing but evidence lies in it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hfd_edge.errors import ExportError, GateError
from hfd_edge.export.build_graphs import GraphSet
from hfd_edge.export.calibration_data import DataScene
from hfd_edge.export.gate_package import judge_package
from hfd_edge.export.gate_report import GateReport
from hfd_edge.export.parity import Infer, Thresholds
from hfd_edge.export.told import say
from hfd_edge.export.verify import INT8_GRAPHS, unverified
from hfd_edge.export.verify_page import write_page
from hfd_edge.package import Golden, write_package
from hfd_edge.raster import write_bytes
from hfd_edge.raster.output import PartialFolder
from hfd_edge.spec import ModelSpec

_EVIDENCE = re.compile(r"gate\.json|gate\.html|ranges\.json|worst-[\w-]+\.png|graph-[\w-]+\.onnx")       # what lies in a quarantine folder


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything a package is written from."""

    output: Path
    spec: ModelSpec
    made: GraphSet
    golden: Golden
    provenance: dict[str, Any]
    overwrite: bool = False
    report: Path | None = None          # folder for the evidence of a gate that passed

    def write(self, path: Path | None = None, gate: GateReport | None = None) -> None:
        """The package under its own name, or another."""
        record = self.provenance if gate is None else {**self.provenance, "gate": gate.to_dict()}
        write_package(path or self.output, self.spec, self.made.graphs, self.golden, record, overwrite=self.overwrite)


def seal(contents: Contents, reference: Infer, judged: list[DataScene], thresholds: Thresholds,
         notes: tuple[str, ...] = ()) -> GateReport:
    """Write a package if everything that runs here says what the reference says.

    Args:
        reference: the network in PyTorch, or the float graph of a foreign one.
        judged: the scenes that the graphs were judged on.
        notes: said in the report beside what was noted when the graphs were made.
    Raises:
        GateError: a graph or an engine says something else; the evidence is in OUTPUT.quarantine.
        PackageError: the package cannot be written.
        ExportError: it is written, and its report cannot be.
    """
    made = contents.made
    gate = GateReport(made.results, (), unverified(tuple(made.graphs)), tuple(scene.name for scene in judged),
                      (*notes, *made.notes), sensitivity=made.sensitivity)
    _stop_if_failed(contents, gate)
    hidden = PartialFolder(contents.output, overwrite=True)
    try:
        hidden.begin()
        say("judging the package: a scene in tiles, the speed of every way to run it")
        contents.write(hidden.partial, gate)
        gate = judge_package(hidden.partial, reference, judged, gate, thresholds)
        _stop_if_failed(contents, gate)
        contents.write(gate=gate)
    finally:
        hidden.discard()
    gate = _without_old_evidence(contents, gate)
    if contents.report is not None:
        try:
            _evidence(contents.report, contents, gate)
        except OSError as error:
            raise ExportError(f"{contents.output} is written and its gate passed; its report is not whole: {error}") from error
    return gate


def _stop_if_failed(contents: Contents, gate: GateReport) -> None:
    if gate.passed:
        return
    folder = _quarantine(contents)
    try:
        _evidence(folder, contents, gate)
        for name, data in contents.made.graphs.items():
            write_bytes(folder / name, data, overwrite=True)
        evidence = f"the evidence is in {folder}"
    except OSError as error:
        evidence = f"the evidence in {folder} is not whole ({error})"
    raise GateError(f"the gate failed and no package was written: {'; '.join(gate.failures)}; {evidence}; {_way_out(contents.made, gate)}")


def _quarantine(contents: Contents) -> Path:
    return contents.output.with_name(f"{contents.output.name}.quarantine")


def _without_old_evidence(contents: Contents, gate: GateReport) -> GateReport:
    """Remove the quarantine of an earlier export under this name; where it holds anything that is not ours it stays, and the report says so."""
    folder = _quarantine(contents)
    if contents.report is not None and folder.resolve() == contents.report.resolve() or not (folder.is_dir() or folder.is_symlink()):
        return gate
    if _is_evidence(folder):
        try:
            for file in list(folder.iterdir()):
                file.unlink()
            folder.rmdir()
            return gate
        except OSError as error:
            why = f"could not be removed ({error.strerror})"
    else:
        why = "holds more than the evidence that an export writes and was left"
    return replace(gate, notes=(*gate.notes, f"{folder} of an earlier export {why}: it does not tell of this package"))


def _is_evidence(folder: Path) -> bool:
    """A folder of ours: the figures of a gate that failed, and no file that `_stop_if_failed` does not write."""
    if folder.is_symlink() or not all(_EVIDENCE.fullmatch(file.name) and file.is_file() and not file.is_symlink() for file in folder.iterdir()):
        return False
    try:
        return json.loads((folder / "gate.json").read_text(encoding="utf-8")).get("passed") is False
    except (OSError, ValueError, AttributeError):
        return False


def _way_out(made: GraphSet, gate: GateReport) -> str:
    """What to try next, given what was tried."""
    result = next((gate.graphs[name] for name in INT8_GRAPHS if name in gate.graphs and gate.graphs[name].failures), None)
    if result is None:
        return "judge on more or other scenes (--calibration)"
    most = max(map(len, made.keep_float.values()), default=0)
    tried = f"keeping {most} convolutions in float did not help; " if most else ""
    if made.tuned:
        return f"{tried}calibrate on scenes like those of the training (--calibration), or leave out int8"
    return (f"{tried}calibrate on more or other scenes (--calibration, --calibrator), train the network for INT8 (python -m training qat "
            "CONFIG) and export that, or leave out int8 (--precision fp32)")


def _evidence(folder: Path, contents: Contents, gate: GateReport) -> None:
    write_page(folder, gate, contents.spec)
    if contents.made.ranges is not None:
        text = json.dumps(contents.made.ranges.to_dict(), indent=1)
        write_bytes(folder / "ranges.json", f"{text}\n".encode(), overwrite=True)
