"""What was found of a pair: its rows and what they were measured on, to JSON."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path

from jaxae.bench.contenders import Framework
from jaxae.bench.pair.contenders import MEASURE_NAMES, Measure
from jaxae.bench.pair.settings import PairSettings
from jaxae.bench.result import Gate, Machine, Status, read_as
from jaxae.storage.files import write_text


@dataclass(frozen=True)
class PairedRatio:
    """How many times faster one contender is than another in the same rounds.

    Attributes:
        median: Median over the rounds.
        quartiles: Lower and upper quartile over the rounds.
        interval: Ends of the median's 95 % interval, by bootstrap.
    """

    median: float
    quartiles: tuple[float, float]
    interval: tuple[float, float]


@dataclass(frozen=True)
class PairRow:
    """One contender in one kind of step.

    Attributes:
        measure: Kind of step.
        label: Contender's label in tables and figures.
        batch: Shapes of the inputs of a step, as torch takes them.
        dtype: Dtype of the network's arithmetic.
        status: "ok", or why there is no time.
        reason: Reason for another status than "ok", in one line.
        compile_s: Seconds that the first step took beyond a later one. The training step comes first, in a process that
            has compiled nothing; the other kinds of steps find there what it has.
        step_ms: Median time in ms per step.
        quartiles_ms: Lower and upper quartile of the time in ms per step.
        samples_ms: Times of the turns in ms per step.
        steps_a_turn: Number of steps per turn.
        times_eager: Speed relative to eager torch's.
        times_best_torch: Speed relative to the fastest torch contender's in float32.
        paid_back_steps: Number of training steps after which what compiling took beyond eager torch's is made up for;
            None where it never is, and of other kinds of steps.
        peak_memory_bytes: Peak memory in bytes of a contender over all kinds of steps; with the training step alone.
        memory_of: Owner of that memory, "device" or "host".
        checked: What the contender is held to: costs of the first training steps, the norm of the gradients of the
            first, or the cost of what inference gives.
        gap: Largest relative difference of those from the reference's.
        tolerance: Largest gap allowed.
        flops: Floating-point operations of a step by XLA's count of "JAX, jit", for contenders in float32.
        bytes: Bytes that a step reads and writes, by the same count.
        least_ms: Least time in ms per step that the machine allows for these: by its fastest matrix product or its
            fastest copy, whichever takes longer (the roofline, doi:10.1145/1498765.1498785).
        idle_cpu: Share of a core used while others had their turns.
        repeated_rounds: Number of rounds that were taken again, as other work had disturbed them.
        disturbed_rounds: Number of rounds that count, although other work disturbed them.
    """

    measure: Measure
    contender: str
    label: str
    framework: Framework
    batch: tuple[str, ...]
    dtype: str
    device: str
    tolerance: float
    status: Status = "ok"
    reason: str | None = None
    compile_s: float | None = None
    step_ms: float | None = None
    quartiles_ms: tuple[float, float] | None = None
    samples_ms: tuple[float, ...] = ()
    steps_a_turn: int | None = None
    times_eager: PairedRatio | None = None
    times_best_torch: PairedRatio | None = None
    paid_back_steps: int | None = None
    peak_memory_bytes: int | None = None
    memory_of: str | None = None
    checked: tuple[float | None, ...] = ()
    gap: float | None = None
    flops: float | None = None
    bytes: float | None = None
    least_ms: float | None = None
    idle_cpu: float | None = None
    repeated_rounds: int = 0
    disturbed_rounds: int = 0

    @property
    def measured(self) -> tuple[object, ...]:
        """What was measured: a row of another run with the same one can stand beside this one."""
        return self.measure, self.batch, self.dtype, self.device, self.contender

    @property
    def case(self) -> str:
        """The kind of step in words."""
        return MEASURE_NAMES[self.measure]


@dataclass(frozen=True)
class PairEnvironment(Machine):
    """What a pair was measured on, and how.

    Attributes:
        pair: Name of the pair, FILE.py:make say.
        proof: What the port of the weights was proven by.
        gate: The check of the first steps; contenders in bfloat16 have their own tolerance.
        settings: Settings of the benchmark.
        matmul_gflops: Fastest matrix products of each framework, in GFLOP/s.
        copy_gb_s: Fastest copies of each framework, in GB per second read or written.
    """

    pair: str
    proof: str
    gate: Gate
    settings: PairSettings
    matmul_gflops: dict[str, float] = field(default_factory=dict)
    copy_gb_s: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class PairResult:
    """What was found of a pair.

    Attributes:
        environment: Machine, versions, proof and settings.
        interrupted: Whether the run was interrupted, so that kinds of steps are missing.
        rows: Results of each contender in each kind of step.
    """

    environment: PairEnvironment
    interrupted: bool = False
    rows: tuple[PairRow, ...] = ()

    @property
    def comparisons(self) -> dict[str, list[PairRow]]:
        """Rows that stand together in a table or figure, by title: those of a kind of step."""
        found: dict[str, list[PairRow]] = {}
        for row in self.rows:
            found.setdefault(row.case, []).append(row)
        return found

    @property
    def retraced(self) -> list[str]:
        """Labels of the contenders that compiled a program after their warm-up."""
        return list(dict.fromkeys(row.label for row in self.rows if row.status == "retraced"))

    @property
    def in_one_process(self) -> bool:
        """Whether the contenders shared a process, so that none has a peak memory of its own."""
        timed = [row for row in self.rows if row.measure == "step" and row.step_ms is not None]
        return bool(timed) and all(row.memory_of is None for row in timed)

    @property
    def compared(self) -> bool:
        """Whether both frameworks have a time of the training step."""
        return {row.framework for row in self.rows if row.step_ms is not None} == {"torch", "jax"}

    def to_json(self) -> str:
        """The result as one line of JSON, without the NaN and infinity that JSON lacks."""
        document = dataclasses.asdict(self)
        document["environment"]["settings"]["trace"] = None  # not where its files lie
        return json.dumps(document, allow_nan=False)

    def save(self, path: Path) -> None:
        """Write the result as JSON, whole or absent."""
        write_text(path, self.to_json() + "\n")

    @classmethod
    def read(cls, path: Path) -> "PairResult":
        """Read a result that `save` wrote.

        Raises:
            InputError: If there is none, or it is something else.
        """
        return read_as(cls, path, "a benchmark's result of a pair")
