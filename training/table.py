"""The table of an ablation: means and spreads over seeds, paired differences to SAR alone, and how much of the gap was closed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Row:
    """One network of the table with its scores over seeds."""

    name: str
    align: str
    kind: str                                       # student, teacher or baseline
    scores: dict[int, dict[str, float]] = field(default_factory=dict)        # seed -> {"select", "test"} mIoU

    def add(self, seed: int, result: dict[str, Any]) -> None:
        self.scores[seed] = {split: result[split]["miou"] for split in ("select", "test")}

    def values(self, split: str) -> np.ndarray:
        """(seeds,) float64, in the order of the seeds."""
        return np.array([self.scores[seed][split] for seed in sorted(self.scores)], np.float64)


@dataclass(frozen=True)
class Difference:
    """Of two rows, seed by seed."""

    mean: float
    error: float                                    # standard error of the mean; nan with one seed
    seeds: int

    def __str__(self) -> str:
        return f"{100 * self.mean:+.2f}" + (f" ± {100 * self.error:.2f}" if self.seeds > 1 else "")


def paired(row: Row, base: Row) -> Difference:
    """Mean difference on the test split over the seeds that both rows have, with its standard error."""
    seeds = sorted(set(row.scores) & set(base.scores))
    gaps = np.array([row.scores[s]["test"] - base.scores[s]["test"] for s in seeds], np.float64)
    error = float(gaps.std(ddof=1) / math.sqrt(len(gaps))) if len(gaps) > 1 else float("nan")
    return Difference(float(gaps.mean()), error, len(gaps))


@dataclass(frozen=True)
class Table:
    """All rows; `alone` names the row without distillation, `teachers` the teacher of each setting."""

    rows: list[Row]
    alone: str
    teachers: dict[str, str]

    def row(self, name: str, align: str) -> Row | None:
        return next((r for r in self.rows if (r.name, r.align) == (name, align)), None)

    def gap_closed(self, row: Row) -> float | None:
        """(distilled - SAR only) / (its teacher - SAR only), of the means on test; None where the teacher is not above SAR only."""
        base, teacher = self.row(self.alone, row.align), self.row(self.teachers.get(row.name, ""), row.align)
        if base is None or teacher is None:
            return None
        gap = paired(teacher, base).mean
        return paired(row, base).mean / gap if gap > 0 else None

    @property
    def chosen(self) -> Row | None:
        """The distilled student with the best mean on the select split; test has no say in it. One that was given up at fewer
        seeds than the others cannot be chosen: means over other seeds do not compare."""
        taught = [row for row in self.rows if row.name in self.teachers]
        most = max((len(row.scores) for row in taught), default=0)
        taught = [row for row in taught if len(row.scores) == most]
        return max(taught, key=lambda row: row.values("select").mean(), default=None)

    def markdown(self) -> str:
        """The table, best select mean in bold, and what it says in one sentence. mIoU in per cent, mean ± spread over seeds;
        differences ± standard error."""
        lines = ["| network | alignment | seeds | select mIoU | test mIoU | test, paired with SAR only | gap closed |",
                 "|---|---|---|---|---|---|---|"]
        for row in sorted(self.rows, key=lambda r: (r.align, {"teacher": 0, "baseline": 2}.get(r.kind, 1),
                                                    r.name != self.alone)):
            base, closed = self.row(self.alone, row.align), self.gap_closed(row)
            beside = "" if base is None or base is row else str(paired(row, base))
            name = f"**{row.name}**" if row is self.chosen else row.name
            means = " | ".join(_spread(row.values(split)) for split in ("select", "test"))
            share = "" if closed is None else f"{100 * closed:.0f} %"
            lines.append(f"| {name} | {row.align} | {len(row.scores)} | {means} | {beside} | {share} |")
        return "\n".join([*lines, "", self.verdict()])

    def verdict(self) -> str:
        """Whether the setting chosen on select beats SAR only on test by more than two standard errors."""
        row = self.chosen
        base = None if row is None else self.row(self.alone, row.align)
        if row is None or base is None:
            return "No distilled student was trained."
        gain = paired(row, base)
        if gain.seeds < 2:
            return (f"Chosen on select: {row.name} ({row.align}). On test {gain} points to SAR only at one seed, which says nothing.")
        share = gain.mean / gain.error if gain.error > 0 else float("inf") * np.sign(gain.mean) if gain.mean else 0.0
        word = "better than" if share > 2 else "worse than" if share < -2 else "not to be told from"
        return (f"Chosen on select: {row.name} ({row.align}). On test it is {word} SAR only: {gain} points of mIoU over {gain.seeds} seeds "
                f"({share:+.1f} standard errors)." + (" Fewer than four seeds hardly know their standard error: give ablate.seeds more." if gain.seeds < 4 else ""))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        rows = []
        for row in self.rows:
            base, closed = self.row(self.alone, row.align), self.gap_closed(row)
            gain = None if base is None or base is row else paired(row, base)
            rows.append({"name": row.name, "align": row.align, "kind": row.kind,
                         "scores": {str(s): v for s, v in row.scores.items()},
                         "difference": None if gain is None else gain.mean, "gap_closed": closed,
                         "standard_error": None if gain is None or math.isnan(gain.error) else gain.error})
        return {"rows": rows, "verdict": self.verdict()}


def _spread(values: np.ndarray) -> str:
    return f"{100 * values.mean():.2f} ± {100 * values.std(ddof=1):.2f}" if len(values) > 1 else f"{100 * values.mean():.2f}"
