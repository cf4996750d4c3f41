"""The command line: a file a verb. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from typing import NoReturn

import typer

from hfd_edge.cli.benchmark import benchmark
from hfd_edge.cli.build import build, plan
from hfd_edge.cli.compare import compare
from hfd_edge.cli.demo import demo
from hfd_edge.cli.despeckle import despeckle
from hfd_edge.cli.doctor import doctor
from hfd_edge.cli.export import export
from hfd_edge.cli.inspect import inspect
from hfd_edge.cli.package import package
from hfd_edge.cli.predict import predict
from hfd_edge.cli.report import printable
from hfd_edge.cli.scene import scene
from hfd_edge.cli.seams import seams
from hfd_edge.cli.simulate import simulate
from hfd_edge.cli.verify import verify
from hfd_edge.errors import GateError, HfdError
from hfd_edge.extras import missing

DONE, FAILED, USAGE, GATE_FAILED = 0, 1, 2, 3
_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_stopped: list[int] = []           # the signal that did

app = typer.Typer(name="hfd-edge", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
                  rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]})
for _verb in (predict, scene, despeckle, seams, benchmark, inspect, build, plan,
              export, package, verify, compare, doctor, simulate, demo):
    app.command()(_verb)


def _print_version(wanted: bool) -> None:
    if wanted:
        from hfd_edge.build import __version__
        typer.echo(f"hfd-edge {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error (or set HFD_EDGE_DEBUG=1)."),
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
) -> None:
    """Segment SAR scenes of any size with one .engine file.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 a gate failed.
    """
    if debug:
        os.environ["HFD_EDGE_DEBUG"] = "1"


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; gives the exit code. Whatever went wrong is one line on the standard error."""
    _fill_closed_streams()
    for stop in _STOPS:                                     # a stopped job cleans up as after Ctrl-C
        if signal.getsignal(stop) is not signal.SIG_IGN:    # nohup
            signal.signal(stop, _interrupt)
    try:
        return _run(arguments)
    except BaseException as error:
        if not _stopped:
            raise
        return _failed(error, FAILED)                       # a library makes an error of its own of it, or none of ours


def _run(arguments: list[str] | None) -> int:
    try:
        code = app(args=arguments, prog_name="hfd-edge", standalone_mode=False)
        return code if isinstance(code, int) else DONE
    except GateError as error:
        return _failed(error, GATE_FAILED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())      # the reader of a pipe left: nothing to tell it
        return FAILED
    except ModuleNotFoundError as error:
        words = sys.argv[1:] if arguments is None else arguments
        return _failed(error, FAILED, missing(error, next((word for word in words if not word.startswith("-")), None)))
    except (HfdError, ImportError, OSError, MemoryError) as error:
        return _failed(error, FAILED)
    except Exception as error:  # noqa: BLE001 - typer's own exceptions share no base between its versions
        if hasattr(error, "exit_code") and hasattr(error, "show"):
            error.show()
            return error.exit_code
        raise


def _fill_closed_streams() -> None:
    """A stream that the caller closed (2>&-) leaves its number to the next file that is opened, and messages would go into it."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        continue
    os.close(number)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))


def _failed(error: BaseException, code: int, text: str | None = None) -> int:
    if _stopped:
        code, text = FAILED, "interrupted: outputs that were not finished are removed"
        if (output := sys.modules.get("hfd_edge.raster.output")) is not None:
            output.discard_unfinished()                     # again: the signal may have come in the middle of that
    if os.environ.get("HFD_EDGE_DEBUG", "0") not in ("", "0"):
        traceback.print_exception(error)
    said = text or " ".join(str(error).split()) or type(error).__name__
    print(f"error: {printable(said)}", file=sys.stderr)
    return code


class _Interrupted(BaseException):
    """Ctrl-C or SIGTERM. Not a KeyboardInterrupt, which typer would answer in its own way and with another exit code."""


def _interrupt(number: int, _: object) -> NoReturn:
    _stopped.append(number)
    for stop in _STOPS:
        signal.signal(stop, signal.SIG_IGN)                 # a second Ctrl-C must not stop the cleaning up
    raise _Interrupted
