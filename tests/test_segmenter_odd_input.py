"""Odd but honest input to Segmenter.run, and declarations that are none."""

import re

import numpy as np
import pytest

from hfd_edge.errors import ArrayError, HfdError, RadiometryError
from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.raster_run import RasterOptions
from hfd_edge.segmenter import Segmenter


def test_what_a_masked_array_masks_is_not_valid(db_engine, power):
    mask = np.zeros(power.shape, bool)
    mask[1, :20, 5:] = True                                     # in one band only
    with Segmenter(db_engine) as seg:
        expected = seg.run(power, unit="intensity", valid=~mask[1]).labels
        assert (expected[:20, 5:] == 255).all() and (expected[20:] != 255).all()
        masked, filled = np.ma.array(power, mask=mask), np.ma.array(np.where(mask, np.float32(-9999), power), mask=mask)
        for scene in (masked, filled, list(masked), masked[:, ::-1, ::-1][:, ::-1, ::-1]):
            np.testing.assert_array_equal(seg.run(scene, unit="intensity").labels, expected)
        valid = np.ma.array(np.ones(mask[1].shape, bool), mask=mask[1])
        np.testing.assert_array_equal(seg.run(power, unit="intensity", valid=valid).labels, expected)
        both = seg.run(masked, unit="intensity", valid=np.arange(70)[:, None].repeat(90, 1) < 60).labels
        assert (both[60:] == 255).all() and ((both[:60] == 255) == (expected[:60] == 255)).all()
        np.testing.assert_array_equal(seg.run(np.ma.array(power), unit="intensity").labels, seg.run(power, unit="intensity").labels)


def test_numpys_truth_values_are_some(db_engine):
    Segmenter(db_engine, trust_plans=np.bool_(False)).close()
    assert RasterOptions(overwrite=np.bool_(True), allow_empty=np.bool_(False)).overwrite


def test_numpy_integers_are_whole_numbers(db_engine, power):
    with Segmenter(db_engine, tile=104) as plain, Segmenter(
            db_engine, tile=np.int64(104), halo=np.int32(plain.spec.halo_px), batch=np.int64(2), memory=np.int64(1 << 29), threads=np.int8(2)) as seg:
        np.testing.assert_array_equal(seg.run(power, unit="intensity").labels, plain.run(power, unit="intensity").labels)


@pytest.mark.parametrize("arguments", [{"tile": None}, {"tile": 104.0}, {"batch": True}, {"memory": True}, {"device": None}, {"device": 0}, {"build": None},
                                       {"build": False}, {"trust_plans": 1}, {"trust_plans": None}])
def test_what_is_no_option_is_refused_by_name(db_engine, power, arguments):
    with pytest.raises(HfdError, match=f"{[*arguments][0]}={[*arguments.values()][0]}"):
        Segmenter(db_engine, **arguments).run(power, unit="intensity")


def test_a_tensor_without_memory_and_a_broken_array_interface_are_refused(db_engine):
    class Broken:
        def __dlpack_device__(self):
            raise ValueError("no device")

        def __array__(self, *_, **__):
            raise AttributeError("no array")

    with Segmenter(db_engine) as seg:
        with pytest.raises(ArrayError, match="does not tell its device .no device"):
            seg.run(Broken())
        del Broken.__dlpack_device__
        with pytest.raises(ArrayError, match="cannot be read as an array .no array"):
            seg.run(Broken())
        with pytest.raises(ArrayError, match="dtype int64"):
            seg.run(np.zeros((2, 8, 8), ">i8"))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("values, unit", [(1e300, "amplitude"), (1.7e308, "intensity"), (1e300 + 1e300j, "complex")])
def test_infinite_power_is_refused_in_words_alone(db_engine, values, unit):
    with Segmenter(db_engine) as seg, pytest.raises(RadiometryError, match="mean power of the sampled values is inf"):
        seg.run(np.full((2, 70, 90), values), unit=unit)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [-99.99, -9999.9, -3.4028235e38, 1e-3])
def test_a_nodata_value_is_found_among_numbers_that_hold_fewer_digits_of_it(db_engine, power, value):
    """It was left out of the check of the unit, and then segmented as the darkest ground."""
    hole = np.s_[:, 10:20, 30:60]
    for dtype in (np.float32, np.float64):
        scene = (10 * np.log10(power)).astype(dtype)
        scene[hole] = value
        with Segmenter(db_engine) as seg:
            labels = seg.run(scene, SourceRadiometry("db", nodata=(value, 1e300))).labels
        assert (labels[10:20, 30:60] == 255).all() and np.count_nonzero(labels == 255) == 300


@pytest.mark.parametrize("dtype, value", [("uint16", -9999), ("int16", 65535), ("uint16", 0.5), ("int32", 1e10), ("int8", np.inf)])
def test_a_nodata_value_that_no_pixel_can_be_is_refused_and_nan_is_none(db_engine, power, dtype, value):
    """It hid nothing without a word: the border was segmented."""
    scene = np.clip(10 * np.log10(power) * 2, -120, 120).astype(dtype)
    with Segmenter(db_engine) as seg:
        with pytest.raises(RadiometryError, match=re.escape(f"nodata={value:g}: pixels of {dtype} are whole numbers from")):
            seg.run(scene, SourceRadiometry("db", scale=0.5, nodata=(0, value)))
        if dtype == "int8":
            scene[:, 3] = 7
            assert (seg.run(scene, SourceRadiometry("db", scale=0.5, nodata=(7, np.nan))).labels[3] == 255).all()


@pytest.mark.parametrize("field", [{"nodata": 5}, {"nodata": ("a",)}, {"scale": "x"}, {"scale": None}, {"scale": 10**400}, {"offset": 1j}])
def test_a_declaration_that_is_no_number_is_refused_by_name(field):
    with pytest.raises(RadiometryError, match=f"{[*field][0]}=.*it must be"):
        SourceRadiometry("db", **field)


@pytest.mark.parametrize("bands, words", [(("b1", "b0"), r"takes B0, B1, in this order; array\[\[1, 0\]\]"), (("HH", "HV"), "takes B0, B1.*leave bands out"),
                                          (("Sigma0_B1", "Sigma0_B0"), r"array\[\[1, 0\]\]"), (("B0", "B0/B1"), "leave bands out"),
                                          (("B0", "B10"), "leave bands out"), (("VV",), "takes B0, B1"), ("VV", "takes B0, B1")])
def test_bands_that_are_declared_are_the_networks_in_its_order_or_refused(db_engine, power, bands, words):
    with Segmenter(db_engine) as seg:
        with pytest.raises(RadiometryError, match=words):
            seg.run(power, SourceRadiometry("intensity", bands=bands))
        for right in (("b0", "B1"), ("Sigma0_B0", "Sigma0_B1")):
            labels = seg.run(power, SourceRadiometry("intensity", bands=right)).labels
            np.testing.assert_array_equal(labels, seg.run(power, "intensity").labels)


def test_a_dark_band_that_lost_more_than_its_noise_is_power_and_no_decibels(db_engine, power):
    with Segmenter(db_engine) as seg:
        dark = np.stack([power[0], np.float32(0.1) * power[1] - np.float32(0.05)])
        assert np.mean(dark[1] < 0) > 0.95 and seg.run(dark, "intensity").report.nodata_share == 0


def test_labels_are_saved_under_the_name_that_was_given_or_not_at_all(db_engine, power, tmp_path):
    with Segmenter(db_engine) as seg:
        result = seg.run(power, unit="intensity")
    result.save(tmp_path / "MAP.NPY")
    np.testing.assert_array_equal(np.load(tmp_path / "MAP.NPY"), result.labels)
    with pytest.raises(HfdError, match="exists"):
        result.save(tmp_path / "MAP.NPY")
    with pytest.raises(HfdError, match="mkdir"):
        result.save(tmp_path / "none" / "map.npy")
    with pytest.raises(ValueError, match="copy=False"):
        result.__array__(np.float32, copy=False)
    assert [file.name for file in tmp_path.iterdir()] == ["MAP.NPY"]


def test_a_unit_is_a_word_in_any_case(db_engine, power):
    """dB, which everybody writes, was unknown in Python and known on the command line."""
    with Segmenter(db_engine) as seg:
        decibel = 10 * np.log10(power)
        np.testing.assert_array_equal(seg.run(decibel, unit="dB").labels, seg.run(decibel, unit="db").labels)
        with pytest.raises(RadiometryError, match="unit='dBm' is not known"):
            seg.run(decibel, unit="dBm")


def test_a_hundred_times_decibels_are_told_for_that_though_towns_lie_above_0_db(db_engine, power):
    """Earth Engine's int16 exports: a town's 60 was "above 50 dB, give the product's offset"."""
    scene = np.rint(1000 * np.log10(power)).astype(np.int16)
    scene[:, :5] = 60
    with Segmenter(db_engine) as seg:
        with pytest.raises(RadiometryError, match="multiples of decibels.*100 x dB: --scale 0.01"):
            seg.run(scene, unit="db")
        scene[:, -9:] = -32768
        with pytest.raises(RadiometryError, match=re.escape("give it with --nodata -32768 (SourceRadiometry(nodata=(-32768,)))")):
            seg.run(scene, SourceRadiometry("db", scale=0.01))


def test_a_result_says_that_there_are_notes(db_engine, power):
    """A border that was segmented, or bands in another order, stood in report.notes alone."""
    with Segmenter(db_engine) as seg:
        plain = seg.run(power, unit="intensity")
        assert ("note" in repr(plain)) == bool(plain.report.notes)
        power[:, :20] = 0
        noted = seg.run(power, unit="intensity")
        assert any("exactly 0 in every band" in note for note in noted.report.notes)
        assert repr(noted).endswith(f"; {len(noted.report.notes)} note{'s' * (len(noted.report.notes) > 1)}, print(result.report))")


def test_a_result_is_not_compared_with_a_class_in_its_place(db_engine, power):
    """result == 0 was False, and numpy.count_nonzero of it no water at all."""
    with Segmenter(db_engine) as seg:
        result = seg.run(power, unit="intensity")
    for number in (0, 0.0, np.uint8(0)):
        with pytest.raises(ArrayError, match="result.labels == 0"):
            np.count_nonzero(result == number)
        with pytest.raises(ArrayError, match="result.labels == 0"):
            assert result != number
    with pytest.raises(ArrayError, match="compared with ndarray"):
        assert result == result.labels
    assert (np.asarray(result) == result.labels).all() and len({result, result}) == 1 and result == result
    assert result != None and result != "map" and result not in [None]          # noqa: E711


def test_pixels_in_the_place_of_a_path_are_told_in_one_line(db_engine, power, tmp_path):
    with Segmenter(db_engine) as seg, pytest.raises(HfdError, match="is no path of a raster.*Segmenter.run") as caught:
        seg.run_raster([power], tmp_path / "map.tif")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 260


class View:
    """A tensor of torch whose memory holds the negative of what it says."""

    def __init__(self, values):
        self.values = values

    def __dlpack_device__(self):
        return 1, 0

    def __dlpack__(self, **_):
        return (-self.values).__dlpack__()

    def resolve_neg(self):
        return self.values


def test_a_tensor_that_is_negative_by_a_flag_keeps_its_sign(db_engine, power):
    """torch drops the flag in DLPack: z.conj().imag was segmented as z.imag."""
    decibel = 10 * np.log10(np.maximum(power, np.float32(1e-3)))
    with Segmenter(db_engine) as seg:
        np.testing.assert_array_equal(seg.run(View(decibel), unit="db").labels, seg.run(decibel, unit="db").labels)


@pytest.mark.parametrize("given", [None, 3.0, {"VV": 1}, {1, 2}, (band for band in "ab"), np.ma.masked], ids=["None", "number", "dict", "set", "generator", "masked"])
def test_what_is_no_array_is_refused_with_what_would_be(db_engine, given):
    with Segmenter(db_engine) as seg, pytest.raises(ArrayError, match=r'is no array of pixels: give \(2, rows, cols\), or a list of the bands'):
        seg.run(given, unit="db")


@pytest.mark.parametrize("named", [{"allow_empty": "no"}, {"allow_empty": 1}, {"confidence": "no"}, {"confidence": np.zeros(2)}], ids=str)
def test_a_word_that_is_neither_yes_nor_no_is_not_taken_for_yes(db_engine, power, named):
    """allow_empty="no" gave a map of nodata."""
    with Segmenter(db_engine) as seg:
        for empty in (power, power * np.nan):
            with pytest.raises(HfdError, match=f"{[*named][0]}=.*must be True or False"):
                seg.run(empty, unit="intensity", **named)
        assert seg.run(power, unit="intensity", confidence=np.bool_(False), allow_empty=np.bool_(False)).score is None


def test_an_array_in_the_place_of_the_unit_is_told_in_one_line(db_engine, power):
    with Segmenter(db_engine) as seg, pytest.raises(RadiometryError, match="^unit=array.* is not known: use intensity") as caught:
        seg.run(power, power[0] > 0)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200
