"""TensorRT plans in a `.engine` file: what each was built for.

A plan is native code for one GPU and one TensorRT. Its record says which; nobody loads a plan whose record differs from the machine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from hfd_edge.errors import PackageError

PLANS = "plans"                     # the manifest's key, and the folder of the members
PORTABLE = "portable"               # gpu and capability of a plan that TensorRT-RTX made without a GPU
_WORD = re.compile(r"[\x20-\x7e]{1,128}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LARGEST = {"driver": 10**6, "rows": 1 << 20, "cols": 1 << 20, "batch": 1 << 16, "golden_px": 1 << 20}


@dataclass(frozen=True, slots=True)
class PlanKey:
    """All that a plan depends on. Two plans with equal keys do the same."""

    graph: str              # member it was built from, e.g. "graph-fp16-trt.onnx"
    graph_sha256: str
    precision: str          # "fp32", "fp16" or "int8"
    library: str            # "tensorrt" or "tensorrt_rtx"
    version: str            # of the library, e.g. "10.16.1.11"
    gpu: str                # name as the driver gives it, or "portable"
    capability: str         # e.g. "9.0", or "portable"
    driver: int             # CUDA version that the driver serves, e.g. 13000; 0 for a portable plan
    rows: int               # of a tile, in pixels, with its halo
    cols: int
    batch: int              # tiles of the second profile; the first takes one
    golden_px: int          # side of the golden tile, which every plan must answer

    def __post_init__(self) -> None:
        """Raises PackageError where a value is of the wrong kind or beyond its bounds."""
        for field in fields(self):
            value, most = getattr(self, field.name), _LARGEST.get(field.name)
            good = (isinstance(value, str) and _WORD.fullmatch(value) if most is None else
                    isinstance(value, int) and not isinstance(value, bool) and (field.name == "driver" or value) and 0 <= value <= most)
            if not good:
                raise PackageError(f"a plan's {field.name} is {str(value)[:60]!a}: it must be "
                                   f"{'1 to 128 printable characters' if most is None else f'a whole number up to {most}'}; build the "
                                   "plan again with hfd-edge build")
        if not _SHA256.fullmatch(self.graph_sha256):
            raise PackageError(f"a plan's graph_sha256 is {self.graph_sha256[:70]!a}: it must be 64 hexadecimal digits; build the "
                               "plan again with hfd-edge build")

    def to_dict(self) -> dict[str, str | int]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Any) -> PlanKey:
        """Raises PackageError where a key is missing or a value is wrong; keys of later versions are passed over."""
        names = [field.name for field in fields(cls)]
        if not isinstance(record, dict) or not {*names} <= {*record}:
            raise PackageError(f"a plan's record lacks {', '.join(sorted({*names} - {*(record if isinstance(record, dict) else ())}))}"
                               ": build the plan again with hfd-edge build")
        return cls(**{name: record[name] for name in names})

    @property
    def profiles(self) -> tuple[tuple[int, int, int], ...]:
        """(tiles, rows, cols) of each of the plan's profiles, none twice: one tile, a batch, and the golden tile. Nothing in between: fixed shapes
        are faster."""
        return tuple(dict.fromkeys([(1, self.rows, self.cols), (self.batch, self.rows, self.cols), (1, self.golden_px, self.golden_px)]))

    @property
    def shape(self) -> str:
        """Tiles of a batch, rows and columns, for messages and names."""
        return f"{self.batch}x{self.rows}x{self.cols}"

    @property
    def member(self) -> str:
        """Name of the member of a package that holds it."""
        place = PORTABLE if self.capability == PORTABLE else f"sm{self.capability.replace('.', '')}"
        short = "rtx" if self.library == "tensorrt_rtx" else "trt"
        return f"plans/{place}-{short}{re.sub('[^0-9A-Za-z.]', '_', self.version)}-{self.precision}-{self.shape}.plan"

    def differences(self, other: PlanKey) -> list[str]:
        """What `other` has otherwise, as "GPU A, here B"."""
        said = {"gpu": "GPU", "capability": "compute capability", "driver": "driver for CUDA", "graph_sha256": "graph with SHA-256"}
        return [f"{said.get(field.name, field.name)} {str(getattr(self, field.name))[:40]}, here {str(getattr(other, field.name))[:40]}"
                for field in fields(self) if getattr(self, field.name) != getattr(other, field.name)]


def plan_records(manifest: Mapping[str, Any], members: tuple[str, ...]) -> dict[str, PlanKey]:
    """The key of every plan of a package that has one, by member name. Plans without are never loaded.

    Raises:
        PackageError: a record is malformed, or names a member that is no plan of the package.
    """
    records = manifest.get(PLANS, {})
    if not isinstance(records, dict):
        raise PackageError("manifest.json: plans is no JSON object; build the plans again with hfd-edge build --embed")
    for name in records:
        if name not in members or not name.startswith("plans/"):
            raise PackageError(f"manifest.json: plans names {name[:200]!a}, which is no plan of this package; do not use this file, ask "
                               "its maker for another")
    return {name: PlanKey.from_dict(record) for name, record in records.items()}
