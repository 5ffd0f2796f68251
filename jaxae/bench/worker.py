"""Worker processes of the benchmark: questions and answers as JSON lines over pipes."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from jaxae.ending import end_with_parent
from jaxae.errors import InputError

# What JSON has: each question has its own fields, each handler its own answer.
JSONValue = Any
# By the name of the question.
Handlers = Mapping[str, Callable[..., JSONValue]]
# What went wrong; "missing" is a package.
Trouble = Literal["input", "missing", "out of memory", "failed"]

_ROOT = Path(__file__).resolve().parents[2]
# The cores are set before any library counts them.
_BOOT = """
import importlib, os, sys
module, cores = sys.argv[1:]
if cores and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, map(int, cores.split(",")))
importlib.import_module("jaxae.bench.worker").serve(importlib.import_module(module).HANDLERS)
"""


class WorkerError(Exception):
    """A worker could not do what it was asked: the kind of trouble, and one line about it."""

    def __init__(self, kind: Trouble, reason: str):
        super().__init__(f"{kind}: {reason}")
        self.kind: Trouble = kind
        self.reason = reason

    def refusal(self, expected: str) -> InputError:
        """What a user is told: the refusal that it was in the worker, else that this was expected."""
        return InputError(self.reason if self.kind == "input" else f"expected {expected}, got {self.reason}")


class Worker(contextlib.AbstractContextManager["Worker"]):
    """A process that answers questions; what it writes to its own output is kept for an error.

    Args:
        module: Name of the module whose `HANDLERS` answer in the process.
        cores: Numbers of the processor cores that the process may use; None leaves it all.
        environment: Environment variables on top of this process's own.
    """

    def __init__(self, module: str, *, cores: list[int] | None, environment: Mapping[str, str]):
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.process = subprocess.Popen(
            [sys.executable, "-c", _BOOT, module, ",".join(map(str, cores or []))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(paths)},
            process_group=0,  # a terminal's Ctrl-C is its parent's to act on
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._questions, self._answers = self.process.stdin, self.process.stdout

    def ask(self, do: str, *, timeout: float = 900.0, **fields: object) -> JSONValue:
        """The answer to a question.

        Raises:
            WorkerError: If the worker cannot, dies, or takes longer than `timeout` seconds.
        """
        with contextlib.suppress(BrokenPipeError):
            self._questions.write(json.dumps({"do": do, **fields}, default=str).encode() + b"\n")
            self._questions.flush()
        ready, _, _ = select.select([self._answers], [], [], timeout)
        if not ready:
            self.close()
            raise WorkerError("failed", f"no answer within {timeout:.0f} s")
        # A line is written whole, so that what has begun to come will end.
        line = self._answers.readline()
        if not line.endswith(b"\n"):
            raise self._death()
        reply = json.loads(line)
        if "error" in reply:
            raise WorkerError(reply["error"], reply["reason"])
        return reply["answer"]

    @property
    def alive(self) -> bool:
        """Whether the process lives."""
        return self.process.poll() is None

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(BrokenPipeError):
            self._questions.close()
        # It has nothing to save, and some runtimes take seconds to leave by themselves.
        self.process.kill()
        self.process.wait()
        self._answers.close()
        self._log.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _death(self) -> WorkerError:
        status = self.process.wait()
        if status == -signal.SIGKILL:
            return WorkerError("out of memory", "killed by the system")
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "no message")
        if last.startswith("ModuleNotFoundError: "):
            return WorkerError("missing", last.partition(": ")[2])
        kind = "out of memory" if _speaks_of_memory(last) else "failed"
        return WorkerError(kind, f"ended with status {status}: {last}")


def serve(handlers: Handlers) -> None:
    """Answer questions from standard input until it ends; called in a worker process."""
    end_with_parent()
    # Whatever libraries print must not mix with the answers.
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        for line in sys.stdin:
            request = json.loads(line)
            try:
                reply = {"answer": answer(handlers, **request)}
            except WorkerError as error:
                reply = {"error": error.kind, "reason": error.reason}
            answers.write(json.dumps(reply).encode() + b"\n")
            answers.flush()


def answer(handlers: Handlers, do: str, **fields: JSONValue) -> JSONValue:
    """The answer of a question's handler, in this process.

    Raises:
        WorkerError: If the handler cannot.
    """
    try:
        return handlers[do](**fields)
    except Exception as error:
        raise _trouble(error) from error


def _trouble(error: Exception) -> WorkerError:
    """An error's kind, and its first line after its name; an InputError says all by itself, uncut."""
    name = type(error).__name__
    if name == "InputError":
        return WorkerError("input", " ".join(str(error).split()) or name)
    line = next((line.strip()[:200] for line in str(error).splitlines() if line.strip()), "")
    kind: Trouble = "failed"
    if isinstance(error, ModuleNotFoundError):
        kind = "missing"
    elif isinstance(error, MemoryError) or name == "OutOfMemoryError" or _speaks_of_memory(str(error)):
        kind = "out of memory"
    return WorkerError(kind, f"{name}: {line}" if line else name)


def _speaks_of_memory(text: str) -> bool:
    signs = ("out of memory", "resource_exhausted", "can't allocate memory", "bad_alloc")
    return any(sign in text.lower() for sign in signs)
