"""Trainings killed at any moment and resumed until they end: `python -m tests.fuzz.kills [--count N] [--seed N]`.

Each ends with the very weights and metrics of the training that nobody killed, and leaves nothing else behind; status
1 if one does not.
"""

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

from .samples import REPOSITORY

# A few seconds on one core: chunks and checkpoints of an epoch take turns.
_FLAGS = ("--data", "digits", "--epochs", "12", "--batch-size", "128", "--hidden", "8", "--checkpoint-seconds", "0")
_FLAGS += ("--devices", "1", "--log-every", "4")


@dataclass(frozen=True)
class Kept:
    """What a training left.

    Attributes:
        weights: SHA-256 of weights.safetensors.
        metrics: Lines of metrics, without the times at which they were written.
        names: Files of the run folder, those of checkpoints left out.
        strange: Names in the folder of checkpoints that are no checkpoint's.
    """

    weights: str
    metrics: tuple[str, ...]
    names: frozenset[str]
    strange: frozenset[str]

    @classmethod
    def of(cls, run: Path) -> "Kept":
        """What is in a run folder."""
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        return cls(
            hashlib.sha256((run / "weights.safetensors").read_bytes()).hexdigest(),
            tuple(json.dumps({name: line[name] for name in line if name != "time"}) for line in lines),
            frozenset(path.name for path in run.iterdir()),
            frozenset(path.name for path in (run / "checkpoints").iterdir() if not path.name.isdigit()),
        )

    def faults(self, whole: "Kept") -> list[str]:
        """What is otherwise than in the training that nobody killed."""
        found = []
        if self.weights != whole.weights:
            found.append(f"weights {self.weights[:12]}, expected {whole.weights[:12]}")
        if self.metrics != whole.metrics:
            found.append(f"{len(self.metrics)} lines of metrics, expected {len(whole.metrics)}, or others")
        for name in ("names", "strange"):
            if others := getattr(self, name) ^ getattr(whole, name):
                found.append(f"left behind or missing: {', '.join(sorted(others))}")
        return found


@dataclass
class Killer:
    """Starts trainings in a folder, and kills them.

    Attributes:
        folder: Folder of the runs.
        random: Stream of the moments of the kills.
        seconds: Time that the training takes when nobody kills it.
        done: Number of kills so far.
        late: Number of trainings that had ended before their kill.
    """

    folder: Path
    random: Random
    seconds: float = 0.0
    done: int = 0
    late: int = 0

    def whole(self, *, warm: bool = True) -> Kept:
        """The training that nobody kills, timed; before it, one that fills the cache of compiled programs."""
        for name in ("first", "whole") if warm else ("whole",):
            begun = time.perf_counter()
            status, said = self._train(self.folder / name, None)
            if status:
                raise SystemExit(f"expected the training to end, got status {status}: {said}")
            self.seconds = time.perf_counter() - begun
        return Kept.of(self.folder / "whole")

    def killed(self, name: str, most: int) -> tuple[Kept, list[str]]:
        """What a training leaves that is killed until it ends, or so often; and what went wrong on the way."""
        run, faults = self.folder / name, []
        for kill in range(most + 1):
            moment = self.random.uniform(0.1, 1.05) * self.seconds if kill < most else None
            status, said = self._train(run, moment)
            if status == -signal.SIGKILL:
                self.done += 1
                continue
            if status:
                faults.append(f"status {status}: {said}")
            elif moment is not None:
                self.late += 1
            break
        return Kept.of(run), faults

    def _train(self, run: Path, moment: float | None) -> tuple[int, str]:
        resume = ("--resume",) if run.exists() else ()
        command = [sys.executable, str(REPOSITORY / "scripts" / "train_ae.py"), *_FLAGS, "--run-dir", str(run), *resume]
        # A cache of their own: what a kill does to it is nobody else's.
        own = {"JAXAE_CACHE": str(self.folder / "cache"), "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(REPOSITORY)}
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=os.environ | own, cwd=self.folder
        ) as training:
            try:
                _, said = training.communicate(timeout=moment)
            except subprocess.TimeoutExpired:
                training.kill()
                _, said = training.communicate()
        return training.returncode, said[-1000:]


def main() -> None:
    """Kill trainings, and print how many kills there were and what was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.kills", description="Kill trainings, and resume them.")
    parser.add_argument("--count", type=int, default=100, help="number of kills")
    parser.add_argument("--most", type=int, default=5, help="largest number of kills of one training")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        killer = Killer(Path(folder), Random(given.seed))
        whole = killer.whole()
        print(f"{killer.seconds:.1f} s without a kill, {len(whole.metrics)} lines of metrics", flush=True)
        trainings, wrong = 0, 0
        while killer.done < given.count:
            trainings += 1
            kept, faults = killer.killed(str(trainings), min(given.most, given.count - killer.done))
            faults += kept.faults(whole)
            wrong += bool(faults)
            print(end="".join(f"training {trainings}: {fault}\n" for fault in faults), flush=True)
    print(f"{killer.done} kills of {trainings} trainings, of which {wrong} lost something")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
