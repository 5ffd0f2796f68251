"""Other text for some files as Python imports them, here and in the processes that are started; the files stay.

A job is a JSON file: the texts by absolute path and, to record, the file that notes go to. An environment variable
names it, and `startup/sitecustomize.py` on the path installs it in every new process.
"""

import builtins
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import TracebackType
from typing import Any

JOB = "JAXAE_MUTANTS"
OFF = "JAXAE_MUTANTS_OFF"  # the number of the guard that is switched off, here and in processes that a test starts
REPOSITORY = Path(__file__).resolve().parents[2]
_PATHS = [str(Path(__file__).parent / "startup"), str(REPOSITORY)]
_write = os.write  # tests put others in its place


NOTES = ("fired", "passed", "caught", "called", "some", "added", "around")  # what noted text calls, between "__"


class Recorder:
    """Notes the mutants that a test comes by, each once: number and test, a line of JSON; switches a guard off.

    Attributes:
        test: The running test; in a process that a test started, that one.
        off: Number of the guard that does nothing; 0 for none.
    """

    def __init__(self, file: str):
        self.test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0]
        self.off = int(os.environ.get(OFF, "0"))
        self._seen: set[int] = set()
        self._waiting = b""
        self._file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def begin(self, test: str) -> None:
        """Turn to the next test."""
        self.test = test
        self._seen.clear()
        self._flush()

    def switch(self, number: int) -> None:
        """Switch one guard off and all others on."""
        self.off = number
        os.environ[OFF] = str(number)

    def fired(self, number: int) -> bool:
        """Note a mutant; a negative number, that its check was called, whether or not it refused. Whether it is on."""
        if number not in self._seen:
            self._seen.add(number)
            self._waiting += json.dumps([number, self.test]).encode() + b"\n"
            self._flush()
        return number != self.off

    def passed(self, number: int) -> bool:
        """Note a guard that makes another error of the one at hand, which goes its way if it is off."""
        if self.fired(number):
            return True
        raise

    def caught(self, number: int, kinds: Any) -> Any:
        """Note that a handler takes the error at hand."""
        error = sys.exc_info()[1]
        if error is not None and isinstance(error, kinds):
            return kinds if self.fired(number) else ()
        return kinds

    def called(self, number: int, function: Callable[..., Any]) -> Callable[..., Any]:
        """Note that a function is called, and that it raises."""

        def call(*positional: Any, **named: Any) -> Any:
            if number == self.off:
                return None
            self.fired(-number)
            try:
                return function(*positional, **named)
            except BaseException:
                self.fired(number)
                raise

        return call

    def some(self, number: int, value: Any) -> Any:
        """Note that a value is not empty."""
        return value if not value or self.fired(number) else None

    def added(self, number: int, value: Any) -> Any:
        """Note that there is something to add to a list."""
        return value if not value or self.fired(number) else ()

    def around(self, number: int, inner: AbstractContextManager[Any]) -> AbstractContextManager[Any]:
        """Note that a `with` makes something of an error."""
        if number == self.off:
            return contextlib.nullcontext()
        return _Noted(self, number, inner)

    def _flush(self) -> None:
        # Where a file may not grow just now, what can't be written yet is kept.
        with contextlib.suppress(OSError):
            if self._waiting:
                self._waiting = self._waiting[_write(self._file, self._waiting) :]


class _Noted(AbstractContextManager[Any]):
    def __init__(self, recorder: Recorder, number: int, inner: AbstractContextManager[Any]):
        self._recorder, self._number, self._inner = recorder, number, inner

    def __enter__(self) -> Any:
        return self._inner.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        try:
            swallowed = self._inner.__exit__(kind, error, trace)
        except BaseException as other:
            if other is not error:
                self._recorder.fired(self._number)
            raise
        if swallowed:
            self._recorder.fired(self._number)
        return swallowed


def install(job: str) -> Recorder | None:
    """Hand out a job's texts from now on; its recorder, where it records."""
    told = json.loads(Path(job).read_text())
    texts = {path: text.encode() for path, text in told["texts"].items()}
    get_data, path_stats = SourceFileLoader.get_data, SourceFileLoader.path_stats

    def read(self: SourceFileLoader, path: str) -> bytes:
        text = texts.get(str(Path(path).absolute()))
        return get_data(self, path) if text is None else text

    def stats(self: SourceFileLoader, path: str) -> Any:
        if str(Path(path).absolute()) in texts:
            raise OSError("its bytecode is neither taken from a cache nor put there")
        return path_stats(self, path)

    # Not a finder of its own: jaxtyping's hook makes loaders that derive from this one.
    for name, method in (("get_data", read), ("path_stats", stats)):
        setattr(SourceFileLoader, name, method)
    os.environ |= _for_children(os.environ.get("PYTHONPATH", ""), job)
    start = subprocess.Popen.__init__

    def start_with_job(self: subprocess.Popen, *positional: Any, env: Any = None, **named: Any) -> None:
        if env is not None:
            test = {name: os.environ[name] for name in ("PYTEST_CURRENT_TEST",) if name in os.environ}
            test |= {OFF: os.environ[OFF]} if OFF in os.environ else {}
            env = {**env, **test, **_for_children(env.get("PYTHONPATH", ""), job)}
        start(self, *positional, env=env, **named)

    setattr(subprocess.Popen, "__init__", start_with_job)  # noqa: B010
    if not told.get("notes"):
        return None
    recorder = Recorder(told["notes"])
    for name in NOTES:
        setattr(builtins, f"__{name}__", getattr(recorder, name))
    return recorder


def _for_children(path: str, job: str) -> dict[str, str]:
    known = [one for one in path.split(os.pathsep) if one and one not in _PATHS]
    return {"PYTHONPATH": os.pathsep.join([*_PATHS, *known]), JOB: job}
