"""Which bands of a scene's files are read: by number, by name or as stored, and never another one for a missing one."""

import numpy as np
import pytest

from hfd_edge.errors import ArrayError, RasterError
from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.raster import RasterSource
from hfd_edge.raster_run import read_as
from hfd_edge.source import check_count
from tests.rasters import ramp, write_tif
from tests.test_raster import read_all


FLAGGED = ["gray", "undefined", "undefined", "alpha"]


def flagged(path, values, names=(), last=0):
    """The last band is flagged as alpha, and 0 in a corner of each band."""
    from rasterio.enums import ColorInterp
    values = values.copy()
    values[:, 0, 0] = last
    interpretations = [ColorInterp[name] for name in (*FLAGGED[:len(values) - 1], "alpha")]
    return write_tif(path, values, colorinterp=interpretations, **({"descriptions": names} if names else {})), values


@pytest.mark.parametrize("count", [2, 4])
def test_a_flagged_band_that_is_chosen_by_number_is_data(tmp_path, count):
    path, values = flagged(tmp_path / "a.tif", ramp(count))
    for bands in (range(1, count + 1), range(count, 0, -1)):
        with RasterSource(path, bands=tuple(bands)) as source:
            got, valid = source.read(0, 7)
            np.testing.assert_array_equal(got, values[[number - 1 for number in bands]])
            assert valid is None and source.band_numbers == tuple(bands) and source.alpha_numbers == ()
    with RasterSource(path) as source:
        assert source.count == count - 1 and source.alpha_numbers == (count,) and not source.read(0, 7)[1][0, 0]


def test_a_flagged_band_whose_name_is_a_polarisation_is_data(tmp_path):
    path, values = flagged(tmp_path / "a.tif", ramp(4), ("HH", "HV", "VH", "VV"))
    with RasterSource(path, wanted=("VV", "VH")) as source:
        got, valid = source.read(0, 7)
        np.testing.assert_array_equal(got, values[[3, 2]])
        assert valid is None and source.alpha_numbers == ()


def test_flagged_bands_of_several_files_count_after_all_others(tmp_path):
    (one, values), (other, others) = flagged(tmp_path / "a_vv.tif", ramp(2)), flagged(tmp_path / "a_vh.tif", 5 * ramp(2))
    for bands, expected in (((1, 2), [values[0], others[0]]), ((3, 2), [values[1], others[0]]), ((1, 4), [values[0], others[1]])):
        np.testing.assert_array_equal(read_all([one, other], bands=bands)[0], expected)
    with RasterSource([one, other], wanted=("VH", "VV")) as source:
        assert source.band_numbers == (2, 1) and source.alpha_numbers == (3, 4)


# Bands

def test_bands_are_chosen_by_number_name_or_polarisation(tmp_path):
    values = ramp(4)
    path = write_tif(tmp_path / "a.tif", values, descriptions=["HH", "HV", "Sigma0_VH", "Sigma0_VV"])
    for bands, expected in (((4, 3), [3, 2]), (("VV", "VH"), [3, 2]), (("hh",), [0]), (("Sigma0_VH", 1), [2, 0])):
        np.testing.assert_array_equal(read_all(path, bands=bands)[0], values[expected])
    np.testing.assert_array_equal(read_all(path, wanted=("VV", "VH"))[0], values[[3, 2]])
    assert len(read_all(path, wanted=("B0", "B1"))[0]) == 4        # no name fits: as stored, and the count is judged elsewhere
    for bands, words in (((5,), "bands 1 to 4"), ((0,), "counted from 1"), (("XX",), "no band has this name"),
                         ((2, 2), "chosen twice"), (("VV", 4), "chosen twice")):
        with pytest.raises(RasterError, match=words):
            RasterSource(path, bands=bands)


def test_another_polarisation_is_not_taken_for_the_wanted_one(tmp_path):
    path = write_tif(tmp_path / "a.tif", ramp(), descriptions=["HH", "HV"])
    with pytest.raises(RasterError, match="--bands 1,2"):
        RasterSource(path, wanted=("VV", "VH"))
    assert len(read_all(path, bands=(1, 2), wanted=("VV", "VH"))[0]) == 2
    alone = write_tif(tmp_path / "S1A_RTC30_G_gpuned_VH.tif", ramp(1))
    with pytest.raises(RasterError, match="VV is not there"):
        RasterSource(alone, wanted=("VV",))
    assert read_all(alone, wanted=("VH",))[0].shape == read_all(alone, wanted=("sar",))[0].shape == (1, 7, 11)


@pytest.mark.parametrize("names", [("VV", "angle"), ("VV", "VV/VH"), ("VV", None), ("HH", "angle"), ("VV", "angle", "LIA"), ("VH", "VH_1")])
def test_a_band_of_another_name_does_not_stand_in_for_a_missing_polarisation(tmp_path, names):
    path = write_tif(tmp_path / "a.tif", ramp(len(names)), descriptions=names)
    with pytest.raises(RasterError, match="(VH is|VV is|VV, VH are) not there.*--bands 1,2"):
        RasterSource(path, wanted=("VV", "VH"))


def test_a_file_that_names_no_polarisation_does_not_stand_in_for_one(tmp_path):
    files = [write_tif(tmp_path / name, ramp(1)) for name in ("S1_VV.tif", "S1_inc_map.tif")]
    with pytest.raises(RasterError, match="VV, .unnamed., and .*: VH is not there"):
        RasterSource(files, wanted=("VV", "VH"))


@pytest.mark.parametrize("names", [("B08", "B04", "B03", "B02"), ("b8", "B4", "B03", "B2"), ("SCL", "B08", "B04", "B03", "B02", "B12")])
def test_a_zero_before_the_number_of_a_band_makes_no_other_name(tmp_path, names):
    values = ramp(len(names))
    path = write_tif(tmp_path / "a.tif", values, descriptions=names)
    numbers = [names.index(name) for name in names if name not in ("SCL", "B12")][::-1]
    for wanted in (("B2", "B3", "B4", "B8"), ("B02", "B03", "B04", "B08")):
        np.testing.assert_array_equal(read_all(path, wanted=wanted)[0], values[numbers])
        np.testing.assert_array_equal(read_all(path, bands=wanted, wanted=wanted)[0], values[numbers])
        with RasterSource(path, wanted=wanted) as source:
            assert read_as(source, SourceRadiometry("dn"), wanted) == f"bands {', '.join(names[i] for i in numbers)} in dn"


def test_a_zero_elsewhere_in_a_name_is_another_band(tmp_path):
    path = write_tif(tmp_path / "a.tif", ramp(4), descriptions=("B1", "B01", "B10", "B8A"))
    for name, number in (("B1", 1), ("b01", 2), ("B10", 3), ("B08A", 4)):
        with RasterSource(path, bands=(name,)) as source:
            assert source.band_numbers == (number,)
    for name, words in (("B001", "several bands"), ("B100", "no band"), ("B", "no band"), ("B0", "no band"), ("B8", "no band"), ("B08B", "no band")):
        with pytest.raises(RasterError, match=words):
            RasterSource(path, bands=(name,))


def test_a_stack_of_dates_is_refused_with_what_it_holds(tmp_path):
    names = ("VV_20200101", "VH_20200101", "VV_20200113", "VH_20200113")
    path = write_tif(tmp_path / "a.tif", ramp(4), descriptions=names)
    with RasterSource(path, wanted=("VV", "VH")) as source, pytest.raises(ArrayError, match="by number: 1 VV_20200101, 2 VH_20200101, 3 VV_20200113, 4 VH"):
        check_count(source, ("VV", "VH"))
    np.testing.assert_array_equal(read_all(path, bands=(3, 4), wanted=("VV", "VH"))[0], ramp(4)[2:])
    np.testing.assert_array_equal(read_all(path, bands=names[2:], wanted=("VV", "VH"))[0], ramp(4)[2:])


DATES = ("VV_before", "VH_before", "VV_after", "VH_after")


def dated(folder, names, **described):
    """One-band files of these names, in each its number."""
    return [write_tif(folder / f"{name}.tif", np.full((1, 7, 11), number, np.float32), **described) for number, name in enumerate(names)]


@pytest.mark.parametrize("names", [("after_vv", "before_vh", "after_vh", "before_vv"), ("S1_VV-after", "S1_VH_before_db", "S1_VH.after", "S1 VV before")])
def test_the_words_of_a_files_name_tell_its_date_whatever_the_order_in_which_files_are_given(tmp_path, names):
    files = dated(tmp_path, names)
    got, _ = read_all(files, wanted=DATES)
    assert got[:, 0, 0].tolist() == [3, 1, 0, 2]
    with RasterSource(files, wanted=DATES) as source:
        assert read_as(source, SourceRadiometry("db"), DATES) == "bands 4 VV as VV_before, 2 VH as VH_before, 1 VV as VV_after, 3 VH as VH_after in db"
    assert read_all(files, bands=("VH_after", "VV_before"), wanted=None)[0][:, 0, 0].tolist() == [2, 3]


def test_files_of_a_date_tell_it_for_all_of_their_bands_but_angles(tmp_path):
    after, before = (write_tif(tmp_path / f"{name}.tif", number * ramp(3), descriptions=("VH", "VV", "angle")) for number, name in ((5, "after"), (1, "before")))
    np.testing.assert_array_equal(read_all([after, before], wanted=DATES)[0], np.concatenate([ramp(2)[::-1], 5 * ramp(2)[::-1]]))


def test_a_files_name_that_holds_both_dates_tells_none(tmp_path):
    files = [write_tif(tmp_path / f"{name}.tif", ramp(2), descriptions=("VV", "VH")) for name in ("before_after", "other")]
    with pytest.raises(RasterError, match="no name tells which of them is VV_before"):
        RasterSource(files, wanted=DATES)


@pytest.mark.parametrize("names", [("S1_VV_20200113_20200125", "S1_VV_20200101_20200113"), ("site_20200113_vv_20200113", "site_20200113_vv_20200101")])
def test_a_file_that_alone_is_one_date_is_no_other_whatever_else_its_name_holds(tmp_path, names):
    """They were read in the order in which they were given: the dates swapped, without a word."""
    wanted = ("VV_20200101", "VV_20200113")
    assert read_all(dated(tmp_path, names), wanted=wanted)[0][:, 0, 0].tolist() == [1, 0]
    assert read_all(dated(tmp_path, names[::-1]), wanted=wanted)[0][:, 0, 0].tolist() == [0, 1]


def test_files_whose_names_all_hold_both_dates_are_for_the_caller_to_order(tmp_path):
    files = dated(tmp_path, ("a_VV_before_after", "b_VV_before_after"))
    with pytest.raises(RasterError, match="no name tells which of them is VV_before.*--bands 1,2"):
        RasterSource(files, wanted=("VV_before", "VV_after"))
    assert read_all(files, bands=(2, 1), wanted=("VV_before", "VV_after"))[0][:, 0, 0].tolist() == [1, 0]


@pytest.mark.parametrize("order, way", [((0, 1, 2, 3), "say so by number: --bands 1,2,3,4"), ((1, 0, 2, 3), "choose them by number in this order")])
def test_dates_that_no_name_tells_are_for_the_caller_to_say(tmp_path, order, way):
    names = [("S1_20200101_VV", "S1_20200101_VH", "S1_20200113_VV", "S1_20200113_VH")[number] for number in order]
    files = dated(tmp_path, names)
    with pytest.raises(RasterError, match=f"no name tells which of them is VV_before.*{way}"):
        RasterSource(files, wanted=DATES)
    assert read_all(files, bands=(1, 2, 3, 4), wanted=DATES)[0][:, 0, 0].tolist() == [0, 1, 2, 3]


def test_the_numbers_that_an_error_gives_for_dates_are_those_of_polarisations(tmp_path):
    """It said --bands 1,2,3,4, of which the third was an angle."""
    files = [write_tif(tmp_path / name, ramp(3), descriptions=("VV", "VH", "angle")) for name in ("20200101.tif", "20200113.tif")]
    with pytest.raises(RasterError, match="holds the bands 1 VV, 2 VH, 4 VV, 5 VH, .*--bands 1,2,4,5"):
        RasterSource(files, wanted=("VV1", "VH1", "VV2", "VH2"))


def test_all_words_of_a_name_are_the_band_and_a_ratio_of_them_is_not(tmp_path):
    path = write_tif(tmp_path / "a.tif", ramp(3), descriptions=("VV_VH_before_ratio", "before Sigma0 VH", "VV before"))
    np.testing.assert_array_equal(read_all(path, wanted=("VV_before", "VH_before"))[0], ramp(3)[[2, 1]])
