"""`luni`, the command line: runs a command, and turns what went wrong into one line on standard error and a status.

0 done · 1 failed or not found · 2 usage or bad input · 3 the store is unavailable · 130 interrupted · 143 terminated
"""

from __future__ import annotations

import os
import re
import signal
import sys
import warnings
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from luni.errors import ConfigError, Degraded, Indeterminate, InvalidInput, LuniError, Unavailable

__all__ = ["FAILED", "INTERRUPTED", "OK", "TERMINATED", "UNAVAILABLE", "USAGE", "main", "run"]

OK, FAILED, USAGE, UNAVAILABLE, INTERRUPTED, TERMINATED = 0, 1, 2, 3, 130, 143

_EXTRA = frozenset({"typer", "rich", "prompt_toolkit"})
_CREDENTIALS = re.compile(r"(?<=://)\S*@")


def main() -> NoReturn:
    """Run the command line of this process."""
    signal.signal(signal.SIGTERM, _terminated)
    raise SystemExit(run(sys.argv[1:]))


def _terminated(_number: int, _frame: FrameType | None) -> NoReturn:
    """Somebody wants this to end: what is open is closed on the way out. Who asks twice does not wait for that."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    raise SystemExit(TERMINATED)


def run(arguments: Sequence[str]) -> int:
    """Run a command and return its status. Never raises, and never prints a traceback."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: _say(f"warning: {message}")
        try:
            from luni.ops.commands import app  # noqa: PLC0415  an extra, and `luni.cli` is imported cheaply

            status = app(args=list(arguments), prog_name="luni", standalone_mode=False)
            sys.stdout.flush()
        except KeyboardInterrupt:
            return _failed("interrupted", INTERRUPTED)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return FAILED
        except Exception as error:  # noqa: BLE001  the one place: whatever it is, a person reads one line
            return _told(error)
    if status == INTERRUPTED:  # the parser's own way to tell
        _say("interrupted")
    return status if isinstance(status, int) else OK


def _told(error: Exception) -> int:
    usage = getattr(error, "format_message", None)  # of the parser, which is not imported here
    if usage is not None:
        path = getattr(getattr(error, "ctx", None), "command_path", "luni")
        return _failed(f"{usage().rstrip('.')} (see {path} --help)", USAGE)
    status = next((status for kinds, status in _STATUSES if isinstance(error, kinds)), FAILED)
    return _failed(_line(error), status)


_STATUSES: tuple[tuple[tuple[type[Exception], ...], int], ...] = (
    ((InvalidInput, ConfigError), USAGE),
    ((Unavailable, Indeterminate, Degraded), UNAVAILABLE),
)


def _line(error: Exception) -> str:
    if isinstance(error, LuniError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in _EXTRA:
        return "the command line is an extra: pip install 'luni[cli]'"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if type(error).__name__ == "Abort":
        return "nothing was done"
    return f"internal error ({type(error).__name__}): a fault of luni, please report it"


def _failed(text: str, status: int) -> int:
    _say(text)
    return status


def _say(text: str) -> None:
    """Print one line without credentials: a URL can stand in what a user typed."""
    line = _CREDENTIALS.sub("***@", " ".join(text.split()))
    print("luni:", "".join(c if c.isprintable() else "�" for c in line), file=sys.stderr)  # noqa: T201  it is what a command line does


if __name__ == "__main__":
    main()
