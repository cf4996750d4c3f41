"""The numbers of a set are those of its valid pixels, are measured once, and change with the set."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hfd_edge.radiometry import SourceRadiometry, make_gather  # noqa: E402
from hfd_edge.spec import ModelInput, Unit  # noqa: E402
from training.pairs import FLIPS, DataError, Pair, SetInfo, check_split, pair_of  # noqa: E402
from training.statistics import eo_tensor, identity, measure, measured, normalise, sar_tensor, to_network_unit  # noqa: E402


class Gamma:
    """Known power in any unit, with holes that would spoil the numbers if they counted."""

    def __init__(self, unit=Unit.INTENSITY, pairs=6) -> None:
        self.info = SetInfo("gamma", ("VV", "VH"), ("R", "G"), ("a", "b"), ((0, 0, 0), (9, 9, 9)), unit, "sigma0", 4.4, 10.0,
                            FLIPS)
        self.count, self.reads = pairs, 0

    def names(self, split):
        return tuple(f"{check_split(split)}{i}" for i in range(self.count))

    def power(self, i):
        return np.random.default_rng(i).gamma(4.4, np.array([0.05, 0.01])[:, None, None] / 4.4, (2, 50, 60))

    def read(self, name, eo=True):
        self.reads += 1
        i = int(name[-1])
        sar, valid = self.power(i), np.ones((50, 60), bool)
        stored = {Unit.INTENSITY: sar, Unit.AMPLITUDE: np.sqrt(sar), Unit.DB: 10 * np.log10(sar), Unit.DN: np.rint(1e4 * sar)}
        sar = stored[self.info.sar_unit]
        valid[:10] = False
        sar[:, :10] = 1e6
        return pair_of(name, sar, np.stack([np.full((50, 60), i), np.full((50, 60), 2.0)]), np.full((50, 60), i % 2), valid)


def known(pairs):
    return np.concatenate([pairs.power(i)[:, 10:].reshape(2, -1) for i in range(pairs.count)], axis=1)


@pytest.mark.parametrize("unit", [Unit.INTENSITY, Unit.AMPLITUDE, Unit.DB])
def test_physical_units_are_measured_in_decibel_and_agree_with_numpy(unit):
    pairs = Gamma(unit)
    found, db = measure(pairs), 10 * np.log10(known(pairs))
    low, high = np.floor(np.quantile(db, 5e-4, axis=1)), np.ceil(np.quantile(db, 1 - 5e-4, axis=1))
    assert found.input.unit is Unit.DB and found.input.quantity == "sigma0" and found.input.looks == 4.4
    np.testing.assert_allclose(np.array(found.input.clip).T, [low, high], atol=1.01)
    clipped = np.clip(db, *np.array(found.input.clip).T[:, :, None])
    np.testing.assert_allclose(found.input.mean, clipped.mean(axis=1), atol=0.01)
    np.testing.assert_allclose(found.input.std, clipped.std(axis=1), atol=0.01)
    assert found.input.floor == min(low for low, _ in found.input.clip)


def test_digital_numbers_stay_what_they_are_without_floor_and_clip():
    pairs = Gamma(Unit.DN)
    found, dn = measure(pairs), np.rint(1e4 * known(pairs)).astype(np.float32)
    assert found.input.unit is Unit.DN and found.input.clip is None and found.input.floor is None
    np.testing.assert_allclose(found.input.mean, dn.mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(found.input.std, dn.std(axis=1), rtol=1e-5)


def test_eo_classes_and_a_constant_band():
    found = measure(Gamma())
    assert found.eo_mean == pytest.approx((2.5, 2.0)) and found.eo_std == pytest.approx((np.std(range(6)), 1.0), rel=1e-5)
    assert found.class_counts == (3 * 40 * 60, 3 * 40 * 60)


@pytest.mark.parametrize("value", [63.6961669921875, 4.097352504730225, 2.0, 0.1, 0.0, 2_000_003.0, -3e9])
def test_what_rounding_leaves_of_a_constant_band_is_no_spread(value):
    band = Gamma(pairs=9)
    band.read = lambda name, eo=True: pair_of(name, np.full((2, 251, 79), value), None, np.zeros((251, 79), np.uint8), np.ones((251, 79), bool))
    band.info = replace(band.info, sar_unit=Unit.DN, quantity="dn")
    found = measure(band).input
    assert found.std == pytest.approx((max(1.0, 1e-5 * abs(value)),) * 2, rel=1e-5) and found.mean == pytest.approx((value, value), rel=1e-5)
    assert abs(normalise(np.full((2, 1, 1), value, np.float32), found)).max() <= 1


def test_a_large_set_is_measured_on_pairs_spread_over_its_names():
    pairs = Gamma(pairs=9)
    found = measure(pairs, limit=3)
    assert pairs.reads == 3 and found.eo_mean[0] == pytest.approx(3.0)           # pairs 0, 3, 6


def test_the_hash_names_the_set_and_changes_with_names_description_and_pixels():
    class Other(Gamma):
        def power(self, i):
            return super().power(i) * 1.1

    renamed = Gamma()
    renamed.info = replace(renamed.info, bands=("VH", "VV"))
    hashes = {measure(pairs).hash for pairs in (Gamma(), Gamma(pairs=5), Other(), renamed)}
    assert len(hashes) == 4 and measure(Gamma()).hash in hashes and len(measure(Gamma()).hash) == 64
    assert identity(Gamma()) == identity(Other()) != identity(renamed)


def test_statistics_are_read_back_exactly_and_measured_anew_for_another_set(tmp_path):
    path, pairs = tmp_path / "run" / "statistics.json", Gamma()
    first = measured(pairs, path)
    again = measured(pairs, path)
    assert pairs.reads == 6 and again == first == measure(Gamma())
    assert measured(Gamma(pairs=5), path) != first and measured(Gamma(pairs=5), path) == measure(Gamma(pairs=5))
    assert [p.name for p in path.parent.iterdir()] == ["statistics.json"]


def test_kept_statistics_are_of_the_same_files_and_the_log_says_which(tmp_path):
    path, pairs, lines = tmp_path / "statistics.json", Gamma(), []
    first = measured(pairs, path, files="one", log=lines.append)
    assert measured(pairs, path, files="one", log=lines.append) == first and pairs.reads == 18
    assert measured(pairs, path, files="two", log=lines.append) == first and pairs.reads == 36
    assert ["kept from" in line for line in lines] == [False, True, False, False] and "changed since" in lines[2]
    assert "two" not in path.read_text() and measured(Gamma(), tmp_path / "other.json", files="three") == first      # no file is in the hash


def test_a_spoilt_statistics_file_is_an_error_that_says_what_to_do(tmp_path):
    path = tmp_path / "statistics.json"
    for text in ("{", "[]", "{\"key\": 3"):
        path.write_text(text)
        with pytest.raises(DataError, match="statistics.json.*delete"):
            measured(Gamma(), path)


def test_nothing_to_measure_is_refused():
    class Empty(Gamma):
        def names(self, split):
            return ()

    class Void(Gamma):
        def read(self, name, eo=True):
            pair = super().read(name, eo)
            return pair_of(name, pair.sar, None, pair.labels, np.zeros_like(pair.valid))

    with pytest.raises(DataError, match="empty"):
        measure(Empty())
    with pytest.raises(DataError, match="no|none"):
        measure(Void())


def test_zero_power_has_a_value_and_the_unit_of_a_network_is_decibel():
    zero = np.zeros((1, 1, 2), np.float32)
    for unit in (Unit.INTENSITY, Unit.AMPLITUDE):
        assert to_network_unit(zero, unit) == pytest.approx(-100)
    assert to_network_unit(zero, Unit.DB) is zero


@pytest.mark.parametrize("unit", [Unit.INTENSITY, Unit.AMPLITUDE])
def test_negative_power_and_amplitude_become_what_a_run_makes_of_them(unit):
    stored, valid, model = np.full((1, 4, 4), -0.2, np.float32), np.ones((4, 4), bool), ModelInput(Unit.DB, (-12.0,), (4.0,), ((-20.0, 1.0),), -20.0)
    made, status = np.empty(stored.shape, np.float32), np.empty(valid.shape, np.uint8)
    make_gather(SourceRadiometry(unit), model).run(stored, (0, 0), valid.shape, (0, 0), made, status, valid, 1)
    pair = pair_of("p", stored, None, np.zeros((4, 4)), valid)
    np.testing.assert_allclose(sar_tensor(pair, unit, model).numpy(), made, atol=1e-5)


def test_a_pair_and_a_set_that_contradict_themselves_are_refused():
    ok = np.zeros((2, 4, 4), np.float32), None, np.zeros((4, 4), np.uint8), np.ones((4, 4), bool)
    Pair("p", *ok)
    for position, wrong in ((0, np.zeros((2, 4, 5), np.float32)), (0, np.zeros((2, 4, 4))), (2, np.zeros((4, 4), np.int64)),
                            (3, np.zeros((4, 4), np.uint8)), (1, np.zeros((4, 4), np.float32))):
        with pytest.raises(DataError, match="pair p"):
            Pair("p", *(wrong if i == position else plane for i, plane in enumerate(ok)))
    for change in ({"sar_unit": "complex"}, {"classes": ("a",)}, {"colors": ()}, {"flips": ("up",)}, {"bands": ()}):
        with pytest.raises(DataError, match="gamma"):
            replace(Gamma().info, **change)


def test_optical_pixels_that_were_not_seen_are_not_measured_and_are_zero_for_a_teacher():
    class Clouded(Gamma):
        def read(self, name, eo=True):
            pair = super().read(name)
            seen = np.ones((50, 60), bool)
            seen[:, :20] = False
            return replace(pair, eo=np.where(seen, pair.eo, -32768).astype(np.float32), eo_seen=seen)
    clear, clouded = Gamma(), Clouded()
    found = measure(clouded)
    assert (found.eo_mean, found.eo_std) == (measure(clear).eo_mean, measure(clear).eo_std)
    seen = eo_tensor(clouded.read("train3"), found)
    assert not seen[:, :, :20].any() and torch.equal(seen[:, :, 20:], eo_tensor(clear.read("train3"), found)[:, :, 20:])
