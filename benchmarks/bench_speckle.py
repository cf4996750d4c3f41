"""Speckle filters beside their peers, 7 x 7, float32, two threads: seconds per scene, in turns.

    python benchmarks/bench_speckle.py [--quick] [--json]

Orfeo ToolBox (`otb-bin` of Debian) runs as its command line does: from file to file; its start alone is the same command on a
scene of 16 x 16, and its CPU seconds stand below. OpenCV: two box filters in float32, and Lee's formula in NumPy as one writes
it, or with every array used again. Ours: the array in memory, as hfd_edge.speckle.lee.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from roofline import COPY, PRODUCT, Work, bound_jobs, lacking, roofline
from timing import Seconds, calm_process, faster, forget, in_turns, tell

THREADS, LOOKS, RADIUS = 2, 4.4, 3
BARS = {"otb": 25.0, "opencv": 3.0}
SIDE = 4096
OPERATIONS = 22                 # a pixel: two running sums of two values each way (8), moments, share and result (14)
OPENCV, IN_PLACE, OTB = "OpenCV boxes and NumPy", "OpenCV boxes and NumPy, in place", "OTB Lee, command line"


def lee_by_opencv(image: np.ndarray) -> np.ndarray:
    """Lee by two box filters and NumPy, as one writes it."""
    import cv2
    size, n = (2 * RADIUS + 1, 2 * RADIUS + 1), (2 * RADIUS + 1) ** 2
    mean = cv2.boxFilter(image, -1, size, borderType=cv2.BORDER_REPLICATE)
    square = cv2.sqrBoxFilter(image, cv2.CV_32F, size, borderType=cv2.BORDER_REPLICATE)
    variance = (square - mean * mean) * np.float32(n / (n - 1))
    return mean + np.maximum(0, 1 - mean * mean / np.float32(LOOKS) / variance) * (image - mean)


def lee_by_opencv_in_place(image: np.ndarray) -> np.ndarray:
    """The same with as few arrays and passes as NumPy and OpenCV allow."""
    import cv2
    size, n = (2 * RADIUS + 1, 2 * RADIUS + 1), (2 * RADIUS + 1) ** 2
    mean = cv2.boxFilter(image, -1, size, borderType=cv2.BORDER_REPLICATE)
    variance = cv2.sqrBoxFilter(image, cv2.CV_32F, size, borderType=cv2.BORDER_REPLICATE)
    squared = cv2.multiply(mean, mean)
    cv2.subtract(variance, squared, dst=variance)
    cv2.multiply(squared, (n - 1) / n / LOOKS, dst=squared)
    share = np.minimum(np.divide(squared, variance, out=squared), 1.0, out=squared)
    np.subtract(mean, image, out=mean)
    np.multiply(mean, share, out=mean)
    return np.add(mean, image, out=mean)


def otb_command(source: Path, out: Path, name: str = "lee") -> list[str]:
    number = ("deramp", "2") if name == "frost" else ("nblooks", str(LOOKS))
    return ["otbcli_Despeckle", "-in", str(source), "-filter", name, f"-filter.{name}.rad", str(RADIUS),
            f"-filter.{name}.{number[0]}", number[1], "-out", str(out), "float"]


def otb_jobs(image: np.ndarray, folder: Path, cpu: list[float]) -> dict[str, Callable[[], None]]:
    """Lee of the whole and of a tiny scene; `cpu` collects the CPU seconds of the first."""
    from hfd_edge.raster import RasterProfile, write_raster

    def written(name: str, values: np.ndarray) -> Path:
        path = folder / name
        write_raster(path, [(0, values[np.newaxis])], RasterProfile(*values.shape, 1, "float32"))
        return path

    large, tiny = written("large.tif", image), written("tiny.tif", image[:16, :16])
    environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS), "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": str(THREADS)}

    def run(source: Path, keep: bool) -> None:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(otb_command(source, folder / "out.tif"), check=True, capture_output=True, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if keep:
            cpu.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)

    return {OTB: lambda: run(large, True), "OTB Lee, 16 x 16 px": lambda: run(tiny, False)}


def own_jobs(image: np.ndarray) -> dict[str, Callable[[], None]]:
    from hfd_edge import speckle
    bright = (float(np.percentile(image, 98)),)
    filters = {name: speckle.SpeckleFilter(name, LOOKS, RADIUS, bright=bright) for name in speckle.FILTERS}
    jobs = {name: lambda chosen=chosen: forget(chosen.apply(image, threads=THREADS)) for name, chosen in filters.items()}
    holes = image.copy()
    holes[::97, ::89] = np.nan
    return {**jobs, "lee, holes everywhere": lambda: forget(filters["lee"].apply(holes, threads=THREADS)),
            "estimate_enl, 15 x 15": lambda: forget(speckle.estimate_enl(image, threads=THREADS))}


def check_peers(image: np.ndarray) -> None:
    """A peer that computes something else proves nothing."""
    from hfd_edge import speckle
    for peer in (lee_by_opencv, lee_by_opencv_in_place):
        error = np.abs(peer(image) / speckle.lee(image, LOOKS, RADIUS, border="nearest") - 1).max()
        assert error < 1e-3, f"OpenCV's Lee is another one: {error}"


def measure(image: np.ndarray, rounds: int) -> tuple[dict[str, Seconds], list[float]]:
    """All jobs in turns, lee first; and the CPU seconds of Orfeo ToolBox, round by round."""
    cpu: list[float] = []
    own = own_jobs(image)
    with tempfile.TemporaryDirectory() as folder:
        jobs = {"lee": own.pop("lee"), **bound_jobs(THREADS)}
        if not lacking("cv2"):
            jobs |= {OPENCV: lambda: forget(lee_by_opencv(image)), IN_PLACE: lambda: forget(lee_by_opencv_in_place(image))}
        if shutil.which("otbcli_Despeckle"):
            jobs |= otb_jobs(image, Path(folder), cpu)
        return in_turns({**jobs, **own}, rounds), cpu


def record(rows: dict[str, Seconds], cpu: list[float], simd: str) -> dict[str, object]:
    found = {"simd": simd, "seconds": {name: round(row.median, 5) for name, row in rows.items()}, "missing": lacking("cv2"), "ratios": {},
             "roofline": roofline(rows, {"lee": Work(8 * SIDE * SIDE, OPERATIONS * SIDE * SIDE)})}
    if OPENCV in rows:
        found |= {"ratio_opencv": round(rows[IN_PLACE].ratio, 2), "bar_opencv": BARS["opencv"],
                  "cpu_ratio_opencv": round(rows[IN_PLACE].cpu / rows["lee"].cpu, 2),
                  "ratio_opencv_as_one_writes_it": round(rows[OPENCV].ratio, 2)}
        found["ratios"] = {"opencv_in_place_over_lee": faster(rows, "lee", IN_PLACE), "opencv_over_lee": faster(rows, "lee", OPENCV)}
    if OTB in rows:
        found |= {"ratio_otb": round(rows[OTB].ratio, 1), "bar_otb": BARS["otb"],
                  "otb_cpu_s": round(float(np.median(cpu[1:])), 2)}
        found["ratios"]["otb_over_lee"] = faster(rows, "lee", OTB)
    else:
        found["missing"]["otb"] = "not installed (Debian: apt-get install otb-bin)"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    options = parser.parse_args()
    calm_process()
    from hfd_edge import build_info
    image = np.random.default_rng(0).gamma(LOOKS, 0.05 / LOOKS, (SIDE, SIDE)).astype(np.float32)
    if not lacking("cv2"):
        import cv2
        cv2.setNumThreads(THREADS)
        check_peers(image)
    rows, cpu = measure(image, 4 if options.quick else 9)
    found = record(rows, cpu, build_info()["simd"])
    print(f"{SIDE} x {SIDE}, 7 x 7, {THREADS} threads, {found['simd']}, in turns")
    print(f"{'':34}{'median s':>10}{'fastest':>10}{'CPU s':>10}{'Mpx/s':>8}   time over that of lee, per round")
    for name, row in rows.items():
        if name in (COPY, PRODUCT):
            continue
        times = f"{row.median:10.4f}{row.fastest:10.4f}{row.cpu:10.4f}"
        print(f"{name:34}{times}{SIDE * SIDE / 1e6 / row.median:8.0f}{row.ratio:12.2f}")
    if OTB in rows:
        print(f"OTB took {found['otb_cpu_s']} CPU seconds")
    for name, why in found["missing"].items():
        print(f"{name}: {why}, not compared")
    tell(found, options.json)


if __name__ == "__main__":
    main()
