"""Whether two tiles at once pay: a trial of both ways by a clock of the test's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfd_edge.engine.base import TwoAtOnce
from hfd_edge.run.pace import CLEARLY, ONE, TRIED_FROM, TWO, Pace

ANSWERS = TWO[1] + 1        # with which the trial ends
SINGLE = ONE[1] + 1         # calls that are made one after the other for it


def no_clock():
    raise AssertionError("there is nothing to try")


def tried(seconds, pixels):
    """A long run's pace after the trial; `seconds` and `pixels` are those of each answer."""
    times = iter([sum(seconds[:number + 1]) for number in range(ANSWERS)])
    pace = Pace(TwoAtOnce(0), TRIED_FROM, times.__next__)
    for number in range(ANSWERS):
        assert pace.two.pays is None and pace.at_once() == (1 if number < SINGLE else 2)
        pace.answered(pixels[number])
    return pace


def in_two_parts(one, two):
    return [one] * SINGLE + [two] * (ANSWERS - SINGLE)


@pytest.mark.parametrize("two, pays", [(50, True), (100, True), (100 * CLEARLY, True), (100 * CLEARLY + 1, False), (300, False)])
def test_two_at_once_are_left_only_where_they_are_clearly_slower(two, pays):
    pace = tried(in_two_parts(100, two), [1] * ANSWERS)
    assert pace.two.pays is pays
    for _ in range(30):
        assert pace.at_once() == (2 if pays else 1)
        pace.answered(1)                                    # the clock has ended: nothing is timed any more


@pytest.mark.parametrize("two, pixels, pays", [(180, 14, True), (240, 14, False), (80, 3, False), (40, 3, True)])
def test_tiles_of_different_sizes_are_weighed_by_their_pixels(two, pixels, pays):
    assert tried(in_two_parts(100, two), in_two_parts(7, pixels)).two.pays is pays


def test_what_is_slow_outside_both_windows_does_not_count():
    seconds = in_two_parts(100, 100)
    for warming_up in (0, ONE[0], SINGLE, TWO[0]):
        seconds[warming_up] = 10**6
    assert tried(seconds, [1] * ANSWERS).two.pays is True


@pytest.mark.parametrize("known, calls, at_once", [(True, 1000, 2), (False, 1000, 1), (True, 3, 2), (False, 3, 1), (None, TRIED_FROM - 1, 2)])
def test_nothing_is_tried_where_it_is_known_or_the_run_is_short(known, calls, at_once):
    pace = Pace(TwoAtOnce(0, known), calls, no_clock)
    for _ in range(calls):
        assert pace.at_once() == at_once
        pace.answered(1)
    assert pace.two.pays is known


def test_what_one_run_found_the_next_one_of_the_engine_takes():
    two = tried(in_two_parts(100, 300), [1] * ANSWERS).two
    assert Pace(two, TRIED_FROM, no_clock).at_once() == 1


EACH = st.lists(st.integers(1, 10**6), min_size=ANSWERS, max_size=ANSWERS)


@given(seconds=EACH, pixels=EACH)
def test_the_verdict_compares_the_seconds_per_pixel_of_both_windows(seconds, pixels):
    one, two = (sum(seconds[first + 1:last + 1]) / sum(pixels[first + 1:last + 1]) for first, last in (ONE, TWO))
    assert tried(seconds, pixels).two.pays is (two <= CLEARLY * one)
