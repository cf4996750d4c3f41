"""Training refuses what a run of its engine would refuse: a unit that the values contradict, a nodata value that is not declared."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hfd_edge.errors import RadiometryError  # noqa: E402
from hfd_edge.radiometry import SourceRadiometry, check_values  # noqa: E402
from hfd_edge.spec import Unit  # noqa: E402
from test_statistics import Gamma  # noqa: E402
from training.pairs import DataError, pair_of  # noqa: E402
from training.statistics import measure  # noqa: E402


class Wrong(Gamma):
    """Power that is stored as `stored` makes it and declared as `unit`, in the pairs named (None = all)."""

    def __init__(self, unit, stored, only=None):
        super().__init__(unit)
        self.stored, self.only = stored, only

    def read(self, name, eo=True):
        pair = super().read(name, eo)
        if self.only is not None and name != self.only:
            return pair
        return pair_of(name, self.stored(self.power(int(name[-1]))), pair.eo, pair.labels, pair.valid)


def decibel(power):
    return 10 * np.log10(power)


def with_corner(value):
    def stored(power):
        db = decibel(power)
        db[:, -5:, -30:] = value
        return db
    return stored


@pytest.mark.parametrize(("unit", "stored", "words"), [
    (Unit.DB, lambda power: power, "look like linear power or amplitude; declare unit=intensity"),
    (Unit.INTENSITY, lambda power: np.rint(1000 * np.sqrt(power)), "those are digital numbers"),
    (Unit.AMPLITUDE, lambda power: np.rint(1000 * np.sqrt(power)), "sigma0 = CF * DN^2: unit: amplitude scale: sqrt"),
    (Unit.INTENSITY, decibel, "declare unit=db"),
    (Unit.DB, lambda power: 10 * decibel(power), "multiples of decibels; give scale: "),
    (Unit.DB, with_corner(-9999), "undeclared nodata value; give it with nodata:")])
def test_values_that_contradict_the_unit_are_refused_with_the_pair_and_the_key(unit, stored, words):
    with pytest.raises(DataError, match="set gamma, SAR of pair train0 and of 5 more of the 6 measured: ") as caught:
        measure(Wrong(unit, stored))
    assert words in str(caught.value) and "set.yaml" in str(caught.value) and "--" not in str(caught.value)
    pair = Wrong(unit, stored).read("train0")
    with pytest.raises(RadiometryError):                        # as a run refuses it
        check_values(pair.sar, pair.valid, SourceRadiometry(unit))


def test_a_nodata_value_in_one_file_is_found_and_the_file_is_named():
    with pytest.raises(DataError, match="pair train4: .*nodata"):
        measure(Wrong(Unit.DB, with_corner(-9999), only="train4"))


def test_one_bright_pair_among_others_is_no_wrong_unit():
    found = measure(Wrong(Unit.DB, lambda power: 30 + decibel(power), only="train3"))
    assert found.input.unit is Unit.DB


def test_zeros_in_decibel_are_learnt_as_values_and_said_aloud():
    lines = []
    measure(Wrong(Unit.DB, with_corner(0), only="train2"), log=lines.append)
    assert len(lines) == 1 and "in 1 of 6" in lines[0] and "train2" in lines[0] and "nodata: 0" in lines[0]
    measure(Gamma(Unit.DB), log=lines.append)
    assert len(lines) == 1


class Chips(Gamma):
    """Chips of 512 x 512 decibels without a hole, whose columns `odd` hold `value`."""

    def __init__(self, value, odd, unit=Unit.DB):
        super().__init__(unit, pairs=3)
        self.value, self.odd = value, odd

    def read(self, name, eo=True):
        power = np.random.default_rng(int(name[-1])).gamma(4.4, 0.01, (2, 512, 512)).astype(np.float32)
        sar = decibel(power) if self.info.sar_unit is Unit.DB else power
        sar[:, :, self.odd] = self.value
        return pair_of(name, sar, None, np.ones((512, 512)), np.ones((512, 512), bool))


@pytest.mark.parametrize("odd", [slice(1, 60), slice(65, 128), slice(511, 512)])
@pytest.mark.parametrize("unit", [Unit.DB, Unit.INTENSITY])
def test_a_border_of_nodata_is_found_wherever_its_columns_lie(odd, unit):
    with pytest.raises(DataError, match="pair train0 and of 2 more.*undeclared nodata value; give it with nodata: -9999 .keys of set.yaml"):
        measure(Chips(-9999, odd, unit))


@pytest.mark.parametrize(("value", "unit", "words"), [(0, Unit.DB, "exactly 0 dB"), (-0.01, Unit.INTENSITY, "below 0")])
def test_the_share_of_odd_pixels_is_that_of_all_pixels(value, unit, words):
    lines = []
    measure(Chips(value, slice(64, 65), unit), log=lines.append)
    assert lines == []                                          # a column is 0.2 % of a chip
    measure(Chips(value, slice(65, 76), unit), log=lines.append)
    assert len(lines) == 1 and f"are {words}" in lines[0] and "2.1% of train0" in lines[0] and "set.yaml: nodata: " in lines[0]


def test_the_sample_of_a_pair_is_the_same_each_time_and_lies_in_no_pattern():
    from training.units import _sample
    columns = np.tile(np.arange(512.0, dtype=np.float32), (2, 512))
    first = _sample(columns, "a")
    assert first.shape == (2, 4096) and np.array_equal(first, _sample(columns, "a")) and not np.array_equal(first, _sample(columns, "b"))
    assert len(np.unique(first)) > 500


@pytest.mark.parametrize("unit", [Unit.DB, Unit.INTENSITY, Unit.AMPLITUDE])
def test_bands_that_were_taken_for_each_other_are_told_of(unit):
    as_stored, lines = {Unit.DB: decibel, Unit.INTENSITY: lambda power: power, Unit.AMPLITUDE: np.sqrt}[unit], []
    measure(Wrong(unit, as_stored), log=lines.append)
    assert lines == []
    measure(Wrong(unit, lambda power: as_stored(power[::-1]), only="train2"), log=lines.append)
    assert len(lines) == 1 and "in 1 of 6" in lines[0] and "e.g. train2: VH -1" in lines[0] and "look whether bands of set.yaml" in lines[0]


@pytest.mark.parametrize("names", [("VV_before", "VH_before", "VV_after", "VH_after"), ("VV1", "VH1", "VV2", "VH2")])
def test_a_flood_is_darker_than_the_land_before_it_and_no_mistake(names):
    """VH before and VV after were held against each other, and every flooded pair was told of."""
    class Flooded(Gamma):
        def __init__(self, order=(0, 1, 2, 3)):
            super().__init__(Unit.DB)
            self.info, self.order = replace(self.info, bands=names), [*order]

        def read(self, name, eo=True):
            pair = super().read(name, eo)
            four = np.concatenate([pair.sar, pair.sar - 15])[self.order]
            return pair_of(name, four, None, pair.labels, pair.valid)

    lines = []
    measure(Flooded(), log=lines.append)
    assert lines == []
    measure(Flooded((0, 1, 3, 2)), log=lines.append)
    assert len(lines) == 1 and f"e.g. train0: {names[3]} -" in lines[0] and f" dB, {names[2]} -" in lines[0]


def test_pairs_that_no_label_is_learnt_from_are_told_of():
    class Blind(Gamma):
        def read(self, name, eo=True):
            pair = super().read(name, eo)
            return pair if name in ("train0", "train1") else pair_of(name, pair.sar, None, pair.labels, np.zeros_like(pair.valid))
    lines = []
    measure(Blind(), log=lines.append)
    assert len(lines) == 1 and lines[0].startswith("warning: 4 of 6 measured train pairs, e.g. train2, have no pixel with both SAR and a class")


def test_digital_numbers_may_be_anything():
    measure(Wrong(Unit.DN, lambda power: 1e6 * power))
