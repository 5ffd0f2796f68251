"""What the tests do: which of them come by a mutant, and whether one turns red under it; all kept, to go on later."""

import hashlib
import io
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .fork import run_tests
from .hook import REPOSITORY
from .mutant import Mutant, Source

KEPT = REPOSITORY / ".mutants"
HELPERS = ("tests/conftest.py", "tests/checked_types.py", "tests/scripted.py", "tests/commands/*.py")
BESIDE = 60.0  # seconds of other rooms' tests that are run too, the fastest


def read_sources() -> dict[str, Source]:
    """The files of jaxae and of torch_ref, which reads torch's files for it, by their path from the repository on."""
    files = [path for package in ("jaxae", "torch_ref") for path in sorted((REPOSITORY / package).rglob("*.py"))]
    return {name: Source(name, path.read_text()) for path in files for name in [str(path.relative_to(REPOSITORY))]}


def files_of(rooms: Sequence[str]) -> list[str]:
    """The test files of rooms, or all; those of a room without a folder are in the tests' front hall."""
    found = [str(path.relative_to(REPOSITORY)) for path in sorted((REPOSITORY / "tests").rglob("test_*.py"))]
    folders = {room if (REPOSITORY / "tests" / room).is_dir() else "" for room in rooms}
    # The test of the mutants runs pytest itself.
    return [file for file in found if (not rooms or _room(file) in folders) and file != "tests/test_mutants.py"]


def _room(test: str) -> str:
    """The room whose folder a test is in, "" for none."""
    return test.split("/")[1] if test.count("/") > 1 else ""


def _key(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:16]


def _content(*patterns: str) -> str:
    paths = [path for pattern in patterns for path in sorted(REPOSITORY.glob(pattern))]
    return _key(*(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths))


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant.

    Attributes:
        fate: "killed", "survived" its tests, or "unmet": no test comes by.
        by: The test that turned red.
        ran: Number of tests to run.
    """

    fate: str
    by: str = ""
    ran: int = 0


class Survey:
    """Records and verdicts, each kept with a key of the contents that it depends on.

    A verdict depends on its file, its tests' files and which tests came by; a record on all of jaxae. So a change
    elsewhere in jaxae that lets a mutant live is seen only from scratch, without the folder `.mutants`.
    """

    def __init__(self, sources: Mapping[str, Source], mutants: Sequence[Mutant], tell: Callable[[str], None]):
        self._sources = sources
        self._tell = tell
        self._numbers = {mutant: number for number, mutant in enumerate(mutants, 1)}
        self._file = KEPT / "results.json"
        KEPT.mkdir(exist_ok=True)
        kept = json.loads(self._file.read_text()) if self._file.exists() else {}
        self._kept: dict[str, dict[str, Any]] = {"records": {}, "verdicts": {}, "controls": {}} | kept
        self._seconds: dict[str, float] = {}
        self._by_number: dict[int, list[str]] = defaultdict(list)
        self.red: list[str] = []

    def record(self, files: Iterable[str]) -> None:
        """Run test files with every mutant noted, and none made."""
        by_path: dict[str, list[Any]] = defaultdict(list)
        for mutant, number in self._numbers.items():
            for edit in mutant.noted if not mutant.imported else ():
                noted = edit.before.format(number)
                by_path[mutant.path].append(type(edit)(edit.start, edit.end, noted, edit.after))
        texts = {path: self._sources[path].edited(edits) for path, edits in by_path.items()}
        common = _key(_content("scripts/*.py", *HELPERS), texts)
        for file in files:
            key = _key(common, _content(file))
            record = self._kept["records"].get(file, {})
            if record.get("key") != key:
                record = {"key": key, **self._recorded(file, texts)}
                self._keep("records", file, record)
            self._seconds |= zip(record["tests"], record["seconds"], strict=True)
            self.red += record["red"]
            for number, places in record["fired"].items():
                self._by_number[int(number)] += [record["tests"][place] for place in places]

    def _recorded(self, file: str, texts: Mapping[str, str]) -> dict[str, Any]:
        # A pipe: some tests allow no file to grow, as on a full disk.
        pipe = KEPT / "notes"
        pipe.unlink(missing_ok=True)
        os.mkfifo(pipe)
        notes = b""
        with io.FileIO(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)) as end:

            def take() -> None:
                nonlocal notes
                while some := end.read(1 << 16):
                    notes += some

            ended = run_tests([file], job=self._job(texts, pipe), meanwhile=take)
        if ended.status > 1:
            raise RuntimeError(f"{file} ended with status {ended.status}: {ended.output}")
        tests = list(ended.seconds)
        places = {test: place for place, test in enumerate(tests)}
        fired: dict[int, list[int]] = defaultdict(list)
        for number, test in {(number, test) for number, test in map(json.loads, notes.splitlines())}:
            if test in places:  # it passed
                fired[number].append(places[test])
        total = sum(ended.seconds.values())
        self._tell(f"{file}: {len(tests)} tests in {total:.0f} s come by {len(fired)} places")
        if ended.red:
            self._tell(f"red with no mutant: {', '.join(ended.red)}: {ended.output[-600:]}")
        return {"tests": tests, "seconds": list(ended.seconds.values()), "red": ended.red, "fired": fired}

    def tests_of(self, mutant: Mutant, file: str = "") -> list[str]:
        """The tests to run under a mutant, file by file, the fastest first.

        They are those at which a guard fires, or else is called. For arithmetic, those of its own room that run it,
        then some of other rooms', then the rest of the files that ran it, as a program that was compiled in one
        test runs in another; for what runs at import, the whole room's. If a file is named, all of it.
        """
        number = self._numbers.get(mutant, 0)
        met = self._by_number.get(number) or self._by_number.get(-number) or []
        if file:
            return self._ordered([test for test in self._seconds if test.startswith(f"{file}::")])
        if mutant.imported:
            return self._ordered([test for test in self._seconds if _room(test) == mutant.room])
        if mutant.kind not in ("operator", "constant", "not", "swap"):
            return self._ordered(met)
        own = [test for test in met if _room(test) == mutant.room]
        others, spent = [], 0.0
        for test in sorted(set(met) - set(own), key=lambda one: self._seconds[one]):
            spent += self._seconds[test]
            if spent > BESIDE:
                break
            others.append(test)
        files = {test.split("::")[0] for test in own}
        rest = [test for test in self._seconds if test.split("::")[0] in files and test not in own]
        return [*self._ordered(own), *self._ordered(others), *self._ordered(rest)]

    def _ordered(self, tests: Sequence[str]) -> list[str]:
        fastest: dict[str, float] = {}
        for test in tests:
            file = test.split("::")[0]
            fastest[file] = min(fastest.get(file, 1e9), self._seconds[test])
        return sorted(tests, key=lambda one: (fastest[one.split("::")[0]], one.split("::")[0], self._seconds[one]))

    def verdict(self, mutant: Mutant, tests: Sequence[str]) -> Verdict:
        """Run tests under a mutant until one is red."""
        if not tests:
            return Verdict("unmet")
        files = list(dict.fromkeys(test.split("::")[0] for test in tests))
        text = self._sources[mutant.path].mutated(mutant)
        key = _key(text, sorted(tests), _content(*files, *HELPERS))
        kept = self._kept["verdicts"].get(mutant.name, {})
        if kept.get("key") == key:
            return Verdict(kept["fate"], kept["by"], len(tests))
        longest = 60 + 5 * sum(self._seconds[test] for test in tests)
        ended = run_tests(files, job=self._job({mutant.path: text}), tests=tests, longest=longest)
        by = ended.red[0] if ended.red else {0: "", 2: "the import"}.get(ended.status, f"status {ended.status}")
        found = Verdict("killed" if ended.status else "survived", by, len(tests))
        self._keep("verdicts", mutant.name, {"key": key, "fate": found.fate, "by": by})
        self._tell(f"{found.fate} {mutant.name}" + (f" ({by})" if by else f", {len(tests)} tests"))
        return found

    def control(self, tests: Iterable[str]) -> list[str]:
        """Those of the tests which turned red that are red with no mutant too, run without the tests around them."""
        by_file: dict[str, list[str]] = defaultdict(list)
        for test in sorted(set(tests) & set(self._seconds)):
            by_file[test.split("::")[0]].append(test)
        wrong = []
        for file, chosen in by_file.items():
            key = _key(_content("jaxae/**/*.py", "torch_ref/*.py", *HELPERS, file), chosen)
            if self._kept["controls"].get(file) == key:
                continue
            ended = run_tests([file], tests=self._ordered(chosen))
            if ended.status:
                wrong += ended.red or [file]
            else:
                self._keep("controls", file, key)
        return wrong

    def _job(self, texts: Mapping[str, str], notes: Path | None = None) -> Path:
        job = KEPT / "job.json"
        whole = {str(REPOSITORY / path): text for path, text in texts.items()}
        job.write_text(json.dumps({"texts": whole, "notes": str(notes or "")}))
        return job

    def _keep(self, part: str, name: str, value: object) -> None:
        self._kept[part][name] = value
        beside = self._file.with_suffix(".new")
        beside.write_text(json.dumps(self._kept))
        beside.replace(self._file)
