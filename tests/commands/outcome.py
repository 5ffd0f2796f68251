"""How a command ended, and what is wrong with that."""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .matrix import Job

TOLD = re.compile(r"^(?:figures in|kept in) (?P<folder>.+): (?P<names>.+)$", re.MULTILINE)
EXPECTED_WARNINGS = ("was trained on", "no checkpoint in")


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        folder: Folder that it ran in.
        writes: Files that it was told to write.
        broken: Traceback of an error that the script did not mean to raise.
        seconds: Processor time.
    """

    job: Job
    folder: Path
    writes: tuple[Path, ...]
    status: int
    out: str
    err: str
    broken: str
    seconds: float

    def faults(self) -> list[str]:
        """What is wrong; nothing, if all is well."""
        if self.broken:
            return [self.broken]
        try:
            return list(self._faults_of_a_refusal() if self.job.refusal else self._faults_of_a_success())
        except (OSError, ValueError) as error:
            return [f"{type(error).__name__}: {error}"]

    def proposed(self) -> Iterator[Job]:
        """The commands that it says to try next."""
        for script, words in re.findall(r"^  python scripts/(\w+)\.py (.+)$", self.err, re.MULTILINE):
            yield Job(script, tuple(shlex.split(words)))

    def _faults_of_a_refusal(self) -> Iterator[str]:
        if self.status != 2:
            yield f"status {self.status} in place of 2"
        if self.out:
            yield f"standard output: {self.out[:200]}"
        if not re.fullmatch(f"error: {self.job.refusal}.*\n", self.err):
            yield f"in place of one line '{self.job.refusal}': {self.err}"
        if written := sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*")):
            yield f"written though refused: {', '.join(written)}"

    def _faults_of_a_success(self) -> Iterator[str]:
        if self.status:
            yield f"status {self.status}: {self.err}"
            return
        if "Traceback" in self.out + self.err:
            yield f"a traceback: {self.err}"
        if match := re.search(r"^.*\b(?:nan|NaN|inf)\b.*$", self.out + self.err, re.MULTILINE):
            yield f"no number: {match[0]}"
        for line in self.err.splitlines():
            if line.startswith("warning:") and not any(known in line for known in EXPECTED_WARNINGS):
                yield line
        yield from (f"named, but not there: {path}" for path in self._named() if not path.exists())
        for path in self.folder.rglob("*"):
            yield from _faults_of_a_file(path)

    def _named(self) -> Iterator[Path]:
        """Files that the command was told to write, or says that it wrote."""
        for match in TOLD.finditer(self.err):
            yield from (self.folder / match["folder"] / name.strip() for name in match["names"].split(","))
        yield from self.writes


def _faults_of_a_file(path: Path) -> Iterator[str]:
    """What is wrong with a file that was written: an empty picture, JSON that is none."""
    from PIL import Image

    if path.suffix == ".png":
        with Image.open(path) as picture:
            picture.load()
            low, high = picture.convert("L").getextrema()
            if min(picture.size) < 28 or low == high:
                yield f"{path.name}: an empty picture of {picture.size}"
    elif path.suffix in (".json", ".jsonl") and "checkpoints" not in path.parts:
        text = path.read_text()
        for document in text.splitlines() if path.suffix == ".jsonl" else [text]:
            json.loads(document, parse_constant=_refuse)
    elif path.name.startswith(".") and path.is_file():
        yield f"left behind: {path}"


def _refuse(constant: str) -> float:
    raise ValueError(f"JSON has no {constant}")
