"""Memory of strips: taken again when nobody holds it any more, and never before."""

import gc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfd_edge.device.pages import PagesAgain
from hfd_edge.errors import DeviceError


def address(array):
    return array.__array_interface__["data"][0]


def test_what_a_view_holds_is_never_given_again():
    pages = PagesAgain()
    first = pages.take((4, 1000), np.float32)
    at, first[:] = address(first), 1
    view = first[2:, 5:7].T
    del first
    second = pages.take((4, 1000), np.float32)
    second[:] = 2
    assert address(second) != at and (view == 1).all()


def test_what_nobody_holds_is_given_again_as_it_is():
    pages = PagesAgain()
    first = pages.take((3, 7), np.float32)
    at, first[:] = address(first), 5
    del first
    again = pages.take((2, 9), np.float32)
    assert address(again) == at and again.flags.writeable and again.flags.c_contiguous and (again == 5).all()


def test_a_spare_piece_that_is_too_small_goes():
    pages = PagesAgain()
    pages.take((10,), np.uint8)
    assert pages.take((1 << 20,), np.uint8).size == 1 << 20


def test_a_strip_without_a_row_is_one():
    assert PagesAgain().take((2, 0, 7), np.float32).shape == (2, 0, 7)


def test_memory_outlives_its_owner():
    pages = PagesAgain()
    held = pages.take((1 << 20,), np.float32)
    held[:] = 3
    del pages
    gc.collect()
    assert (held == 3).all()


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5000)), max_size=40))
def test_pieces_that_are_held_at_once_never_share_a_byte(steps):
    pages, held = PagesAgain(), {}
    for number, (place, size) in enumerate(steps):
        held.pop(place, None)
        array = pages.take((size,), np.int32)
        array[:] = number
        held[place] = (array, number)
        assert all((kept == mark).all() for kept, mark in held.values())


def test_pages_that_the_system_does_not_give_are_an_error_with_a_way_out():
    with pytest.raises(DeviceError, match=f"{1 << 62} bytes for a strip cannot be had .*ulimit -v"):
        PagesAgain().take((1 << 62,), np.uint8)
