"""Batch k is a function of (seed, k) alone; what happens to EO moves nothing of SAR; the cache keeps its bound."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings, strategies as st  # noqa: E402

from hfd_edge.radiometry import SourceRadiometry, make_gather  # noqa: E402
from hfd_edge.spec import Unit  # noqa: E402
from training.augment import AugmentOptions  # noqa: E402
from training.layouts import open_pairs  # noqa: E402
from training.loader import Loader, LoaderOptions, _Cache  # noqa: E402
from training.pairs import FLIPS, DataError, SetInfo, check_split, pair_of  # noqa: E402
from training.statistics import measure, sar_tensor  # noqa: E402

BUSY = AugmentOptions(speckle_looks=4.0, shift_px=2, drop_eo=0.4, nodata_wedge=0.5)
OPTIONS = LoaderOptions(crop_px=24, batch=3, augment=BUSY, crops_per_pair=2, round_pairs=2, workers=2)


class Noise:
    """Five pairs of noise, SAR in dB; number 3 has no optical image. Counts its reads."""

    info = SetInfo("noise", ("VV", "VH"), ("R",), ("a", "b"), ((0, 0, 0), (9, 9, 9)), Unit.DB, "sigma0", None, None, FLIPS)

    def __init__(self) -> None:
        self.reads, self.with_eo = [], []

    def names(self, split):
        return tuple(f"{check_split(split)}{i}" for i in range(5))

    def read(self, name, eo=True):
        self.reads.append(name)
        self.with_eo.append(eo)
        rng = np.random.default_rng(int(name[-1]))
        sar, labels, valid = rng.normal(-12, 5, (2, 40, 30)), rng.integers(0, 2, (40, 30)), rng.random((40, 30)) > 0.1
        optical = rng.uniform(0, 1, (1, 40, 30)) if eo and not name.endswith("3") else None
        return pair_of(name, sar, optical, labels, valid)


@pytest.fixture(scope="module")
def statistics():
    return measure(Noise())


def loader(statistics, eo=True, pairs=None, **changes):
    pairs = pairs or Noise()
    return Loader(pairs, pairs.names("train"), statistics, replace(OPTIONS, **changes), eo)


def same(first, second, fields=("sar", "eo", "eo_seen", "labels", "valid")):
    both = [(getattr(first, name), getattr(second, name)) for name in fields]
    return all(b is None if a is None else torch.equal(a, b) for a, b in both)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 60), st.integers(0, 2 ** 40), st.integers(0, 3))
def test_a_batch_is_a_function_of_seed_and_number_whatever_came_before(number, seed, workers):
    statistics = measure(Noise())
    alone = loader(statistics, seed=seed, workers=0).batch(number)
    batches = loader(statistics, seed=seed, workers=workers, cache_bytes=0).batches(max(number - 2, 0))
    assert same(alone, next(islice(batches, min(number, 2), None)))
    batches.close()
    assert not same(alone, loader(statistics, seed=seed + 1, workers=0).batch(number))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 40), st.integers(0, 1000), st.integers(0, 3), st.floats(0, 1))
def test_sar_and_labels_do_not_depend_on_eo_in_any_way(number, seed, shift, drop):
    statistics = measure(Noise())
    changed = replace(BUSY, shift_px=shift, drop_eo=drop)
    with_eo, without = loader(statistics, seed=seed).batch(number), loader(statistics, eo=False, seed=seed).batch(number)
    otherwise = loader(statistics, seed=seed, augment=changed).batch(number)
    assert same(with_eo, without, ("sar", "labels", "valid")) and same(with_eo, otherwise, ("sar", "labels", "valid"))
    assert without.eo is None and not without.eo_seen.any()


def test_a_loader_without_eo_does_not_read_it():
    pairs = Noise()
    loader(measure(Noise()), eo=False, pairs=pairs).batch(0)
    assert pairs.with_eo and not any(pairs.with_eo)


def test_shapes_types_memory_and_what_is_invalid(statistics):
    seen = []
    for number in range(20):
        batch = loader(statistics, crop_px=36).batch(number)                  # larger than a pair is wide
        assert batch.sar.shape == (3, 2, 36, 36) and batch.eo.shape == (3, 1, 36, 36)
        assert batch.sar.dtype == batch.eo.dtype == torch.float32
        assert batch.sar.is_contiguous(memory_format=torch.channels_last) and batch.labels.dtype == torch.int64
        assert not batch.sar.movedim(1, -1)[~batch.valid].any() and (batch.labels[~batch.valid] == 255).all()
        assert not batch.eo.movedim(1, -1)[~batch.eo_seen].any() and torch.isfinite(batch.sar).all() and torch.isfinite(batch.eo).all()
        assert set(batch.labels.unique().tolist()) <= {0, 1, 255}
        seen += batch.eo_seen.flatten(1).any(dim=1).tolist()
    assert 0.25 < np.mean(seen) < 0.75                                        # 4 of 5 pairs have EO, 0.4 of those are dropped


def test_an_epoch_takes_every_pair_as_often_as_asked_and_rounds_keep_few_in_work(statistics):
    quiet = loader(statistics, crops_per_pair=4, round_pairs=2)
    names = [quiet._name(i) for i in range(40)]
    for epoch in (names[:20], names[20:]):
        assert all(epoch.count(name) == 4 for name in quiet._names)
    assert len(set(names[:8])) == len(set(names[8:16])) == 2 and names[:20] != names[20:]


def test_ranks_share_the_items_of_one_process_out(statistics):
    quiet = AugmentOptions(flips=(), nodata_wedge=0)
    whole = loader(statistics, batch=4, augment=quiet).batch(3)
    parts = [loader(statistics, batch=2, augment=quiet, rank=rank, ranks=2).batch(3) for rank in (0, 1)]
    assert torch.equal(torch.cat([part.sar for part in parts]), whole.sar)


@pytest.mark.parametrize("unit", [Unit.INTENSITY, Unit.AMPLITUDE, Unit.DB, Unit.DN])
def test_a_network_learns_from_the_very_numbers_that_the_run_time_will_give_it(unit):
    power = np.random.default_rng(1).gamma(4.4, 0.01, (2, 40, 30)).astype(np.float32)
    power[:, 0, 0] = 0                                                        # measured, without signal: floored, not nodata
    stored = {Unit.AMPLITUDE: np.sqrt, Unit.DB: lambda v: 10 * np.log10(np.maximum(v, 1e-6))}.get(unit, lambda v: v)(power)

    class Set(Noise):
        info = replace(Noise.info, sar_unit=unit, quantity="dn" if unit is Unit.DN else "sigma0")

        def read(self, name, eo=True):
            return pair_of(name, stored, None, np.zeros((40, 30)), np.random.default_rng(2).random((40, 30)) > 0.1)

    pair, spec = Set().read("train0"), measure(Set()).input
    tile, status = np.empty_like(pair.sar), np.empty(pair.valid.shape, np.uint8)
    gather = make_gather(SourceRadiometry(unit, quantity=spec.quantity), spec)
    gather.run(pair.sar, (0, 0), (40, 30), (0, 0), tile, status, pair.valid.astype(np.uint8), 1)
    np.testing.assert_allclose(sar_tensor(pair, unit, spec).numpy(), tile, atol=1e-4)
    np.testing.assert_array_equal(status != 1, pair.valid)
    quiet = LoaderOptions(40, 1, augment=AugmentOptions(flips=(), nodata_wedge=0))
    batch = Loader(Set(), ("train0",), measure(Set()), quiet, eo=True).batch(0)
    np.testing.assert_allclose(batch.sar[0][:, batch.valid[0]].numpy(), tile[:, pair.valid], atol=1e-4)


def test_the_cache_keeps_its_bound_and_what_was_used_last():
    cache, made = _Cache(1000), []

    def get(key, size=400):
        return cache.get(key, lambda: made.append(key) or np.zeros(size, np.uint8))

    get("a"), get("b"), get("a"), get("c"), get("a"), get("b")
    assert made == ["a", "b", "c", "b"] and cache._used <= 1000
    get("huge", 2000), get("huge", 2000)
    assert made[-2:] == ["huge", "huge"] and cache._used <= 1000


def test_a_value_is_made_once_for_all_threads_that_want_it_and_an_error_reaches_them_all():
    cache, start, made = _Cache(1000), threading.Barrier(4), []

    def make():
        made.append(1)
        time.sleep(0.05)
        if len(made) == 1:
            raise DataError("first")
        return np.zeros(10, np.uint8)

    def ask(_):
        start.wait()
        try:
            return cache.get("a", make).nbytes
        except DataError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(4))) == ["first"] * 4 and list(pool.map(ask, range(4))) == [10] * 4
    assert len(made) == 2


def test_pairs_of_the_next_round_are_read_during_this_one(statistics):
    pairs = Noise()
    loaded = loader(statistics, pairs=pairs, batch=2, crops_per_pair=6, round_pairs=2, workers=1, ahead=1)
    batches = loaded.batches()
    for number in range(5):                                                   # items 0 to 9 of the first round's twelve
        next(batches)
    batches.close()
    second = {loaded._name(index) for index in range(12, 24)}
    assert second <= set(pairs.reads) and len(pairs.reads) == len(set(pairs.reads)) == 4


def test_pairs_are_read_once_while_they_fit_and_again_when_they_do_not(statistics):
    pairs = Noise()
    roomy = loader(statistics, pairs=pairs)
    for number in range(8):
        roomy.batch(number)
    assert len(pairs.reads) == 5
    forgetful = Noise()
    small = loader(statistics, pairs=forgetful, cache_bytes=0)
    for number in range(4):
        small.batch(number)
    assert len(forgetful.reads) == 12


def test_closing_the_batches_ends_the_threads_and_an_error_of_a_reader_reaches_the_consumer(statistics):
    batches = loader(statistics).batches()
    next(batches)
    assert any(t.name.startswith("pairs") for t in threading.enumerate())
    batches.close()
    assert not any(t.name.startswith("pairs") for t in threading.enumerate())

    class Broken(Noise):
        def read(self, name, eo=True):
            raise DataError(f"{name}.tif is missing")

    with pytest.raises(DataError, match="is missing"):
        next(loader(statistics, pairs=Broken()).batches())


def test_waiting_is_counted(statistics):
    for workers in (0, 2):
        loaded = loader(statistics, workers=workers)
        batches = loaded.batches()
        next(batches)
        assert loaded.wait_s > 0
        batches.close()


@pytest.mark.parametrize("change", [{"crop_px": 0}, {"batch": 0}, {"seed": -1}, {"workers": -1}, {"ahead": 0}, {"rank": 1}])
def test_options_out_of_range_are_refused_by_name(change):
    with pytest.raises(DataError, match=next(iter(change))):
        LoaderOptions(**change)


def test_no_pairs_no_classes_and_speckle_without_power_are_refused(statistics):
    with pytest.raises(DataError, match="no pairs"):
        Loader(Noise(), (), statistics, OPTIONS, eo=True)

    class Digital(Noise):
        info = replace(Noise.info, sar_unit=Unit.DN, quantity="dn")

    with pytest.raises(DataError, match="speckle"):
        loader(statistics, pairs=Digital())

    class Wrong(Noise):
        def read(self, name, eo=True):
            pair = super().read(name, eo)
            pair.labels[:] = 2
            return pair

    with pytest.raises(DataError, match="label 2 is no class"):
        loader(statistics, pairs=Wrong()).batch(0)


def test_simulated_scenes_split_by_seed_and_a_training_scene_is_the_simulators(tmp_path):
    from hfd_edge.simulate import Scene
    pairs = open_pairs("simulated", tmp_path, side_px=64, train=3, select=2, test=2, scene={"border_px": 8, "looks": 2.0})
    assert [len(pairs.names(s)) for s in ("train", "select", "test")] == [3, 2, 2] and pairs.info.flips == ("rows",)
    pair, config = pairs.read("train-000001"), pairs._config("train", 1)
    window = Scene(config).window(0, 0, 64, 64)
    assert config.seed == (1 << 41) + 1 and config.looks == pairs.info.looks == 2.0
    np.testing.assert_array_equal(pair.sar, window.sar * window.valid)
    np.testing.assert_array_equal(pair.labels, window.labels)
    other = open_pairs("simulated", tmp_path, side_px=64, train=3, select=2, test=2, seed=5)
    assert not np.array_equal(other.read("train-000001").sar, pair.sar)
    again = open_pairs("simulated", tmp_path, side_px=64)
    np.testing.assert_array_equal(other.read("test-000001").eo, again.read("test-000001").eo)
    for name in ("train-3", "val-000000", "test"):
        with pytest.raises(DataError, match=name):
            pairs.read(name)
