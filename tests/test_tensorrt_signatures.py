"""The stand-in of TensorRT has the signatures of the real bindings, and hfd_edge calls nothing else.

HFD_TENSORRT_WHEELS=FOLDER, with wheels of tensorrt-cu12-bindings or tensorrt-cu13-bindings in it (pip download --no-deps), looks the names up there.
"""

import ast
import inspect
import os
import zipfile
from pathlib import Path

import pytest

from tests.stand_in_tensorrt import make_stand_in
from tests.tensorrt_signatures import CALLBACKS, MEMBERS, RTX_SIGNATURES, SIGNATURES

ENGINE = Path(__file__).resolve().parent.parent / "hfd_edge" / "engine"
WHEELS = sorted(Path(os.environ["HFD_TENSORRT_WHEELS"]).glob("tensorrt*bindings*.whl")) if "HFD_TENSORRT_WHEELS" in os.environ else []


@pytest.mark.parametrize(("library", "signatures"), [("tensorrt", SIGNATURES), ("tensorrt_rtx", RTX_SIGNATURES)])
def test_the_stand_in_has_the_bindings_signatures(library, signatures):
    module, _ = make_stand_in(None, library=library)
    for name, parameters in signatures.items():
        owner, _, attribute = name.partition(".")
        found = getattr(getattr(module, owner), attribute)
        if parameters is None:
            assert not inspect.isfunction(found), name
        else:
            assert tuple(inspect.signature(found).parameters)[1:] == parameters, name


def test_the_stand_in_has_nothing_that_the_bindings_do_not_name():
    module, _ = make_stand_in(None)
    for owner in {name.partition(".")[0] for name in SIGNATURES}:
        own = {name for name, value in vars(getattr(module, owner)).items() if not name.startswith("_")}
        listed = {name.partition(".")[2] for name in SIGNATURES if name.startswith(owner + ".")}
        assert own - listed <= {"Severity"}, (owner, own - listed)


def test_hfd_edge_calls_nothing_that_was_not_looked_up():
    """Names of attributes in the TensorRT files that look like TensorRT's own."""
    known = {name.partition(".")[2] for name in (*SIGNATURES, *RTX_SIGNATURES, *CALLBACKS)}
    suspects = {node.attr for path in ENGINE.glob("tensorrt*.py") for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Attribute) and isinstance(node.value, (ast.Name, ast.Attribute))
                and (node.value.id if isinstance(node.value, ast.Name) else node.value.attr) in
                {"builder", "network", "config", "parser", "profile", "cache", "_runtime", "_engine", "engine", "_context", "context"}}
    ours = {"gpu", "name", "version", "graph", "device", "run", "folder", "size_bytes", "put", "find", "timing_cache", "building", "nearest", "plans",
            "batch", "close", "_plan", "_package"}
    assert suspects - ours <= known, suspects - ours - known


@pytest.mark.parametrize("wheel", WHEELS or [None], ids=lambda wheel: wheel.name if wheel else "none")
def test_every_name_stands_in_the_real_bindings(wheel):
    if wheel is None:
        pytest.skip("HFD_TENSORRT_WHEELS names no folder with wheels of TensorRT's bindings")
    with zipfile.ZipFile(wheel) as archive:
        module = next(name for name in archive.namelist() if name.endswith("/tensorrt.so"))
        data = archive.read(module)
    wanted = {part for name, parameters in {**SIGNATURES, **CALLBACKS}.items() for part in (*name.split("."), *(parameters or ()))} - {"__init__"}
    wanted |= {part for owner, names in MEMBERS.items() for part in (owner, *names)}
    missing = sorted(word for word in wanted if word.encode() + b"\0" not in data)       # linkers keep one string for equal ends
    assert not missing, f"{wheel.name} lacks {missing}"
    assert b"get_engine_validity\0" not in data, "TensorRT-RTX alone has it: the search finds anything"
