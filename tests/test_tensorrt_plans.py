"""What a plan was built for, where it is kept, and who may run it; no TensorRT is needed for any of it."""

import json
import multiprocessing
import os
import runpy
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfd_edge.engine.tensorrt_bare import check_free, trtexec_command, write_bare, write_triton
from hfd_edge.engine.tensorrt_build import plan_shapes
from hfd_edge.engine.tensorrt_cache import PlanCache
from hfd_edge.engine.tensorrt_request import trt_graph
from hfd_edge.errors import EngineError, PackageError
from hfd_edge.package import Package
from hfd_edge.package.again import embed_plans
from hfd_edge.package.plans import PlanKey
from hfd_edge.plan.device import usual_tile_px, wide_tile_px
from tests.engines import random_engine
from tests.package_files import refuse

PLAN = b"ftrt" + bytes(range(256)) * 9
MAKE = runpy.run_path(str(Path(__file__).parent / "golden" / "make_golden.py"))


def key_for(package, **changes):
    digest = package.manifest["members"]["graph-fp32.onnx"]["sha256"]
    return replace(PlanKey("graph-fp32.onnx", digest, "fp32", "tensorrt", "10.16.1.11", "NVIDIA H100 80GB HBM3", "9.0", 13000, 176, 176, 8, 176),
                   **changes)


@pytest.fixture
def package(tmp_path):
    with Package.open(random_engine(tmp_path / "m.engine")) as opened:
        yield opened


@pytest.fixture
def cache(tmp_path):
    return PlanCache(tmp_path / "cache" / "plans")


def silent(text):
    raise AssertionError(f"nothing was to be said: {text}")


OTHER = {"graph": "graph-fp16-trt.onnx", "graph_sha256": "0" * 64, "precision": "fp16", "library": "tensorrt_rtx", "version": "10.3.0",
         "gpu": "Orin", "capability": "8.7", "driver": 12060, "rows": 512, "cols": 512, "batch": 4, "golden_px": 64}


@pytest.mark.parametrize("name", [field.name for field in fields(PlanKey)])
def test_a_plan_that_differs_in_one_point_is_another_plan(package, cache, name):
    key = key_for(package)
    cache.put(key, PLAN)
    other = replace(key, **{name: OTHER[name]})
    assert cache.find(key, silent) == PLAN and cache.find(other, silent) is None
    assert len(other.differences(key)) == 1 and str(OTHER[name])[:40] in other.differences(key)[0]
    cache.put(other, b"other")
    assert cache.find(key, silent) == PLAN and cache.find(other, silent) == b"other" and cache.size_bytes() == len(PLAN) + 5


@pytest.mark.parametrize("harm", ["flip", "cut", "no record", "record of another", "no plan", "no json"])
def test_a_damaged_plan_is_thrown_away_aloud(package, cache, harm):
    key, said = key_for(package), []
    path = cache.put(key, PLAN)
    record = path.with_suffix(".json")
    if harm == "flip":
        path.write_bytes(PLAN[:-1] + b"!")
    elif harm == "cut":
        path.write_bytes(PLAN[:100])
    elif harm == "record of another":
        other = json.loads(record.read_text())
        record.write_text(json.dumps({**other, "key": {**other["key"], "driver": 12000}}))
    elif harm == "no json":
        record.write_text("{")
    else:
        (record if harm == "no record" else path).unlink()
    assert cache.find(key, said.append) is None and len(said) == 1 and "damaged" in said[0]
    assert not list(cache.folder.glob("*.plan")) and not list(cache.folder.glob("*.json"))
    assert cache.find(key, silent) is None


def test_a_cache_that_others_can_write_is_not_used(package, cache):
    cache.put(key_for(package), PLAN)
    os.chmod(cache.folder, 0o777)
    for use in (lambda: cache.find(key_for(package), silent), lambda: cache.put(key_for(package), PLAN)):
        with pytest.raises(EngineError, match="can be written by others.*chmod 700"):
            use()


def test_plans_are_this_users_alone_and_nothing_is_left_beside_them(package, cache):
    path = cache.put(key_for(package), PLAN)
    assert path.stat().st_mode & 0o777 == 0o600 and cache.folder.stat().st_mode & 0o777 == 0o700
    assert sorted(p.suffix for p in cache.folder.iterdir()) == [".json", ".plan"]


def _build_once(folder, key, log):
    cache = PlanCache(folder)
    with cache.building(key):
        if cache.find(key, print) is None:
            with open(log, "a") as file:
                file.write("built\n")
            cache.put(key, PLAN)


def test_of_processes_that_want_the_same_plan_one_builds(package, cache, tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_build_once, args=(cache.folder, key_for(package), tmp_path / "log")) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (tmp_path / "log").read_text() == "built\n" and cache.find(key_for(package), silent) == PLAN


def test_the_cache_is_where_xdg_says(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert PlanCache().folder == tmp_path / "hfd_edge" / "plans"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert PlanCache().folder == tmp_path / ".cache" / "hfd_edge" / "plans"


def test_a_plan_in_a_package_keeps_everything_else_and_says_what_it_is_for(package):
    before = {name: bytes(package.read(name)) for name in package.names[1:]}
    first, second = key_for(package), key_for(package, batch=4)
    names = embed_plans(package, {first: PLAN})
    with Package.open(package.path) as again:
        assert again.plans == {names[0]: first} and bytes(again.read(names[0])) == PLAN and again.manifest["format_version"] == [1, 1]
        assert {name: bytes(again.read(name)) for name in before} == before and again.spec == package.spec
        assert again.manifest["provenance"] == package.manifest["provenance"]
        more = embed_plans(again, {second: b"second", first: b"new"})
    with Package.open(package.path) as last:
        assert last.plans == {names[0]: first, more[0]: second} and bytes(last.read(names[0])) == b"new"
    assert package.manifest["format_version"] == [1, 0] and names[0] == "plans/sm90-trt10.16.1.11-fp32-8x176x176.plan"


def test_a_package_with_a_plan_but_no_record_opens_and_has_no_plan_to_run(tmp_path):
    with_plan = {**MAKE["members"](), "plans/sm90.plan": PLAN}
    (tmp_path / "m.engine").write_bytes(MAKE["altered"](with_plan))
    with Package.open(tmp_path / "m.engine") as opened:
        assert "plans/sm90.plan" in opened.names and opened.plans == {}


KEY = PlanKey("graph-fp32.onnx", "a" * 64, "fp32", "tensorrt", "10.3.0", "Orin", "8.7", 12060, 16, 16, 8, 16).to_dict()


@pytest.mark.parametrize(("plans", "message"), [
    ({"plans/other.plan": KEY}, "is no plan of this package"), ({"graph-fp32.onnx": KEY}, "is no plan of this package"),
    ({"../../etc/passwd": KEY}, "is no plan of this package"), ([], "is no JSON object"), ({"plans/a.plan": {}}, "lacks batch, capability"),
    ({"plans/a.plan": "x"}, "lacks batch"), ({"plans/a.plan": {**KEY, "driver": True}}, "driver is 'True'"),
    ({"plans/a.plan": {**KEY, "rows": -1}}, "rows is '-1'"), ({"plans/a.plan": {**KEY, "gpu": "a\nb"}}, "gpu is 'a"),
    ({"plans/a.plan": {**KEY, "graph_sha256": "A" * 64}}, "64 hexadecimal"), ({"plans/a.plan": {**KEY, "batch": 1e30}}, "batch is '1e"),
    ({"plans/a.plan": {**KEY, "version": ""}}, "version is ''"), ({"plans/a.plan": {**KEY, "golden_px": 0}}, "golden_px is '0'")])
def test_records_of_plans_out_of_line_are_refused(tmp_path, plans, message):
    engine = MAKE["altered"]({**MAKE["members"](), "plans/a.plan": PLAN}, plans=plans)
    refuse(tmp_path, engine, message)


def test_keys_of_later_versions_are_passed_over(tmp_path):
    engine = MAKE["altered"]({**MAKE["members"](), "plans/a.plan": PLAN}, plans={"plans/a.plan": {**KEY, "later": 1}})
    (tmp_path / "m.engine").write_bytes(engine)
    with Package.open(tmp_path / "m.engine") as opened:
        assert opened.plans["plans/a.plan"].to_dict() == KEY


@given(st.text(min_size=1, max_size=40), st.text(min_size=1, max_size=40))
def test_the_name_of_a_member_is_safe_whatever_a_driver_calls_itself(version, gpu):
    from hfd_edge.package.manifest import allowed
    from hfd_edge.package.zip import check_name
    try:
        key = PlanKey.from_dict({**KEY, "version": version, "gpu": gpu})
    except PackageError:
        return
    check_name(key.member)
    assert allowed(key.member)


def test_shapes_are_one_tile_a_batch_and_the_golden_tile_and_none_twice(package):
    assert key_for(package, rows=512, cols=768, batch=8, golden_px=256).profiles == ((1, 512, 768), (8, 512, 768), (1, 256, 256))
    assert key_for(package, rows=256, cols=256, batch=1, golden_px=256).profiles == ((1, 256, 256),)
    shapes, wide = plan_shapes(package), wide_tile_px(package.spec)
    assert shapes.rows == shapes.cols == usual_tile_px(package.spec) >= 2 * package.spec.halo_px + package.spec.stride_px and shapes.batch == 8
    assert plan_shapes(package, (wide, wide)).batch == 1 and plan_shapes(package, (wide, wide), 3).batch == 3
    for tile, batch, message in (((100, 104), 8, "multiple of the network's stride"), ((0, 8), 8, "multiple"), ((104, 104), 0, "1 to 1024")):
        with pytest.raises(EngineError, match=message):
            plan_shapes(package, tile, batch)


@pytest.mark.parametrize("precision", ["fp16", "int8", "half"])
def test_a_precision_that_the_package_does_not_hold_is_refused_with_the_way_out(package, precision):
    with pytest.raises(EngineError, match="--target cpu,tensorrt" if precision != "half" else "must be auto, fp16, fp32, int8"):
        trt_graph(package, precision)


def test_a_bare_plan_has_its_record_beside_it_and_triton_its_configuration(package, tmp_path):
    key, path = key_for(package), tmp_path / "m.plan"
    files = write_bare(path, package, key, PLAN) + write_triton(tmp_path / "sar", package, key, PLAN)
    record = json.loads((tmp_path / "m.plan.json").read_text())
    assert path.read_bytes() == PLAN == (tmp_path / "sar" / "1" / "model.plan").read_bytes() and len(files) == 4
    assert PlanKey.from_dict(record["key"]) == key and record["spec"]["stride_px"] == 8 and len(record["profiles"]) == 2
    config = (tmp_path / "sar" / "config.pbtxt").read_text()
    assert 'name: "pixels" data_type: TYPE_FP32 dims: [ 8, 2, 176, 176 ]' in config and 'profile: [ "1" ]' in config
    assert 'name: "logits" data_type: TYPE_FP32 dims: [ 8, 5, 44, 44 ]' in config
    assert trtexec_command(path, package, key).endswith("--useProfile=1 --shapes=pixels:8x2x176x176")
    with pytest.raises(EngineError, match="exists: nothing is replaced"):
        check_free(tmp_path / "new.plan", tmp_path / "sar", False, package.path)
    with pytest.raises(EngineError, match="Triton runs plans of the full TensorRT alone"):
        write_triton(tmp_path / "rtx", package, key_for(package, library="tensorrt_rtx"), PLAN)


def test_no_file_of_a_plan_is_replaced_unasked(package, tmp_path):
    """Also where it came to be after check_free, while the plan was built, and where it is a link that leads nowhere."""
    key, path, folder = key_for(package), tmp_path / "m.plan", tmp_path / "sar"
    write_bare(path, package, key, PLAN)
    write_triton(folder, package, key, PLAN)
    (tmp_path / "lost.plan").symlink_to(tmp_path / "nowhere")
    for write, at in ((write_bare, path), (write_triton, folder)):
        with pytest.raises(EngineError, match="exists: nothing is replaced unasked"):
            write(at, package, key, b"new")
    with pytest.raises(EngineError, match="lost.plan exists"):
        write_bare(tmp_path / "lost.plan", package, key, PLAN)
    with pytest.raises(EngineError, match="m.plan.json exists"):
        path.unlink()
        write_bare(path, package, key, b"new")
    assert not path.exists() and (folder / "1" / "model.plan").read_bytes() == PLAN and (tmp_path / "lost.plan").is_symlink()
    write_bare(path, package, key, b"new", overwrite=True)
    write_triton(folder, package, key, b"new", overwrite=True)
    assert path.read_bytes() == b"new" == (folder / "1" / "model.plan").read_bytes()


@pytest.mark.parametrize(("head", "what"), [(b"ftrt", "a bare TensorRT plan"), (b"vtrt", "a bare TensorRT plan"),
                                            (b"\x20\x01\0\0{\"description\"", "Ultralytics' metadata in front")])
def test_a_plan_given_instead_of_a_package_is_named_with_the_way_out(tmp_path, head, what):
    refuse(tmp_path, head + bytes(4000), f"{what}.*hfd-edge package, then hfd-edge build")


@pytest.mark.parametrize(("output", "triton", "words"), [
    ("m.engine", None, "m.engine is the engine that the plan is made from: an input is never replaced"), ("link", None, "is the engine"),
    ("m.engine/m.plan", None, "is the engine"), ("cache", None, "cache is a folder"), ("file/m.plan", None, "file is a file"), ("m.plan", "file", "file is a file")])
def test_a_plan_replaces_no_engine_and_what_cannot_be_written_is_told_before_it_is_built(package, tmp_path, output, triton, words):
    (tmp_path / "link").symlink_to(package.path)
    (tmp_path / "cache").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(EngineError, match=words):
        check_free(tmp_path / output, triton and tmp_path / triton, True, package.path)
    check_free(tmp_path / "new" / "m.plan", tmp_path / "sar", False, package.path)
