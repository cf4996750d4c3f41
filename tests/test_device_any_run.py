"""Any run on a device is the CPU's: scenes, holes, tiles, offsets, windows, batches, filters and stitching drawn at random."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hfd_edge.plan import PlanRequest
from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.score import OWN_CLASS
from hfd_edge.segmenter import Segmenter
from hfd_edge.source import ArraySource
from hfd_edge.tiles.shares import MODES
from tests import emulated_cuda
from tests.device_engine import emulated_segmenter
from tests.engines import plain_input, random_engine

pytestmark = [pytest.mark.skipif(emulated_cuda.why_not() is not None, reason=str(emulated_cuda.why_not())), pytest.mark.slow]
DB = {"unit": "db", "floor": -40.0, "mean": (-12.0, -15.0), "std": (4.0, 5.0)}


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    """By filter; of one size of tile, so that the CPU's last tiles end where the device's do."""
    folder, error = tmp_path_factory.mktemp("engines"), (3.0, 2.0, 0.9, 0.5, 0.25, 0.1, 0.01)
    return {name: random_engine(folder / f"{name}.engine", edge_error=error, tile_px=96, fixed_tile=True,
                                input=plain_input(2, **DB, speckle_filter=name, filter_looks=3.0))
            for name in ("none", "lee", "frost", "refined_lee")}


def holed(data, rows: int, cols: int) -> np.ndarray:
    power = np.random.default_rng(data.draw(st.integers(0, 99))).gamma(3.0, 0.03, size=(2, rows, cols)).astype(np.float32)
    for _ in range(data.draw(st.integers(0, 3))):
        row, col = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, cols - 1))
        power[:, row:row + data.draw(st.integers(1, 120)), col:col + data.draw(st.integers(1, 120))] = np.nan
    return power


def maps(seg: Segmenter, power: np.ndarray, request: PlanRequest) -> tuple:
    """Labels, confidence and counts."""
    run = seg.prepare(ArraySource(power, 2), SourceRadiometry("intensity"), score=OWN_CLASS, request=request)
    strips = list(seg.finished_strips(run))
    counts = run.counts
    return (*(np.concatenate([getattr(part, name) for part in strips]) for name in ("labels", "score")),
            (counts.written, counts.nodata, counts.nan, counts.tiles_run, counts.tiles_empty))


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_run_gives_the_cpus_map(engines, emulated_device, data):
    rows, cols = data.draw(st.integers(1, 260)), data.draw(st.integers(1, 260))
    power, window = holed(data, rows, cols), None
    if data.draw(st.booleans()):
        row, col = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, cols - 1))
        window = row, col, data.draw(st.integers(1, rows - row)), data.draw(st.integers(1, cols - col))
    path, stitch = engines[data.draw(st.sampled_from(sorted(engines)))], data.draw(st.sampled_from(MODES))
    halo, batch = data.draw(st.sampled_from([8, 16, 24, 32])), data.draw(st.sampled_from(["auto", 1, 2, 5]))
    offset = data.draw(st.integers(0, 9)) * 8, data.draw(st.integers(0, 9)) * 8
    policy, seed = data.draw(st.sampled_from(["lazy", "eager", "random"])), data.draw(st.integers(0, 99))
    with Segmenter(path, stitch=stitch) as cpu:
        wanted = maps(cpu, power, PlanRequest("auto", halo, 1, offset=offset, stitch=stitch, window=window))
    with emulated_device.installed(), emulated_segmenter(path, emulated_device, stitch=stitch) as seg:
        emulated_device.policy(policy, seed)
        got = maps(seg, power, PlanRequest("auto", halo, batch, offset=offset, stitch=stitch, window=window))
    np.testing.assert_array_equal(got[0], wanted[0])
    np.testing.assert_array_equal(got[1], wanted[1])
    assert got[2] == wanted[2]
