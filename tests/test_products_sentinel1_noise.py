"""The noise of a Sentinel-1 GRD product: what is subtracted, what is not, and what the notes say. All products here are made up."""

from dataclasses import replace

import numpy as np
import pytest

from hfd_edge.products import Sentinel1Options, Sentinel1Source
from tests.safe_files import MadeUp


def read_all(safe):
    with Sentinel1Source(safe) as source:
        return source.read(0, source.rows)


def test_noise_that_the_processor_removed_is_not_removed_twice(tmp_path):
    made = MadeUp(noise_removed=True)
    np.testing.assert_allclose(read_all(made.write(tmp_path))[0][0], made.power("VV"), rtol=1e-6)


def test_noise_stays_where_asked_and_the_notes_say_so(tmp_path):
    made = MadeUp()
    safe = made.write(tmp_path)
    with Sentinel1Source(safe, options=Sentinel1Options(remove_noise=False)) as source:
        values, _ = source.read(0, source.rows)
        assert any("not removed, as asked" in note for note in source.notes)
    np.testing.assert_allclose(values[0], replace(made, noise_removed=True).power("VV"), rtol=1e-6)


def of_first_processors(ipf, mode="IW"):
    """A product whose noise is written in the scale of its own that IPF before 2.50 used, and the product as it would be in DN^2."""
    made = MadeUp(old_noise=True, ipf=ipf, mode=mode)
    scaled = {}
    for pol, (lines, pixels, values) in made.noise.items():
        dn = made.calibration[pol]["dn"][2][0][0]
        scaled[pol] = (lines, pixels, values / (75088.7 * dn ** (2 if ipf >= "002.34" else 1)))
    return replace(made, noise=scaled), made


@pytest.mark.parametrize("ipf", ["002.33", "002.34", "002.43"])
def test_noise_in_the_scale_of_the_first_processors_is_converted_and_said(tmp_path, ipf):
    written, in_dn2 = of_first_processors(ipf)
    with Sentinel1Source(written.write(tmp_path)) as source:
        values, _ = source.read(0, source.rows)
        assert any(f"IPF {float(ipf):.2f} states it in a scale of its own, converted" in note for note in source.notes)
    np.testing.assert_allclose(values[1], in_dn2.power("VH"), rtol=1e-6)
    assert not np.allclose(values[1], written.power("VH"))          # as if it were in DN^2


@pytest.mark.parametrize("ipf,mode,words", [("002.50", "IW", "IPF 2.50"), ("002.43", "S3", "IPF 2.43")])
def test_noise_in_a_scale_that_is_not_known_is_left_alone_and_said(tmp_path, ipf, mode, words):
    written, _ = of_first_processors(ipf, mode)
    with Sentinel1Source(written.write(tmp_path)) as source:
        values, _ = source.read(0, source.rows)
        assert any(f"noise not removed ({words} gives it in a scale that is not known)" in note for note in source.notes)
    np.testing.assert_allclose(values[1], replace(written, noise_removed=True).power("VH"), rtol=1e-6)


def test_noise_of_the_first_processors_that_is_in_dn2_already_is_taken_as_it_is(tmp_path):
    made = MadeUp(old_noise=True, ipf="002.53")
    np.testing.assert_allclose(read_all(made.write(tmp_path))[0][1], made.power("VH"), rtol=1e-6)


@pytest.mark.parametrize("old_noise", [False, True])
def test_zeros_at_the_ends_of_a_noise_vector_say_nothing_of_the_noise(tmp_path, old_noise):
    made = MadeUp(old_noise=old_noise, ipf="002.72" if old_noise else "003.31")
    lines, _, values = made.noise["VH"]
    pixels, filled = np.array([0, 20, 33, 70, 81, made.cols - 1]), values[:, [0, 0, 1, 2, 2, 2]]
    filled[1, 2] = 0.0                                              # between others it is a value
    written = filled * [0, 1, 1, 1, 0, 0]                           # from the last place before the end on, as processors write them
    made.noise["VH"] = (lines, pixels, written)
    got = read_all(made.write(tmp_path))[0][1]
    assert not np.allclose(got, made.power("VH"))                   # the zeros taken as noise
    np.testing.assert_allclose(got, replace(made, noise={"VH": (lines, pixels, filled)}).power("VH"), rtol=1e-6)


def test_a_noise_vector_of_nothing_but_zeros_is_passed_over(tmp_path):
    made = MadeUp(old_noise=True, ipf="002.72")
    lines, pixels, values = made.noise["VH"]
    made.noise["VH"] = (lines, pixels, values * [[1], [0], [1]])
    expected = replace(made, noise={"VH": (lines[[0, 2]], pixels, values[[0, 2]])})
    np.testing.assert_allclose(read_all(made.write(tmp_path))[0][1], expected.power("VH"), rtol=1e-6)


@pytest.mark.parametrize("old_noise", [False, True])
def test_a_noise_table_of_nothing_but_zeros_is_said(tmp_path, old_noise):
    made = MadeUp(old_noise=old_noise, ipf="002.36" if old_noise else "003.31")
    for pol, (lines, pixels, values) in made.noise.items():
        made.noise[pol] = (lines, pixels, 0 * values)
    with Sentinel1Source(made.write(tmp_path)) as source:
        values, _ = source.read(0, source.rows)
        assert any("noise not removed (its table holds nothing but zeros)" in note for note in source.notes)
    np.testing.assert_allclose(values[1], replace(made, noise_removed=True).power("VH"), rtol=1e-6)


def test_beyond_the_outermost_azimuth_blocks_the_closest_counts(tmp_path):
    first, second, third = (7, 29, 0, 40, [7, 29], [1.3, 0.8]), (30, 50, 0, 41, [30, 50], [0.9, 1.6]), (3, 55, 42, 82, [3, 55], [1.5, 0.6])
    made = MadeUp(blocks=[first, second, third])
    reaching = [(0, 29, *first[2:]), (30, 60, *second[2:]), (0, 60, *third[2:])]
    got = read_all(made.write(tmp_path))[0][1]
    assert not np.allclose(got, made.power("VH"))                   # 1 where there is none
    np.testing.assert_allclose(got, replace(made, blocks=reaching).power("VH"), rtol=1e-6)


def test_an_azimuth_block_that_ends_before_it_begins_covers_nothing(tmp_path):
    made = MadeUp(blocks=[(0, 60, 40, 3, [0, 60], [7.0, 7.0])])
    np.testing.assert_allclose(read_all(made.write(tmp_path))[0][1], made.power("VH"), rtol=1e-6)
