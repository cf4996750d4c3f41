"""Where a run stands: everything the next step depends on, in one file, so that a killed run goes on to the same bits."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hfd_edge.durable import beside, hold, let_go, lock_of
from hfd_edge.errors import HfdError

VERSION = 1


class StateError(HfdError, RuntimeError):
    """The state of a run cannot be read, or belongs to another run."""


@dataclass(frozen=True, slots=True)
class StateFile:
    """The state of one run: FOLDER/state.pt. `record` says what run it is; a state of another record is refused.

    `files` is the fingerprint of data of which the record knows a part only; "" = it knows all. A state of other files is told of by `remark`.
    """

    folder: Path
    record: dict[str, Any]
    files: str = ""

    @property
    def path(self) -> Path:
        return self.folder / "state.pt"

    @property
    def _key(self) -> str:
        return hashlib.sha256(json.dumps(self.record, sort_keys=True).encode()).hexdigest()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Kept for one run: two of them would write one state and one log.

        Raises:
            StateError: another process trains here.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = hold(self.path)
        except BlockingIOError as error:
            raise StateError(f"{self.folder}: {error} trains there now (it holds {lock_of(self.path).name}): wait until it has ended, or give another "
                             "work=FOLDER") from error
        try:
            yield
        finally:
            if descriptor is not None:
                let_go(self.path, descriptor)

    def write(self, state: dict[str, Any]) -> None:
        """Replace the state; a kill leaves the old one or the new one.

        Raises:
            StateError: the disk refuses; the state of before stays.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with beside(self.path) as file:
                torch.save({"version": VERSION, "key": self._key, "record": json.dumps(self.record), "files": self.files, **state}, file)
        except (OSError, RuntimeError) as error:
            why = error if isinstance(error, OSError) else error.__context__ or error        # torch: "unexpected pos 65152 vs 65048", whatever the disk said
            raise StateError(f"{self.path} could not be written ({' '.join(str(why).split())}); {shutil.disk_usage(self.folder).free / 1e6:,.0f} MB are free there. "
                             f"{'The state of before is whole' if self.path.exists() else 'There was none before'}: make room and give the same command again") from error

    def read(self) -> dict[str, Any] | None:
        """The state, or None where there is none. Opened with weights_only: it can hold numbers and words, nothing that runs.

        Raises:
            StateError: damaged, of another version, or of a run with other keys (which are named).
        """
        if not self.path.exists():
            return None
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            version, key, record = state["version"], state["key"], json.loads(state["record"])
        except Exception as error:  # noqa: BLE001 - torch raises a dozen kinds for a damaged file
            why = " ".join(str(error).split())[:200]
            raise StateError(f"{self.path} cannot be read ({why}); delete it to start anew") from error
        if version != VERSION or key != self._key:
            raise StateError(self._refusal(_differences(record, self.record)))
        return state

    def remark(self, state: dict[str, Any]) -> str:
        """What is to be said of a state that `read` gave; "" = nothing."""
        if state.get("files", self.files) == self.files:
            return ""
        return (f"warning: files of the data set have changed or were copied since {self.path} was written, and only a part of the pairs is measured (data."
                f"measured_pairs): if pixels or labels of others have changed, what it holds was learnt from the old ones: delete it to train anew")

    def _refusal(self, differences: list[str]) -> str:
        words = (f"{self.path} is the state of another run ({', '.join(differences) or 'of another version of hfd_edge'}). Give what stands there to go on with "
                 "it; delete the file to train anew from the first step (the finished checkpoint stays until then); or give another work=FOLDER")
        if any("nothing" in text for text in differences):
            words += ". Where one side holds nothing, the key was not given, or not known to the version of hfd_edge that wrote the state: then delete it"
        return words


class _Nothing:
    """What a record holds of a key that it lacks."""

    def __repr__(self) -> str:
        return "nothing"


def _differences(one: Any, other: Any, where: str = "") -> list[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        return [text for name in sorted({*one, *other})
                for text in _differences(one.get(name, _NOTHING), other.get(name, _NOTHING), f"{where}.{name}" if where else name)]
    return [] if one == other else [f"{where}: {one!r} there, {other!r} here"]


_NOTHING = _Nothing()
