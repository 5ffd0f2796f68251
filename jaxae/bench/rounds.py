"""The rounds: contenders that train alike take turns, and are timed."""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from jaxae.bench.result import ContenderResult
from jaxae.bench.runner import Turn
from jaxae.bench.statistics import spread
from jaxae.bench.worker import Trouble, Worker, WorkerError

# Idle threads may spin a while for more work; the next contender is to have the cores to itself.
_PAUSE_SECONDS = 0.05


class Rounds:
    """Rounds of turns of contenders that are set up.

    Attributes:
        rows: Results by the contender's name; those of the contenders that run are filled in.
        peaks: Fastest matrix products of each framework, in FLOP/s.
    """

    def __init__(self, workers: dict[str, Worker], rows: dict[str, ContenderResult]):
        self.rows = rows
        self.peaks: dict[str, float] = {}
        self._workers = workers
        self._idle: dict[str, list[float]] = {name: [] for name in workers}

    def take(self, count: int, log: Callable[[int], None]) -> None:
        """Take rounds, and ask at the end what memory each contender has used.

        Args:
            count: Number of rounds.
            log: Takes the number of a round as it begins, from 1 on.
        """
        for number in range(count):
            log(number + 1)
            names = list(self._workers)
            # Another one begins each round, so that none is always after the same.
            shift = number % max(len(names), 1)
            for name in names[shift:] + names[:shift]:
                time.sleep(_PAUSE_SECONDS)
                self._take_turn(name)
        for name in self._workers:
            self._finish(name)

    def _take_turn(self, name: str) -> None:
        try:
            turn = Turn(*self._workers[name].ask("turn"))
        except WorkerError as error:
            self._drop(name, error.kind, error.reason)
            return
        if turn.compiled:
            self._drop(name, "retraced", f"{turn.compiled} programs compiled after warm-up")
            return
        row = self.rows[name]
        self.rows[name] = replace(row, samples_ms=(*row.samples_ms, turn.step_ms))
        if turn.idle_cpu is not None:
            self._idle[name].append(turn.idle_cpu)

    def _drop(self, name: str, status: Trouble | Literal["retraced"], reason: str) -> None:
        self.rows[name] = replace(self.rows[name], status=status, reason=reason, samples_ms=())
        self._workers.pop(name).close()

    def _finish(self, name: str) -> None:
        row, worker, idle = self.rows[name], self._workers[name], self._idle[name]
        peak, owner = worker.ask("finish")
        step_ms, *quartiles_ms = spread(row.samples_ms)
        self.rows[name] = replace(
            row,
            idle_cpu=statistics.median(idle) if idle else None,
            peak_memory_bytes=peak,
            memory_of=owner,
            step_ms=step_ms,
            quartiles_ms=tuple(quartiles_ms),
            images_per_s=row.batch_size * row.models / step_ms * 1e3,
        )
        # Asked last: the matrices would count as the contender's memory.
        size = 1024 if row.device == "cpu" else 8192
        rate = worker.ask("multiply", size=size, repeats=12)
        self.peaks[row.framework] = max(self.peaks.get(row.framework, 0.0), rate)
