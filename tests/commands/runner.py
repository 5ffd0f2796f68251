"""Runs jobs: those that share what a process has but once, in one child, some children side by side."""

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from .files import REPOSITORY, copy_classes, first_jobs, write_files
from .matrix import Job
from .outcome import Outcome

LONGEST = 60  # jobs in one child


@dataclass
class Runner:
    """A folder of files to give to commands, and of the folders in which they run.

    Attributes:
        root: Folder of everything.
        workers: Number of children at once.
        peak_kib: Largest resident memory that a child had.
    """

    root: Path
    workers: int = 2
    paths: dict[str, str] = field(default_factory=dict)
    peak_kib: int = 0
    number: int = 0

    def prepare(self) -> list[Outcome]:
        """Write the files, and run the commands that make more of them."""
        self.paths = write_files(self.root / "files")
        outcomes = self._child(first_jobs())
        copy_classes(self.paths)
        return outcomes

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Run jobs, in any order but those that go on from the one before."""
        groups: dict[tuple[str, ...], list[Job]] = defaultdict(list)
        for job in jobs:
            groups[job.process].append(job)
        chunks = []
        for group in groups.values():
            while group:
                end = LONGEST
                while end < len(group) and group[end].again:
                    end += 1
                chunks.append(group[:end])
                group = group[end:]
        with ThreadPoolExecutor(self.workers) as pool:
            return [outcome for outcomes in pool.map(self._child, chunks) for outcome in outcomes]

    def _child(self, jobs: list[Job]) -> list[Outcome]:
        lines, folders = [], []
        for job in jobs:
            if not job.again:
                self.number += 1
            folders.append(self.root / "runs" / f"{self.number}-{id(jobs) % 9973}")
            argv = [word.format(**self.paths) for word in job.argv]
            lines.append(json.dumps({"script": job.script, "argv": argv, "folder": str(folders[-1])}))
        environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": str(REPOSITORY),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "COLUMNS": "200",
        }
        done = subprocess.run(
            [sys.executable, "-m", "tests.commands.child"],
            input="\n".join(lines),
            capture_output=True,
            text=True,
            cwd=REPOSITORY,
            env=environment,
        )
        *answers, last = [json.loads(line) for line in done.stdout.splitlines()] or [{}]
        if len(answers) != len(jobs):
            raise RuntimeError(f"a child died after {len(answers)} of {len(jobs)} commands: {done.stderr[-2000:]}")
        self.peak_kib = max(self.peak_kib, last["peak_kib"])
        return [Outcome(job, folder, **answer) for job, folder, answer in zip(jobs, folders, answers, strict=True)]
