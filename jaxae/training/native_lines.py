"""What native code writes past Python while processes train together: its notes are dropped, its last words one line.

JAX's runtime ends a process whose coordinator is gone by an abort, with a stack trace on standard error, which no
handler in that process outlives. So its descriptors 1 and 2 lead to a process of this file's own, which tells what came
in a line.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TextIO

_MESSAGE = re.compile(r"^([IWEF])\d{4} [\d:.]+ +\d+ ([\w.]+):\d+\] ?(.*)")
# Files of the runtime that connects processes, and the note that gloo writes of each connection.
_RUNTIME = re.compile(r"^(coordination_|preemption_|client\.h|distributed_|add_port)")
_NOTE = "[Gloo] Rank "
_TRACE = "*** Check failure"
_GONE = re.compile(r"unhealthy \(stopped sending heartbeats\):\s*([\d, ]+)")


def redirect() -> Callable[[], None]:
    """From now on what native code writes is told by a process of its own; Python's streams stay as they are.

    Returns:
        Function that gives the descriptors back.
    """
    before = sys.stdout, sys.stderr
    kept = [os.dup(number) for number in (1, 2)]
    reading, writing = os.pipe()
    for name in ("stdout", "stderr"):
        setattr(sys, name, _copy_of(getattr(sys, name)))
    # Of a session of its own: no signal of the terminal ends it before it has told what it knows.
    teller = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__], stdin=reading, stdout=kept[1], stderr=kept[1], start_new_session=True
    )
    os.close(reading)
    for number in (1, 2):
        os.dup2(writing, number)
    os.close(writing)

    def restore() -> None:
        for name, number, stream in zip(("stdout", "stderr"), kept, before, strict=True):
            ours: TextIO = getattr(sys, name)
            ours.flush()
            os.dup2(number, 1 if name == "stdout" else 2)
            os.close(number)
            setattr(sys, name, stream)
            if ours is not stream:
                ours.close()
        teller.wait()

    return restore


def _copy_of(stream: TextIO) -> TextIO:
    """A stream to the same place by a descriptor of its own; one of no descriptor is left as it is."""
    stream.flush()
    try:
        number = os.dup(stream.fileno())
    except (OSError, ValueError):
        return stream
    buffering = 1 if stream.isatty() or stream is sys.stderr else -1
    return os.fdopen(number, "w", buffering, encoding=stream.encoding, errors=stream.errors)


def retell(lines: Iterable[str]) -> Iterator[str]:
    """Lines without those of the runtime that connects processes; its last words become one line."""
    hidden: list[str] = []
    ours = ended = told = False
    for line in lines:
        if message := _MESSAGE.match(line):
            ours = _RUNTIME.match(message[2]) is not None
            ended |= ours and message[1] == "F"
        if ended and not told and line.startswith(_TRACE):
            told = True
            yield f"{last_words(''.join(hidden))}\n"
        if ours or ended:
            hidden.append(line)
        elif not line.startswith(_NOTE):
            yield line
    if ended and not told:
        yield f"{last_words(''.join(hidden))}\n"


def last_words(text: str) -> str:
    """The line that tells what the runtime ended a process for."""
    if gone := _GONE.search(text):
        who = f"no word from process {gone[1].strip().replace(',', ', ')}"
    elif "RegisterTask" in text:
        who = "the coordinator's refusal of this one: each needs a --process-id of its own below --num-processes"
    else:
        who = "no word from process 0, which coordinates them"
    return (
        f"error: expected all processes to go on to the end, got {who}; its own lines tell why, and --resume goes on "
        "from the last checkpoint"
    )


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with suppress(BrokenPipeError):
        for line in retell(sys.stdin):
            print(line, end="", flush=True)
