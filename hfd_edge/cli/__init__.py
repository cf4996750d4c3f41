"""The command `hfd-edge`: the guard against interrupts stands before anything is imported; the verbs are in `hfd_edge.cli.verbs`."""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False               # as typing's, whose import takes longer than all that is imported here
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

FAILED = 1
INTERRUPTED = "interrupted: outputs that were not finished are removed"
_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_stopped: list[int] = []            # the signal that did


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; gives the exit code. Whatever went wrong is one line on the standard error."""
    _answer_stops(_leave)
    _fill_closed_streams()
    from hfd_edge.cli import verbs

    words = sys.argv[1:] if arguments is None else arguments
    app = verbs.app_for(words)
    try:
        _answer_stops(_interrupt)
        return verbs.run(app, words)
    except BaseException as error:
        if not _stopped:
            raise
        return failed(error, FAILED)                        # a library makes an error of its own of it, or none of ours


def failed(error: BaseException, code: int, text: str | None = None) -> int:
    """Say on one line what went wrong; gives the exit code."""
    from hfd_edge.text import printable

    if _stopped:
        code, text = FAILED, INTERRUPTED
        if (output := sys.modules.get("hfd_edge.raster.output")) is not None:
            output.discard_unfinished()                     # again: the signal may have come in the middle of that
    if os.environ.get("HFD_EDGE_DEBUG", "0") not in ("", "0"):
        import traceback
        traceback.print_exception(error)
    said = text or " ".join(str(error).split()) or type(error).__name__
    print(f"error: {printable(said)}", file=sys.stderr)
    return code


class _Interrupted(BaseException):
    """Ctrl-C or SIGTERM. Not a KeyboardInterrupt, which typer would answer in its own way and with another exit code."""


def _answer_stops(answer: Callable[[int, object], NoReturn]) -> None:
    for stop in _STOPS:                                     # a stopped job cleans up as after Ctrl-C
        if signal.getsignal(stop) is not signal.SIG_IGN:    # nohup
            signal.signal(stop, answer)


def _leave(_number: int, _: object) -> NoReturn:
    """While the verbs are imported: nothing is open yet, and an exception may be lost in the middle of an import."""
    try:
        os.write(2, f"error: {INTERRUPTED}\n".encode())
    finally:
        os._exit(FAILED)


def _interrupt(number: int, _: object) -> NoReturn:
    _stopped.append(number)
    for stop in _STOPS:
        signal.signal(stop, signal.SIG_IGN)                 # a second Ctrl-C must not stop the cleaning up
    raise _Interrupted


def _fill_closed_streams() -> None:
    """A stream that the caller closed (2>&-) leaves its number to the next file that is opened, and messages would go into it."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        continue
    os.close(number)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))
