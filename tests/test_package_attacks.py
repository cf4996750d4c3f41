"""What a stranger may put in front of Package.open: it opens with equal content or says PackageError, never anything else."""

import io
import os
import runpy
import stat
import struct
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hfd_edge.errors import PackageError
from hfd_edge.package import Package
from hfd_edge.package.zip import write_container
from tests.package_files import open_bytes, refuse

FOLDER = Path(__file__).parent / "golden"
MAKE = runpy.run_path(str(FOLDER / "make_golden.py"))
GRAPH = MAKE["GRAPH"]
ENGINE = (FOLDER / "v1_0.engine").read_bytes()
DIRECTORY, LOCAL, END = struct.Struct("<4s6H3I5H2I"), struct.Struct("<4s5H3I2H"), struct.Struct("<4s4H2IH")
FIELDS = ("magic", "made_by", "needed", "flags", "method", "time", "date", "crc", "packed", "size", "name_size", "extra_size",
          "comment_size", "disk", "internal", "external", "header")


def patched(engine, member, name=None, **changes):
    """The container with fields of a member's directory record changed, and of its local header where it has them too."""
    data = bytearray(engine)
    at = END.unpack_from(data, len(data) - END.size)[6]
    while True:
        record = dict(zip(FIELDS, DIRECTORY.unpack_from(data, at)))
        if data[at + 46:at + 46 + record["name_size"]] == member.encode():
            break
        at += 46 + record["name_size"]
    header = record["header"]
    record.update(changes)
    DIRECTORY.pack_into(data, at, *record.values())
    local_extra = LOCAL.unpack_from(data, header)[-1]
    LOCAL.pack_into(data, header, b"PK\x03\x04", *(record[key] for key in FIELDS[2:11]), local_extra)
    if name is not None:
        assert len(name) == len(member)
        data[at + 46:at + 46 + len(name)] = data[header + 30:header + 30 + len(name)] = name.encode("latin-1")
    return bytes(data)


@pytest.mark.parametrize("name", [
    "../../../a.onnx", "/etc/cron.d/abc", "..\\..\\..\\a.onnx", "graph-fp32/onn/", "graph-fp32.onn\0",
    "graph//fp3.onnx", "a/../graph.onnx", "./graph-fp.onnx", "gr\xe4ph-fp32.onnx", "C:/h-fp32.onnx\n"])
def test_a_member_name_with_a_path_trick_is_refused(tmp_path, name):
    refuse(tmp_path, patched(ENGINE, GRAPH, name=name), "is not safe")


def test_a_member_that_no_package_has_is_refused(tmp_path):
    refuse(tmp_path, MAKE["altered"]({**MAKE["members"](), "run-me.py": b"print()"}), "'run-me.py' is none of graph-fp32.onnx")


@pytest.mark.parametrize("changes, message", [
    ({"flags": 1}, "encrypted"),
    ({"method": 8}, "compressed"),
    ({"packed": 10}, "compressed"),
    ({"external": (stat.S_IFLNK | 0o777) << 16}, "is a link, folder or device"),
    ({"external": (stat.S_IFDIR | 0o755) << 16}, "is a link, folder or device"),
    ({"external": 0x10, "made_by": 20}, "a header that hfd_edge does not write"),
    ({"magic": b"PK\x01\x03"}, "directory is damaged at byte"),
    ({"date": 0x5000}, "a header that hfd_edge does not write"),
    ({"flags": 8}, "a header that hfd_edge does not write"),
    ({"comment_size": 3}, "a header that hfd_edge does not write"),
    ({"crc": 1}, "CRC-32"),
    ({"header": 0}, "without overlap or gap"),
    ({"header": 2**32 - 1}, "without overlap or gap"),
    ({"size": 2**31, "packed": 2**31}, "at most 2147483647"),
    ({"size": 2**20, "packed": 2**20}, "behind the zip directory"),
])
def test_a_member_record_out_of_line_is_refused(tmp_path, changes, message):
    refuse(tmp_path, patched(ENGINE, "golden/input.npy", **changes), message)


def test_overlapping_members_are_refused_even_when_each_looks_sound(tmp_path):
    size = len(MAKE["members"]()["golden/input.npy"])
    refuse(tmp_path, patched(ENGINE, "golden/input.npy", size=size + 64, packed=size + 64), "without overlap or gap")


def test_the_same_name_twice_is_refused(tmp_path):
    twice = MAKE["altered"]({**MAKE["members"](), "graph-fp33.onnx": b"other"})
    refuse(tmp_path, patched(twice, "graph-fp33.onnx", name=GRAPH), "there twice")


def test_a_zip_bomb_is_refused_before_it_unfolds(tmp_path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", b" " * 50_000_000)
    refuse(tmp_path, file.getvalue(), "compressed")


def test_a_package_packed_again_by_a_zip_tool_is_refused_with_the_reason(tmp_path):
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(ENGINE)) as source, zipfile.ZipFile(file, "w") as archive:
        for name in source.namelist():
            archive.writestr(name, source.read(name))
    refuse(tmp_path, file.getvalue(), "64-byte boundaries; write packages with hfd-edge export")


@pytest.mark.parametrize("data, message", [
    (ENGINE + b"x", "something was appended"),
    (ENGINE + ENGINE, "without overlap|end record is wrong"),
    (ENGINE[:-1], "cut short|appended"),
    (ENGINE[:2000], "cut short"),
    (ENGINE[:-22] + END.pack(b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0), "end record is wrong"),
    (ENGINE[:-2] + b"\x01\0", "end record is wrong"),
])
def test_a_file_that_ends_elsewhere_than_its_zip_is_refused(tmp_path, data, message):
    refuse(tmp_path, data, message)


def test_hidden_bytes_before_the_directory_are_refused(tmp_path):
    _, _, _, count, _, size, at, _ = END.unpack_from(ENGINE, len(ENGINE) - END.size)
    hidden = ENGINE[:at] + b"hidden" + ENGINE[at:at + size] + END.pack(b"PK\x05\x06", 0, 0, count, count, size, at + 6, 0)
    refuse(tmp_path, hidden, "6 bytes behind the last member")


def test_a_directory_that_counts_more_members_than_it_has_is_refused(tmp_path):
    _, _, _, count, _, size, at, _ = END.unpack_from(ENGINE, len(ENGINE) - END.size)
    ends = [END.pack(b"PK\x05\x06", 0, 0, count + 1, count + 1, size + more, at, 0) for more in (0, 46 + 12)]
    refuse(tmp_path, ENGINE[:-22] + ends[0], "ends before its entry 5 of 5")
    ghost = DIRECTORY.pack(b"PK\x01\x02", 788, 20, 0, 0, 0, 33, 0, 0, 0, 12, 0, 0, 0, 0, 0o100644 << 16, at) + b"plans/x.plan"
    refuse(tmp_path, ENGINE[:-22] + ghost + ends[1], "inside the zip directory")


def test_a_file_above_the_limit_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("hfd_edge.package.zip.MAX_FILE_BYTES", len(ENGINE) - 1)
    refuse(tmp_path, ENGINE, f"the file has {len(ENGINE)} bytes")


def test_too_many_members_are_refused(tmp_path):
    members = [("manifest.json", memoryview(b"{}"))] + [(f"plans/{i}.plan", memoryview(b"x")) for i in range(64)]
    with pytest.raises(PackageError, match="65 members"):
        write_container(io.BytesIO(), members)


def test_exchanged_data_with_a_fitting_crc_is_caught_by_its_hash(tmp_path):
    graph = bytearray(MAKE["graph"]())
    at = ENGINE.index(bytes(graph))
    graph[-1] ^= 1
    refuse(tmp_path, patched(ENGINE[:at] + bytes(graph) + ENGINE[at + len(graph):], GRAPH, crc=zlib.crc32(graph)), "SHA-256")


def test_a_package_without_a_graph_is_refused(tmp_path):
    refuse(tmp_path, MAKE["altered"]({"plans/sm90-10.3-fp16.plan": b"ftrt"}), "no graph among")


def torch_like():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("student/data.pkl", b"\x80\x02" * 40)
    return file.getvalue()


@pytest.mark.parametrize("data, message", [
    (b"ftrt" + bytes(100), "bare TensorRT plan.*give the package"),
    (b"vtrt" + bytes(100), "bare TensorRT plan.*give the package"),
    (b"\x90\x01\0\0{" + bytes(500), "Ultralytics' metadata in front.*hfd-edge package"),
    (MAKE["graph"](), "bare ONNX graph.*hfd-edge export"),
    (b"II*\0" + bytes(50), "TIFF raster"),
    (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    (b"\x40\0\0\0\0\0\0\0{" + bytes(80), "safetensors checkpoint"),
    (torch_like(), "PyTorch checkpoint"),
    (b"", "empty"),
    (b"\x08", "no zip"),
    (b"hello", "no zip"),
    (b"PK\x03\x04", "cut short"),
])
def test_a_file_that_is_something_else_is_called_by_its_name(tmp_path, data, message):
    refuse(tmp_path, data, message)


def test_a_path_that_is_no_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, message in ((tmp_path / "pipe", "a pipe"), (tmp_path, "a folder"), (tmp_path / "none", "cannot be read")):
        with pytest.raises(PackageError, match=message):
            Package.open(path)


def content(package):
    return {name: bytes(package.read(name)) for name in package.names}


@pytest.mark.slow
@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flips=st.lists(st.tuples(st.integers(0, len(ENGINE) - 1), st.integers(1, 255)), min_size=1, max_size=4),
       cut=st.none() | st.integers(0, len(ENGINE)), tail=st.binary(max_size=40))
def test_any_damage_is_either_harmless_or_a_package_error(tmp_path, flips, cut, tail):
    data = bytearray(ENGINE)
    for at, change in flips:
        data[at] ^= change
    damaged = bytes(data)[:cut] + tail
    try:
        package = open_bytes(tmp_path, damaged)
    except PackageError as error:
        assert "\n" not in str(error)
    else:
        assert content(package) == content(Package.open(FOLDER / "v1_0.engine"))
