"""The proof that this installation works: an engine's golden tile through every stage, in memory and from file to file."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from hfd_edge.segmenter import Segmenter

_MEASURED_S = 1.0


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was tried."""

    name: str
    passed: bool | None             # None = could not be tried, which is no failure
    text: str
    seconds: float


def run_self_test(path: Path, threads: int | None = None) -> dict[str, Any]:
    """Try an engine here, in about ten seconds at most.

    Returns:
        passed: no step failed.  text: one line.  steps: list of dicts with name, passed, text, seconds.
    """
    from hfd_edge.errors import HfdError
    from hfd_edge.segmenter import Segmenter

    steps: list[Step] = []
    start = time.perf_counter()
    try:
        segmenter = Segmenter(path, threads=threads)            # loading it runs the golden tile
    except (HfdError, ImportError) as error:
        return {"passed": False, "engine": str(path), "text": str(error), "steps": []}
    with segmenter:
        steps.append(Step("golden tile", True, f"answered as at export on {segmenter.device}, {segmenter.engine}",
                          time.perf_counter() - start))
        pixels = golden_pixels(path)
        for name, work in (("tiles equal the whole", _tiles_equal_whole), ("file to file", _file_to_file), ("speed", _speed)):
            steps.append(_tried(name, work, segmenter, pixels))
    failed = [step for step in steps if step.passed is False]
    text = "; ".join(f"{step.name}: {step.text}" for step in failed) if failed else \
        f"passed: {path.name} answers its golden tile on {segmenter.device}, {segmenter.engine}"
    return {"passed": not failed, "engine": str(path), "text": text, "steps": [asdict(step) for step in steps]}


def golden_pixels(path: Path) -> np.ndarray:
    """The golden tile as a scene (bands, rows, cols) float32 in the network's unit, repeated to 2 x 2."""
    import numpy as np

    from hfd_edge.package import Package

    with Package.open(path) as package:
        declared = package.spec.input
        mean, std = (np.array(values, np.float32).reshape(-1, 1, 1) for values in (declared.mean, declared.std))
        return np.tile(package.golden.input * std + mean, (1, 2, 2))


def _tried(name: str, work: Callable[[Segmenter, np.ndarray], str], segmenter: Segmenter, pixels: np.ndarray) -> Step:
    from hfd_edge.errors import HfdError, RadiometryError

    start = time.perf_counter()
    try:
        passed, text = True, work(segmenter, pixels)
    except RadiometryError as error:                # a golden tile of pure noise is no backscatter
        passed, text = None, f"not tried: {error}"
    except (HfdError, ImportError, OSError) as error:
        passed, text = False, str(error)
    return Step(name, passed, text, time.perf_counter() - start)


def _tiles_equal_whole(segmenter: Segmenter, pixels: np.ndarray) -> str:
    from hfd_edge.errors import EngineError
    from hfd_edge.measure.tiling import compare_logits, stitched_logits, whole_request
    from hfd_edge.plan import PlanRequest

    spec = segmenter.spec
    side = max(2 * spec.halo_px + spec.stride_px, spec.tile_px)
    tiles = stitched_logits(segmenter, pixels, PlanRequest(tile=side, halo="exact"))
    whole = stitched_logits(segmenter, pixels, whole_request(segmenter, *pixels.shape[1:]))
    error = compare_logits(tiles, whole)
    if error.flips > error.close_calls:
        raise EngineError(f"tiles of {side} px and the whole scene differ in {error.flips} of {error.positions} places (logits "
                          f"by up to {error.max_abs:g}): the halo does not cover what this engine sees; export it again on this machine")
    rows, cols = pixels.shape[1:]
    return f"logits differ by {error.max_abs:g} between tiles of {side} px and a scene of {rows} x {cols} in one"


def _file_to_file(segmenter: Segmenter, pixels: np.ndarray) -> str:
    from hfd_edge.errors import RasterError
    from hfd_edge.raster import GeoReference, RasterProfile, RasterSource, write_raster

    expected = segmenter.run(pixels, confidence=False).labels
    with tempfile.TemporaryDirectory(prefix="hfd-edge-doctor-") as folder:
        scene, out = Path(folder) / "scene.tif", Path(folder) / "map.tif"
        geo = GeoReference.north_up("EPSG:32633", 500_000, 5_000_000, 10)
        write_raster(scene, [(0, pixels)], RasterProfile(*pixels.shape[1:], len(pixels), "float32", geo=geo))
        segmenter.run_raster(scene, out, unit=segmenter.spec.unit)
        with RasterSource(out) as made:
            if not made.geo.same_place(geo, made.rows, made.cols) or (made.read(0, made.rows)[0][0] != expected).any():
                raise RasterError("the map of a file differs from the map of the same pixels in memory, or lies elsewhere: "
                                  "reinstall rasterio (pip install --force-reinstall rasterio)")
    return f"a GeoTIFF of {pixels.shape[1]} x {pixels.shape[2]} became the same map as in memory, in its place"


def _speed(segmenter: Segmenter, pixels: np.ndarray) -> str:
    """Scene pixels a second, in memory; the first run warmed up above."""
    runs, start = 0, time.perf_counter()
    while time.perf_counter() - start < _MEASURED_S:
        report = segmenter.run(pixels, confidence=False).report
        runs += 1
    mpx = runs * pixels.shape[1] * pixels.shape[2] / 1e6 / (time.perf_counter() - start)
    return f"{mpx:.2f} Mpx/s with {segmenter.threads} threads (halo costs {report.compute_ratio:.2f} times on this small scene)"
