"""Terrain-corrected Sentinel-1 GeoTIFFs, made up after the published layouts: OPERA RTC-S1 by its tags, HyP3 by its names."""

from __future__ import annotations

import numpy as np
import pytest

from hfd_edge import RadiometryError, Segmenter
from hfd_edge.export.data_files import scene_files
from hfd_edge.products import SceneRequest, open_scene, run_notes
from hfd_edge.raster import RasterSource
from tests.engines import levels_engine, plain_input
from tests.rasters import UTM, write_tif

POWER = np.random.default_rng(0).gamma(4.0, 0.02, (1, 40, 50)).astype(np.float32)
POWER[0, :4] = 0
BURST = "OPERA_L2_RTC-S1_T064-135520-IW2_20250214T015043Z_20250215T161954Z_S1A_30_v1.0"
SAID = {"NORMALIZATION": "gamma0", "EXPRESSION": "linear backscatter intensity"}
HYP3 = "S1A_IW_20180128T161201_DVP_RTC30_G_{}_FD6A"


def opera(folder, pol="VV", values=POWER, more=(), name=BURST, **said):
    tags = {f"PROCESSING_INFORMATION_OUTPUT_BACKSCATTER_{key}_CONVENTION": value for key, value in (SAID | said).items()}
    tags |= {f"PROCESSING_INFORMATION_{key}": value for key, value in dict(more).items()}
    return write_tif(folder / f"{name}_{pol}.tif", values, tags=tags, nodata=np.nan, crs="EPSG:32611", transform=UTM)


def hyp3(folder, flags="gpuned", pol="VV", values=POWER, **profile):
    return write_tif(folder / f"{HYP3.format(flags)}_{pol}.tif", values, crs="EPSG:32611", transform=UTM, **profile)


@pytest.mark.parametrize("expression", ["linear backscatter intensity", "linear power/intensity", "Linear Power"])
@pytest.mark.parametrize("quantity", ["gamma0", "Sigma0"])
def test_opera_is_the_linear_power_that_its_tags_state(tmp_path, expression, quantity):
    files = [opera(tmp_path, pol, EXPRESSION=expression, NORMALIZATION=quantity, more={"NOISE_CORRECTION_APPLIED": "True"}) for pol in ("VV", "VH")]
    with open_scene(files, SceneRequest(wanted=("VH", "VV"))) as source:
        assert (source.declared.unit, source.declared.quantity, source.band_names) == ("intensity", quantity.lower(), ("VH", "VV"))
        assert "noise removed" in source.notes[0] and "layout only" in source.notes[-1] and source.filtered is None


@pytest.mark.parametrize("said", [{"EXPRESSION": "backscatter in dB"}, {"EXPRESSION": "linear amplitude"}, {"NORMALIZATION": "none"}, {"EXPRESSION": ""}])
def test_what_opera_does_not_state_is_not_declared(tmp_path, said):
    with open_scene(opera(tmp_path, **said)) as source:
        assert source.declared is None
    with Segmenter(levels_engine(tmp_path / "e.engine", 64, input=plain_input(1, unit="db", floor=-60.0))) as segmenter, pytest.raises(RadiometryError, match="unit"):
        segmenter.run_raster(opera(tmp_path, **said), tmp_path / "map.tif")


@pytest.mark.parametrize(("flags", "unit", "quantity", "nodata"), [
    ("gpuned", "intensity", "gamma0", (0.0,)), ("spwncm", "intensity", "sigma0", (0.0,)), ("gauned", "amplitude", "gamma0", (0.0,)),
    ("gduned", "db", "gamma0", ()), ("GPUNED", "intensity", "gamma0", (0.0,))])
def test_hyp3_is_what_the_letters_of_its_name_mean(tmp_path, flags, unit, quantity, nodata):
    with open_scene(hyp3(tmp_path, flags)) as source:
        assert (source.declared.unit, source.declared.quantity, source.declared.nodata, source.nodata) == (unit, quantity, nodata, nodata)
        assert "layout only" in source.notes[-1]
    with open_scene(hyp3(tmp_path, flags), SceneRequest(unit="intensity")) as source:                      # believed
        assert source.declared is None


def test_a_filtered_product_is_told(tmp_path):
    with Segmenter(levels_engine(tmp_path / "e.engine", 64, input=plain_input(1, unit="db", floor=-60.0))) as segmenter:
        for path, words in ((hyp3(tmp_path, "gpufed"), "enhanced Lee"), (opera(tmp_path, more={"FILTERING_APPLIED": "True"}), "its processor")):
            with open_scene(path) as source:
                assert any(words in note and "filtered" in note for note in run_notes(source, segmenter.spec))


@pytest.mark.parametrize("make", [hyp3, opera])
def test_a_run_sees_the_power_and_leaves_out_what_is_none(tmp_path, make):
    values = POWER.copy() if make is hyp3 else np.where(POWER == 0, np.nan, POWER)
    engine = levels_engine(tmp_path / "e.engine", 64, input=plain_input(1, unit="db", floor=-60.0, mean=(-60.0,), std=(1.0,)))
    with Segmenter(engine) as segmenter:
        report = segmenter.run_raster(make(tmp_path, values=values), tmp_path / "map.tif")
    assert "intensity" in report.read_as and any("layout only" in note for note in report.notes)
    with RasterSource(tmp_path / "map.tif") as written:
        labels = written.read(0, 40)[0][0]
    np.testing.assert_array_equal(labels == 255, POWER[0] == 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        level = 10 * np.log10(POWER[0].astype(np.float64)) + 60
        clear = (np.abs(level - np.floor(level) - 0.5) > 1e-3) & (POWER[0] > 0)
    np.testing.assert_array_equal(labels[clear], np.clip(np.rint(level), 0, 63)[clear])


def test_files_that_say_different_things_are_refused_in_one_line(tmp_path):
    other = write_tif(tmp_path / "mine_VH.tif", POWER, crs="EPSG:32611", transform=UTM)
    for files, words in (([hyp3(tmp_path), hyp3(tmp_path, "gauned", "VH")], "gamma0 in intensity.*gamma0 in amplitude"), ([hyp3(tmp_path), other], "says nothing"), ([hyp3(tmp_path), opera(tmp_path, "VH")], "HyP3.*OPERA"),
                         ([opera(tmp_path), opera(tmp_path, "VH", NORMALIZATION="sigma0")], "gamma0.*sigma0")):
        with pytest.raises(RadiometryError, match=words) as caught:
            open_scene(files)
        assert "\n" not in str(caught.value)


def test_of_a_products_folder_its_polarisations_are_one_scene(tmp_path):
    files = [hyp3(tmp_path, pol=pol) for pol in ("VV", "VH")]
    for beside in ("ls_map", "dem", "inc_map", "area", "rgb"):
        hyp3(tmp_path, pol=beside)
    assert [scene.files for scene in scene_files([tmp_path], ("VV", "VH"))] == [tuple(files)]
