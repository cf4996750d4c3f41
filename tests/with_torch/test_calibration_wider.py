"""Ranges hold for scenes that lie some decibels off those that calibrate; nothing else of a calibration changes for it."""

import numpy as np
import pytest
from quantized import demo, make_small, options, reference, scene

from hfd_edge.export import build_graphs
from hfd_edge.export.calibration import BEYOND_DB, Ranges, calibrate, shifted
from hfd_edge.spec import ModelInput

MODEL = ModelInput("db", (-12.0, -18.0), (5.0, 4.0), ((-30.0, 0.0), (-30.0, 0.0)), -25.0)


def tile(seed=0):
    pixels = np.random.default_rng(seed).normal(0, 1, (2, 64, 64)).astype(np.float32)
    pixels = np.clip(pixels, [[[-2.6]], [[-1.75]]], [[[2.4]], [[4.5]]]).astype(np.float32)
    pixels[:, :8] = 0
    return pixels


def test_every_third_tile_is_shifted_within_floor_and_clip_and_nodata_stays():
    made = shifted([tile(seed) for seed in range(4)], MODEL)
    assert len(made) == 4 and all(each.dtype == np.float32 and not each[:, :8].any() for each in made)
    step = np.array([BEYOND_DB / 5, BEYOND_DB / 4])[:, None, None]
    wanted = np.clip(tile(3)[:, 8:] + step, [[[-2.6]], [[-1.75]]], [[[2.4]], [[4.5]]])
    np.testing.assert_allclose(made[3][:, 8:], wanted, atol=1e-5)
    assert shifted([tile()], ModelInput("intensity", (0.1, 0.02), (0.1, 0.02))) == []


def test_wider_tiles_count_for_ranges_alone():
    graph, spec = demo()
    plain, wide = (calibrate(graph, [tile()], "percentile", [np.zeros((64, 64), np.uint8)], wider=more) for more in ((), shifted([tile()], spec.input)))
    assert all(wide.tensors[name][0] <= low + 1e-2 and wide.tensors[name][1] >= high - 1e-2 for name, (low, high) in plain.tensors.items() if high > low)
    assert wide.tensors["pixels"][1] > plain.tensors["pixels"][1] + 0.5
    assert (plain.wider, wide.wider, Ranges.from_dict(wide.to_dict()).wider) == (0, 2, 2)
    assert (wide.data_sha256, wide.tiles, wide.pixels) == (plain.data_sha256, plain.tiles, plain.pixels)
    assert all(np.array_equal(wide.reads[name].mean, plain.reads[name].mean) for name in plain.reads)


class Caught(Exception):
    """What stops the export where it is known."""


@pytest.mark.parametrize("trained", [False, True])
def test_an_export_widens_ranges_that_it_measures_and_not_those_of_a_training(trained, monkeypatch):
    def caught(_, tiles, method, statuses, told, wider):
        raise Caught(len(tiles), len(wider))
    make_small(monkeypatch)
    monkeypatch.setattr(build_graphs, "calibrate", caught)
    graph, spec = demo()
    with pytest.raises(Caught) as found:
        build_graphs.make_graphs(graph, spec, reference(), [scene(0), scene(1)], options().plan, object() if trained else None)
    tiles, wider = found.value.args
    assert wider == (0 if trained else 2 * -(-tiles // 3))
