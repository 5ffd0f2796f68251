"""The rounds: contenders that train alike take turns, and are timed."""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace

from jaxae.bench.result import ContenderResult
from jaxae.bench.runner import Turn
from jaxae.bench.statistics import spread
from jaxae.bench.worker import Worker, WorkerError

# Idle threads may spin a while for more work; the next contender is to have the cores to itself.
_PAUSE_SECONDS = 0.05


def take_rounds(
    workers: dict[str, Worker], rows: dict[str, ContenderResult], count: int, log: Callable[[int], None]
) -> dict[str, float]:
    """Time contenders in turns; each framework's fastest matrix products in FLOP/s.

    Args:
        workers: Workers of the contenders that are set up, by name; those that fail are closed and taken out.
        rows: Results by the contender's name; those of the workers' contenders are filled in.
        count: Number of rounds.
        log: Takes the number of a round as it begins, from 1 on.
    """
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
    peaks: dict[str, float] = {}
    for name, worker in workers.items():
        row = rows[name] = _finished(rows[name], worker, idle[name])
        # Asked last: the matrices would count as the contender's memory.
        rate = worker.ask("multiply", size=1024 if row.device == "cpu" else 8192, repeats=12)
        peaks[row.framework] = max(peaks.get(row.framework, 0.0), rate)
    return peaks


def _after_turn(row: ContenderResult, worker: Worker, idle: list[float]) -> ContenderResult:
    try:
        turn = Turn(*worker.ask("turn"))
    except WorkerError as error:
        return replace(row, status=error.kind, reason=error.reason, samples_ms=())
    if turn.compiled:
        reason = f"{turn.compiled} programs compiled after warm-up"
        return replace(row, status="retraced", reason=reason, samples_ms=())
    idle.append(turn.idle_cpu)
    return replace(row, samples_ms=(*row.samples_ms, turn.step_ms))


def _finished(row: ContenderResult, worker: Worker, idle: list[float]) -> ContenderResult:
    peak, owner = worker.ask("finish")
    step_ms, *quartiles_ms = spread(row.samples_ms)
    return replace(
        row,
        idle_cpu=statistics.median(idle),
        peak_memory_bytes=peak,
        memory_of=owner,
        step_ms=step_ms,
        quartiles_ms=tuple(quartiles_ms),
        images_per_s=row.batch_size * row.models / step_ms * 1e3,
    )
