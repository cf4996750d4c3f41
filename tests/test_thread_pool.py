"""The native module's threads: the same bytes however many help, many callers at once, and forked processes."""

import multiprocessing
import threading

import numpy as np
import pytest

from hfd_edge import _native

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(5, 40, 44)).astype(np.float32)
STATUS = np.zeros((160, 176), np.uint8)


def labels_with(threads: int, rounds: int = 1) -> np.ndarray:
    labels = np.empty(STATUS.shape, np.uint8)
    for _ in range(rounds):
        labels[:] = 77
        _native.finish(LOGITS, 4, STATUS, (0, 0), labels, None, threads)
    return labels


EXPECTED = labels_with(1)


@pytest.mark.parametrize("threads", [2, 3, 8, 33])
def test_any_number_of_helpers_gives_the_same_labels_time_after_time(threads):
    for _ in range(50):
        np.testing.assert_array_equal(labels_with(threads), EXPECTED)


def test_callers_in_many_threads_share_the_helpers():
    wrong = []

    def call(threads: int) -> None:
        for _ in range(60):
            if not np.array_equal(labels_with(threads), EXPECTED):
                wrong.append(threads)

    callers = [threading.Thread(target=call, args=(n,)) for n in (2, 3, 4, 2, 5)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert not wrong and not any(caller.is_alive() for caller in callers)


def run_in_child(threads: int) -> None:
    raise SystemExit(0 if np.array_equal(labels_with(threads, rounds=20), EXPECTED) else 3)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("threads", [1, 4])
def test_a_forked_process_starts_threads_of_its_own_while_the_parent_works(threads):
    labels_with(4)
    stop = threading.Event()
    busy = threading.Thread(target=lambda: [labels_with(3) for _ in iter(lambda: stop.is_set(), True)])
    busy.start()
    try:
        for _ in range(10):
            child = multiprocessing.get_context("fork").Process(target=run_in_child, args=(threads,))
            child.start()
            child.join(60)
            assert child.exitcode == 0
    finally:
        stop.set()
        busy.join()
    np.testing.assert_array_equal(labels_with(4), EXPECTED)
