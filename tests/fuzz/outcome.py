"""How reading an altered file ended, in how much time and memory."""

import resource
import time
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .readers import Reader

Kind = Literal["refused", "sound", "stray"]
LONGEST_MESSAGE = 500
SECONDS, MEMORY = 5.0, 400 << 20  # of processor time, and beyond what was resident before


@dataclass(frozen=True)
class Outcome:
    """How it ended.

    Attributes:
        kind: "refused" in one line, "sound" if it was read, else "stray".
        seconds: Processor time.
        memory: Bytes of resident memory beyond those before.
        reason: The refusal, or what is wrong.
        slow: Whether time or memory is all that is wrong.
    """

    kind: Kind
    seconds: float = 0.0
    memory: int = 0
    reason: str = ""
    slow: bool = False


def read(reader: Reader, path: Path) -> Outcome:
    """Read a file, and judge how that ends; what kills the process, or hangs, is for its parent to see."""
    content = path.read_bytes() if path.is_file() else b""
    before = _reset_peak()
    begun = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(path)
        kind, reason = "sound", ""
    except BaseException as error:  # a panic of Rust is no Exception
        kind, reason = _judge(reader, error)
    seconds, memory = time.process_time() - begun, max(0, _peak() - before)
    if kind == "refused" and path.is_file() and path.read_bytes() != content:
        kind, reason = "stray", f"it was refused, and changed: {reason}"
    slow = kind != "stray" and (seconds > SECONDS or memory > MEMORY)
    if slow:
        kind, reason = "stray", f"{seconds:.1f} s, {memory >> 20} MiB; {reason}"
    return Outcome(kind, seconds, memory, reason, slow)


def _judge(reader: Reader, error: BaseException) -> tuple[Kind, str]:
    text = str(error)
    if (type(error).__module__, type(error).__name__) != reader.refusal:
        return "stray", "".join(traceback.format_exception(error))[-3000:]
    if _lacks_memory(error):
        return "stray", f"it asked for memory that is not there: {text}"
    if "\n" in text or len(text) >= LONGEST_MESSAGE or not text.startswith(reader.opening):
        return "stray", f"in place of one line of less than {LONGEST_MESSAGE} characters: {text}"
    return "refused", text


def _lacks_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that it came of, tells of memory: what a file claims was believed."""
    while error is not None:
        # Python's parser says so too, of a text that is too deep.
        places = [frame.filename for frame in traceback.extract_tb(error.__traceback__)[-1:]]
        if isinstance(error, MemoryError) and not any(place.endswith("ast.py") for place in places):
            return True
        if "allocate memory" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _reset_peak() -> int:
    """Resident bytes now, from which on the peak is measured, where the system has that."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmRSS")
    except OSError:
        return _peak()


def _peak() -> int:
    try:
        return _status("VmHWM")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{name}:"))
