"""A benchmark's result: its rows and what they were measured on, to and from JSON."""

import dataclasses
import json
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from jaxae.bench.contenders import CrossEntropy, Framework
from jaxae.bench.settings import BenchmarkSettings, Sweep
from jaxae.bench.statistics import Spread
from jaxae.errors import InputError, brief
from jaxae.storage import documents
from jaxae.storage.files import write_text

_Result = TypeVar("_Result")
Status = Literal["ok", "differs", "retraced", "input", "missing", "out of memory", "failed"]


@dataclass(frozen=True)
class ContenderResult:
    """One contender on one model, batch size and number of models.

    Attributes:
        model: Name of the model, "ae" or "cvae".
        label: Contender's label in tables and figures.
        bce: Form of the contender's cross-entropy.
        batch_size: Number of examples per step.
        models: Number of models trained at once.
        devices: Number of devices that shared a batch.
        status: "ok", or why there is no time.
        reason: Reason for another status than "ok", in one line.
        compile_s: Seconds that the first step took beyond a later one.
        step_ms: Median time in ms per step.
        quartiles_ms: Lower and upper quartile of the time in ms per step.
        samples_ms: Times of the turns in ms per step.
        steps_a_turn: Number of steps per turn.
        images_per_s: Throughput in images per second.
        times_eager: Speed relative to eager torch's in the same rounds.
        times_best_torch: Speed relative to the fastest torch contender's in the same rounds.
        matmul_share: Share of the machine's fastest matrix product's FLOP/s.
        peak_memory_bytes: Peak memory in bytes.
        memory_of: Owner of that memory, "device" or "host".
        final_cost: Cost of the last of the first steps, by which contenders are held equal.
        gap: Largest relative difference of those steps' costs from the reference's.
        idle_cpu: Share of a core used while others had their turns.
        repeated_rounds: Number of rounds that were taken again, as other work had disturbed them.
        disturbed_rounds: Number of rounds that count, although other work disturbed them.
        threads: Number of processor cores, in a sweep over it.
        sharing: Number of devices for the contenders that use all, in a sweep over it.
    """

    model: str
    contender: str
    label: str
    framework: Framework
    bce: CrossEntropy
    batch_size: int
    models: int
    device: str
    devices: int | None = None
    dtype: str = "float32"
    status: Status = "ok"
    reason: str | None = None
    compile_s: float | None = None
    step_ms: float | None = None
    quartiles_ms: tuple[float, float] | None = None
    samples_ms: tuple[float, ...] = ()
    steps_a_turn: int | None = None
    images_per_s: float | None = None
    times_eager: Spread | None = None
    times_best_torch: Spread | None = None
    matmul_share: float | None = None
    peak_memory_bytes: int | None = None
    memory_of: str | None = None
    final_cost: float | None = None
    gap: float | None = None
    idle_cpu: float | None = None
    repeated_rounds: int = 0
    disturbed_rounds: int = 0
    threads: int | None = None
    sharing: int | None = None

    @property
    def measured(self) -> tuple[object, ...]:
        """What was measured: a row of another run with the same one can stand beside this one."""
        return (
            self.model,
            self.batch_size,
            self.models,
            self.dtype,
            self.device,
            self.contender,
            self.threads,
            self.sharing,
        )

    @property
    def case(self) -> str:
        """Model, batch size, number of models, and of cores or devices where a sweep is over them, in words."""
        counted = {"models": self.models if self.models > 1 else None, "cores": self.threads, "devices": self.sharing}
        more = [f"{count} {what}" for what, count in counted.items() if count is not None]
        return ", ".join((self.model, f"batch {self.batch_size}", *more))

    def size(self, sweep: Sweep) -> int:
        """The value of what a sweep varies."""
        sizes = {"batch": self.batch_size, "models": self.models, "threads": self.threads, "devices": self.sharing}
        return sizes[sweep] or 0


@dataclass(frozen=True)
class Gate:
    """The check that contenders train alike: relative differences of the first steps' costs from the reference's."""

    steps: int
    tolerance: float
    reference: str


@dataclass(frozen=True)
class ThreadPool:
    """Threads of a library, under threadpoolctl's names."""

    user_api: str
    internal_api: str
    num_threads: int | None = None
    version: str | None = None
    threading_layer: str | None = None
    architecture: str | None = None


@dataclass(frozen=True)
class Machine:
    """What a benchmark ran on.

    Attributes:
        versions: Versions of the packages by name.
        cpu: Name of the processor.
        cores: Number of the machine's cores.
        system: Operating system and architecture.
        gpu: Name of the GPU, where one trained.
        threads: Number of cores of each contender.
        commit: Commit of this source.
        load_before: Load average of the machine before the start.
        reports: What each framework's own report of the environment says.
        thread_pools: Thread pools of each framework's process, as threadpoolctl finds them.
    """

    versions: dict[str, str]
    cpu: str
    cores: int | None
    system: str
    python: str
    device: str
    gpu: str | None
    threads: int
    commit: str | None
    load_before: float | None
    reports: dict[str, str] = field(default_factory=dict, kw_only=True)
    thread_pools: dict[str, tuple[ThreadPool, ...]] = field(default_factory=dict, kw_only=True)


@dataclass(frozen=True)
class Environment(Machine):
    """What a benchmark ran on, and how.

    Attributes:
        devices: Largest number of devices that shared a batch.
        matmul_gflops: Fastest matrix products of each framework, in GFLOP/s.
    """

    devices: int
    matmul_gflops: dict[str, float]
    gate: Gate
    settings: BenchmarkSettings


@dataclass(frozen=True)
class LeftOut:
    """A contender that could not run at all, and the reason."""

    contender: str
    reason: str


@dataclass(frozen=True)
class BenchmarkResult:
    """What a benchmark found.

    Attributes:
        environment: Machine, versions and settings.
        left_out: Contenders whose framework is missing.
        interrupted: Whether the run was interrupted, so that comparisons are missing.
        rows: Results of each contender in each comparison.
    """

    environment: Environment
    left_out: tuple[LeftOut, ...] = ()
    interrupted: bool = False
    rows: tuple[ContenderResult, ...] = ()

    @property
    def comparisons(self) -> dict[str, list[ContenderResult]]:
        """Rows that stand together in a table or figure, by title: those of a case, in a sweep those of a model."""
        found: dict[str, list[ContenderResult]] = {}
        for row in self.rows:
            found.setdefault(row.model if self.environment.settings.sweep else row.case, []).append(row)
        return found

    @property
    def retraced(self) -> list[str]:
        """Labels of the contenders that compiled a program after their warm-up."""
        return [row.label for row in self.rows if row.status == "retraced"]

    def to_json(self) -> str:
        """The result as one line of JSON, without the NaN and infinity that JSON lacks."""
        document = dataclasses.asdict(self)
        # Not where its files lie: a result is made to be shown around.
        document["environment"]["settings"] |= {"data_dir": None, "trace": None}
        return json.dumps(document, allow_nan=False)


def save(result: BenchmarkResult, path: Path) -> None:
    """Write a result as JSON, whole or absent."""
    write_text(path, result.to_json() + "\n")


def read(path: Path) -> BenchmarkResult:
    """Read a result that `save` wrote.

    Raises:
        InputError: If there is none, or it is something else.
    """
    return read_as(BenchmarkResult, path, "a benchmark's result")


def read_as(kind: type[_Result], path: Path, told: str) -> _Result:
    """Read a result of some type.

    Args:
        kind: Its dataclass.
        path: JSON file.
        told: What is expected there, in words.

    Raises:
        InputError: If there is none, or it is something else.
    """
    try:
        return _parsed(documents.read(path), kind, "the document")
    except _NotThatError as error:
        raise InputError(f"expected {told} in {path}, got {error}") from None


class _NotThatError(Exception):
    """A JSON value that is not of the type wanted."""


# What JSON has for a plain type.
_PLAIN = {str: (str,), Path: (str,), bool: (bool,), int: (int,), float: (int, float)}


def _parsed(value: Any, kind: Any, name: str) -> Any:
    """A JSON value as a type of this file has it; names that the type lacks are left out."""
    make: Any = kind
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        (inner,) = (one for one in arguments if one is not types.NoneType)
        return None if value is None else _parsed(value, inner, name)
    if origin is Literal and value in arguments:
        return value
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        hints = get_type_hints(kind)
        try:
            return make(**{key: _parsed(value[key], hints[key], key) for key in hints if key in value})
        except (TypeError, OverflowError, InputError) as error:
            raise _NotThatError(f"one where {brief(error, 200)}") from None
    if kind is Spread:
        return Spread(*_parsed(value, tuple[float, float, float], name))
    if origin is tuple and isinstance(value, list):
        kinds = arguments[:1] * len(value) if Ellipsis in arguments else arguments
        if len(kinds) == len(value):
            return tuple(_parsed(one, own, name) for one, own in zip(value, kinds, strict=True))
    if origin is dict and isinstance(value, dict):
        return {key: _parsed(one, arguments[1], name) for key, one in value.items()}
    if type(value) in _PLAIN.get(kind, ()):
        return make(value)
    raise _NotThatError(f"{name} of {json.dumps(value)[:60]}")
