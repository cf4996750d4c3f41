"""The central promise on HFD-Net itself, through the whole run time: checkpoint, export, package, Segmenter, tiles."""

import numpy as np
import pytest
from networks import network

from hfd_edge.export import ExportOptions, export_package
from hfd_edge.measure.tiling import compare_logits, stitched_logits, whole_request
from hfd_edge.network import save_checkpoint
from hfd_edge.plan import PlanRequest
from hfd_edge.segmenter import Segmenter

ROWS, COLS = 117, 170
SPEC = {"name": "random", "bands": ["VV", "VH"], "input": {"unit": "dn", "mean": [0.0, 0.0], "std": [1.0, 1.0]},
        "classes": ["a", "b", "c", "d"], "colors": [[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]], "tile_px": 512}


@pytest.fixture(scope="module")
def scene():
    return np.random.default_rng(3).normal(size=(2, ROWS, COLS)).astype(np.float32)


@pytest.fixture(scope="module", params=["none", "local", "flow"])
def engine(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    net = network(max_stride=8, align=request.param, classes=4)
    save_checkpoint(folder / "net", net, SPEC, {})
    export_package(folder / "net", folder / "net.engine", ExportOptions(measure=False))
    return folder / "net.engine", request.param


def grown(core, by):
    return core + by if isinstance(core, int) else tuple(c + by for c in core)


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_tiles_of_any_size_offset_batch_and_thread_count_equal_the_whole(engine, scene, threads):
    path, align = engine
    with Segmenter(path, threads=1) as one, Segmenter(path, threads=threads) as seg:
        halo = seg.spec.halo_px
        whole = stitched_logits(one, scene, whole_request(one, ROWS, COLS))
        for core in (48, 56, 80, 104, (64, 128)):
            for offset, batch in (((0, 0), 1), ((8, 0), 2), ((24, 16), 3)):
                tiled = stitched_logits(seg, scene, PlanRequest(tile=grown(core, 2 * halo), batch=batch, offset=offset))
                where = f"core {core}, offset {offset}, batch {batch}"
                if align == "flow":
                    error = compare_logits(whole, tiled)
                    assert error.max_abs <= 1e-4, where
                    assert error.flips == error.close_calls, where
                else:
                    np.testing.assert_array_equal(tiled, whole, err_msg=where)
