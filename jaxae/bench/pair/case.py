"""The measuring of a pair that is ready: contenders set up, held equal, timed, one kind of step after another."""

import math
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from jaxae.bench.case import GATE_STEPS, Costs
from jaxae.bench.pair.contenders import COUNTED, MEASURES, REFERENCE, Measure, PairContender, find_one
from jaxae.bench.pair.result import PairedRatio, PairRow
from jaxae.bench.pair.settings import PairSettings
from jaxae.bench.pair.task import PairTask
from jaxae.bench.rounds import Answering, time_in_turns, trace_all
from jaxae.bench.runner import FrameworkInfo
from jaxae.bench.statistics import interval, largest_gap, times_faster
from jaxae.bench.worker import JSONValue, WorkerError


class Living(Answering, Protocol):
    """A contender's worker, over all kinds of steps."""

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        ...


Start = Callable[[PairContender], Living]


@dataclass
class PairCase:
    """A pair that is ready to be measured.

    Attributes:
        pair: Name of the function that makes it, in other processes; its type's name where it is live.
        folder: Folder of its weights and arrays.
        start: Starts a contender's worker.
        batch: Shapes of the inputs of a step.
        cores: Numbers of the processor cores of each contender.
        log: Takes a line on progress.
        frameworks: Versions and device of each framework that has begun.
        rows: Results of the kinds of steps that have ended.
        flops_per_s: Floating-point operations per second of each framework's fastest matrix products.
        bytes_per_s: Bytes per second of each framework's fastest copies.
    """

    pair: str
    folder: Path
    start: Start
    settings: PairSettings
    batch: tuple[str, ...]
    cores: list[int]
    log: Callable[[str], None]
    frameworks: dict[str, FrameworkInfo] = field(default_factory=dict)
    rows: list[PairRow] = field(default_factory=list)
    flops_per_s: dict[str, float] = field(default_factory=dict)
    bytes_per_s: dict[str, float] = field(default_factory=dict)

    def run(self) -> None:
        """Fill in the rows, one kind of step after another.

        Raises:
            InputError: If the device is not there.
        """
        workers: dict[str, Living] = {}
        with ExitStack() as stack:
            for measure in MEASURES:
                self.rows += self._measured(measure, workers, stack)

    def _measured(self, measure: Measure, workers: dict[str, Living], stack: ExitStack) -> list[PairRow]:
        """Rows of a kind of step, whose workers are started where they are not there yet."""
        contenders = [one for one in self.settings.chosen if measure in one.measures]
        differing = {row.contender: row.reason for row in self.rows if row.status == "differs"}
        rows: dict[str, PairRow] = {}
        alive: dict[str, Answering] = {}
        expected: Costs | None = None
        for contender in contenders:
            row = rows[contender.name] = self._row(contender, measure)
            if contender.name in differing:
                rows[contender.name] = replace(row, status="differs", reason=differing[contender.name])
                continue
            self.log(f"{row.case}: setting up {contender.label}")
            # One that was killed over a kind of step may do for another.
            if contender.name not in workers or not workers[contender.name].alive:
                workers[contender.name] = worker = self._start(contender)
                stack.callback(worker.close)
            part = _Part(workers[contender.name], measure)
            row, costs = self._set_up(part, row)
            # Where the reference has failed, for want of memory say, the next takes its place.
            expected = expected or costs
            if costs is not None and expected is not None:
                row = self._held_equal(row, costs, expected)
            if row.status == "ok":
                alive[contender.name] = part
            elif row.status == "differs":
                workers[contender.name].close()
            rows[contender.name] = row
        count, told = self.settings.rounds, f"{self._row(contenders[0], measure).case}: round"
        time_in_turns(alive, rows, count, lambda number: self.log(f"{told} {number} of {count}"))
        if measure == "step":
            for name, part in alive.items():
                peak, owner = part.ask("finish")
                rows[name] = replace(rows[name], peak_memory_bytes=peak, memory_of=owner)
            self._measure_machine(rows, alive)
        trace_all(self.settings.trace, alive, rows)
        return _with_ratios(self._with_work(list(rows.values()), alive))

    def _measure_machine(self, rows: dict[str, PairRow], alive: dict[str, Answering]) -> None:
        """Fill in each framework's fastest matrix products and copies; last, as they count as a contender's memory."""
        on_cpu = self.settings.device == "cpu"
        for name, part in alive.items():
            framework = rows[name].framework
            if rows[name].dtype == "float32" and framework not in self.flops_per_s:
                self.flops_per_s[framework] = part.ask("multiply", size=1024 if on_cpu else 8192, repeats=12)
                self.bytes_per_s[framework] = part.ask("copy", size=2 ** (27 if on_cpu else 30), repeats=5)

    def _with_work(self, rows: list[PairRow], alive: dict[str, Answering]) -> list[PairRow]:
        """The rows in float32 with what a step takes, and the least time that the machine allows for it."""
        if COUNTED not in alive or not self.flops_per_s:
            return rows
        flops, size = alive[COUNTED].ask("work")
        rates = max(self.flops_per_s.values()), max(self.bytes_per_s.values())
        least_ms = max(flops / rates[0], size / rates[1]) * 1e3
        return [
            replace(row, flops=flops, bytes=size, least_ms=least_ms) if row.dtype == "float32" else row for row in rows
        ]

    def _start(self, contender: PairContender) -> Living:
        worker = self.start(contender)
        if contender.framework not in self.frameworks:
            try:
                info = FrameworkInfo(*worker.ask("describe", device=self.settings.device))
            except WorkerError as error:
                worker.close()
                raise error.refusal(f"{contender.framework} to start") from None
            self.frameworks[contender.framework] = info
        return worker

    def _row(self, contender: PairContender, measure: Measure) -> PairRow:
        return PairRow(
            measure=measure,
            contender=contender.name,
            label=contender.label,
            framework=contender.framework,
            batch=self.batch,
            dtype=contender.dtype,
            device=self.settings.device,
            tolerance=self.settings.tolerance_of(contender),
        )

    def _set_up(self, part: "_Part", row: PairRow) -> tuple[PairRow, Costs | None]:
        """A contender that is ready, and what it is held to; None, and a status, if not."""
        settings = self.settings
        task = PairTask(
            contender=row.contender,
            measure=row.measure,
            pair=self.pair,
            folder=str(self.folder),
            threads=len(self.cores),
            device=settings.device,
            tf32=settings.tf32,
            deterministic=settings.deterministic,
        )
        try:
            compile_s, _ = part.ask("prepare", **task._asdict())
            costs = part.ask("gate", steps=GATE_STEPS if row.measure == "step" else 1)
            row = replace(row, compile_s=compile_s, checked=tuple(costs))
            return replace(row, steps_a_turn=part.ask("calibrate", seconds=settings.turn_seconds)), costs
        except WorkerError as error:
            return replace(row, status=error.kind, reason=error.reason), None

    def _held_equal(self, row: PairRow, costs: Costs, expected: Costs) -> PairRow:
        """The row with its gap, and its status where that is beyond the tolerance: the step, and how far."""
        gap = largest_gap(costs, expected)
        row = replace(row, gap=gap if math.isfinite(gap) else None)
        if gap <= row.tolerance:
            return row
        apart = [largest_gap([own], [theirs]) for own, theirs in zip(costs, expected, strict=True)]
        step = next(number for number, one in enumerate(apart) if not one <= row.tolerance)
        own, theirs = (_told(one[step]) for one in (costs, expected))
        what = {"step": f"cost of step {step + 1}", "gradients": "gradients' norm", "inference": "result's cost"}
        return replace(
            row,
            status="differs",
            reason=f"{what[row.measure]} is {own}, {find_one(REFERENCE).label}'s {theirs}: "
            f"{apart[step]:.1e} apart, allowed are {row.tolerance:.0e}",
        )


@dataclass
class _Part:
    """The part of a worker that takes one kind of step."""

    worker: Answering
    measure: Measure

    def ask(self, do: str, *, timeout: float = 900.0, **fields: object) -> JSONValue:
        """The answer to a question."""
        return self.worker.ask(f"{self.measure} {do}", timeout=timeout, **fields)

    def close(self) -> None:
        """Leave the worker to its other kinds of steps."""


def _with_ratios(rows: Iterable[PairRow]) -> list[PairRow]:
    rows = list(rows)
    timed = [row for row in rows if row.step_ms is not None]
    eager = next((row for row in timed if row.contender == REFERENCE), None)
    torch = [row for row in timed if row.framework == "torch" and row.dtype == "float32"]
    best = min(torch, key=lambda row: row.step_ms or 0.0, default=None)
    return [
        replace(
            row,
            times_eager=_ratio(row, eager),
            times_best_torch=_ratio(row, best),
            # The later kinds of steps find programs of the first in their process.
            paid_back_steps=steps_to_pay_back(row, eager) if eager and row.measure == "step" else None,
        )
        for row in rows
    ]


def _ratio(row: PairRow, other: PairRow | None) -> PairedRatio | None:
    if row.step_ms is None or other is None:
        return None
    found = times_faster(row.samples_ms, other.samples_ms)
    return PairedRatio(found.median, (found.low, found.high), interval(row.samples_ms, other.samples_ms))


def steps_to_pay_back(row: PairRow, eager: PairRow) -> int | None:
    """Steps after which a contender that compiles longer and steps quicker is ahead of eager torch; None: never."""
    if row.step_ms is None or eager.step_ms is None or row.compile_s is None or eager.compile_s is None:
        return None
    longer, gained = row.compile_s - eager.compile_s, (eager.step_ms - row.step_ms) / 1e3
    if gained <= 0:
        return None
    return max(0, math.ceil(longer / gained))


def _told(cost: float | None) -> str:
    return "not finite" if cost is None else f"{cost:.7g}"
