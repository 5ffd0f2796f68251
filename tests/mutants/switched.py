"""Guards switched off within the process of the tests: each that a test comes by, as that test runs once more."""

import faulthandler
import fcntl
import json
import os
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

from .fork import run_tests
from .hook import REPOSITORY, Recorder
from .mutant import Edit, Mutant, Source

KEPT = REPOSITORY / ".mutants"
TRIES = 6  # tests of a file under which a guard that stays green is tried
LONGEST = 60.0  # seconds of a test that is run once more
_PIPE = 1 << 20  # bytes of notes that wait until a test is over


class TooLong(BaseException):
    """A test that does not end."""


class Switches:
    """A plugin of pytest: runs each test, then once more without each guard that it came by, then once more as it is.

    A guard is red if the test is green before and after. Each step is a line of a log, so that what ends the process
    is known.
    """

    def __init__(self, job: Mapping[str, Any], recorder: Recorder):
        self._recorder = recorder
        self._red, self._over = set(job["red"]), set(job["over"])
        self._ended = {(number, test) for number, test in job["ended"]}
        self._tries: Counter[int] = Counter()
        self._log = os.open(job["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._notes = os.open(job["notes"], os.O_RDONLY | os.O_NONBLOCK)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
        if item.nodeid in self._over:
            return True
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        self._taken()
        begun = time.perf_counter()
        reports = self._once(item, 0)
        spent = time.perf_counter() - begun
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        fired = self._taken()
        passed = all(one.passed for one in reports)
        red, green = [], []
        for number in fired if passed and spent < LONGEST else ():
            if number in self._red or self._tries[number] == TRIES or (number, item.nodeid) in self._ended:
                continue
            self._tries[number] += 1
            self._tell({"begin": number, "test": item.nodeid})
            again = self._once(item, number, 30 + 5 * spent)
            (green if all(one.passed for one in again) else red).append(number)
        steady = not red or all(one.passed for one in self._once(item, 0, 30 + 5 * spent))
        if steady:
            self._red |= set(red)
        self._tell(
            {
                "over": item.nodeid,
                "passed": passed,
                "steady": steady,
                "fired": fired,
                "red": red,
                "green": green,
                "seconds": round(spent, 2),
            }
        )
        item.session._setupstate.teardown_exact(nextitem)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _once(self, item: pytest.Item, off: int, longest: float = 0.0) -> list[pytest.TestReport]:
        """Run a test with a guard off, its own fixtures set up and torn down, those that it shares left."""
        self._recorder.begin(item.nodeid)
        self._recorder.switch(off)
        before = signal.signal(signal.SIGALRM, _too_long)
        if longest:
            signal.setitimer(signal.ITIMER_REAL, longest)
            faulthandler.dump_traceback_later(2 * longest + 30, exit=True)
        try:
            return runtestprotocol(item, log=False, nextitem=_Sibling(item))  # type: ignore[arg-type]
        finally:
            if longest:
                signal.setitimer(signal.ITIMER_REAL, 0)
                faulthandler.cancel_dump_traceback_later()
            signal.signal(signal.SIGALRM, before)
            self._recorder.switch(0)

    def _taken(self) -> list[int]:
        """The numbers of guards noted since, in order."""
        notes = b""
        while some := _read(self._notes):
            notes += some
        return sorted({number for number, _ in map(json.loads, notes.splitlines()) if number > 0})

    def _tell(self, line: Mapping[str, object]) -> None:
        os.write(self._log, json.dumps(line).encode() + b"\n")


def _too_long(*_: object) -> None:
    raise TooLong


def _read(file: int) -> bytes:
    try:
        return os.read(file, 1 << 16)
    except BlockingIOError:
        return b""


class _Sibling:
    """What pytest takes for the next test: one with all the same shared fixtures."""

    def __init__(self, item: pytest.Item):
        self._chain = item.listchain()[:-1]

    def listchain(self) -> list[Any]:
        return self._chain


@dataclass
class Found:
    """What is known of a guard: the test that turned red, the tests that stayed green, those that are not steady."""

    red: str = ""
    green: list[str] = field(default_factory=list)
    unsteady: list[str] = field(default_factory=list)


class Switched:
    """The verdicts of guards, kept file by file."""

    def __init__(self, sources: Mapping[str, Source], guards: Sequence[Mutant], tell: Callable[[str], None]):
        self._tell = tell
        self._guards = list(guards)
        self.found = {one: Found() for one in guards}
        KEPT.mkdir(exist_ok=True)
        self._kept = KEPT / "switched.jsonl"
        named: dict[str, list[Mutant]] = defaultdict(list)
        for one in guards:
            named[_name(one)].append(one)
        self._by_name = {f"{name}#{nth}": one for name, ones in named.items() for nth, one in enumerate(ones)}
        self._names = {one: name for name, one in self._by_name.items()}
        edits: dict[str, list[Edit]] = defaultdict(list)
        for number, one in enumerate(guards, 1):
            for edit in one.noted if not one.imported else ():
                edits[one.path].append(Edit(edit.start, edit.end, edit.before.format(number), edit.after))
        self._texts = {str(REPOSITORY / path): sources[path].edited(some) for path, some in edits.items()}
        if self._kept.exists():
            for line in self._kept.read_text().splitlines():
                self._learn(json.loads(line))

    def _learn(self, told: Mapping[str, Any]) -> None:
        if one := self._by_name.get(told["guard"]):
            found = self.found[one]
            if told["fate"] == "red":
                found.red = told["test"]
            elif told["test"] not in getattr(found, told["fate"]):
                getattr(found, told["fate"]).append(told["test"])

    def _keep(self, number: int, fate: str, test: str) -> None:
        told = {"guard": self._names[self._guards[number - 1]], "fate": fate, "test": test}
        with self._kept.open("a") as file:
            file.write(json.dumps(told) + "\n")
        self._learn(told)

    def run(self, files: Iterable[str]) -> None:
        """Run test files, each in a child, and again from where one died."""
        for file in files:
            over: list[str] = []
            ended: list[tuple[int, str]] = []
            seconds = time.perf_counter()
            while True:
                lines, status, output = self._child(file, over, ended)
                begun: dict[str, Any] | None = None
                for line in lines:
                    if "begin" in line:
                        begun = line
                        continue
                    begun = None
                    over.append(line["over"])
                    for number in line["red"]:
                        self._keep(number, "red" if line["steady"] else "unsteady", line["over"])
                    for number in line["green"]:
                        self._keep(number, "green", line["over"])
                    if not line["passed"]:
                        self._tell(f"not green with all guards: {line['over']}")
                if begun is None:
                    break
                ended.append((begun["begin"], begun["test"]))
                self._keep(begun["begin"], "red", begun["test"])
                self._tell(
                    f"{begun['test']} ended the process (status {status}): {self._guards[begun['begin'] - 1].name}"
                )
            if status > 1:
                self._tell(f"{file}: status {status}: {output[-1500:]}")
            self._tell(f"{file}: {len(over)} tests, {time.perf_counter() - seconds:.0f} s, {self.counts()}")

    def counts(self) -> dict[str, int]:
        """Guards by what became of them."""
        return dict(Counter(fate(one) for one in self.found.values()))

    def _child(
        self, file: str, over: Sequence[str], ended: Sequence[tuple[int, str]]
    ) -> tuple[list[dict[str, Any]], int, str]:
        pipe, log, job = KEPT / f"notes-{os.getpid()}", KEPT / f"log-{os.getpid()}", KEPT / f"job-{os.getpid()}.json"
        for one in (pipe, log):
            one.unlink(missing_ok=True)
        os.mkfifo(pipe)
        held = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
        fcntl.fcntl(held, fcntl.F_SETPIPE_SZ, _PIPE)
        red = [number for number, one in enumerate(self._guards, 1) if self.found[one].red]
        switch = {"red": red, "over": over, "ended": ended, "log": str(log), "notes": str(pipe)}
        job.write_text(json.dumps({"texts": self._texts, "notes": str(pipe), "switch": switch}))
        try:
            done = run_tests([file], job=job)
            lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        finally:
            os.close(held)
            for one in (pipe, log, job):
                one.unlink(missing_ok=True)
        return lines, done.status, done.output


def _name(one: Mutant) -> str:
    return f"{one.path}:{one.scope}:{one.kind}:{one.what}"


def fate(found: Found) -> str:
    """Red, green, unsteady or unmet."""
    return "red" if found.red else "green" if found.green else "unsteady" if found.unsteady else "unmet"
