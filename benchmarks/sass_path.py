"""Instructions that gather needs for pixels inside a scene, without a GPU:  python benchmarks/sass_path.py [sm_87 sm_90 ...]

Filters and finish: sass_path_filters.py.

The path of a thread is the shortest one through the machine code that passes the wide load, the reciprocal of the quick logarithm (where
there is one), the wide store, and the store of the status: the others only add to it (reflections, odd addresses, nodata, zeros). Every instruction on
it counts as one, switched off by a predicate or not, of whatever unit; a multiprocessor issues 4 x 32 lanes a clock.
"""

from __future__ import annotations

import re
import sys
from heapq import heappop, heappush

import sass_report

LINE = re.compile(r"^\s+/\*([0-9a-f]{4,})\*/\s+(?:@(!?U?P\w+)\s+)?([A-Z][\w.]*)\s*(.*?)\s*;")
GATHERS = {"uint16 amplitude to dB": ("gather amplitude db", r"LDG\.E\.64", r"FFMA\.RP"),
           "float32 intensity to dB": ("gather intensity db", r"LDG\.E\.128", r"FFMA\.RP"), "float32 dB to dB": ("gather db db", r"LDG\.E\.128", None)}
ROWS, LANES_H100, MULTIPROCESSORS_H100, CLOCK_H100 = 4, 128, 132, 1.755e9       # rows of a thread: GatherBody::kRows


class Code:
    """The instructions of one kernel and where each can go on to."""

    def __init__(self, sass: str) -> None:
        found = [LINE.match(line) for line in sass.splitlines()]
        self.lines = [(int(m[1], 16), m[2], m[3], m[4]) for m in found if m]
        self.place = {address: i for i, (address, *_) in enumerate(self.lines)}

    def after(self, i: int) -> list[int]:
        _, guard, name, rest = self.lines[i]
        if name in ("EXIT", "BRX") or name.startswith("RET"):
            return [i + 1] if guard else []     # a jump table leads to other element types
        target = re.search(r"0x([0-9a-f]+)$", rest)
        jumps = name in ("BRA", "BRA.U") or (guard and name.startswith("CALL"))        # ptxas leaves some loops of sm_87 by a call
        if not jumps or target is None:
            return [i + 1] if i + 1 < len(self.lines) else []
        there = [self.place[int(target[1], 16)]]
        return there + [i + 1] if guard or rest.lstrip("!").startswith(("P", "UP")) else there

    def all(self, name: str, operands: str = "") -> list[int]:
        return [i for i, line in enumerate(self.lines) if re.fullmatch(name, line[2]) and re.search(operands, line[3])]

    def ways(self, *stops: list[int]) -> dict[tuple[int, int], int]:
        """Instructions from each of the first stops, itself not counted, to each of the last, itself counted, through one of each between."""
        found = {(i, i): 0 for i in stops[0]}
        for ends in stops[1:]:
            further = {middle: self._steps(middle, ends) for middle in {last for _, last in found}}
            longer: dict[tuple[int, int], int] = {}
            for (first, middle), steps in found.items():
                for end, more in further[middle].items():
                    longer[first, end] = min(steps + more, longer.get((first, end), steps + more))
            found = longer
        return found

    def _steps(self, first: int, ends: list[int]) -> dict[int, int]:
        far, heap = {}, [(1, n) for n in self.after(first)]
        while heap:
            steps, i = heappop(heap)
            if i in far:
                continue
            far[i] = steps
            for n in self.after(i):
                heappush(heap, (steps + 1, n))
        return {end: far[end] for end in ends if end in far}


def counted(code: Code, load: str, middle: str | None) -> dict[str, float]:
    """Instructions of a thread: before its first load, one more band, from a row's last band to the next row's first load, behind the last."""
    stores = code.all(r"STG\.E\.128")
    said = code.all(r"STG\.E", "RZ$")
    exits = code.all("EXIT")

    def least(*stops: list[int]) -> tuple[int, int, int]:
        """Steps, first and last of the shortest way through the stops."""
        (first, last), steps = min(code.ways(*stops).items(), key=lambda item: item[1])
        return steps, first, last

    loads = sorted({i for _, i in code.ways([0], code.all(load))})
    within = [code.all(middle)] if middle else []
    band, chosen, _ = min(least([i], *within, stores, [i]) for i in loads)
    to_store = least([chosen], *within, stores)[0]
    before = 1 + code.ways([0], [chosen])[0, chosen]
    row = least(stores, said, [chosen])[0]
    behind = least(stores, said, exits)[0]
    return {"before": before, "band": band, "to store": to_store, "row": row, "behind": behind}


def per_pixel(found: dict[str, float], bands: int) -> float:
    """Instructions a pixel of a thread with ROWS rows of four pixels."""
    row = (bands - 1) * found["band"] + found["to store"]
    return (found["before"] + ROWS * row + (ROWS - 1) * found["row"] + found["behind"]) / (4 * ROWS)


def machine_code(arch: str, operation: str = "gather") -> dict[str, Code]:
    parts = sass_report.compiled(operation, arch)[0].split("Function : ")[1:]
    return {sass_report.plain_name(operation, part.split()[0]): Code(part) for part in parts}


def main() -> int:
    if sass_report.compiler() is None or sass_report.disassembler() is None:
        print("needs nvcc and cuobjdump", file=sys.stderr)
        return 2
    for arch in sys.argv[1:] or ["sm_87", "sm_90"]:
        print(f"\n{arch}, two bands\n\n| gather | before | a band | between rows | behind | a pixel | Gpx/s of an H100, issue alone |\n"
              "|---|---|---|---|---|---|---|")
        codes = machine_code(arch)
        for name, (kernel, load, middle) in GATHERS.items():
            found = counted(codes[kernel], load, middle)
            pixel = per_pixel(found, 2)
            most = MULTIPROCESSORS_H100 * LANES_H100 * CLOCK_H100 / pixel / 1e9
            print(f"| {name} | {found['before']} | {found['band']} | {found['row']} | {found['behind']} | {pixel:.1f} | {most:.0f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
