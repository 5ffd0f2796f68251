"""How the command ends: with a status, and before its time in one line on standard error. It imports no torch."""

import atexit
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from .errors import InputError

_came: list[int] = []
_saved: list[str] = []
_at_work = False


def watch() -> None:
    """From now on a signal ends this process in one line; one that is ignored, as nohup has it, stays so."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            signal.signal(number, _stop)
            atexit.register(signal.signal, number, signal.SIG_IGN)  # all is done then


def note_saved(path: str | Path) -> None:
    """Note a file that is saved, to be told if what follows ends before its time."""
    _saved.append(str(path))


def carry_out(job: Callable[[], object]) -> int:
    """Do a job; gives its status: 0, 2 for bad input or output without room, 128 and a signal's number."""
    global _at_work
    _came.clear()
    _saved.clear()
    try:
        try:
            _at_work = True
            job()
            sys.stdout.flush()
        finally:
            _at_work = False
    except SystemExit:  # help was asked for
        return _leave("", 0)
    except InputError as error:
        return _leave(f"error: {error}", 2)
    except KeyboardInterrupt:
        number = _came[0] if _came else signal.SIGINT
        return _leave(_of_signal(number), 128 + number)
    except BrokenPipeError:  # whoever read the log has gone
        return _leave("", 128 + signal.SIGPIPE)
    except OSError as error:
        return _leave(f"error: cannot write the log: {error.strerror or error}", 2)
    return 0


def _stop(number: int, _: FrameType | None) -> None:
    first = not _came
    _came.append(number)
    if first and _at_work:
        raise KeyboardInterrupt
    with contextlib.suppress(OSError):
        os.write(2, f"{_of_signal(number)}\n".encode(errors="backslashreplace"))
    os._exit(128 + number)


def _of_signal(number: int) -> str:
    kept = f"saved: {', '.join(_saved)}" if _saved else "nothing was saved"
    return f"stopped by {signal.Signals(number).name}; {kept}"


def _leave(line: str, status: int) -> int:
    with contextlib.suppress(OSError):
        if line:
            print(" ".join(line.split())[:499], file=sys.stderr, flush=True)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # what is left in it would fail once more as Python ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            status = status or 128 + signal.SIGPIPE
    return status
