"""What a wheel and a source distribution hold, and what a type checker finds in them."""

import ast
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import hfd_edge

ROOT = Path(__file__).resolve().parent.parent
NOT_SENT = {"__pycache__", "build", "runs"}


def setup(*words):
    pytest.importorskip("setuptools", minversion="77")
    subprocess.run([sys.executable, "setup.py", "-q", *words], cwd=ROOT, check=True, capture_output=True, text=True)


def files_of(folder):
    return {str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*")
            if path.is_file() and not NOT_SENT & set(path.relative_to(ROOT).parts) and path.suffix not in (".pyc", ".so")}


def test_a_source_distribution_holds_all_that_its_makefile_tests_and_readme_name(tmp_path):
    setup("egg_info", "--egg-base", str(tmp_path), "sdist", "--dist-dir", str(tmp_path))
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        sent = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"CHANGELOG.md", "LICENSE", "README.md", "Makefile", "CMakeLists.txt", "MANIFEST.in", "setup.py", "pyproject.toml", "constraints-test.txt"}
    for folder in ("csrc", "cmake", "hfd_edge", "docs", "training", "benchmarks", "tests"):
        wanted |= files_of(folder)
    assert not wanted - sent
    assert not [name for name in sent if name.endswith((".so", ".pyc"))]


def test_a_wheel_holds_the_package_its_engines_and_the_mark_of_its_types(tmp_path):
    setup("egg_info", "--egg-base", str(tmp_path), "build_py", "--build-lib", str(tmp_path / "lib"))
    built = {str(path.relative_to(tmp_path / "lib")) for path in (tmp_path / "lib").rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert built == files_of("hfd_edge") and "hfd_edge/py.typed" in built and "hfd_edge/data/demo.engine" in built


def test_type_checkers_see_every_public_name():
    tree = ast.parse((ROOT / "hfd_edge" / "__init__.py").read_text())
    checked = next(node for node in tree.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
    seen = {alias.name for node in checked.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    listed = next(node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "__all__")
    assert set(ast.literal_eval(listed)) == set(hfd_edge.__all__) <= seen, "a list that is put together is none for a type checker"
    assert set(hfd_edge.__all__) == {*hfd_edge._HOME, "errors"} - {"__version__"}
    assert all(hasattr(hfd_edge, name) for name in hfd_edge.__all__)
