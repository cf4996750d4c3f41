"""Arrays with labels, as xarray's: bands in another order, and nodata numbers that they state, are no secret."""

import re

import numpy as np
import pytest

from hfd_edge.errors import ArrayError, RadiometryError
from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.segmenter import Segmenter
from hfd_edge.source.labelled import dates_of, names_of, scale_of
from tests.engines import plain_input, random_engine


class Labelled:
    """What hfd_edge reads of a DataArray; xarray itself is not among its dependencies."""

    def __init__(self, values, labels=None, attrs=None, name=None):
        self.values, self.attrs, self.name = values, attrs or {}, name
        self.dims = ("band", "y", "x")[3 - values.ndim:]
        self.coords = {} if labels is None else {"band": np.array(labels)}

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype)


@pytest.mark.parametrize("labels, attrs", [(["b1", "b0"], None), (["sigma0_b1", "sigma0_b0"], None), ([2, 1], {"long_name": ("B0", "B1")})])
def test_bands_that_an_array_names_in_another_order_are_refused(db_engine, power, labels, attrs):
    """Stacks of Planetary Computer's assets come as vh, vv: the map was wrong, with a note that nobody reads in a notebook."""
    swapped = Labelled(power[::-1], labels, attrs)
    with Segmenter(db_engine) as seg:
        with pytest.raises(ArrayError, match=re.escape("takes B0, B1, in this order: array[[1, 0]] puts them in order")):
            seg.run(swapped, unit="intensity")
        right = Labelled(power, labels[::-1], attrs)
        for scene in (right, swapped.values[::-1], Labelled(power, ["p", "q"]), Labelled(power, [1, 2], {"long_name": "power"}), Labelled(power)):
            np.testing.assert_array_equal(seg.run(scene, unit="intensity").labels, seg.run(power, unit="intensity").labels)
        meant = SourceRadiometry("intensity", bands=("B0", "B1"))
        np.testing.assert_array_equal(seg.run(swapped, meant).labels, seg.run(power[::-1], unit="intensity").labels)


def test_arrays_in_a_list_are_taken_by_their_names(db_engine, power):
    one, other = (Labelled(power[number], name=f"B{number}") for number in (0, 1))
    with Segmenter(db_engine) as seg:
        np.testing.assert_array_equal(seg.run([one, other], unit="intensity").labels, seg.run(power, unit="intensity").labels)
        with pytest.raises(ArrayError, match="names its bands B1, B0"):
            seg.run([other, one], unit="intensity")


def test_one_band_is_known_by_the_label_that_sel_left_it_or_by_its_own_name(tmp_path, power):
    engine = random_engine(tmp_path / "one.engine", ("VV",), input=plain_input(1, unit="db", floor=-30.0))
    chosen = Labelled(power[1])
    chosen.coords = {"band": np.array("vh"), "y": np.arange(70.0)}
    with Segmenter(engine) as seg:
        for other in (chosen, Labelled(power[1], name="sigma0_vh"), [chosen]):
            with pytest.raises(ArrayError, match="names its bands (sigma0_)?vh and the network takes VV"):
                seg.run(other, unit="intensity")
        chosen.coords["band"] = np.array("vv")
        for right in (chosen, Labelled(power[1], name="backscatter"), Labelled(power[1])):
            np.testing.assert_array_equal(seg.run(right, unit="intensity").labels, seg.run(power[1], unit="intensity").labels)


@pytest.mark.parametrize("labels", [["B0", "angle"], ["hh", "hv"]])
def test_another_band_beside_the_networks_or_another_polarisation_is_refused(db_engine, power, labels):
    with Segmenter(db_engine) as seg, pytest.raises(ArrayError, match=f"names its bands {', '.join(labels)} .*take the bands that the network was trained on"):
        seg.run(Labelled(power, labels), unit="intensity")


def test_the_error_about_a_shape_says_what_the_bands_are_and_that_dates_go_one_by_one(db_engine, power):
    three = Labelled(np.concatenate([power, power[:1]]), ["B0", "B1", "angle"])
    with Segmenter(db_engine) as seg:
        with pytest.raises(ArrayError, match="names its bands B0, B1, angle: choose by number"):
            seg.run(three, unit="intensity")
        with pytest.raises(ArrayError, match=re.escape("several scenes or dates, give one at a time: array[0]")):
            seg.run(power[np.newaxis], unit="intensity")


@pytest.mark.parametrize("key", ["_FillValue", "nodata"])
def test_the_nodata_number_of_an_arrays_attributes_is_nodata(db_engine, power, key):
    """rioxarray keeps a file's nodata value there, and 0 is a border that nothing else tells from dark ground."""
    holed = power.copy()
    holed[:, :9, :40] = 0
    with Segmenter(db_engine) as seg:
        labels = seg.run(Labelled(holed, attrs={key: np.float32(0)}), unit="intensity").labels
        assert (labels[:9, :40] == 255).all() and np.count_nonzero(labels == 255) == 360
        holed[0, 30] = -9999
        both = seg.run(Labelled(holed, attrs={key: 0}), SourceRadiometry("intensity", nodata=(-9999,))).labels
        assert (both[30] == 255).all() and np.count_nonzero(both == 255) == 360 + 90
        listed = seg.run([Labelled(band, attrs={key: 0}) for band in np.where(holed == -9999, 0, holed)], unit="intensity").labels
        np.testing.assert_array_equal(listed, both)
        whole = np.full((2, 70, 90), 7, np.uint16)
        for value in (-9999, np.nan, "none", 0.5):                  # no pixel can be it
            assert (seg.run(Labelled(whole, attrs={key: value}), SourceRadiometry("db", scale=-1.0)).labels != 255).all()


@pytest.mark.parametrize("dim, labels", [("time", None), ("t", np.array(["2020-01-01", "2020-01-13"], "M8[ns]"))])
def test_two_dates_of_one_polarisation_are_not_taken_for_two_polarisations(tmp_path, power, dim, labels):
    """An xarray (time, y, x) of as many dates as the network has bands was segmented, with a note at most."""
    dated = Labelled(power)
    dated.dims, dated.coords = (dim, "y", "x"), {} if labels is None else {dim: labels}
    two, before_after = (random_engine(tmp_path / f"{names[0]}.engine", names, input=plain_input(2, unit="db", floor=-30.0))
                         for names in (("VV", "VH"), ("VV_before", "VV_after")))
    with Segmenter(two) as seg, Segmenter(before_after) as of_dates:
        with pytest.raises(ArrayError, match=re.escape("first axis holds 2 dates and the network takes VV, VH: give the bands of one date in a list, [vv[0], vh[0]]")):
            seg.run(dated, unit="intensity")
        meant = SourceRadiometry("intensity", bands=("VV", "VH"))
        for labels in (seg.run(dated, meant).labels, seg.run(dated.values, unit="intensity").labels, seg.run([*dated.values], unit="intensity").labels):
            np.testing.assert_array_equal(labels, seg.run(power, unit="intensity").labels)
        np.testing.assert_array_equal(of_dates.run(dated, unit="intensity").labels, of_dates.run(power, unit="intensity").labels)


@pytest.mark.parametrize("attrs, told", [({"scale_factor": 0.5, "add_offset": 0.0}, "scale_factor=0.5"), ({"add_offset": np.float64(-3)}, "add_offset=-3.0"),
                                         ({"scale_factor": 0.1, "add_offset": 2}, "scale_factor=0.1, add_offset=2")])
def test_a_scale_that_attributes_state_is_declared_or_refused(db_engine, power, attrs, told):
    """rioxarray and odc keep a file's scale there: multiples of decibels were segmented as decibels, or their darkest ones called nodata."""
    stored = (20 * np.log10(power)).astype(np.float32)
    with Segmenter(db_engine) as seg:
        for scene in (Labelled(stored, attrs=attrs), [Labelled(band, attrs=attrs) for band in stored]):
            with pytest.raises(RadiometryError, match=re.escape(f"attributes say {told} and no scale or offset is declared")):
                seg.run(scene, unit="db")
        declared = SourceRadiometry("db", scale=0.5)
        np.testing.assert_array_equal(seg.run(Labelled(stored, attrs=attrs), declared).labels, seg.run(stored, declared).labels)
        for plain in ({"scale_factor": 1.0, "add_offset": 0}, {"scale_factor": "none"}):
            np.testing.assert_array_equal(seg.run(Labelled(stored, attrs=plain), declared).labels, seg.run(stored, declared).labels)
            assert seg.run(Labelled(power, attrs=plain), unit="intensity").report.rows == 70


def test_what_has_no_labels_has_no_names():
    for nothing in (np.zeros((2, 3, 4)), [[1.0]], [], Labelled(np.zeros((2, 3, 4)), [1, 2], {"long_name": ("one",)}), Labelled(np.zeros((2, 3, 4)), [0.5, 1.5])):
        assert names_of(nothing) == () and dates_of(nothing) == 0 and scale_of(nothing) == ()
