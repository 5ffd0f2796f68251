"""The rounds: contenders that train alike take turns, and are timed."""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, TypeVar

from jaxae.bench.pair.result import PairRow
from jaxae.bench.result import ContenderResult
from jaxae.bench.runner import Turn
from jaxae.bench.statistics import spread
from jaxae.bench.worker import JSONValue, WorkerError

# Idle threads may spin a while for more work; the next contender is to have the cores to itself.
_PAUSE_SECONDS = 0.05


class Answering(Protocol):
    """A worker, or what stands for a part of one."""

    def ask(self, do: str, *, timeout: float = 900.0, **fields: object) -> JSONValue:
        """The answer to a question; WorkerError where there is none."""

    def close(self) -> None:
        """End it."""


Row = TypeVar("Row", ContenderResult, PairRow)


def take_rounds(
    workers: dict[str, Answering], rows: dict[str, ContenderResult], count: int, log: Callable[[int], None]
) -> dict[str, float]:
    """Time contenders in turns; each framework's fastest matrix products in FLOP/s.

    Args:
        workers: Workers of the contenders that are set up, by name; those that fail are closed and taken out.
        rows: Results by the contender's name; those of the workers' contenders are filled in.
        count: Number of rounds.
        log: Takes the number of a round as it begins, from 1 on.
    """
    time_in_turns(workers, rows, count, log)
    peaks: dict[str, float] = {}
    for name, worker in workers.items():
        row = rows[name]
        peak, owner = worker.ask("finish")
        images = row.batch_size * row.models / (row.step_ms or 0.0) * 1e3
        rows[name] = replace(row, peak_memory_bytes=peak, memory_of=owner, images_per_s=images)
        # Asked last: the matrices would count as the contender's memory.
        rate = worker.ask("multiply", size=1024 if row.device == "cpu" else 8192, repeats=12)
        peaks[row.framework] = max(peaks.get(row.framework, 0.0), rate)
    return peaks


def time_in_turns(workers: dict[str, Answering], rows: dict[str, Row], count: int, log: Callable[[int], None]) -> None:
    """Fill in the times of rows; the arguments are those of `take_rounds`."""
    idle: dict[str, list[float]] = {name: [] for name in workers}
    for number in range(count):
        log(number + 1)
        names = list(workers)
        # Another one begins each round, so that none is always after the same.
        shift = number % max(len(names), 1)
        for name in names[shift:] + names[:shift]:
            time.sleep(_PAUSE_SECONDS)
            rows[name] = _after_turn(rows[name], workers[name], idle[name])
            if rows[name].status != "ok":
                workers.pop(name).close()
    for name in workers:
        row = rows[name]
        step_ms, *quartiles_ms = spread(row.samples_ms)
        idle_cpu = statistics.median(idle[name]) if idle[name] else None
        rows[name] = replace(row, idle_cpu=idle_cpu, step_ms=step_ms, quartiles_ms=tuple(quartiles_ms))


def _after_turn(row: Row, worker: Answering, idle: list[float]) -> Row:
    try:
        turn = Turn(*worker.ask("turn"))
    except WorkerError as error:
        return replace(row, status=error.kind, reason=error.reason, samples_ms=())
    if turn.compiled:
        reason = f"{turn.compiled} programs compiled after warm-up"
        return replace(row, status="retraced", reason=reason, samples_ms=())
    if turn.idle_cpu is not None:
        idle.append(turn.idle_cpu)
    return replace(row, samples_ms=(*row.samples_ms, turn.step_ms))
