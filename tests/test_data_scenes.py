"""Scenes to calibrate and judge on come through the door of predict: products and files per band, with their calibration, names and truths."""

from contextlib import ExitStack

import numpy as np
import pytest

from hfd_edge.errors import ArrayError, ExportError, HfdError, RadiometryError, RasterError
from hfd_edge.export.calibration_data import halves, open_scenes, some_rows, tiles_of, with_pixels
from hfd_edge.export.compare import compare_engines
from hfd_edge.products import SceneRequest, open_scene
from hfd_edge.raster_run import RasterOptions
from tests import radarsat_files
from tests.command import INPUT, power
from tests.engines import make_spec, plain_input, random_engine
from tests.nisar_files import power as gcov_power
from tests.nisar_files import write_gcov
from tests.rasters import write_tif
from tests.safe_files import MadeUp
from tests.test_products_sentinel1 import scene_of

INTENSITY = RasterOptions(unit="intensity")


def spec_of(*bands):
    return make_spec(bands, 5, 8, 4, 20, input=plain_input(len(bands), unit="db", floor=-35.0))


def opened(where, spec, options=None):
    """(name, pixels, validity, has a truth) of each scene."""
    with ExitStack() as stack:
        return [(s.name, *s.source.read(0, s.source.rows), s.truth is not None) for s in open_scenes(where, spec, stack, options)]


def bands_of(folder, name, polarisations=("VV", "VH"), seed=0):
    """One file per band; the value of each tells which it is."""
    folder.mkdir(exist_ok=True)
    return [write_tif(folder / f"{name}_{pol}.tif", np.full((1, 60, 50), 1 + "VV VH HH HV".split().index(pol), np.float32)) for pol in polarisations]


@pytest.fixture
def products(tmp_path):
    """A folder of a SAFE, a RADARSAT product and a NISAR GCOV, each of VV and VH, and what is no scene."""
    pytest.importorskip("h5py")
    folder = tmp_path / "products"
    folder.mkdir()
    safe = scene_of(MadeUp()).write(folder)
    radarsat = radarsat_files.MadeUp(pols=("VV", "VH")).write(folder)
    gcov = write_gcov(folder / "N.h5", {"VVVV": gcov_power(), "VHVH": gcov_power(seed=2)})
    (folder / "notes").mkdir()
    (folder / "readme.txt").write_text("no scene")
    return folder, [gcov, radarsat, safe]


def test_a_folder_of_products_is_calibrated_as_predict_does(products):
    folder, paths = products
    spec = spec_of("VV", "VH")
    found = opened([folder], spec)
    assert [name for name, *_ in found] == [path.name for path in paths]
    for (_, values, valid, _), path in zip(found, paths):
        with open_scene(path, SceneRequest(wanted=spec.bands, quantity="sigma0")) as scene:
            expected = scene.read(0, scene.rows)
        np.testing.assert_array_equal(values, expected[0])
        np.testing.assert_array_equal(valid, expected[1])
    with ExitStack() as stack:
        scenes, notes = with_pixels(open_scenes([folder], spec, stack), spec)
        assert any(note.startswith(f"{paths[2].name}: Sentinel-1 IW GRD") for note in notes)
        assert any(note.startswith("N.h5, RS2_OK1_made_up: layout only") for note in notes)
        assert sum(int((tile.status == 0).sum()) for tile in tiles_of(scenes, spec, 256)) == sum(int(valid.sum()) for _, _, valid, _ in found)


@pytest.mark.parametrize("given", ["folder", "manifest"])
def test_a_product_is_called_by_its_name_and_its_truth_lies_beside_it(tmp_path, given):
    made = scene_of(MadeUp())
    safe = made.write(tmp_path)
    write_tif(tmp_path / f"{safe.stem}_labels.tif", np.full((1, made.rows, made.cols), 2, np.uint8))
    with ExitStack() as stack:
        (scene,) = open_scenes([safe if given == "folder" else safe / "manifest.safe"], spec_of("VV", "VH"), stack)
        assert scene.name == safe.name and (scene.truth(3, 4) == 2).all()
        assert [part.name for (part,) in halves([scene])] == [f"{safe.name} rows 0 to 29", f"{safe.name} rows 30 to 60"]


@pytest.mark.parametrize("ending", ["_labels.tif", "_labels.png", "_label.tif", "_label.png"])
def test_labels_are_found_by_the_names_they_usually_have_and_are_no_scene(ending, tmp_path):
    write_tif(tmp_path / "a.tif", np.ones((1, 60, 50), np.float32))
    write_tif(tmp_path / f"a{ending}", np.zeros((1, 60, 50), np.uint8), driver="PNG" if ending.endswith("png") else "GTiff")
    found = opened([tmp_path], spec_of("VV"), INTENSITY)
    assert [(name, truth) for name, *_, truth in found] == [("a.tif", True)]


def test_of_a_large_scene_rows_around_its_middle_that_hold_a_pixel_stand_for_it(tmp_path):
    values = np.full((2, 2600, 8), np.nan, np.float32)
    values[:, 100:105] = 0.1
    spec = spec_of("VV", "VH")
    with ExitStack() as stack:
        (scene,) = open_scenes([write_tif(tmp_path / "scene.tif", values)], spec, stack, INTENSITY)
        assert some_rows(scene, spec, 8 * 2600) is scene
        assert some_rows(scene, spec, 8 * 1100).name == "scene.tif rows 0 to 1099"
        write_tif(tmp_path / "full.tif", np.full_like(values, 0.1))
        (full,) = open_scenes([tmp_path / "full.tif"], spec, stack, INTENSITY)
        part = some_rows(full, spec, 8)                                         # never fewer rows than some tiles need
        assert part.name == "full.tif rows 1024 to 2047" and part.source.rows == 1024


def test_old_and_new_run_over_products(tmp_path):
    safe = scene_of(MadeUp()).write(tmp_path)
    engines = [random_engine(tmp_path / f"{seed}.engine", ("VV", "VH"), seed=seed, input=INPUT) for seed in (1, 2)]
    found = compare_engines(*engines, [tmp_path], rounds=1)
    assert [scene.name for scene in found.scenes] == [safe.name] and found.flips > 0
    assert any(note.startswith(f"{safe.name}: Sentinel-1") for note in found.notes)


@pytest.mark.parametrize("how", ["list", "commas", "folder"])
def test_one_file_per_band_is_one_scene_in_the_networks_order(tmp_path, how):
    files = bands_of(tmp_path / "in", "a")[::-1]
    bands_of(tmp_path / "in", "b", ("HH", "VH", "VV"))
    write_tif(tmp_path / "in" / "a_labels.tif", np.ones((1, 60, 50), np.uint8))
    where = {"list": [files], "commas": [", ".join(map(str, files))], "folder": [tmp_path / "in"]}[how]
    first, *others = opened(where, spec_of("VV", "VH"), INTENSITY)
    assert first[1][:, 0, 0].tolist() == [1, 2] and first[3] and {*first[0].split()} == {"a_VV.tif", "a_VH.tif"}
    assert [scene[1][:, 0, 0].tolist() for scene in others] == ([[1, 2]] if how == "folder" else [])
    if how == "folder":
        (tmp_path / "in" / "a_VH.tif").unlink()
        (tmp_path / "in" / "a_VV.tif").rename(tmp_path / "in" / "b_HV.tif")
        ((name, values, *_),) = opened(where, spec_of("VV", "VH"), RasterOptions(unit="intensity", bands=("HH", "VH")))
        assert name == "b_HH.tif b_VH.tif" and values[:, 0, 0].tolist() == [3, 2]


def test_files_of_a_folder_are_put_together_in_the_networks_order_even_where_they_name_their_bands_otherwise(tmp_path):
    for path in bands_of(tmp_path / "in", "a"):
        write_tif(path, np.full((1, 60, 50), 1 if "VV" in path.name else 2, np.float32), descriptions=("Band 1",))
    ((_, values, *_),) = opened([tmp_path / "in"], spec_of("VH", "VV"), INTENSITY)
    assert values[:, 0, 0].tolist() == [2, 1]


def test_files_of_two_dates_are_one_scene_where_their_names_hold_the_bands_words(tmp_path):
    """after_vv.tif was taken for both VV, and "given twice"."""
    folder, bands = tmp_path / "in", ("VV_before", "VH_before", "VV_after", "VH_after")
    for site in "ab":
        for date in ("before", "after"):
            for path in bands_of(folder, f"{site}_{date}"):
                write_tif(path, np.full((1, 60, 50), "VV_before VH_before VV_after VH_after".split().index(f"{path.stem[-2:]}_{date}"), np.float32))
    write_tif(folder / "b_labels.tif", np.ones((1, 60, 50), np.uint8))
    found = opened([folder], spec_of(*bands), INTENSITY)
    assert [(values[:, 0, 0].tolist(), truth) for _, values, _, truth in found] == [([0, 1, 2, 3], False), ([0, 1, 2, 3], True)]
    with pytest.raises(HfdError, match="has 1 band and the network takes 4"):
        opened([folder], spec_of("VV1", "VH1", "VV2", "VH2"), INTENSITY)       # no name tells which is which


def test_files_of_a_network_without_polarisations_stay_scenes_of_their_own(tmp_path):
    bands_of(tmp_path / "in", "a")
    assert [name for name, *_ in opened([tmp_path / "in"], spec_of("grey"), INTENSITY)] == ["a_VH.tif", "a_VV.tif"]


def test_scenes_of_one_name_are_called_by_their_paths(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_tif(tmp_path / name / "scene.tif", power())
    write_tif(tmp_path / "c.tif", power())
    where = [tmp_path / "a", tmp_path / "b", tmp_path / "c.tif"]
    assert [name for name, *_ in opened(where, spec_of("VV", "VH"), INTENSITY)] == [str(tmp_path / "a/scene.tif"), str(tmp_path / "b/scene.tif"), "c.tif"]


def test_what_predict_refuses_is_refused_with_its_words_and_the_files_name(tmp_path):
    spec = spec_of("VV", "VH")
    safe = scene_of(MadeUp(pols=("VV",))).write(tmp_path / "one")
    two = scene_of(MadeUp()).write(tmp_path / "two")
    alone = bands_of(tmp_path / "files", "a", ("VV",))[0]
    for name in ("db", "two", "more"):
        write_tif(tmp_path / f"{name}.tif", power())
    packed = tmp_path / "S1A_IW_GRDH.zip"
    packed.write_bytes(b"PK")
    for where, options, error, words in (
            ([safe], None, RasterError, "VH"), ([two], INTENSITY, RadiometryError, "a SAFE is calibrated by its own tables; leave --unit out"),
            ([alone], INTENSITY, ArrayError, f"{alone}: the scene has 1 band and the network takes 2 .*one file per band will do"),
            ([tmp_path / "db.tif"], None, RadiometryError, "db.tif: the unit of the pixels"), ([packed], None, RasterError, "unpack it first"),
            ([f"{tmp_path}/two.tif,{tmp_path}/more.tif"], INTENSITY, ArrayError, "two.tif, .*more.tif: the scene has 4 bands.*repeat the option for scenes of"),
            ([f"{alone},{tmp_path}/gone.tif"], INTENSITY, ExportError, "gone.tif: no such raster, product or folder"),
            ([[alone, tmp_path / "files"]], INTENSITY, ExportError, "files is a folder, beside 1 other file"),
            ([tmp_path / "files", alone], INTENSITY, ExportError, "a_VV.tif is given twice"), ([two, two / "manifest.safe"], None, ExportError, "given twice"),
            (["simulated", alone], INTENSITY, ExportError, "stand for all of them"),
            (["simulated"], RasterOptions(unit="db", nodata=(0,)), ExportError, "--unit, --nodata with 'simulated': .*say their own unit; leave it out"),
            ([tmp_path / "two" / two.name / "annotation"], None, ExportError, "holds no scene.*are not searched")):
        with pytest.raises(error, match=words):
            opened(where, spec, options)
