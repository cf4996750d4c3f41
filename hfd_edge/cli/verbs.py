"""The command line: a file a verb. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

import os
import sys
from importlib import import_module

import typer

from hfd_edge.cli import FAILED, failed
from hfd_edge.errors import EmptySceneError, GateError, HfdError
from hfd_edge.extras import missing

DONE, WRONG_USAGE, GATE_FAILED = 0, 2, 3

_FILES = {verb: verb for verb in ("predict", "scene", "despeckle", "seams", "benchmark", "inspect", "build", "plan",
                                  "export", "package", "verify", "compare", "doctor", "simulate", "demo")} | {"plan": "build"}


def app_for(words: list[str]) -> typer.Typer:
    """The command with the verb that is asked for, or with all of them where the first word is none: what typer makes of fifteen verbs
    takes a tenth of a small run."""
    app = typer.Typer(name="hfd-edge", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
                      rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]})
    app.callback()(_options)
    for verb in words[:1] if words and words[0] in _FILES else _FILES:
        app.command()(getattr(import_module(f"hfd_edge.cli.{_FILES[verb]}"), verb))
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        from hfd_edge.build import __version__
        typer.echo(f"hfd-edge {__version__}")
        raise typer.Exit


def _options(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error (or set HFD_EDGE_DEBUG=1)."),
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
) -> None:
    """Segment SAR scenes of any size with one .engine file.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 a gate failed.
    """
    if debug:
        os.environ["HFD_EDGE_DEBUG"] = "1"


def run(app: typer.Typer, words: list[str]) -> int:
    """Run one verb; gives the exit code. Errors that say what is wrong are one line on the standard error."""
    try:
        code = app(args=words, prog_name="hfd-edge", standalone_mode=False)
        return WRONG_USAGE if not words else code if isinstance(code, int) else DONE        # older ones of typer find nothing wrong with no words
    except GateError as error:
        return failed(error, GATE_FAILED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())      # the reader of a pipe left: nothing to tell it
        return FAILED
    except ModuleNotFoundError as error:
        return failed(error, FAILED, missing(error, next((word for word in words if not word.startswith("-")), None)))
    except EmptySceneError as error:
        return failed(error, FAILED, f"{error.fact}; give a scene that has valid pixels")      # allow_empty is no option of a verb
    except (HfdError, ImportError, OSError, MemoryError) as error:
        return failed(error, FAILED)
    except Exception as error:  # noqa: BLE001 - typer's own exceptions share no base between its versions
        if hasattr(error, "exit_code") and hasattr(error, "show"):
            error.show()
            return error.exit_code
        raise
