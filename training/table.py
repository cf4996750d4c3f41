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

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the mean by Student's t; nan with one seed."""
        reach = students_t(self.seeds - 1) * self.error if self.seeds > 1 else float("nan")
        return self.mean - reach, self.mean + reach

    def __str__(self) -> str:
        return f"{100 * self.mean:+.2f}" + (f" ± {100 * self.error:.2f}" if self.seeds > 1 else "")


def paired(row: Row, base: Row) -> Difference:
    """Mean difference on the test split over the seeds that both rows have, with its standard error."""
    seeds = sorted(set(row.scores) & set(base.scores))
    gaps = np.array([row.scores[s]["test"] - base.scores[s]["test"] for s in seeds], np.float64)
    error = float(gaps.std(ddof=1) / math.sqrt(len(gaps))) if len(gaps) > 1 else float("nan")
    return Difference(float(gaps.mean()), error, len(gaps))


def students_t(freedom: int) -> float:
    """The t within which 95 % of Student's distribution lies, to 1e-9.

    Source: Abramowitz and Stegun 1964, 26.7.3 and 26.7.4, halved until it is found.
    """
    odd = freedom % 2

    def within(t: float) -> float:
        angle = math.atan(t / math.sqrt(freedom))
        term, total = math.cos(angle) ** odd, 0.0
        for power in range(odd, freedom - 1, 2):
            total, term = total + term, term * math.cos(angle) ** 2 * (power + 1) / (power + 2)
        return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
    low, high = 0.0, 13.0                           # 12.71 with two seeds
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle) < 0.95 else (low, middle)
    return high


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
        """The table, best select mean in bold, what it says in words, and the test split seed by seed. mIoU in per cent, mean ± spread
        over seeds; differences ± standard error."""
        lines = ["| network | alignment | seeds | select mIoU | test mIoU | test, paired with SAR only | gap closed |",
                 "|---|---|---|---|---|---|---|"]
        rows = sorted(self.rows, key=lambda r: (r.align, {"teacher": 0, "baseline": 2}.get(r.kind, 1), r.name != self.alone))
        for row in rows:
            base, closed = self.row(self.alone, row.align), self.gap_closed(row)
            beside = "" if base is None or base is row else str(paired(row, base))
            name = f"**{row.name}**" if row is self.chosen else row.name
            means = " | ".join(_spread(row.values(split)) for split in ("select", "test"))
            share = "" if closed is None else f"{100 * closed:.0f} %"
            lines.append(f"| {name} | {row.align} | {len(row.scores)} | {means} | {beside} | {share} |")
        return "\n".join([*lines, "", self.verdict(), "", *_by_seed(rows)])

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
        low, high = (f"{100 * end:+.2f}" for end in gain.interval)
        shared = sorted(set(row.scores) & set(base.scores))
        ahead = sum(base.scores[seed]["select"] - row.scores[seed]["select"] for seed in shared) > 0
        above = f" On select itself {self.alone} is the better one: no setting helps there." if ahead else ""
        few = " Fewer than four seeds hardly know their standard error: give ablate.seeds more." if gain.seeds < 4 else ""
        return (f"Chosen on select: {row.name} ({row.align}). On test it is {word} SAR only: {gain} points of mIoU over {gain.seeds} seeds "
                f"({share:+.1f} standard errors). By Student's t the 95 % interval is {low} to {high}.{above}{few}")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        rows = []
        for row in self.rows:
            base, closed = self.row(self.alone, row.align), self.gap_closed(row)
            gain = None if base is None or base is row else paired(row, base)
            rows.append({"name": row.name, "align": row.align, "kind": row.kind,
                         "scores": {str(s): v for s, v in row.scores.items()},
                         "difference": None if gain is None else gain.mean, "gap_closed": closed,
                         "interval": None if gain is None or gain.seeds < 2 else list(gain.interval),
                         "standard_error": None if gain is None or math.isnan(gain.error) else gain.error})
        return {"rows": rows, "verdict": self.verdict()}


def _by_seed(rows: list[Row]) -> list[str]:
    """mIoU on test in per cent: from it any two networks can be held against each other, seed by seed."""
    seeds = sorted({seed for row in rows for seed in row.scores})
    lines = ["| test mIoU | alignment | " + " | ".join(f"seed {seed}" for seed in seeds) + " |", "|---|---|" + "---|" * len(seeds)]
    for row in rows:
        cells = [f"{100 * row.scores[seed]['test']:.2f}" if seed in row.scores else "" for seed in seeds]
        lines.append(f"| {row.name} | {row.align} | " + " | ".join(cells) + " |")
    return lines


def _spread(values: np.ndarray) -> str:
    return f"{100 * values.mean():.2f} ± {100 * values.std(ddof=1):.2f}" if len(values) > 1 else f"{100 * values.mean():.2f}"
