"""A contender's side of the benchmark: its runner, and the timing of what that runs."""

import gc
import math
import re
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple, Protocol

from jaxae.bench.other_load import share_of_others, used
from jaxae.bench.result import ThreadPool
from jaxae.bench.worker import Handlers, JSONValue
from jaxae.config import ComputeDtype


class Task(NamedTuple):
    """What a contender is to run; a field that `BenchmarkSettings` has too is described there.

    Attributes:
        contender: Name of the contender.
        model: Name of the model, "ae" or "cvae".
        problem: Path of the file of weights, examples, batches and noise.
        threads: Number of processor cores.
        models: Number of models trained, side by side or one after another.
        learning_rate: Adam's learning rate.
        beta: Weight of the KL term.
    """

    contender: str
    model: str
    problem: str
    device: str
    devices: int | None
    threads: int
    models: int
    dtype: ComputeDtype
    tf32: bool
    deterministic: bool
    drawn_noise: bool
    learning_rate: float
    beta: float


class FrameworkInfo(NamedTuple):
    """What a framework tells of itself.

    Attributes:
        versions: Versions of its packages by name.
        device: Name of its device.
        report: What its own report of the environment says, of many lines.
        thread_pools: Thread pools of the process's libraries, as threadpoolctl finds them; none without it.
    """

    versions: dict[str, str]
    device: str
    report: str = ""
    thread_pools: Sequence[Mapping[str, JSONValue]] = ()


class Turn(NamedTuple):
    """What a turn has told.

    Attributes:
        step_ms: Time in ms per step.
        compiled: Number of programs compiled meanwhile.
        idle_cpu: Share of a core used in the rest before; None where that is not known.
        others_cpu: Share of a core that others used of this contender's cores meanwhile; None where that is not known.
    """

    step_ms: float
    compiled: int
    idle_cpu: float | None
    others_cpu: float | None


class Work(NamedTuple):
    """Floating-point operations of a step, and bytes that it reads and writes."""

    flops: float
    bytes: float


class Runner(Protocol):
    """One contender, set up: on devices that share a batch, step by step or as one program of an epoch's steps."""

    devices: int
    epoch_steps: int
    whole_epochs: bool

    def reset(self, *, given_noise: bool) -> None:
        """Put back the initial weights and a fresh optimizer; choose whose noise is used."""

    def run(self, steps: int) -> None:
        """Take steps, beginning at the first batch of the epoch; may return before they end."""

    def wait(self) -> None:
        """Return when all steps have ended."""

    def costs(self, count: int) -> list[float]:
        """Costs of the last `count` steps (of the first model); not a step less has been taken."""
        ...

    def compilations(self) -> int:
        """How many programs have been compiled so far."""
        ...

    def device_memory(self) -> int | None:
        """Peak bytes of memory on the device, None where that is the host's."""

    def multiply(self, size: int) -> float:
        """Seconds of one product of two square matrices, in the contender's own arithmetic."""
        ...

    def copy(self, size: int) -> float:
        """Seconds in which so many bytes are read and as many written."""
        ...

    def work(self) -> Work | None:
        """What a step takes by the compiler's count; None where none counts."""

    def traced(self, folder: Path) -> AbstractContextManager[object]:
        """Within which the framework's profiler watches, and writes a file for Perfetto into a folder."""
        ...


_OF_A_POOL = {one.name for one in fields(ThreadPool)}


def thread_pools() -> list[dict[str, JSONValue]]:
    """Thread pools of this process's libraries, for `FrameworkInfo`."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:  # it comes with scikit-learn
        return []
    return [{key: value for key, value in one.items() if key in _OF_A_POOL} for one in threadpool_info()]


class TimedRunner:
    """Answers the benchmark's questions about a runner of this kind.

    Args:
        kind: Class of the runner, which is made of a task.
        task: Class of the task, which is made of the fields of a question.
        alone: Whether the process has no other runner; the process's memory and rests are otherwise not told.
    """

    def __init__(self, kind: Callable[..., Runner], task: Callable[..., object] = Task, *, alone: bool = True):
        self._kind, self._task, self._alone = kind, task, alone
        self._runner: Runner
        self._steps = 0
        self._compilations = 0
        self._rest()

    @property
    def handlers(self) -> Handlers:
        """What `serve` takes."""
        own = (
            self.prepare,
            self.gate,
            self.calibrate,
            self.turn,
            self.trace,
            self.work,
            self.multiply,
            self.copy,
            self.finish,
        )
        return {answer.__name__: answer for answer in own}

    def prepare(self, **task: JSONValue) -> tuple[float, int]:
        """Set the contender up; seconds that its first step took beyond a later one, and number of its devices."""
        self._runner = self._kind(self._task(**task))
        seconds = []
        for _ in range(2):
            begun = time.perf_counter()
            self._take(1, given_noise=False)
            seconds.append(time.perf_counter() - begun)
            # The gate's noise may make another program, which is to be compiled now.
            self._take(1, given_noise=True)
        return max(seconds[0] - seconds[1], 0.0), self._runner.devices

    def gate(self, steps: int) -> list[float | None]:
        """Costs of the first steps on the given noise; None for one that is not finite."""
        self._take(steps, given_noise=True)
        return [cost if math.isfinite(cost) else None for cost in self._runner.costs(steps)]

    def calibrate(self, seconds: float) -> int:
        """Choose how many steps a turn of about this long has, and warm up with as many."""
        runner = self._runner
        if runner.whole_epochs:
            self._steps = runner.epoch_steps
            self._steps *= max(1, round(seconds / (self._timed() * self._steps)))
        else:
            self._steps = 5
            self._steps = max(5, math.ceil(seconds / self._timed()))
        self._timed()
        gc.collect()
        gc.freeze()
        self._compilations = runner.compilations()
        self._rest()
        return self._steps

    def turn(self) -> Turn:
        """Time the steps of a turn, from the initial weights, after a few that are not timed."""
        cpu, wall = self._idle_since
        idle = (time.process_time() - cpu) / (time.perf_counter() - wall) if self._alone else None
        if not self._alone:  # what has been compiled since the last turn is others'
            self._compilations = self._runner.compilations()
        before = used()
        seconds = self._timed()
        others = share_of_others(before, used())
        compiled = self._runner.compilations() - self._compilations
        gc.collect()
        self._rest()
        return Turn(seconds * 1e3, compiled, idle, others)

    def trace(self, folder: str, steps: int) -> None:
        """Take steps under the profiler, whose file goes into a folder."""
        self._runner.reset(given_noise=False)
        with self._runner.traced(Path(folder)):
            self._runner.run(steps)
            self._runner.wait()

    def work(self) -> Work | None:
        """What a step takes by the compiler's count; None where none counts."""
        return self._runner.work()

    def multiply(self, size: int, repeats: int) -> float:
        """Floating-point operations per second of the fastest of some matrix products."""
        seconds = min(self._runner.multiply(size) for _ in range(repeats))
        self._rest()
        return 2 * size**3 / seconds

    def copy(self, size: int, repeats: int) -> float:
        """Bytes per second, read or written, of the fastest of some copies."""
        seconds = min(self._runner.copy(size) for _ in range(repeats))
        self._rest()
        return 2 * size / seconds

    def finish(self) -> tuple[int, str] | tuple[None, None]:
        """Peak memory in bytes of all that was run, and its owner, "device" or "host"; None where others share it."""
        if not self._alone:
            return None, None
        device = self._runner.device_memory()
        return (_host_peak(), "host") if device is None else (device, "device")

    def _take(self, steps: int, *, given_noise: bool) -> None:
        """Take the first steps from the initial weights, to their end."""
        self._runner.reset(given_noise=given_noise)
        self._runner.run(steps)
        self._runner.wait()

    def _timed(self) -> float:
        """Seconds per step."""
        self._take(max(2, min(self._steps // 10, 20)), given_noise=False)
        gc.disable()
        try:
            begun = time.perf_counter()
            self._runner.run(self._steps)
            self._runner.wait()
            seconds = time.perf_counter() - begun
        finally:
            gc.enable()
        # A cost that is not finite would end a compiled loop early, and look fast.
        (cost,) = self._runner.costs(1)
        if not math.isfinite(cost):
            raise ArithmeticError("the cost ceased to be finite")
        return seconds / self._steps

    def _rest(self) -> None:
        self._idle_since = time.process_time(), time.perf_counter()


def _host_peak() -> int:
    # Not ru_maxrss on Linux: a process inherits there what its parent weighed when it forked.
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"^VmHWM:\s*(\d+)", status.read_text(), re.MULTILINE)):
        return int(found[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
