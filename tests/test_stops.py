"""Ctrl-C and SIGTERM while the command still imports what it needs."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
STOPPED_AT = """
import os, signal, sys
for each in (signal.SIGINT, signal.SIGTERM):
    signal.signal(each, signal.default_int_handler if each == signal.SIGINT else signal.SIG_DFL)
class Stop:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.{sent})
sys.meta_path.insert(0, Stop())
from hfd_edge.cli import main
sys.exit(main(["--version"]))
"""


@pytest.mark.parametrize("sent", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("module", ["typer", "hfd_edge.cli.verify", "hfd_edge.build"])      # the first that is not Python's own, the last verb, a verb's own
def test_a_signal_in_the_middle_of_an_import_is_the_same_one_line(module, sent):
    done = subprocess.run([sys.executable, "-c", STOPPED_AT.format(module=module, sent=sent)], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1 and done.stderr == "error: interrupted: outputs that were not finished are removed\n" and not done.stdout, done


def test_a_signal_that_the_caller_ignores_stays_ignored():
    code = STOPPED_AT.format(module="typer", sent="SIGINT").replace("class Stop", "signal.signal(signal.SIGINT, signal.SIG_IGN)\nclass Stop")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0 and done.stdout.startswith("hfd-edge ") and not done.stderr, done


def test_the_guard_stands_before_anything_large_is_imported():
    code = "import sys; before = {*sys.modules}; import hfd_edge.cli; print(*sorted({*sys.modules} - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    loaded = done.stdout.split()
    assert "hfd_edge.cli" in loaded and not {"typing", "traceback", "typer", "numpy", "pathlib"} & {*loaded}, loaded


def test_a_verb_is_asked_for_alone_and_help_names_all():
    code = "import sys; from hfd_edge.cli import main; main(sys.argv[1:]); print(*(name for name in sys.modules if name.startswith('hfd_edge.cli.')))"

    def loaded(*words):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=ROOT, check=True)
        return {name.removeprefix("hfd_edge.cli.") for name in done.stdout.splitlines()[-1].split()}

    assert {"doctor", "export"} & loaded("plan", "--help") == set() and "build" in loaded("plan", "--help")
    assert {"doctor", "export", "build"} <= loaded("--help")
