"""Runs children over the altered files, some side by side, and finds the file that one of them died of."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from .child import USELESS
from .mutants import mutant
from .outcome import Outcome
from .readers import READERS
from .samples import REPOSITORY

_LONGEST = 4000  # files in one child: what it keeps compiled grows


@dataclass
class Tally:
    """The outcomes of one reader.

    Attributes:
        counts: Number of outcomes of each kind.
        slowest: Longest processor time of a file, in seconds.
        largest: Largest memory that a file took, in bytes.
        strays: Folders of the strays, each a file and a reason.
    """

    counts: dict[str, int] = field(default_factory=lambda: {"refused": 0, "sound": 0, "stray": 0})
    slowest: float = 0.0
    largest: int = 0
    strays: list[Path] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Count an outcome."""
        self.counts[outcome.kind] += 1
        self.slowest, self.largest = max(self.slowest, outcome.seconds), max(self.largest, outcome.memory)


@dataclass(frozen=True)
class Runner:
    """What to run, and where to keep the strays.

    Attributes:
        samples: Folder of the sound files.
        kept: Folder that strays are kept in.
        seed: Seed of the alterations.
        workers: Number of children at once.
        program: Arguments of Python that make a child.
    """

    samples: Path
    kept: Path
    seed: int = 0
    workers: int = 1
    program: tuple[str, ...] = ("-m", "tests.fuzz.child")

    def run(self, counts: dict[str, int]) -> dict[str, Tally]:
        """The outcomes of so many altered files of each reader."""
        tallies = {name: Tally() for name in counts}
        chunks = [
            (name, first, min(_LONGEST, count - first))
            for name, count in counts.items()
            for first in range(0, count, _LONGEST)
        ]
        with ThreadPoolExecutor(self.workers) as pool:
            for (name, first, _), outcomes in zip(chunks, pool.map(self._read, chunks), strict=True):
                for number, outcome in enumerate(outcomes, first):
                    tallies[name].add(outcome)
                    if outcome.kind == "stray":
                        tallies[name].strays.append(self._keep(name, number, outcome))
                print(f"{name}: {tallies[name].counts}", file=sys.stderr, flush=True)
        return tallies

    def _read(self, chunk: tuple[str, int, int]) -> list[Outcome]:
        return list(self._outcomes(*chunk))

    def _outcomes(self, name: str, first: int, count: int) -> Iterator[Outcome]:
        """An outcome for each number; where a child dies, the file it was at is a stray, and another child goes on."""
        begun, end = first, first + count
        while begun < end:
            with tempfile.TemporaryFile() as complaints, self._child(name, begun, end - begun, complaints) as child:
                assert child.stdout is not None
                for line in child.stdout:
                    yield Outcome(**json.loads(line))
                    begun += 1
                status = child.wait()
                complaints.seek(0)
                said = complaints.read().decode(errors="replace")[-3000:]
            if status == USELESS:
                raise SystemExit(said)
            if begun < end:
                yield Outcome("stray", reason=f"the process ended with status {status}: {said}")
                begun += 1

    def _child(self, name: str, first: int, count: int, complaints: IO[bytes]) -> "subprocess.Popen[str]":
        environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONFAULTHANDLER": "1",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        words = [str(self.samples / name), name, str(self.seed), str(first), str(count)]
        return subprocess.Popen(
            [sys.executable, *self.program, *words],
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            cwd=REPOSITORY,
            env=environment,
        )

    def _keep(self, name: str, number: int, outcome: Outcome) -> Path:
        folder = self.kept / f"{name}-{self.seed}-{number}"
        altered = mutant(self.samples / name, name, self.seed, number)
        path = folder / Path(altered.name).name
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(altered.content)
        (folder / "reason.txt").write_text(f"{altered.name}\n{outcome.reason}\n")
        return folder


def shares(names: list[str], count: int) -> dict[str, int]:
    """A number of altered files for each reader, by its share; together at least `count`."""
    whole = sum(READERS[name].share for name in names)
    return {name: -(-count * READERS[name].share // whole) for name in names}
