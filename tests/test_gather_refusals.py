"""What gather refuses, and that the message names the thing, its value and the way out."""

from __future__ import annotations

import numpy as np
import pytest

from hfd_edge import _native
from hfd_edge.errors import ArrayError, HfdError

GOOD = {"unit": "intensity", "model_unit": "db", "scale": 1.0, "offset": 0.0, "nodata": [], "floor": -35.0,
        "clip_low": [], "clip_high": [], "mean": [0.0, 0.0], "gain": [1.0, 1.0]}


@pytest.mark.parametrize(("change", "message"), [
    ({"unit": "sigma"}, "unit='sigma': use one of intensity"),
    ({"model_unit": "complex"}, "model_unit=complex: a network takes real numbers"),
    ({"unit": "dn"}, "unit=dn to model_unit=db: digital numbers have no physical meaning"),
    ({"floor": float("nan")}, "floor=nan with model_unit=db: zero power has no logarithm"),
    ({"floor": float("inf")}, "floor=inf: it must be finite"),
    ({"scale": 0.0}, "scale=0: it must be finite and not 0"),
    ({"scale": float("inf")}, "scale=inf"),
    ({"offset": float("nan")}, "offset=nan"),
    ({"unit": "complex", "offset": 1.0}, "offset=1 with unit=complex"),
    ({"mean": []}, r"mean=\[\]: there must be one value per band"),
    ({"gain": [1.0]}, "gain has 1 values and mean 2"),
    ({"mean": [0.0, float("nan")]}, "mean=nan"),
    ({"clip_low": [0.0, 0.0]}, "clip_low and clip_high have 2 and 0 values for 2 bands"),
    ({"clip_low": [0.0, 3.0], "clip_high": [1.0, 3.0]}, r"clip=\(3, 3\) of band 1"),
])
def test_a_gather_that_contradicts_itself_is_not_made(change, message):
    with pytest.raises(ArrayError, match=message):
        _native.Gather(**{**GOOD, **change})


def call(**change):
    arguments = {"values": np.ones((2, 6, 7), np.float32), "window": (0, 0), "scene": (6, 7), "tile_origin": (0, 0),
                 "tile": np.empty((2, 8, 9), np.float32), "status": np.empty((8, 9), np.uint8),
                 "valid": None, "threads": 1, **change}
    _native.Gather(**GOOD).run(**arguments)


@pytest.mark.parametrize(("change", "message"), [
    ({"values": np.ones((6, 7), np.float32)}, r"values has shape \(6, 7\): it must be \(bands, rows, cols\)"),
    ({"values": np.ones((3, 6, 7), np.float32)}, "bands of tile and values"),
    ({"values": np.ones((2, 6, 7), np.int64)}, "values is int64"),
    ({"values": np.ones((2, 6, 7), np.float16)}, "values is float16"),
    ({"values": np.ones((2, 6, 7), ">f4")}, "byte order"),
    ({"values": np.ones((2, 6, 7), np.complex64)}, "values of complex dtype with unit=intensity"),
    ({"values": np.ones((2, 0, 7), np.float32)}, "values hold scene rows 0 to -1"),
    ({"scene": (0, 7)}, r"scene=\(0, 7\)"),
    ({"scene": (6, 8)}, "values hold scene columns 0 to 6"),
    ({"window": (1, 0)}, "values hold scene rows 1 to 6"),
    ({"tile": np.empty((2, 8, 9))}, "tile is float64: it must be float32"),
    ({"tile": np.empty((2, 8, 18), np.float32)[:, :, ::2]}, "tile is not in C order"),
    ({"tile": np.empty(4 * 2 * 8 * 9 + 1, np.uint8)[1:].view(np.float32).reshape(2, 8, 9)}, "tile begins at an address"),
    ({"tile": np.empty((2, 8, 8), np.float32)}, "rows and columns of tile and status must be equal"),
    ({"tile": np.empty((2, 0, 9), np.float32), "status": np.empty((0, 9), np.uint8)}, "tile of 0 x 9 pixels"),
    ({"status": np.empty((8, 9), np.int8)}, "status is int8"),
    ({"valid": np.ones((7, 6), bool)}, r"valid has shape \(7, 6\) and values \(2, 6, 7\)"),
    ({"valid": np.ones((6, 7), np.float32)}, "valid is float32: it must be bool or uint8"),
    ({"valid": [[1]]}, "valid is a .*list.*: give a NumPy array"),
    ({"threads": 0}, "threads=0: it must be 1 to"),
])
def test_a_call_that_does_not_fit_is_refused(change, message):
    with pytest.raises(ArrayError, match=message):
        call(**change)


def test_read_only_memory_is_not_written():
    tile = np.zeros((2, 8, 9), np.float32)
    tile.flags.writeable = False
    with pytest.raises(ArrayError, match="tile is read-only"):
        call(tile=tile)
    assert not tile.any()


def test_a_gather_made_for_other_bands_is_refused():
    with pytest.raises(ArrayError, match="values has 1 bands: this gather was made for 2"):
        call(values=np.ones((1, 6, 7), np.float32), tile=np.empty((1, 8, 9), np.float32))


def test_the_error_is_ours_and_a_value_error():
    assert issubclass(ArrayError, HfdError) and issubclass(ArrayError, ValueError)


def test_real_numbers_declared_complex_are_refused():
    gather = _native.Gather(**{**GOOD, "unit": "complex"})
    tile, status = np.empty((2, 6, 7), np.float32), np.empty((6, 7), np.uint8)
    with pytest.raises(ArrayError, match="values of real dtype with unit=complex"):
        gather.run(np.ones((2, 6, 7), np.float32), (0, 0), (6, 7), (0, 0), tile, status, None, 1)


def bytes_call(bands: int = 2, size: tuple[int, int] = (8, 10), **change):
    arguments = {"values": np.ones((bands, 6, 7), np.float32), "window": (0, 0), "scene": (6, 7), "tile_origin": (0, 0),
                 "cells": np.empty((size[0] // 2, size[1] // 2, 4 * bands), np.uint8), "status": np.empty(size, np.uint8), "valid": None,
                 "scale": 0.1, "zero_point": 128, "threads": 1, **change}
    _native.Gather(**{**GOOD, "mean": [0.0] * bands, "gain": [1.0] * bands}).run_bytes(**arguments)


@pytest.mark.parametrize(("change", "message"), [
    ({"bands": 5}, "values has 5 bands: bytes are made of 1 to 4"),
    ({"size": (8, 9)}, r"cells has shape \(4, 4, 8\).*both sides of the tile even"),
    ({"size": (0, 0)}, "tile of 0 x 0 pixels"),
    ({"cells": np.empty((4, 5, 7), np.uint8)}, r"cells has shape \(4, 5, 7\)"),
    ({"cells": np.empty((4, 5, 8), np.int8)}, "cells is int8: it must be uint8"),
    ({"cells": np.empty((4, 10, 8), np.uint8)[:, ::2]}, "cells is not in C order"),
    ({"scale": 0.0}, "scale=0, zero_point=128: the scale of bytes must be above 0 and neither infinite nor denormal"),
    ({"scale": 1e-39}, "scale=1e-39"),
    ({"scale": -0.1}, "scale=-0.1"),
    ({"scale": float("nan")}, "scale=nan"),
    ({"scale": float("inf")}, "scale=inf"),
    ({"zero_point": 256}, "zero_point=256"),
    ({"zero_point": -1}, "zero_point=-1"),
])
def test_bytes_that_cannot_be_made(change, message):
    bytes_call()
    with pytest.raises(ArrayError, match=message):
        bytes_call(**change)
