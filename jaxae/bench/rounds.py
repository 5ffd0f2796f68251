"""The rounds: contenders that train alike take turns, and are timed."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar

from jaxae.bench.other_load import MOST as MOST_OF_OTHERS
from jaxae.bench.pair.result import PairRow
from jaxae.bench.result import ContenderResult
from jaxae.bench.runner import Turn
from jaxae.bench.statistics import spread
from jaxae.bench.worker import JSONValue, WorkerError

# Idle threads may spin a while for more work; the next contender is to have the cores to itself.
_PAUSE_SECONDS = 0.05
_TRACED_STEPS = 5


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
    """Fill in the times of rows; the arguments are those of `take_rounds`.

    A round in which other work took cores from a contender is taken again, at most as often as there are rounds; after
    that it counts all the same, and is told of.
    """
    idle: dict[str, list[float]] = {name: [] for name in workers}
    taken = repeated = disturbed = 0
    while taken < count:
        log(taken + 1)
        names = list(workers)
        # Another one begins each round, so that none is always after the same.
        shift = (taken + repeated) % max(len(names), 1)
        turns: dict[str, Turn] = {}
        for name in names[shift:] + names[:shift]:
            time.sleep(_PAUSE_SECONDS)
            rows[name] = _after_turn(rows[name], workers[name], turns)
            if rows[name].status != "ok":
                workers.pop(name).close()
        others = max((turn.others_cpu or 0.0 for turn in turns.values()), default=0.0)
        if others > MOST_OF_OTHERS and repeated < count:
            repeated += 1
            continue
        taken, disturbed = taken + 1, disturbed + (others > MOST_OF_OTHERS)
        for name in workers:
            turn = turns[name]
            rows[name] = replace(rows[name], samples_ms=(*rows[name].samples_ms, turn.step_ms))
            idle[name] += [] if turn.idle_cpu is None else [turn.idle_cpu]
    for name in workers:
        row = rows[name]
        step_ms, *quartiles_ms = spread(row.samples_ms)
        idle_cpu = statistics.median(idle[name]) if idle[name] else None
        row = replace(row, repeated_rounds=repeated, disturbed_rounds=disturbed)
        rows[name] = replace(row, idle_cpu=idle_cpu, step_ms=step_ms, quartiles_ms=tuple(quartiles_ms))


def trace_all(folder: Path | None, workers: Mapping[str, Answering], rows: dict[str, Row]) -> None:
    """Write a profiler's trace of a few steps of each contender to CASE/CONTENDER/ in a folder; None writes none."""
    if folder is None:
        return
    for name, worker in workers.items():
        case = rows[name].case.replace(",", "").replace(" ", "-")
        try:
            worker.ask("trace", folder=(folder / case / name).absolute(), steps=_TRACED_STEPS)
        except WorkerError as error:
            rows[name] = replace(rows[name], reason=f"no trace: {error.reason}")


def _after_turn(row: Row, worker: Answering, turns: dict[str, Turn]) -> Row:
    """The row with its status after a turn, which is put beside the round's others if it counts."""
    try:
        turn = Turn(*worker.ask("turn"))
    except WorkerError as error:
        return replace(row, status=error.kind, reason=error.reason, samples_ms=())
    if turn.compiled:
        reason = f"{turn.compiled} programs compiled after warm-up"
        return replace(row, status="retraced", reason=reason, samples_ms=())
    turns[row.contender] = turn
    return row
