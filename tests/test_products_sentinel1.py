"""A Sentinel-1 GRD SAFE as a scene, against a reference that goes pixel by pixel in float64. All products here are made up."""

import json
import re
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.shutil import copy

from hfd_edge import RadiometryError, RasterError, Segmenter
from hfd_edge.products import SceneRequest, Sentinel1Options, Sentinel1Source, open_scene, run_notes
from hfd_edge.raster import RasterSource
from hfd_edge.source import sample
from tests.engines import levels_engine, plain_input, random_engine
from tests.safe_files import MadeUp

ROOT = Path(__file__).resolve().parent.parent


def read_all(safe, **options):
    with Sentinel1Source(safe, options=Sentinel1Options(**options)) as source:
        return source.read(0, source.rows)


@pytest.mark.parametrize("old_noise", [False, True])
@pytest.mark.parametrize("quantity,table", [("sigma0", "sigmaNought"), ("gamma0", "gamma"), ("beta0", "betaNought")])
def test_calibrated_power_equals_the_reference(tmp_path, old_noise, quantity, table):
    made = MadeUp(old_noise=old_noise, ipf="002.71" if old_noise else "003.31")
    values, _ = read_all(made.write(tmp_path), quantity=quantity)
    assert values.dtype == np.float32 and values.shape == (2, made.rows, made.cols)
    for got, pol in zip(values, made.pols):
        expected = made.power(pol, table)
        assert (expected == 0).any()                            # some power drowns in the noise
        np.testing.assert_array_equal(got == 0, expected == 0)
        np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize("step", [1, 7, 16, 60, 61])
def test_strips_of_any_height_in_any_order_give_the_same_bits(tmp_path, step):
    made = MadeUp(old_noise=True, ipf="002.71")
    safe = made.write(tmp_path)
    whole, valid = read_all(safe)
    with Sentinel1Source(safe) as source:
        for row in reversed(range(0, source.rows, step)):
            rows = min(step, source.rows - row)
            values, marks = source.read(row, rows)
            np.testing.assert_array_equal(values.view(np.uint32), whole[:, row:row + rows].view(np.uint32))
            np.testing.assert_array_equal(marks, valid[row:row + rows])


def test_a_zero_is_nodata_and_drowned_power_is_a_value_of_0(tmp_path):
    made = MadeUp()
    made.dn["VV"][5:9, 3:30] = 0
    made.dn["VH"][20:25, 50:60] = 0
    made.dn["VV"][30, 40] = 1
    values, valid = read_all(made.write(tmp_path))
    np.testing.assert_array_equal(valid, (made.dn["VV"] != 0) & (made.dn["VH"] != 0))
    assert valid[30, 40] and values[0, 30, 40] == 0.0


def test_memory_does_not_depend_on_the_number_of_rows_or_vectors(tmp_path):
    import tracemalloc

    peaks = []
    for name, rows in (("short", 60), ("tall", 1200)):
        lines, pixels = np.arange(0, rows, 10), np.array([0, 1999])
        table = (lines, pixels, np.full((len(lines), 2), 400.0))
        tables = dict.fromkeys(("sigmaNought", "betaNought", "gamma", "dn"), table)
        made = MadeUp(rows=rows, cols=2000, pols=("VV",), calibration={"VV": tables}, noise={"VV": table})
        (tmp_path / name).mkdir()
        with Sentinel1Source(made.write(tmp_path / name)) as source:
            tracemalloc.start()
            for row in range(0, rows, 20):
                source.read(row, 20)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0], peaks


@pytest.mark.parametrize("wanted,bands,words", [
    (("HH", "HV"), None, "has no HH: it holds VV, VH"), (("B0",), None, "names no polarisation"),
    (None, (1, 2), "choose by name"), (("VV", "VH"), ("VH", "VV"), "takes VV, VH, in this order; leave --bands out"), (None, ("VV", "vv"), "chosen twice"),
    (("VV_before", "VV_after"), None, "chosen twice.*a raster with a band for each")])
def test_polarisations_that_are_missing_swapped_or_taken_twice_are_refused_with_those_there(tmp_path, wanted, bands, words):
    with pytest.raises(RasterError, match=words):
        Sentinel1Source(MadeUp().write(tmp_path), bands, wanted)


# What is known of the scene

def test_the_scene_says_what_it_is(tmp_path):
    with Sentinel1Source(MadeUp().write(tmp_path)) as source:
        said = "; ".join(source.notes)
        assert (source.declared.unit, source.declared.quantity, source.declared.looks) == ("intensity", "sigma0", 4.4)
        assert source.spacing_m == (10.0, 10.0) and len(source.geo.gcps) == 9
    for words in ("IW GRD", "descending", "right-looking", "10 x 10 m", "IPF 3.31", "4.4 looks (quoted", "range and azimuth",
                  "checked on the metadata of published real products; the pixels were made up", "9 ground control points"):
        assert words in said


def test_looks_of_another_product_type_are_not_known(tmp_path):
    with Sentinel1Source(MadeUp(spacing=40.0).write(tmp_path)) as source:
        assert source.declared.looks is None and "looks not known" in source.notes[0]


def test_a_pixel_spacing_unlike_the_networks_is_noted(tmp_path, db_engine):
    with Segmenter(db_engine) as segmenter, Sentinel1Source(MadeUp().write(tmp_path)) as source:
        assert not any("another size in pixels" in n for n in run_notes(source, segmenter.spec))
        assert any("another size in pixels" in n for n in run_notes(source, replace(segmenter.spec, pixel_spacing_m=1.0)))


# A run

DB = {"unit": "db", "floor": -35.0, "clip": ((-35.0, 5.0),) * 2, "mean": (-12.0, -18.0), "std": (5.0, 5.5), "looks": 4.4}


def engine_with_names(folder, **changes):
    from hfd_edge.package import Package
    from tests.engines import write_engine

    path = random_engine(folder / "plain.engine", input=plain_input(2, **{**DB, **changes}))
    with Package.open(path) as package:
        spec, graph = package.spec, bytes(package.read("graph-fp32.onnx"))
    return write_engine(folder / "named.engine", graph, replace(spec, bands=("VV", "VH")))


def scene_of(made):
    """Digital numbers around -10 dB, with a hole."""
    rng = np.random.default_rng(3)
    for pol in made.pols:
        made.dn[pol] = np.sqrt(rng.gamma(4.4, 30_000 / 4.4, (made.rows, made.cols))).astype(np.uint16) + 1
        made.dn[pol][10:20, :15] = 0
    return made


@pytest.mark.parametrize("given", ["folder", "manifest"])
def test_predict_on_a_safe_gives_the_map_of_the_reference_with_its_control_points(tmp_path, given):
    made = scene_of(MadeUp())
    safe = made.write(tmp_path)
    path = safe if given == "folder" else safe / "manifest.safe"
    engine = engine_with_names(tmp_path)
    done = subprocess.run([sys.executable, "-m", "hfd_edge.cli", "predict", str(path), str(engine), "-o",
                           str(tmp_path / "map.tif"), "--json"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert any("Sentinel-1 IW GRD" in note for note in record["notes"]) and "VV, VH in intensity" in record["read_as"]
    values, valid = read_all(safe)
    with Segmenter(engine) as segmenter:
        expected = segmenter.run(values, unit="intensity", valid=valid).labels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(tmp_path / "map.tif") as written:
            np.testing.assert_array_equal(written.read(1), expected)
            points, crs = written.gcps
    assert (expected[10:20, :15] == 255).all() and crs.to_epsg() == 4326
    assert [(p.row, p.col) for p in points] == made.places()
    placed = [(9 + c * 1e-4, 46 - r * 1e-4, 120.0) for r, c in made.grid()]
    np.testing.assert_allclose([(p.x, p.y, p.z) for p in points], placed)


def test_the_networks_own_quantity_is_what_the_product_is_calibrated_to(tmp_path):
    safe = scene_of(MadeUp()).write(tmp_path)
    engine = engine_with_names(tmp_path, quantity="gamma0", looks=1.0)
    with Segmenter(engine) as segmenter:
        notes = segmenter.run_raster(safe, tmp_path / "map.tif").notes
    assert any("calibrated to gamma0" in note for note in notes) and not any("incidence angle" in note for note in notes)
    assert any("4.4 looks" in note and "trained on 1:" in note and "+1.99 dB" in note for note in notes)


def test_memory_and_files_are_let_go_after_a_failed_open(tmp_path):
    made = MadeUp()
    safe = made.write(tmp_path)
    (safe / f"annotation/calibration/calibration-{made.stem('VH')}.xml").unlink()
    with pytest.raises(RasterError, match="is missing"):
        open_scene(safe)


def test_the_values_of_a_scene_fit_what_it_declares(tmp_path):
    from hfd_edge.radiometry import check_values

    with Sentinel1Source(scene_of(MadeUp()).write(tmp_path)) as source:
        check_values(*sample(source), source.declared)


def test_a_unit_declared_for_a_safe_is_refused(tmp_path):
    with pytest.raises(RadiometryError, match="leave --unit out"):
        open_scene(MadeUp().write(tmp_path), SceneRequest(unit="db"))


def test_an_unknown_quantity_is_refused():
    with pytest.raises(RadiometryError, match="sigma0, gamma0, beta0"):
        Sentinel1Options(quantity="alpha0")


def test_a_plain_raster_is_opened_as_ever(tmp_path):
    from hfd_edge.raster import RasterSource
    from tests.rasters import ramp, write_tif

    path = write_tif(tmp_path / "a.tif", ramp())
    with open_scene(path) as source, Segmenter(levels_engine(tmp_path / "e.engine")) as segmenter:
        assert isinstance(source, RasterSource) and source.declared is None and run_notes(source, segmenter.spec) == ()


def test_stored_numbers_are_read_once_for_a_whole_strip(tmp_path, monkeypatch):
    """Compressed products have blocks taller than what is calibrated together."""
    read, asked = RasterSource.read_part, []
    monkeypatch.setattr(RasterSource, "read_part", lambda self, *place: asked.append(place) or read(self, *place))
    with Sentinel1Source(MadeUp(rows=400).write(tmp_path)) as source:
        source.read(0, 400)
    assert asked == [(0, 400, 0, 83)] * 2


def test_a_product_whose_images_were_made_cloud_optimised_gives_the_same(tmp_path):
    """As the Copernicus Data Space delivers it: 0 declared nodata, -cog behind the name of every image and table."""
    made = MadeUp(rows=600, cols=1100, spacing=10.0)
    made.dn["VH"][100:140, 30:90] = 0
    safe = made.write(tmp_path)
    values, valid = read_all(safe)
    for file in [*safe.rglob("s1a-*.tiff"), *safe.rglob("*s1a-*.xml")]:
        name = file.with_name(f"{file.stem}-cog{file.suffix}")
        if file.suffix == ".tiff":
            copy(file, name, driver="COG", blocksize=256, compress="ZSTD", nodata=0, overview_resampling="RMS")
            file.unlink()
        else:
            file.rename(name)
    manifest = safe / "manifest.safe"
    manifest.write_text(re.sub(r'(href="[^"]*)(\.xml|\.tiff)"', r'\1-cog\2"', manifest.read_text()))
    safe = safe.rename(safe.with_name(f"{safe.stem}_COG.SAFE"))
    again, marks = read_all(safe)
    np.testing.assert_array_equal(again, values)
    np.testing.assert_array_equal(marks, valid)
    with open_scene(safe) as scene:
        assert (scene.block_rows, scene.stored_block) == (256, (256, 256))
