"""What programs read of a run: keys of its record and codes of its notes, which stay, and are all on the page."""

import copy
import json
import pickle
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.segmenter import Segmenter
from hfd_edge.text import Note, codes_of
from tests import command
from tests.engines import plain_input, random_engine
from tests.rasters import UTM, write_tif

KEYS = {"at_once", "classes", "cols", "compute_ratio", "device", "engine", "engine_hash", "halo", "halo_px", "halo_share", "mpx_per_s", "nan_pixels",
        "nodata_share", "note_codes", "notes", "offset", "overlap_px", "read_as", "rows", "saturated_pixels", "score", "stitch", "threads", "tile_px",
        "tiles_empty", "tiles_run", "timings", "window"}
CODES = {"engine", "filtered", "filtered_before", "gpu_unused", "int8_unjudged", "no_valid_pixel", "off_training_band", "off_training_factor",
         "off_training_ground", "off_training_order", "off_training_unit", "other_looks", "other_quantity", "other_spacing", "scene", "small_tiles",
         "stitch_is_crop", "undeclared_nodata"}
PAGE = (command.ROOT / "docs" / "rasters.md").read_text().partition("## Reports for programs")[2].partition("\n## ")[0]
TABLES = [{name for line in table.splitlines() if line.startswith("| `") for name in re.findall("`([a-z0-9_]+)`", line.split("|")[1])}
          for table in PAGE.split("| code |")]
RNG = np.random.default_rng(0)
POWER = RNG.gamma(4.4, 0.01, (2, 90, 100)).astype(np.float32)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return random_engine(tmp_path_factory.mktemp("engine") / "db.engine", input=plain_input(2, unit="db", floor=-40.0, mean=(-14.07, -14.07), std=(2.2, 2.2), looks=4.4))


def test_a_run_has_these_keys_and_the_page_names_each(engine, tmp_path):
    scene = write_tif(tmp_path / "scene.tif", POWER, crs="EPSG:32633", transform=UTM)
    done = command.run("predict", scene, engine, "-o", tmp_path / "map.tif", "--unit", "intensity", "--json")
    record = json.loads(done.stdout)
    assert {*record} == KEYS | {"map", "accuracy"}
    with Segmenter(engine) as seg:
        assert {*seg.run(POWER, unit="intensity").report.to_dict()} == KEYS
    assert {*record["classes"][0]} == {"value", "name", "pixels", "share", "km2"}
    assert {*record["offset"]} == {"bands", "pixels", "sampled", "left_out"} and {*record["offset"]["bands"][0]} == {"band", "offset_db", "spread"}
    assert {"total", "read", "gather", "engine", "finish", "write"} <= {*record["timings"]}
    assert TABLES[0] == KEYS


def test_codes_in_the_source_are_these_and_the_page_names_each():
    package = Path(command.ROOT / "hfd_edge")
    written = {code for file in package.rglob("*.py") for code in re.findall(r'Note\(f?"([a-z0-9_{}]+)"', file.read_text())}
    verdicts = set(re.findall(r'return "([a-z]+)", [f("]', (package / "source" / "offset.py").read_text()))
    assert len(verdicts) == 5 and "off_training_{verdict}" in written
    assert written - {"off_training_{verdict}"} | {f"off_training_{verdict}" for verdict in verdicts} | {"scene"} == CODES
    assert TABLES[1] == CODES


@pytest.mark.parametrize("change, code", [
    (lambda power: (power * 1.3, "intensity"), "off_training_factor"), (lambda power: (power * 1e-3, "intensity"), "off_training_unit"),
    (lambda power: (power * np.float32([[[4]], [[0.2]]]), "intensity"), "off_training_order"),
    (lambda power: (power * np.float32([[[20]], [[1]]]), "intensity"), "off_training_band"),
    (lambda power: (power ** 2 * 30, "intensity"), "off_training_ground"),
    (lambda power: (np.where(np.arange(100) < 20, np.float32(0), power), "intensity"), "undeclared_nodata"),
    (lambda power: (power, SourceRadiometry("intensity", quantity="gamma0")), "other_quantity"),
    (lambda power: (power, SourceRadiometry("intensity", looks=1.0)), "other_looks"), (lambda power: (power * np.nan, "intensity"), "no_valid_pixel")])
def test_a_program_knows_a_note_by_its_code(engine, change, code):
    pixels, unit = change(POWER)
    with Segmenter(engine) as seg:
        report = seg.run(np.float32(pixels), unit, allow_empty=True).report
    assert code in report.note_codes and len(report.note_codes) == len(report.notes) and {*report.note_codes} <= CODES
    assert code in json.loads(json.dumps(report.to_dict()))["note_codes"]


def test_a_scene_like_the_training_has_no_code(engine):
    with Segmenter(engine) as seg:
        assert seg.run(POWER, unit="intensity").report.note_codes == ()


def test_codes_of_a_raster_and_of_tiles(engine, tmp_path):
    scene = write_tif(tmp_path / "scene.tif", POWER, crs="EPSG:32633", transform=UTM)
    files = [write_tif(tmp_path / f"a_{name}.tif", POWER[:1]) for name in ("B0", "B1", "mask")]
    with Segmenter(engine, tile=88) as seg:
        seg.spec = replace(seg.spec, pixel_spacing_m=30.0)
        assert "other_spacing" in seg.run_raster(scene, tmp_path / "map.tif", unit="intensity").note_codes
        assert "small_tiles" in seg.run(np.tile(POWER, (1, 8, 8)), unit="intensity").report.note_codes and codes_of(("a plain sentence",)) == ("scene",)
        assert "scene" in seg.run_raster(files, tmp_path / "map2.tif", unit="intensity", bands=(1, 2)).note_codes


def test_a_note_is_its_sentence_and_keeps_its_code(engine):
    with Segmenter(engine) as seg:
        report = seg.run(POWER * np.float32(1.3), unit="intensity").report
    (note,) = report.notes
    assert isinstance(note, str) and note.startswith("the scene's mean lies off") and type(str(note)) is str
    for same in (pickle.loads(pickle.dumps(report)), copy.deepcopy(report), replace(report)):
        assert same == report and same.note_codes == report.note_codes == ("off_training_factor",)
    assert Note("a", "b") == "b" and Note("a", "b").code == "a" and report.to_dict()["notes"][0].code == "off_training_factor"
