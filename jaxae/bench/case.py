"""One case of a benchmark: contenders on one model and batch size, set up, held equal, timed."""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from jaxae.bench import environment
from jaxae.bench.contenders import EAGER, Contender
from jaxae.bench.problem import PRESETS
from jaxae.bench.result import ContenderResult
from jaxae.bench.rounds import Answering, take_rounds, trace_all
from jaxae.bench.runner import Task
from jaxae.bench.settings import BenchmarkSettings, Compared
from jaxae.bench.statistics import Spread, largest_gap, times_faster
from jaxae.bench.worker import Worker, WorkerError

GATE_STEPS = 20

Costs = list[float | None]


@dataclass(frozen=True)
class Case:
    """All contenders on one problem.

    Attributes:
        compared: What they are compared on.
        cores: Numbers of the processor cores of each contender.
        folder: Folder for temporary files.
        log: Takes a line on progress.
    """

    settings: BenchmarkSettings
    compared: Compared
    cores: list[int]
    folder: Path
    log: Callable[[str], None]

    def run(self, contenders: list[Contender], reference: Contender) -> tuple[list[ContenderResult], dict[str, float]]:
        """Results of all contenders, and each framework's fastest matrix products in FLOP/s.

        The others' costs are held against those of the reference, which may compete or not.

        Raises:
            InputError: If the data cannot be had, or a batch is larger than an epoch.
        """
        self._write_problem()
        rows = {contender.name: self._row(contender) for contender in contenders}
        title = self._row(reference).case
        with ExitStack() as stack:
            alive: dict[str, Answering] = {}
            expected = None if reference in contenders else self._reference_costs(reference)
            # The reference is first, to have costs to hold the others against.
            for contender in sorted(contenders, key=lambda c: c != reference):
                self.log(f"{title}: setting up {contender.label}")
                worker = stack.enter_context(self._start(contender))
                row, costs = self._set_up(worker, contender)
                # Where the reference has failed, for want of memory say, the next takes its place.
                expected = expected or costs
                if costs is not None and expected is not None:
                    row = self._held_equal(row, costs, expected)
                rows[contender.name] = row
                if row.status == "ok":
                    alive[contender.name] = worker
                else:
                    worker.close()
            count = self.settings.rounds
            peaks = take_rounds(alive, rows, count, lambda number: self.log(f"{title}: round {number} of {count}"))
            trace_all(self.settings.trace, alive, rows)
        return _with_ratios(list(rows.values())), peaks

    @property
    def _problem(self) -> Path:
        return self.folder / "problem.npz"

    @property
    def _variables(self) -> dict[str, str]:
        return environment.variables(self.settings.device, deterministic=self.settings.deterministic)

    def _row(self, contender: Contender) -> ContenderResult:
        sweep = self.settings.sweep
        return ContenderResult(
            model=self.compared.model,
            contender=contender.name,
            label=contender.label,
            framework=contender.framework,
            bce=contender.bce,
            batch_size=self.compared.batch_size,
            models=self.compared.models,
            device=self.settings.device,
            dtype=self.settings.dtype,
            threads=self.compared.threads if sweep == "threads" else None,
            sharing=self.compared.devices if sweep == "devices" else None,
        )

    def _write_problem(self) -> None:
        variables = {**self._variables, "JAX_PLATFORMS": "cpu"}
        chosen = {name: getattr(self.settings, name) for name in ("data", "data_dir", "examples")}
        with Worker("jaxae.bench.problem", cores=None, environment=variables) as worker:
            try:
                worker.ask(
                    "write",
                    path=self._problem,
                    model=self.compared.model,
                    batch_size=self.compared.batch_size,
                    **chosen,
                )
            except WorkerError as error:
                raise error.refusal("a problem for all contenders") from None

    def _start(self, contender: Contender) -> Worker:
        # Compiled anew by each contender, so that the time it takes is its own.
        cache = {"TORCHINDUCTOR_CACHE_DIR": tempfile.mkdtemp(prefix=contender.name, dir=self.folder)}
        module = f"jaxae.bench.{contender.framework}_worker"
        return Worker(module, cores=self.cores, environment=self._variables | cache)

    def _set_up(self, worker: Worker, contender: Contender) -> tuple[ContenderResult, Costs | None]:
        """A contender that is ready, and costs of its first steps; None, and a status, if not."""
        row = self._row(contender)
        try:
            compile_s, devices = worker.ask("prepare", **self._task(contender)._asdict())
            row = replace(row, compile_s=compile_s, devices=devices)
            costs = worker.ask("gate", steps=GATE_STEPS)
            row = replace(row, final_cost=costs[-1])
            steps = worker.ask("calibrate", seconds=self.settings.turn_seconds)
            return replace(row, steps_a_turn=steps), costs
        except WorkerError as error:
            return replace(row, status=error.kind, reason=error.reason), None

    def _task(self, contender: Contender) -> Task:
        train = PRESETS[self.compared.model].train
        taken_over = ("device", "dtype", "tf32", "deterministic", "drawn_noise")
        return Task(
            contender=contender.name,
            model=self.compared.model,
            problem=str(self._problem),
            threads=len(self.cores),
            devices=self.compared.devices,
            models=self.compared.models,
            learning_rate=train.learning_rate,
            beta=train.beta,
            **{name: getattr(self.settings, name) for name in taken_over},
        )

    def _reference_costs(self, reference: Contender) -> Costs | None:
        """Costs of a reference that does not itself compete."""
        task = self._task(reference)._replace(models=1)
        with self._start(reference) as worker:
            try:
                worker.ask("prepare", **task._asdict())
                return worker.ask("gate", steps=GATE_STEPS)
            except WorkerError as error:
                self.log(f"the reference, {reference.label}, failed: {error.reason}")
                return None

    def _held_equal(self, row: ContenderResult, costs: Costs, expected: Costs) -> ContenderResult:
        """The row with its gap, and its status where that is beyond the tolerance."""
        gap, allowed = largest_gap(costs, expected), self.settings.tolerance
        row = replace(row, gap=gap if gap != float("inf") else None)
        if gap <= allowed:
            return row
        reason = f"costs differ by {gap:.1e}, allowed are {allowed:.0e}"
        return replace(row, status="differs", reason=reason)


def _with_ratios(rows: list[ContenderResult]) -> list[ContenderResult]:
    timed = [row for row in rows if row.step_ms is not None]
    eager = next((row for row in timed if row.contender == EAGER), None)
    torch = [row for row in timed if row.framework == "torch"]
    best = min(torch, key=lambda row: row.step_ms or 0.0, default=None)

    def against(row: ContenderResult, other: ContenderResult | None) -> Spread | None:
        return None if row.step_ms is None or other is None else times_faster(row.samples_ms, other.samples_ms)

    return [replace(row, times_eager=against(row, eager), times_best_torch=against(row, best)) for row in rows]
