"""How a script ends before its time: in one line on standard error, and with a status that tells why."""

import atexit
import contextlib
import errno
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

from jaxae.errors import DivergenceError, InputError, StoppedError

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_LONGEST = 499
# What JAX says of the environment variables that it reads.
_OF_JAX = re.compile(r"^Unable to initialize backend|for JAX flag jax_|for environment 'JAX_")

# Of the process, as signals are: those that came, what an early end finds kept, whether a job is at work.
_came: list[int] = []
_kept: dict[str, None] = {}
_at_work = False


def watch() -> None:
    """From now on a signal ends this process in one line: what a script does first, as its imports take a second.

    So does what they raise of the variables that JAX reads as it is imported.
    """
    for number in watched():
        signal.signal(number, _stop)
        # Once all is done, and only Python itself is taken down, there is nothing to stop any more.
        atexit.register(signal.signal, number, signal.SIG_IGN)
    sys.excepthook = _end_of_imports


def watched() -> list[signal.Signals]:
    """The signals that stop a process, but those that whoever started it has it ignore, as nohup does."""
    return [number for number in STOPPING if signal.getsignal(number) not in (signal.SIG_IGN, None)]


def keep(what: str) -> None:
    """Note what is kept if the job at work ends before its time: a file that is written, a run that can be resumed."""
    if _at_work:
        _kept[what] = None


def carry_out(job: Callable[[], object]) -> None:
    """Do a job; what ends it before its time is told in one line, and exits.

    InputError gives status 2, as does output that has no room; DivergenceError 1; a signal 128 and its number, and
    tells what is kept; a reader of the output that has gone 141. A second signal ends at once. A bug keeps its
    traceback.
    """
    global _at_work
    _came.clear()
    _kept.clear()
    with _handled_by(_stop), _sent_again():
        try:
            try:
                _at_work = True
                _to_its_last_line(job)
            finally:
                _at_work = False
        except SystemExit:
            raise
        except BaseException as error:
            if (told := _told(error)) is None:
                raise
            _leave(*told)


def end_with_parent() -> None:
    """End this process when the one that started it ends, however that does."""
    import ctypes

    if sys.platform == "linux":
        death_of_parent = 1  # PR_SET_PDEATHSIG of prctl(2)
        ctypes.CDLL(None).prctl(death_of_parent, signal.SIGKILL)


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Start processes in the block that never see Ctrl-C, which a terminal sends to all: their parent ends them.

    A signal to this process waits until they are started.
    """
    noted: list[int] = []
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # which a new process takes over
    try:
        with _handled_by(lambda number, _: noted.append(number)):
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    for number in noted[:1]:
        signal.raise_signal(number)


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle the signals in the block, and give them back; another thread than the main one has no say over them."""
    numbers = watched() if threading.current_thread() is threading.main_thread() else []
    before = [signal.signal(number, handler) for number in numbers]
    try:
        yield
    finally:
        for number, one in zip(numbers, before, strict=True):
            signal.signal(number, one)


@contextmanager
def _sent_again() -> Iterator[None]:
    """Send a signal again whose exception nobody could catch: JAX has Python code in every garbage collection."""
    hook = sys.unraisablehook

    def send(unraisable: "sys.UnraisableHookArgs") -> None:
        if not (_came and issubclass(unraisable.exc_type, KeyboardInterrupt)):
            hook(unraisable)
            return
        # By another thread: here it would come in the same place.
        threading.Timer(0.01, os.kill, [os.getpid(), _came.pop()]).start()

    sys.unraisablehook = send
    try:
        yield
    finally:
        sys.unraisablehook = hook


def _stop(number: int, _: FrameType | None) -> None:
    first = not _came
    _came.append(number)
    if first and _at_work:
        raise KeyboardInterrupt
    # No job that has anything to put away. Not by way of sys.stderr, which may be in the middle of a line.
    with contextlib.suppress(OSError):
        os.write(2, f"{_of_signal(number)}\n".encode(errors="backslashreplace"))
    os._exit(128 + number)


def _end_of_imports(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What Python calls with an error that nothing has caught."""
    if (told := _told(error)) is None:
        sys.__excepthook__(kind, error, trace)
        return
    with contextlib.suppress(SystemExit):
        _leave(*told)
    os._exit(told[1])


def _to_its_last_line(job: Callable[[], object]) -> None:
    """Do a job, and flush what it printed: here an error of the last lines is told, Python's own end would fail."""
    try:
        job()
    except SystemExit:
        sys.stdout.flush()
        raise
    sys.stdout.flush()


def _told(error: BaseException) -> tuple[str, int] | None:
    """The line and the status of what ended a job; None for a bug."""
    match error:
        case StoppedError():
            return str(error), 128 + error.signal_number
        # A library may have made another error of the signal's.
        case _ if _came or isinstance(error, KeyboardInterrupt):
            number = _came[0] if _came else signal.SIGINT
            return _of_signal(number), 128 + number
        case InputError():
            return f"error: {error}", 2
        case DivergenceError():
            return f"error: {error}", 1
        case BrokenPipeError():  # its reader has gone, and nobody is left to tell
            return "", 128 + signal.SIGPIPE
        case MemoryError():
            return f"error: expected memory for what was asked, got {str(error) or 'too little'}", 2
        case RuntimeError() if str(error).startswith("RESOURCE_EXHAUSTED"):  # XLA's, on whichever device
            return f"error: expected memory for what was asked, got {error}", 2
        case RuntimeError() | ValueError() if _OF_JAX.search(str(error)):
            return f"error: expected variables of JAX that it knows and that name what is here, got {error}", 2
        case OSError() if error.errno in _NO_ROOM:
            return f"error: expected room for what is written, on the disk or on standard output, got {error}", 2
    return None


def _of_signal(number: int) -> str:
    kept = f"kept: {', '.join(_kept)}" if _kept else "nothing was written"
    return f"stopped by {signal.Signals(number).name}; {kept}"


def _leave(line: str, status: int) -> None:
    line = " ".join(line.split())
    with contextlib.suppress(OSError):
        if line:
            print(line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}...", file=sys.stderr, flush=True)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # what is left in it would fail once more as Python ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(status)
