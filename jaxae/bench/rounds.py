"""The benchmark: contenders are set up, held equal, and timed by turns."""

import dataclasses
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jaxae.bench import environment
from jaxae.bench.contenders import EAGER, SWEEP, Contender, find, select
from jaxae.bench.flops import step_flops
from jaxae.bench.problem import PRESETS
from jaxae.bench.statistics import largest_gap, spread, times_faster
from jaxae.bench.wire import Worker, WorkerError
from jaxae.errors import InputError

GATE_STEPS = 20
SWEEP_BATCHES = (32, 64, 128, 256, 512, 1024, 2048, 4096)
SWEEP_MODELS = (1, 2, 4, 8, 16)
# Idle threads may spin a while for more work; the next contender is to have the cores to itself.
_PAUSE_SECONDS = 0.05

Row = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """What is measured, and how.

    Attributes:
        models: Out of "ae" and "cvae".
        device: "cpu" or "gpu".
        batch_size: Examples a step; None takes each model's preset.
        rounds: How often each contender has its turn.
        turn_seconds: About how long a turn is; a whole epoch may be longer.
        contenders: Their names; None takes all, or for a sweep the four that matter.
        sweep: Vary the batch size, or the number of models trained at once.
        sizes: What a sweep runs through; None takes powers of two.
        dtype: In which the networks compute, "float32" or "bfloat16".
        data: A data set's name.
        data_dir: Its folder.
        examples: In an epoch; a smaller set is repeated.
        threads: Processor cores to use; None takes all that this process may.
        devices: Devices that share a batch where all do; None takes as many as training does.
        drawn_noise: Time steps that draw their own noise. The gate always has it given.
        tf32: Let a GPU round float32 factors to TensorFloat-32, in both frameworks.
        deterministic: Only kernels that repeat to the bit on a GPU, in both frameworks.
    """

    models: tuple[str, ...] = ("ae", "cvae")
    device: Literal["cpu", "gpu"] = "cpu"
    batch_size: int | None = None
    rounds: int = 11
    turn_seconds: float = 0.5
    contenders: tuple[str, ...] | None = None
    sweep: Literal["batch", "models"] | None = None
    sizes: tuple[int, ...] | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    data: str = "digits"
    data_dir: str | None = None
    examples: int = 60_000
    threads: int | None = None
    devices: int | None = None
    drawn_noise: bool = False
    tf32: bool = False
    deterministic: bool = False

    def __post_init__(self) -> None:
        if not self.models or any(model not in PRESETS for model in self.models):
            known, came = ", ".join(PRESETS), ", ".join(self.models)
            raise InputError(f"expected models out of {known}, got {came or 'none'}")
        if self.contenders is not None and not self.contenders:
            raise InputError("expected at least one contender, got none")
        for name in ("batch_size", "rounds", "examples", "threads", "devices"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"expected {name} of 1 or more, got {value}")
        if not 0 < self.turn_seconds < 600:
            raise InputError(f"expected turn_seconds from 0 to 600, got {self.turn_seconds}")
        if self.sizes is not None and (not self.sizes or min(self.sizes) < 1):
            raise InputError(f"expected sizes of 1 or more, got {self.sizes}")
        if self.sizes is not None and self.sweep is None:
            raise InputError("expected sizes only with a sweep")
        if (self.tf32 or self.deterministic) and self.device != "gpu":
            raise InputError("expected tf32 and deterministic only with a gpu")
        select(self.contenders, self.device)

    @property
    def tolerance(self) -> float:
        """Largest relative difference of costs that the gate lets through."""
        # bfloat16 keeps 8 bits and TensorFloat-32 11, and roundings differ by framework.
        return 2e-2 if self.dtype == "bfloat16" else 1e-3 if self.tf32 else 1e-5

    def cases(self) -> Iterator[tuple[str, int, int]]:
        """Model, batch size and number of models of each comparison."""
        for model in self.models:
            batch_size = self.batch_size or PRESETS[model].train.batch_size
            if self.sweep == "batch":
                yield from ((model, size, 1) for size in self.sizes or SWEEP_BATCHES)
            elif self.sweep == "models":
                yield from ((model, batch_size, size) for size in self.sizes or SWEEP_MODELS)
            else:
                yield model, batch_size, 1


def run(
    settings: Settings,
    *,
    log: Callable[[str], None] = lambda line: None,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Measure, and return the document that becomes JSON.

    Of a run that is interrupted it holds the comparisons that had ended, and says so; where none
    had, there is no document.

    Args:
        settings: What is measured.
        log: Takes a line on progress.
        overrides: Fields of a contender's task that are to differ, by its name: to break one and
            see the gate close.

    Raises:
        InputError: If a device, a package for every contender, or data are not there.
        KeyboardInterrupt: If interrupted before the first comparison had ended.
    """
    cores = _cores(settings.threads)
    names = settings.contenders or (SWEEP if settings.sweep else None)
    wanted = select(names, settings.device)
    with tempfile.TemporaryDirectory(prefix="jaxae-bench-") as folder:
        variables = _variables(settings, Path(folder))
        before = environment.load()
        # torch serves as the reference even where it does not compete.
        there, missing = environment.probe(settings.device, ["torch", "jax"], variables)
        left_out = [
            {"contender": c.name, "reason": missing[c.framework]}
            for c in wanted
            if c.framework in missing
        ]
        competing = [c for c in wanted if c.framework not in missing]
        if not competing:
            raise InputError("; ".join(missing.values()))
        bench = _Bench(settings, cores, Path(folder), variables, overrides or {}, log)
        reference = find(EAGER) if "torch" in there else competing[0]
        rows: list[Row] = []
        interrupted = False
        try:
            for model, batch_size, models in settings.cases():
                rows += bench.case(competing, reference, model, batch_size, models)
        except KeyboardInterrupt:
            if not rows:
                raise
            interrupted = True
        peaks = bench.peaks
    for row in rows:
        _add_share(row, max(peaks.values(), default=None))
    versions = {name: v for one in there.values() for name, v in one["versions"].items()}
    described = there.get("jax") or there["torch"]
    document = {
        "environment": {
            "versions": versions,
            **environment.machine(),
            "device": settings.device,
            "gpu": described["device"] if settings.device == "gpu" else None,
            "threads": len(cores),
            "devices": max((row["devices"] or 1 for row in rows), default=1),
            "commit": environment.commit(),
            "load_before": before,
            "matmul_gflops": {name: peak / 1e9 for name, peak in peaks.items()},
            "gate": {
                "steps": GATE_STEPS,
                "tolerance": settings.tolerance,
                "reference": reference.name,
            },
            # Not where its data lie: a result is made to be shown around.
            "settings": {**dataclasses.asdict(settings), "data_dir": None},
        },
        "left_out": left_out,
        "interrupted": interrupted,
        "rows": rows,
    }
    return document


class _Bench:
    """Cases of one run, one after another; remembers the fastest matrix products."""

    def __init__(
        self,
        settings: Settings,
        cores: list[int],
        folder: Path,
        variables: Mapping[str, str],
        overrides: Mapping[str, Mapping[str, Any]],
        log: Callable[[str], None],
    ):
        self.peaks: dict[str, float] = {}
        self._settings = settings
        self._cores = cores
        self._folder = folder
        self._variables = variables
        self._overrides = overrides
        self._log = log

    def case(
        self,
        contenders: Sequence[Contender],
        reference: Contender,
        model: str,
        batch_size: int,
        models: int,
    ) -> list[Row]:
        """Rows of all contenders on one model, batch size and number of models."""
        title = f"{model}, batch {batch_size}" + (f", {models} models" if models > 1 else "")
        problem = self._folder / "problem.npz"
        self._write_problem(problem, model, batch_size)
        rows = {c.name: _row(c, model, batch_size, models, self._settings) for c in contenders}
        with ExitStack() as stack:
            alive: dict[str, Worker] = {}
            expected = None
            if reference not in contenders:
                expected = self._reference_costs(reference, problem, model, models)
            # The reference is first, to have costs to hold the others against.
            for contender in sorted(contenders, key=lambda c: c != reference):
                self._log(f"{title}: setting up {contender.label}")
                worker = stack.enter_context(self._start(contender))
                row = rows[contender.name]
                costs = self._set_up(worker, contender, problem, row)
                if costs is None:
                    worker.close()
                    continue
                # Where the reference has failed, for want of memory say, the next takes its place.
                expected = expected or costs
                if self._passes(row, costs, expected):
                    alive[contender.name] = worker
                else:
                    worker.close()
            self._take_turns(alive, rows, title)
        _add_ratios(list(rows.values()))
        return list(rows.values())

    def _write_problem(self, path: Path, model: str, batch_size: int) -> None:
        settings = self._settings
        variables = {**self._variables, "JAX_PLATFORMS": "cpu"}
        with Worker("jaxae.bench.problem", cores=None, environment=variables) as worker:
            try:
                worker.ask(
                    "write",
                    path=str(path),
                    model=model,
                    data=settings.data,
                    data_dir=settings.data_dir,
                    examples=settings.examples,
                    batch_size=batch_size,
                )
            except WorkerError as error:
                if error.kind == "input":
                    raise InputError(error.reason) from None
                raise

    def _start(self, contender: Contender) -> Worker:
        variables = dict(self._variables)
        # Compiled anew by each contender, so that the time it takes is its own.
        cache = tempfile.mkdtemp(prefix=contender.name, dir=self._folder)
        variables["TORCHINDUCTOR_CACHE_DIR"] = cache
        module = f"jaxae.bench.{contender.framework}_worker"
        return Worker(module, cores=self._cores, environment=variables)

    def _set_up(
        self, worker: Worker, contender: Contender, problem: Path, row: Row
    ) -> list[float | None] | None:
        """Costs of the contender's first steps; None, and a status in the row, if it failed."""
        try:
            row |= worker.ask("prepare", **self._task(contender, problem, row))
            costs = worker.ask("gate", steps=GATE_STEPS)
            row["final_cost"] = costs[-1]
            row["steps_a_turn"] = worker.ask("calibrate", seconds=self._settings.turn_seconds)
        except WorkerError as error:
            row["status"], row["reason"] = error.kind, error.reason
            return None
        return costs

    def _task(self, contender: Contender, problem: Path, row: Row) -> dict[str, Any]:
        settings, train = self._settings, PRESETS[row["model"]].train
        return {
            "contender": contender.name,
            "model": row["model"],
            "problem": str(problem),
            "device": settings.device,
            "devices": settings.devices,
            "threads": len(self._cores),
            "models": row["models"],
            "dtype": settings.dtype,
            "tf32": settings.tf32,
            "deterministic": settings.deterministic,
            "drawn_noise": settings.drawn_noise,
            "learning_rate": train.learning_rate,
            "beta": train.beta,
            **self._overrides.get(contender.name, {}),
        }

    def _reference_costs(
        self, reference: Contender, problem: Path, model: str, models: int
    ) -> list[float | None] | None:
        """Costs of a reference that does not itself compete."""
        row = _row(reference, model, 0, models, self._settings)
        with self._start(reference) as worker:
            try:
                worker.ask("prepare", **self._task(reference, problem, {**row, "models": 1}))
                return worker.ask("gate", steps=GATE_STEPS)
            except WorkerError as error:
                self._log(f"the reference, {reference.label}, failed: {error.reason}")
                return None

    def _passes(self, row: Row, costs: list[float | None], expected: list[float | None]) -> bool:
        gap = largest_gap(costs, expected)
        row["gap"] = gap if gap != float("inf") else None
        if gap <= self._settings.tolerance:
            return True
        row["status"] = "differs"
        row["reason"] = f"costs differ by {gap:.1e}, allowed are {self._settings.tolerance:.0e}"
        return False

    def _take_turns(self, alive: dict[str, Worker], rows: dict[str, Row], title: str) -> None:
        idle: dict[str, list[float]] = {name: [] for name in alive}

        def drop(name: str, status: str, reason: str) -> None:
            rows[name] |= {"status": status, "reason": reason, "samples_ms": []}
            alive.pop(name).close()

        for number in range(self._settings.rounds):
            self._log(f"{title}: round {number + 1} of {self._settings.rounds}")
            names = list(alive)
            # Another one begins each round, so that none is always after the same.
            shift = number % max(len(names), 1)
            for name in names[shift:] + names[:shift]:
                time.sleep(_PAUSE_SECONDS)
                try:
                    turn = alive[name].ask("turn")
                except WorkerError as error:
                    drop(name, error.kind, error.reason)
                    continue
                if turn["compiled"]:
                    drop(name, "retraced", f"{turn['compiled']} programs compiled after warm-up")
                    continue
                rows[name]["samples_ms"].append(turn["step_ms"])
                if turn["idle_cpu"] is not None:
                    idle[name].append(turn["idle_cpu"])
        for name, worker in list(alive.items()):
            self._finish(worker, rows[name], idle[name])

    def _finish(self, worker: Worker, row: Row, idle: list[float]) -> None:
        row["idle_cpu"] = statistics.median(idle) if idle else None
        memory = worker.ask("finish")
        row["peak_memory_bytes"], row["memory_of"] = memory["bytes"], memory["of"]
        middle = spread(row["samples_ms"])
        row["step_ms"], row["quartiles_ms"] = middle.median, [middle.low, middle.high]
        row["images_per_s"] = row["batch_size"] * row["models"] / middle.median * 1e3
        # Asked last: the matrices would count as the contender's memory.
        size = 1024 if row["device"] == "cpu" else 8192
        rate = worker.ask("multiply", size=size, repeats=12)
        framework = row["framework"]
        self.peaks[framework] = max(self.peaks.get(framework, 0.0), rate)


def _row(contender: Contender, model: str, batch_size: int, models: int, settings: Settings) -> Row:
    return {
        "model": model,
        "contender": contender.name,
        "label": contender.label,
        "framework": contender.framework,
        "bce": contender.bce,
        "batch_size": batch_size,
        "models": models,
        "device": settings.device,
        "devices": None,
        "dtype": settings.dtype,
        "status": "ok",
        "reason": None,
        "compile_s": None,
        "step_ms": None,
        "quartiles_ms": None,
        "samples_ms": [],
        "steps_a_turn": None,
        "images_per_s": None,
        "times_eager": None,
        "times_best_torch": None,
        "matmul_share": None,
        "peak_memory_bytes": None,
        "memory_of": None,
        "final_cost": None,
        "gap": None,
        "idle_cpu": None,
    }


def _add_ratios(rows: list[Row]) -> None:
    timed = [row for row in rows if row["step_ms"] is not None]
    eager = next((row for row in timed if row["contender"] == EAGER), None)
    torch = [row for row in timed if row["framework"] == "torch"]
    best = min(torch, key=lambda row: row["step_ms"], default=None)
    for row in timed:
        for name, other in (("times_eager", eager), ("times_best_torch", best)):
            if other is not None:
                row[name] = list(times_faster(row["samples_ms"], other["samples_ms"]))


def _add_share(row: Row, peak: float | None) -> None:
    if row["step_ms"] is not None and peak is not None:
        flops = step_flops(PRESETS[row["model"]].model, row["batch_size"]) * row["models"]
        row["matmul_share"] = flops / (row["step_ms"] / 1e3 * peak)


def _cores(threads: int | None) -> list[int]:
    if not hasattr(os, "sched_getaffinity"):
        return list(range(threads or os.cpu_count() or 1))
    usable = sorted(os.sched_getaffinity(0))
    if threads is not None and threads > len(usable):
        raise InputError(f"expected at most {len(usable)} threads, got {threads}")
    return usable[: threads or len(usable)]


def _variables(settings: Settings, folder: Path) -> dict[str, str]:
    """Environment of the worker processes."""
    variables = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    if settings.device == "cpu":
        variables["JAX_PLATFORMS"] = "cpu"
        variables["CUDA_VISIBLE_DEVICES"] = ""
    if settings.deterministic:
        flags = os.environ.get("XLA_FLAGS", "")
        variables["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
        variables["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    return variables


def retraced(document: Mapping[str, Any]) -> list[str]:
    """Contenders that compiled after their warm-up."""
    return [row["label"] for row in document["rows"] if row["status"] == "retraced"]
