"""NISAR files that are something else, damaged, lead out of themselves or claim too much: one line with the way out, before anything is read."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from hfd_edge.errors import RadiometryError, RasterError
from hfd_edge.products import SceneRequest, open_scene
from hfd_edge.raster import RasterLimits
from tests import command
from tests.nisar_files import power, subswaths, write_gcov

GRID = "/science/LSAR/GCOV/grids/frequencyA"


def test_without_h5py_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    path = tmp_path / "x.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(1000))
    with pytest.raises(RasterError, match=r"pip install -U 'hfd-edge\[nisar\]'.*rio convert"):
        open_scene(path)


@pytest.fixture
def product(tmp_path):
    pytest.importorskip("h5py")
    return write_gcov(tmp_path / "x.h5", {"HHHH": power(), "mask": subswaths()})


def edit(path):
    import h5py
    return h5py.File(path, "r+")


def refused(path, error=RasterError, **request):
    with pytest.raises(error) as caught:
        with open_scene(path, SceneRequest(**request)) as scene:
            scene.read(0, scene.rows)
    text = str(caught.value)
    assert "\n" not in text and path.name in text, text
    return text


@pytest.mark.parametrize(("kind", "words"), [
    ("RSLC", "complex, in radar geometry"), ("GSLC", "(complex)"), ("GUNW", "of two passes"), ("RUNW", "of two passes"), ("SME2", "no backscatter"),
    ("RRSD", "raw")])
def test_another_nisar_product_is_named_with_the_one_to_take(product, kind, words):
    with edit(product) as file:
        file.move("/science/LSAR/GCOV", f"/science/LSAR/{kind}")
        del file["/science/LSAR/identification/productType"]
    assert f"of type {kind}" in refused(product)                    # by its groups, and by what it states:
    with edit(product) as file:
        file["/science/LSAR/identification/productType"] = np.bytes_(kind)
    text = refused(product)
    assert f"of type {kind}" in text and words in text and "take the GCOV of the same track, frame and pass" in text


def test_hdf5_that_is_no_nisar_product_is_told_how_to_convert(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.nc", "w") as file:
        file["vv"] = power()
    assert "no NISAR product" in refused(tmp_path / "x.nc") and "rio convert" in refused(tmp_path / "x.nc")
    assert "rio convert" in refused(tmp_path / "x.nc", RadiometryError, unit="db")
    command.failed(command.run("scene", tmp_path / "x.nc"), "no NISAR product")


@pytest.mark.parametrize(("name", "value", "words"), [
    ("outputBackscatterNormalizationConvention", "ellipsoid", "sigma0, gamma0, beta0"), ("outputBackscatterNormalizationConvention", None, "is needed"),
    ("outputBackscatterExpressionConvention", "backscatter (dB)", "linear power only"),
    ("outputBackscatterExpressionConvention", "amplitude\nand\x1b[31m more", "linear power only")])
def test_what_its_pixels_are_must_be_stated(product, name, value, words):
    where = f"/science/LSAR/GCOV/metadata/processingInformation/parameters/rtc/{name}"
    with edit(product) as file:
        del file[where]
        if value is not None:
            file[where] = np.bytes_(value)
    text = refused(product, RadiometryError)
    assert words in text and "\x1b" not in text


@pytest.mark.parametrize("where", ["/science", "/science/LSAR/identification", GRID, f"{GRID}/HHHH", f"{GRID}/mask", f"{GRID}/xCoordinates"])
@pytest.mark.parametrize("outside", [True, False])
def test_a_link_is_never_followed(product, tmp_path, where, outside):
    import h5py
    other = write_gcov(tmp_path / "other.h5", {"HHHH": power(), "mask": subswaths()})
    with edit(product) as file:
        file.move(where, "/elsewhere")
        file[where] = h5py.ExternalLink(str(other), where) if outside else h5py.SoftLink("/elsewhere")
    assert "is a link" in refused(product)


def test_pixels_in_other_files_are_never_read(product, tmp_path):
    import h5py
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(300 * 83 * 4))
    with edit(product) as file:
        del file[f"{GRID}/HHHH"]
        file.create_dataset(f"{GRID}/HHHH", (300, 83), "f4", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])
    assert "stored in other files" in refused(product)
    with edit(product) as file:
        del file[f"{GRID}/HHHH"]
        layout = h5py.VirtualLayout((300, 83), "f4")
        layout[...] = h5py.VirtualSource(str(tmp_path / "other.h5"), f"{GRID}/HHHH", (300, 83))
        file[GRID].create_virtual_dataset("HHHH", layout)
    assert "stored in other files" in refused(product)


def test_what_is_packed_otherwise_or_claims_too_much_is_refused_before_it_is_read(product):
    assert "limit of 24899" in refused(product, limits=RasterLimits(pixels=300 * 83 - 1))
    assert "CHUNK=512x512" in refused(product, limits=RasterLimits(block_bytes=64 * 32 * 4 - 1))
    with edit(product) as file:
        del file[f"{GRID}/HHHH"]
        file.create_dataset(f"{GRID}/HHHH", (1 << 17, 1 << 17), "f4", chunks=(512, 512))        # nothing is stored
    assert "decompression bomb" in refused(product)
    with edit(product) as file:
        del file[f"{GRID}/HHHH"]
        file.create_dataset(f"{GRID}/HHHH", data=power(), compression="lzf")
    assert "filter 32000" in refused(product)


@pytest.mark.parametrize(("name", "value", "words"), [
    ("HHHH", power().astype(np.complex64), "real numbers"), ("HHHH", power()[0], "real numbers"), ("HHHH", None, "no power of any polarisation"),
    ("mask", subswaths()[:-1], "lie on one grid"), ("mask", np.full((300, 83), 11, np.uint8), "its mask holds 11"),
    ("mask", np.full((300, 83), np.nan), "real numbers"),
    ("xCoordinates", np.arange(84.0), "84 places"), ("yCoordinates", np.geomspace(1.0, 9.0, 300), "even steps"),
    ("yCoordinates", np.full(300, np.nan), "even steps"), ("xCoordinates", np.zeros(83), "even steps"), ("xCoordinates", None, "not there"),
    ("projection", None, "EPSG code"), ("projection", np.uint32(999999), "EPSG"), ("projection", np.zeros((9, 9)), "single short value"),
    ("projection", np.bytes_("+proj=utm"), "EPSG code")])
def test_a_grid_that_contradicts_itself_is_refused(product, name, value, words):
    with edit(product) as file:
        del file[f"{GRID}/{name}"]
        if value is not None:
            file[f"{GRID}/{name}"] = value
    assert words in refused(product)


def test_a_damaged_file_is_one_line(product):
    content = product.read_bytes()
    for damaged in (content[:8], content[:400], content[:3000], content[:len(content) // 2], content[:-200], content[:48] + b"\xff" * 400 + content[448:],
                    content.replace(b"TREE", b"THEE"), content.replace(b"SNOD", b"SNAD"), content.replace(b"x^", b"xx")):
        product.write_bytes(damaged)
        refused(product)


def test_rows_outside_are_refused(product):
    with open_scene(product) as scene:
        for row, rows, col, cols in ((-1, 2, 0, 83), (299, 2, 0, 83), (0, 0, 0, 83), (0, 1, 80, 4)):
            with pytest.raises(RasterError, match="300 x 83"):
                scene.read_part(row, rows, col, cols)
