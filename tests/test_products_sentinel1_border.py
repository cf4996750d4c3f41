"""The dark border of old Sentinel-1 images, and parts of images. All products here are made up."""

import numpy as np
import pytest

from hfd_edge import RasterError
from hfd_edge.products import Sentinel1Source
from tests.safe_files import MadeUp


def read_all(safe):
    with Sentinel1Source(safe) as source:
        return source.read(0, source.rows)


def border_scene(ipf, inside):
    """25 dark columns at the left, then `inside` (rows, cols) of numbers."""
    made = MadeUp(rows=200, cols=120, pols=("VV",), ipf=ipf, old_noise=ipf < "002.90",
                  noise={"VV": (np.array([0, 199]), np.array([0, 119]), np.full((2, 2), 400.0))})
    rng = np.random.default_rng(1)
    made.dn["VV"] = inside.astype(np.uint16)
    made.dn["VV"][:, :25] = rng.integers(0, 10, (200, 25))
    return made


def water(mean_dn2):
    """Calm water: power of 4.4 looks around `mean_dn2`."""
    return np.sqrt(np.random.default_rng(2).gamma(4.4, mean_dn2 / 4.4, (200, 120))).round()


def test_the_dark_border_of_an_old_product_is_nodata(tmp_path):
    _, valid = read_all(border_scene("002.71", water(40_000.0)).write(tmp_path))
    assert not valid[:, :25 - 8].any() and valid[:, 25:].all()


@pytest.mark.parametrize("zeros", [True, False])
def test_a_border_at_the_end_of_the_rows_is_found_where_the_noise_vector_ends_in_zeros(tmp_path, monkeypatch, zeros):
    made = border_scene("002.72", water(40_000.0))
    made.dn["VV"][:, 95:] = np.random.default_rng(3).integers(1, 10, (200, 25))
    made.noise["VV"] = (np.array([0, 199]), np.array([0, 79, 100, 119]), np.array([[400.0, 400, 0, 0]] * 2))
    if not zeros:                                               # taken as noise, the border is brighter than half of it
        monkeypatch.setattr("hfd_edge.products.annotation.between_zeros", lambda vector: vector)
    _, valid = read_all(made.write(tmp_path))
    assert valid[:, 25:95].all() and valid[:, 95 + 8:].any() == (not zeros)


def test_calm_water_as_dark_as_the_noise_is_no_border(tmp_path):
    _, valid = read_all(border_scene("002.71", water(400.0)).write(tmp_path))
    assert not valid[:, :25 - 8].any()
    inside = border_scene("002.71", water(400.0)).dn["VV"][:, 25:] != 0
    assert np.mean(valid[:, 25:] == inside) > 0.9999


def test_a_product_of_a_newer_processor_has_no_such_border(tmp_path):
    made = border_scene("002.90", water(400.0))
    _, valid = read_all(made.write(tmp_path))
    np.testing.assert_array_equal(valid, made.dn["VV"] != 0)


def test_a_row_of_nothing_but_border_is_nodata(tmp_path):
    made = border_scene("002.71", water(40_000.0))
    made.dn["VV"][7] = 3
    _, valid = read_all(made.write(tmp_path))
    assert not valid[7].any() and valid[8, 25:].all()


# Bands

@pytest.mark.parametrize("wanted,order", [(("VH", "VV"), ("VH", "VV")), (("Sigma0_VV",), ("VV",)), (None, ("VV", "VH"))])
def test_bands_come_by_polarisation_in_the_networks_order(tmp_path, wanted, order):
    made = MadeUp()
    with Sentinel1Source(made.write(tmp_path), wanted=wanted) as source:
        assert source.band_names == order and source.count == len(order)
        np.testing.assert_allclose(source.read(0, 61)[0][0], made.power(order[0]), rtol=1e-6)


@pytest.mark.parametrize("ipf", ["002.71", "003.31"])
def test_a_part_is_the_crop_of_the_whole(tmp_path, ipf):
    made = border_scene(ipf, water(40_000.0))
    made.dn["VV"][40:44, 90:] = 0
    safe = made.write(tmp_path)
    values, valid = read_all(safe)
    with Sentinel1Source(safe) as source:
        for row, rows, col, cols in ((0, 200, 30, 90), (35, 150, 10, 9), (199, 1, 0, 120), (5, 130, 110, 10)):
            part, part_valid = source.read_part(row, rows, col, cols)
            np.testing.assert_array_equal(part, values[:, row:row + rows, col:col + cols])
            np.testing.assert_array_equal(part_valid, valid[row:row + rows, col:col + cols])
        reader = source.reader(10, 100)
        for row in (0, 60, 140):                                # windows that share rows
            np.testing.assert_array_equal(reader.read(row, 60 + 16 * (row < 140))[0], values[:, row:row + 60 + 16 * (row < 140), 10:110])
        with pytest.raises(RasterError, match="rows 150 to 249"):
            source.read(150, 100)
