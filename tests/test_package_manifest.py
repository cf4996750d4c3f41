"""Manifests and golden tiles that contradict the format, in containers that do not: each is refused in one line."""

import io
import json
import runpy
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hfd_edge.errors import PackageError
from hfd_edge.package.zip import write_container
from tests.package_files import open_bytes, refuse

FOLDER = Path(__file__).parent / "golden"
MAKE = runpy.run_path(str(FOLDER / "make_golden.py"))
GRAPH, altered = MAKE["GRAPH"], MAKE["altered"]


def raw_manifest(text, name="manifest.json"):
    file = io.BytesIO()
    write_container(file, [(name, memoryview(text))])
    return file.getvalue()


def spec(**changes):
    return {**MAKE["SPEC"].to_dict(), **changes}


@pytest.mark.parametrize("entry, message", [
    ({"size": 1, "sha256": "0" * 64}, "the manifest says 1"),
    ({"size": 313, "sha256": "0" * 64}, "SHA-256"),
    ({"size": 313, "sha256": "short"}, "lacks size"),
    ({"size": 313.0, "sha256": "0" * 64}, "lacks size"),
    ({"size": True, "sha256": "0" * 64}, "lacks size"),
    ("text", "lacks size"),
    (None, "in the file but not in the manifest"),
])
def test_a_manifest_that_contradicts_its_member_is_refused(tmp_path, entry, message):
    with zipfile.ZipFile(FOLDER / "v1_0.engine") as archive:
        listed = json.loads(archive.read("manifest.json"))["members"]
    listed[GRAPH] = entry
    refuse(tmp_path, altered(members={key: value for key, value in listed.items() if value is not None}), message)


@pytest.mark.parametrize("manifest, message", [
    ({"format": "other"}, "does not say format"),
    ({"format": None}, "does not say format"),
    ({"format_version": None}, "format_version is not"),
    ({"format_version": [1]}, "format_version is not"),
    ({"format_version": [True, 0]}, "format_version is not"),
    ({"format_version": [1, -1]}, "format_version is not"),
    ({"format_version": "1.0"}, "format_version is not"),
    ({"format_version": [1e9, 0]}, "format_version is not"),
    ({"provenance": None}, "provenance is missing"),
    ({"members": 7}, "members is missing"),
    ({"members": {"plans/ghost.plan": {}}}, "not in the"),
    ({"members": {"../evil": {}}}, "is none of"),
    ({"spec": None}, "must be a JSON object|cannot be read"),
    ({"spec": 3}, "must be a JSON object|cannot be read"),
    ({"spec": spec(stride_px=3)}, "does not divide"),
    ({"spec": spec(name=5)}, "names are printable"),
    ({"spec": spec(name="\x1b[2J")}, "names are printable"),
    ({"spec": spec(classes=["a", "b", "\ud800"])}, "names are printable"),
    ({"spec": spec(classes="abc")}, "spec classes: a value is not of the kind"),
    ({"spec": spec(colors=[[1.5, 2, 3]] * 3)}, "spec colors: a value is not of the kind"),
    ({"spec": spec(halo_bounded_px=4.0)}, "halo_bounded_px"),
    ({"spec": spec(activation_bytes_per_px=-1)}, "activation_bytes_per_px"),
    ({"spec": spec(pixel_spacing_m="ten")}, "pixel_spacing_m"),
    ({"spec": spec(pixel_spacing_m=0)}, "pixel_spacing_m"),
    ({"spec": spec(bands=[["VV"], ["VH"]])}, "spec"),
    ({"spec": spec(input=[])}, "ModelInput record is a list"),
])
def test_a_manifest_of_the_wrong_kind_is_refused(tmp_path, manifest, message):
    refuse(tmp_path, altered(**manifest), message)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a": NaN}', b'{"a": 1e999}', b'{"a": -Infinity}',
                                  b'{"a": 1, "a": 2}'])
def test_a_manifest_that_is_no_plain_json_is_refused(tmp_path, text):
    refuse(tmp_path, raw_manifest(text), "manifest.json cannot be read as JSON")


def test_a_zip_with_another_first_member_or_another_manifest_is_no_package(tmp_path):
    refuse(tmp_path, raw_manifest(b"[]"), "does not say format")
    refuse(tmp_path, raw_manifest(b"{}", "manifest.json2"), "first member is manifest.json2")


def test_a_giant_manifest_is_refused_before_it_is_parsed(tmp_path):
    refuse(tmp_path, altered(provenance={"x": "y" * 5 * 2**20}), "at most 4194304 are read")


def npy(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


@pytest.mark.parametrize("content, message", [
    (npy(np.array([{"pickled": 1}], dtype=object)), "no .npy file as the format describes"),
    (b"", "no .npy file"),
    (npy(np.zeros((2, 16, 16), "<f8")), "no .npy file"),
    (npy(np.zeros((2, 16, 16), "<f4")).replace(b"16, 16", b"999999"), "no .npy file|but holds"),
    (npy(np.zeros((2, 16, 16), "<f4"))[:-4], "but holds"),
    (npy(np.zeros((3, 16, 16), "<f4")), "golden input is float32"),
    (npy(np.full((2, 16, 16), np.inf, "<f4")), "NaN or infinity"),
    (None, "golden/input.npy is missing"),
])
def test_a_golden_tile_of_the_wrong_kind_is_refused(tmp_path, content, message):
    members = {**MAKE["members"](), "golden/input.npy": content}
    refuse(tmp_path, altered({name: data for name, data in members.items() if data is not None}), message)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
                    max_leaves=6)
KEYS = [*MAKE["manifest"]([1, 0]), "members", *(f"spec.{key}" for key in spec()), *(f"input.{key}" for key in spec()["input"])]


@pytest.mark.slow
@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from(KEYS), value=JSON)
def test_any_json_in_place_of_any_value_of_the_manifest_never_crashes_the_reader(tmp_path, key, value):
    where, _, inner = key.rpartition(".")
    record = spec(input={**spec()["input"], inner: value}) if where == "input" else spec(**{inner: value})
    try:
        open_bytes(tmp_path, altered(**({"spec": record} if where else {key: value})))
    except PackageError as error:
        assert "\n" not in str(error)
