"""The benchmark verb: what it records, what it refuses, its page and its ratios. No test here knows how fast anything is."""

import json
import re
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import rasterio
from command import failed, power, run

from hfd_edge.errors import ArrayError
from hfd_edge.measure import benchmark, benchmark_energy, benchmark_scene
from hfd_edge.measure.benchmark_compare import compare_records, differences
from hfd_edge.measure.benchmark_page import page
from hfd_edge.measure.benchmark_sweep import Setting, costly_tiles, tile_plans
from hfd_edge.measure.benchmark_times import Spread, in_turns
from hfd_edge.measure.benchmark_timetable import SECONDS, Timetable
from hfd_edge.package import Package
from hfd_edge.raster_run import RasterOptions

pytestmark = pytest.mark.slow

DEMO = Path(__file__).resolve().parent.parent / "hfd_edge" / "data" / "demo.engine"
VOID = {"meta", "rect", "br"}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmark")
    done = run("benchmark", DEMO, "--quick", "--size", "300x280", "--json", folder / "b.json", "--report", folder / "b.html")
    assert done.returncode == 0, done.stderr
    return done, benchmark.read_lines(folder / "b.json"), (folder / "b.html").read_text()


def test_every_part_is_recorded_and_adds_up(records):
    done, found, _ = records
    text = done.stdout
    kinds = [record["kind"] for record in found]
    assert kinds[0] == "benchmark" and {"engine", "stage", "end_to_end", "memory", "energy", "tile", "precision"} <= set(kinds)
    assert {r["stage"] for r in found if r["kind"] == "stage"} == {"read", "gather", "engine", "finish"}
    for r in benchmark.of_kind(found, "engine"):
        assert r["min_ms"] <= r["p50_ms"] <= r["p95_ms"] <= r["p99_ms"] <= r["max_ms"] and r["first_call_ms"] > 0
    (whole,) = benchmark.of_kind(found, "end_to_end")
    assert whole["mpx_per_s"] == pytest.approx(300 * 280 / 1e3 / whole["p50_ms"])
    assert whole["ns_per_px"] * whole["mpx_per_s"] == pytest.approx(1e3)
    for word in ("Throughput:", "percentile(99%)", "First call", "=== Stages ===", "=== Tile sizes ==="):
        assert word in text


def test_what_was_not_measured_says_why(records):
    _, found, shown = records
    int8 = next(r for r in found if r["kind"] == "precision" and r["setting"] == "int8")
    assert "graph-int8-cpu.onnx" in int8["not_available"] and "Not available here" in shown
    energy = next(r for r in found if r["kind"] == "energy")
    assert energy.get("not_available") or energy["joules_per_mpx"] > 0


def test_a_tile_that_is_mostly_halo_is_told_with_its_price_and_the_rest_measured(records):
    done, found, shown = records
    tiles = {r["setting"]: r for r in found if r["kind"] == "tile"}
    assert list(tiles) == ["auto", "256", "512"] and 0 < tiles["512"]["halo_share"] < 1
    assert tiles["512"]["labels_unlike_first"] == 0             # the exact halo: the same map from any tile
    small = tiles["256"]
    assert "mpx_per_s" not in small and small not in benchmark.of_kind(found, "tile")
    assert small["compute_ratio"] == pytest.approx(1 / (1 - small["halo_share"])) and small["halo_share"] > 0.9
    said = f"not measured: {small['compute_ratio']:.0f} times the scene's pixels"
    (row,) = (line for line in done.stdout.splitlines() if line.startswith("256 "))
    assert said in row and said.replace("'", "&#x27;") in shown


def test_what_is_measured_and_how_long_it_will_take_is_told_meanwhile(records):
    lines = records[0].stderr.splitlines()
    told = [re.fullmatch(r"measuring (\d) of 4, ([^:]+): (.+), (about|up to) (\d+) s left", line) for line in lines]
    assert all(told), lines
    assert list(dict.fromkeys(each[1] for each in told)) == ["1", "2", "3", "4"]
    assert {each[2] for each in told} == set(SECONDS) and any("round 2 of 2 of auto, 512" in each[3] for each in told)
    assert "up to" in told[0][4] and told[-1][4] == "about"


def test_tiles_are_left_out_by_what_they_compute_and_never_the_best():
    spec = Package.open(DEMO).spec
    settings = [Setting("auto", {}), *(Setting(str(side), {"tile": side}) for side in (200, 256, 512, 1024))]
    plans = tile_plans(spec, (2048, 2048), settings)
    assert list(plans) == ["auto", "256", "512", "1024"]            # 200 px leave no core: the run says so
    costly = costly_tiles(plans)
    assert list(costly) == ["256"] and costly["256"]["compute_ratio"] == plans["256"].grid.input_px / 2048 ** 2
    assert "64 times the scene's pixels" in costly["256"]["not_measured"] and "(auto)" in costly["256"]["not_measured"]
    assert not costly_tiles({"256": plans["256"]}) and not costly_tiles({})


def test_sweeps_run_on_the_middle_of_a_large_scene_and_on_all_of_a_small_one():
    pixels = np.arange(1 * 2100 * 2060, dtype=np.float32).reshape(1, 2100, 2060)
    scene = benchmark_scene.BenchScene("pixels", pixels, "intensity")
    part = scene.part(2100, 2060)
    assert part.what == "its middle, 2048 x 2048" and (part.array == pixels[:, 26:2074, 6:2054]).all()
    assert benchmark_scene.BenchScene("pixels", pixels[:, :9, :9]).part(9, 9).what == "pixels"
    raster = benchmark_scene.BenchScene("raster", path=DEMO, options=RasterOptions(window=(10, 20, 2100, 300)))
    assert raster.part(2100, 300).options.window == (36, 20, 2048, 300)


def test_a_part_has_as_many_rounds_as_its_seconds_allow_and_two_at_least():
    now, said = [0.0], []
    timetable = Timetable({"a": 10.0, "b": 20.0}, said.append, lambda: now[0])
    timetable.begin("a")
    now[0] = 4.0
    assert [timetable.rounds(each, 5) for each in (0.0, 1.0, 2.0, 100.0)] == [5, 5, 3, 2] and timetable.rounds(100, 1) == 1
    timetable.tell("x")
    timetable.expect("b", 1.0, 2.0, 3)
    timetable.tell("y", 2.0)
    assert said == ["1 of 2, a: x, up to 26 s left", "1 of 2, a: y, about 9 s left"]


class _Checker(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.links, self.seen = [], [], set()

    def handle_starttag(self, tag, attributes):
        self.seen.add(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"


def test_the_page_is_closed_properly_and_needs_nothing_from_elsewhere(records):
    _, found, shown = records
    checker = _Checker()
    checker.feed(shown)
    assert not checker.open and not checker.links and {"svg", "table", "figure"} <= checker.seen
    assert "http:" not in shown and "https:" not in shown and "<script" not in shown and "prefers-color-scheme:dark" in shown
    evil = [{**found[0], "name": "<script>alert(1)</script>'"}, *found[1:]]
    assert "<script" not in page(evil)


def test_an_unclosed_page_would_be_seen():
    with pytest.raises(AssertionError, match="closes nothing"):
        _Checker().feed("<table></div>")


def test_ratios_point_to_the_better_one_and_gaps_are_told(records, tmp_path):
    _, found, _ = records
    faster = json.loads(json.dumps(found))
    for r in faster:
        if r["kind"] == "end_to_end":
            r["mpx_per_s"] *= 2
        if r["kind"] == "engine":
            r["p50_ms"] /= 4
    faster = [r for r in faster if not (r["kind"] == "tile" and r["setting"] == "512")]
    rows = {row["figure"]: row["ratio"] for row in compare_records(found, faster)}
    assert rows["end_to_end mpx_per_s"] == pytest.approx(2) and rows["engine 1 p50_ms"] == pytest.approx(4)
    assert rows["tile 512 mpx_per_s"] is None and rows["tile auto mpx_per_s"] == pytest.approx(1) and "tile 256 mpx_per_s" not in rows
    assert not differences(found, faster) and differences(found, [{**faster[0], "threads": 99}])
    assert differences(found, [{**faster[0], "sweeps_on": "its middle"}])
    for name, side in (("a", found), ("b", faster)):
        (tmp_path / name).write_text(benchmark.to_lines(side))
    done = run("benchmark", "--compare", tmp_path / "a", tmp_path / "b")
    assert done.returncode == 0 and "2.000x" in done.stdout and "not in both" in done.stdout


@pytest.mark.parametrize("words, said", [
    (["--size", "12"], "rows and columns"), (["--size", "0x5"], "rows and columns"), (["--size", "9x9", "--scene", "s.tif"], "--size"),
    (["--unit", "db"], "--scene"), (["--compare", "a", "b"], "measures nothing")])
def test_options_that_contradict_each_other_are_refused_before_anything_runs(words, said):
    done = run("benchmark", DEMO, *words)
    assert done.returncode == 2 and said in done.stderr.replace("\n", " ") and not done.stdout


def test_files_that_are_no_benchmarks_are_refused(tmp_path):
    (tmp_path / "a").write_text("{}\n")
    (tmp_path / "b").write_text('{"kind": "benchmark", "format": 99}\n')
    failed(run("benchmark", "--compare", tmp_path / "a", tmp_path / "b"), "not a benchmark's JSON")
    failed(run("benchmark", "--compare", tmp_path / "b", tmp_path / "b"), "format 99")
    failed(run("benchmark", tmp_path / "none.engine", "--quick"), "none.engine")
    (tmp_path / "there.html").write_text("mine")
    failed(run("benchmark", DEMO, "--quick", "--report", tmp_path / "there.html"), "there.html")
    assert (tmp_path / "there.html").read_text() == "mine"


def test_a_spread_is_that_of_numpy_and_needs_a_call():
    wall = [float(value) for value in np.random.default_rng(0).gamma(2, 1, 40)]
    spread = Spread.of(wall, [0.0] * 40)
    assert spread.p99_ms == pytest.approx(1e3 * np.percentile(wall, 99)) and set(spread.to_dict()) == set(asdict(spread))
    with pytest.raises(ArrayError, match="at least one call"):
        Spread.of([], [])
    with pytest.raises(ArrayError, match="at least one round"):
        in_turns({"a": lambda: None}, 0)


def test_jobs_are_run_in_turns_after_warming_up():
    order = []
    found = in_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=2, warm_up=1, before_round=order.append)
    assert order == ["a", "b", 0, "a", "b", 1, "a", "b"] and found["a"].calls == 2


# As two JetPacks print it (fields shortened).
ORIN = ("RAM 3023/7620MB CPU [2%@729,0%@729] cpu@45.5C gpu@46.1C cv0@-256C tj@46.1C VDD_IN 4000mW/4000mW VDD_CPU_GPU_CV 639mW/639mW\n"
        "RAM 3023/7620MB CPU [2%@729,0%@729] cpu@47.5C tj@48C VDD_IN 6000mW/5000mW VDD_CPU_GPU_CV 700mW/670mW\n")
NANO = "RAM 1/3964MB PLL@41C CPU@43.5C iwlwifi@50C POM_5V_IN 2000/2000 POM_5V_GPU 40/40 POM_5V_CPU 500/500\n"


def test_tegrastats_is_the_mean_of_the_input_rail_alone():
    assert benchmark_energy.tegrastats_account(ORIN, 2.0) == {"joules": 10.0, "temperature_c": 48.0, "throttled": None}
    assert benchmark_energy.tegrastats_account(NANO, 3.0)["joules"] == 6.0
    with pytest.raises(OSError, match="no input rail"):
        benchmark_energy.tegrastats_account("RAM 1/2MB", 1.0)


def test_rapl_adds_packages_and_survives_a_counter_that_begins_anew(tmp_path):
    for number, energy in ((0, 5_000_000), (1, 9_000_000)):
        zone = tmp_path / f"intel-rapl:{number}"
        zone.mkdir()
        (zone / "energy_uj").write_text(str(energy))
        (zone / "max_energy_range_uj").write_text("10000000")
        (tmp_path / f"intel-rapl:{number}:0").mkdir()           # a part of the package: it must not count twice
    meter = benchmark_energy.Rapl(tmp_path)
    meter.start()
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("7000000")
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("1000000")
    assert meter.stop()["joules"] == pytest.approx(4.0)
    with pytest.raises(OSError, match="no RAPL counter"):
        benchmark_energy.Rapl(tmp_path / "none")


def test_a_raster_is_measured_file_to_file_with_its_writing(tmp_path):
    scene, values = tmp_path / "s.tif", power(256, 240)
    with rasterio.open(scene, "w", driver="GTiff", width=240, height=256, count=3, dtype="float32", crs="EPSG:32633",
                       transform=rasterio.Affine(10, 0, 0, 0, -10, 0)) as dataset:
        dataset.write(values[[1, 0, 1]])
    done = run("benchmark", DEMO, "--scene", scene, "--unit", "intensity", "--bands", "2,1", "--quick", "--json", "-")
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    stages = {r["stage"]: r for r in found if r["kind"] == "stage"}
    assert stages["write"]["alone_s"] > 0 and stages["read"]["alone_s"] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["s.tif"]
