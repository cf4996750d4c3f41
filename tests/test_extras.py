"""A library that is missing is named together with the extra that brings it."""

import subprocess
import sys
from pathlib import Path

import pytest

from hfd_edge.extras import _BRING, missing
from tests.test_rooms import BLOCK

ROOT = Path(__file__).resolve().parent.parent
RUN = "import runpy; sys.argv = {words}; runpy.run_module({module!r}, run_name='__main__')"


def blocked(module, names, *words):
    code = BLOCK.replace("ImportError(\"blocked: \" + name)", "ModuleNotFoundError('blocked', name=name)").format(names=set(names))
    return subprocess.run([sys.executable, "-c", code + RUN.format(words=["x", *words], module=module)], capture_output=True, text=True, cwd=ROOT)


@pytest.mark.parametrize(("module", "names", "words", "extra"), [
    ("hfd_edge.cli", ("yaml",), ("package", "--example-spec"), "package"), ("training", ("yaml",), ("keys",), "train"),
    ("hfd_edge.cli", ("onnx",), ("export", "x.safetensors", "-o", "x.engine"), "export"),
    ("hfd_edge.cli", ("torch",), ("verify", "x.engine", "--against", "x.safetensors", "--data", "x", "--unit", "db"), "export")])
def test_the_error_is_one_line_that_names_the_extra(module, names, words, extra):
    done = blocked(module, names, *words)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith(f"error: {names[0]} is not installed") and f"pip install 'hfd-edge[{extra}]'" in done.stderr


def test_every_extra_that_is_named_is_one_and_brings_the_library():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has none")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    packages = {"cv2": "opencv", "yaml": "pyyaml", "sklearn": "scikit-learn"}
    for extra, names in _BRING.items():
        for name in names:
            assert any(line.startswith(packages.get(name, name)) for line in extras[extra]), (extra, name)


def test_another_module_is_named_as_python_does():
    assert missing(ModuleNotFoundError("No module named 'strange'", name="strange")) == "No module named 'strange'"
