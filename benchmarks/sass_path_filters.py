"""Instructions that Lee, boxcar and finish need, without a GPU:  python benchmarks/sass_path_filters.py [sm_87 sm_90 ...]

As sass_path.py counts gather. Of a filter with radius 3: a tile that sees nothing beyond the image and valid pixels alone, once with a
mask, as runs give one, and once without. Of finish: 7 classes at stride 4 with a confidence, pixels well between tame logits.
"""

from __future__ import annotations

import re
import sys

import sass_path
import sass_report

# SpeckleBody<Sees::sums, 3>: threads and pixels of a tile, rows and groups of four columns of which sums are made, pixels made at once.
THREADS, TILE_ROWS, TILE_COLS, SUMMED, AT_ONCE = 128, 64, 32, 70 * 8, 8
MEAN, NOISE = r", 0\.0204081", r", 0\.9795918"       # 1 / 49 stands in boxcar first, 48 / 49 in Lee
FILTERS = {f"{name}{said}": (name == "lee", masked) for name in ("lee", "boxcar") for said, masked in (("", False), (" with a mask", True))}
FINISH_PIXELS = 16                                  # of a thread
LEAVES = ("BRA", "BRX", "EXIT", "RET", "CALL", "BSYNC")


class Code(sass_path.Code):
    """Jump tables lead on: to each instruction that nothing else leads to."""

    def __init__(self, sass: str) -> None:
        super().__init__(sass)
        aimed = {int(m[1], 16) for *_, name, rest in self.lines if name.startswith(("BRA", "BSSY", "CALL")) and (m := re.search(r"0x([0-9a-f]+)$", rest))}
        leaves = [i for i, line in enumerate(self.lines[:-1]) if line[2].startswith(("BRA", "BRX", "EXIT", "RET"))]
        ended = [i for i in leaves if i + 1 not in sass_path.Code.after(self, i)]
        self.tables = [i + 1 for i in ended if self.lines[i + 1][0] not in aimed]

    def after(self, i: int) -> list[int]:
        return self.tables if self.lines[i][2].startswith("BRX") else super().after(i)

    def loads(self, masked: bool) -> list[int]:
        """The straight piece with the most loads of pixels, with those of a mask or without: all are asked for before one is used."""
        begins = {0, len(self.lines), *(i + 1 for i, line in enumerate(self.lines) if line[2].startswith(LEAVES))}
        begins |= {n for i, line in enumerate(self.lines) if line[2].startswith("BRA") for n in self.after(i)}
        pieces = [[i for i in range(a, b) if self.lines[i][2].startswith("LDG")] for a, b in zip(sorted(begins), sorted(begins)[1:])]
        return max((piece for piece in pieces if any(".U8" in self.lines[i][2] for i in piece) == masked), key=len)


def least(code: Code, *stops: list[int]) -> int:
    return min(code.ways(*stops).values())


def round_of(code: Code, stops: list[list[int]]) -> tuple[int, int]:
    """The shortest loop that passes the stops: how long it is, and its instruction of the first stop."""
    rounds = {first: steps for (first, last), steps in code.ways(*stops, stops[0]).items() if first == last}
    return min((steps, first) for first, steps in rounds.items())


def filter_path(code: Code, is_lee: bool, masked: bool) -> dict[str, float]:
    """Instructions of a thread in each of the three steps of a tile, and of a pixel."""
    bars = code.all(r"BAR\.SYNC.*")
    load = 1 + least(code, [0], bars[:1], code.loads(masked)[-1:], bars[1:2])
    wide = code.all(r"STS\.128")
    once, store = round_of(code, [wide, wide] if is_lee else [wide])
    along = least(code, bars[1:2], [store], bars[2:3]) + (SUMMED / THREADS - 1) * once
    stores, marks = code.all(r"STG\.E"), code.all("U?FMUL", NOISE if is_lee else MEAN)
    reached = [last for _, last in code.ways(bars[2:3], marks, stores)]
    chunk, store = round_of(code, [reached, code.all("FCHK")] if is_lee else [reached, marks])
    pixels = TILE_ROWS * TILE_COLS / THREADS
    make = least(code, bars[2:3], marks, [store], code.all("EXIT")) + (pixels / AT_ONCE - 1) * chunk
    return {"load": load, "sums along rows": along, "pixels": make, "a pixel": (load + along + make) / pixels}


def finish_path(code: Code, classes: int = 7) -> dict[str, float]:
    """Instructions of a thread in each class's round for the label and for the confidence, in all else, and of a pixel."""
    jumps = [(i, n) for i, line in enumerate(code.lines) if line[2].startswith("BRA") for n in code.after(i) if n < i]
    loops = [n for i, n in sorted(jumps) if any(line[2].startswith("LDG") for line in code.lines[n:i])]
    rounds = [least(code, [n], [n]) for n in loops]
    label, sure = min(zip(rounds[:2], loops[:2])), min(zip(rounds[2:], loops[2:]))          # each also with care, which is longer
    rest = 1 + least(code, [0], [label[1]], [sure[1]], code.all(r"STG\.E"), code.all("EXIT")) - label[0] - sure[0]
    return {"label": label[0], "confidence": sure[0], "else": rest, "a pixel": (rest + classes * (label[0] + sure[0])) / FINISH_PIXELS}


def machine_code(arch: str, operation: str, kernel: str) -> Code:
    parts = sass_report.compiled(operation, arch)[0].split("Function : ")[1:]
    return Code(next(part for part in parts if sass_report.plain_name(operation, part.split()[0]) == kernel))


def main() -> int:
    if sass_report.compiler() is None or sass_report.disassembler() is None:
        print("needs nvcc and cuobjdump", file=sys.stderr)
        return 2
    peak = sass_path.MULTIPROCESSORS_H100 * sass_path.LANES_H100 * sass_path.CLOCK_H100 / 1e9
    for arch in sys.argv[1:] or ["sm_87", "sm_90"]:
        print(f"\n{arch}\n\n| | of a thread | a pixel | Gpx/s of an H100, issue alone |\n|---|---|---|---|")
        code = machine_code(arch, "speckle", "speckle sums 3")
        found = {name: filter_path(code, *which) for name, which in FILTERS.items()}
        found["finish"] = finish_path(machine_code(arch, "finish", "finish 4 4"))
        for name, steps in found.items():
            pixel = steps.pop("a pixel")
            print(f"| {name} | {', '.join(f'{what} {count:.0f}' for what, count in steps.items())} | {pixel:.1f} | {peak / pixel:.0f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
