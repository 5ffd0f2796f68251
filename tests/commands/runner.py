"""Runs jobs: those that share what a process has but once, in one child, some children side by side."""

import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from .files import REPOSITORY, copy_classes, first_jobs, write_files
from .matrix import Job
from .outcome import Outcome

LONGEST = 150  # jobs in one child


@dataclass
class Runner:
    """A folder of files to give to commands, and of the folders in which they run.

    Attributes:
        root: Folder of everything.
        workers: Number of children at once.
        follow: Whether the commands that a training proposes to try next are run too.
        done: Function that is told of each outcome.
        peak_kib: Largest resident memory that a child had.
    """

    root: Path
    workers: int = 2
    follow: bool = False
    done: Callable[[Outcome], None] = lambda outcome: None
    paths: dict[str, str] = field(default_factory=dict)
    peak_kib: int = 0
    number: int = 0

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Run jobs, in any order but those that go on from the one before; first, what makes files for them."""
        self.paths = write_files(self.root / "files")
        outcomes = self._child(first_jobs(jobs))
        copy_classes(self.paths)
        jobs = [*jobs, *(job for one in outcomes if self.follow for job in one.proposed())]
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
            return [*outcomes, *(outcome for found in pool.map(self._child, chunks) for outcome in found)]

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
        outcomes = []
        with (
            tempfile.TemporaryFile("w+") as complaints,
            subprocess.Popen(
                [sys.executable, "-m", "tests.commands.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                text=True,
                cwd=REPOSITORY,
                env=environment,
            ) as child,
        ):
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write("\n".join(lines))
            child.stdin.close()
            for job, folder in zip(jobs, folders, strict=True):
                if not (answer := child.stdout.readline()):
                    complaints.seek(0)
                    raise RuntimeError(f"a process died of {job}: {complaints.read()[-2000:]}")
                writes = tuple(folder / name.format(**self.paths) for name in job.writes)
                outcomes.append(Outcome(job, folder, writes, **json.loads(answer)))
                self.done(outcomes[-1])
            self.peak_kib = max(self.peak_kib, json.loads(child.stdout.readline())["peak_kib"])
        return outcomes
