"""SICD through sarpy: power by the file's own polynomials, in any strips; what cannot be calibrated or read is refused in one line."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio

from hfd_edge.errors import RadiometryError, RasterError
from hfd_edge.products import SceneRequest, open_scene
from tests import command
from tests.engines import plain_input, random_engine

POLYNOMIALS = {"SigmaZeroSFPoly": [[0.02, 1e-4], [-3e-5, 2e-6]], "BetaZeroSFPoly": [[0.05]]}


def noise(rows=300, cols=83):
    rng = np.random.default_rng(1)
    pixels = (rng.normal(size=(rows, cols)) + 1j * rng.normal(size=(rows, cols))).astype(np.complex64)
    pixels[:7, :5] = 0
    return pixels


@pytest.fixture(scope="module")
def sicd(tmp_path_factory):
    pytest.importorskip("sarpy")
    from tests.sicd_files import write_sicd
    return write_sicd(tmp_path_factory.mktemp("sicd") / "x.nitf", noise(), POLYNOMIALS, first=(4, 6)), noise()


def by_hand(pixels, coefficients, first=(4, 6)):
    """Pixel by pixel in float64."""
    from tests.sicd_files import SCP, SPACING_M
    power = np.empty(pixels.shape)
    for row, col in np.ndindex(power.shape):
        x, y = (row + first[0] - SCP[0]) * SPACING_M[0], (col + first[1] - SCP[1]) * SPACING_M[1]
        factor = sum(c * x ** i * y ** j for i, line in enumerate(coefficients) for j, c in enumerate(line))
        power[row, col] = abs(complex(pixels[row, col])) ** 2 * factor
    return power


@pytest.mark.parametrize("quantity, name", [("sigma0", "SigmaZeroSFPoly"), ("beta0", "BetaZeroSFPoly")])
def test_power_is_that_of_the_files_polynomial_and_any_strips_hold_the_same_bits(sicd, quantity, name):
    path, pixels = sicd
    with open_scene(path, SceneRequest(quantity=quantity)) as scene:
        values, valid = scene.read(0, scene.rows)
        assert (scene.rows, scene.cols, scene.count, scene.band_names) == (300, 83, 1, ("VV",))
        np.testing.assert_allclose(values[0], by_hand(pixels, POLYNOMIALS[name]), rtol=1e-6)
        np.testing.assert_array_equal(valid, pixels != 0)
        assert (scene.declared.quantity, scene.declared.looks) == (quantity, 1.0) and "layout only" in scene.notes[-1]
        for row, rows, col, cols in ((0, 1, 0, 83), (123, 177, 5, 40), (299, 1, 82, 1)):
            part, part_valid = scene.read_part(row, rows, col, cols)
            np.testing.assert_array_equal(part[0], values[0, row:row + rows, col:col + cols])
            np.testing.assert_array_equal(part_valid, valid[row:row + rows, col:col + cols])


def test_predict_takes_it_and_the_map_has_its_corners(sicd, tmp_path):
    path, pixels = sicd
    engine = random_engine(tmp_path / "vv.engine", 1, input=plain_input(1, unit="db", floor=-40.0, mean=(-12.0,), std=(6.0,)))
    done = command.run("predict", path, engine, "-o", tmp_path / "map.tif")
    assert done.returncode == 0, done.stderr
    assert "SICD of MADE-UP" in done.stdout and "layout only" in done.stdout
    with rasterio.open(tmp_path / "map.tif") as labels:
        np.testing.assert_array_equal(labels.read(1) == 255, pixels == 0)
        placed = [(point.row, point.col, point.y, point.x) for point in labels.gcps[0]]
        np.testing.assert_allclose(placed, [(0.5, 0.5, 50.0, 8.0), (0.5, 82.5, 50.0, 8.1), (299.5, 82.5, 49.9, 8.1), (299.5, 0.5, 49.9, 8.0)], rtol=1e-9)
    command.failed(command.run("predict", path, engine, "-o", tmp_path / "other.tif", "--unit", "complex"), "leave --unit out")


def test_its_polarisation_never_stands_in_for_another_unasked(sicd):
    for request in ({}, {"wanted": ("VV",)}, {"wanted": ("Sigma0_VV",)}, {"wanted": ("B0",)}, {"bands": ("VV",), "wanted": ("HH",)},
                    {"bands": (1,), "wanted": ("HH",)}):
        with open_scene(sicd[0], SceneRequest(**request)) as scene:
            assert scene.band_names == ("VV",)
    for request in ({"wanted": ("HH",)}, {"bands": ("HH",)}):
        with pytest.raises(RasterError, match="has no HH: it holds VV.*--bands"):
            open_scene(sicd[0], SceneRequest(**request))


def test_what_cannot_be_calibrated_or_read_is_refused_in_one_line(sicd, tmp_path):
    from tests.sicd_files import write_sicd
    path, pixels = sicd
    with pytest.raises(RadiometryError, match="has no GammaZeroSFPoly.*SigmaZeroSFPoly, BetaZeroSFPoly"):
        open_scene(path, SceneRequest(quantity="gamma0"))
    with pytest.raises(RadiometryError, match="no radiometric polynomial"):
        open_scene(write_sicd(tmp_path / "plain.nitf", pixels, {}))
    with pytest.raises(RadiometryError, match="above 0"):
        open_scene(write_sicd(tmp_path / "zero.nitf", pixels, {"SigmaZeroSFPoly": [[0.0, 1.0]]}))
    with pytest.raises(RadiometryError, match="inside the image"):
        open_scene(write_sicd(tmp_path / "falls.nitf", pixels, {"SigmaZeroSFPoly": [[0.02], [-3e-4]]}))
    content = path.read_bytes()
    for number, damaged in enumerate((content[:9], content[:400], content[:3000], content[:len(content) // 2], content[:-200],
                                      content.replace(b"<Grid", b"<Grud"), content[:9] + b"9" * 400 + content[409:])):
        broken = tmp_path / f"broken{number}.nitf"
        broken.write_bytes(damaged)
        with pytest.raises((RasterError, RadiometryError)) as caught:
            with open_scene(broken) as scene:
                scene.read(0, scene.rows)
        assert "\n" not in str(caught.value) and str(broken) in str(caught.value)


def test_without_sarpy_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sarpy.io.complex.sicd", None)
    path = tmp_path / "x.nitf"
    path.write_bytes(b"NITF02.10" + bytes(1000))
    with pytest.raises(RasterError, match=r"pip install 'hfd-edge\[sicd\]'"):
        open_scene(path)
