"""A pair of live networks measured in this process, which then is as it was."""

import gc
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import jax
import torch
from flax import nnx

from jaxae.bench.pair.contenders import PairContender
from jaxae.bench.pair.half import Half, Halves
from jaxae.bench.pair.jax_worker import JaxPairRunner
from jaxae.bench.pair.settings import PairSettings
from jaxae.bench.pair.task import PairTask, handlers_of
from jaxae.bench.pair.torch_worker import TorchPairRunner
from jaxae.bench.worker import JSONValue, answer
from jaxae.errors import InputError
from jaxae.training.runtime import make_mesh
from torch_ref.copies import copied

# Each way to compile each kind of step is one more program of the same functions; torch gives up at 8.
_PROGRAMS = 256
_DETERMINISTIC = "--xla_gpu_deterministic_ops=true"


class Inside:
    """What stands for a contender's process, in this one: it answers the same questions.

    Args:
        contender: The contender.
        halves: Halves of the pair; each kind of step runs on copies of their networks.
    """

    alive = True

    def __init__(self, contender: PairContender, halves: Halves):
        self._torch, self._half = contender.framework == "torch", halves[contender.framework]
        self._handlers = self._fresh()

    def ask(self, do: str, *, timeout: float = 900.0, **fields: object) -> JSONValue:
        """The answer to a question, however long it takes; WorkerError where there is none."""
        if do.endswith(" prepare"):  # what the last kind of step ran is let go
            self._handlers = self._fresh()
        return answer(self._handlers, do, **fields)

    def close(self) -> None:
        """Let go of what was run."""
        self._handlers = self._fresh()

    def _fresh(self) -> dict[str, Callable[..., JSONValue]]:
        kind = TorchPairRunner if self._torch else JaxPairRunner
        return {"describe": self._describe, **handlers_of(kind, self._take, alone=False)}

    def _take(self, task: PairTask) -> Half:
        module = self._half.module
        if isinstance(module, torch.nn.Module):
            return self._half._replace(module=copied(module))
        assert isinstance(module, nnx.Module)
        return self._half._replace(module=nnx.clone(module))

    def _describe(self, device: str) -> JSONValue:
        return (TorchPairRunner if self._torch else JaxPairRunner).describe(device)


@contextmanager
def settings_kept(settings: PairSettings, cores: list[int]) -> Iterator[None]:
    """Measure within this process: on so many cores, and with its settings put back afterwards.

    Raises:
        InputError: If the settings need what only a process that begins can set, or JAX has no such device.
    """
    if settings.deterministic and _DETERMINISTIC not in os.environ.get("XLA_FLAGS", ""):
        raise InputError(f"expected {_DETERMINISTIC} in XLA_FLAGS for live networks to be deterministic, got none")
    with ExitStack() as stack:
        stack.enter_context(_cores_kept(cores))
        stack.enter_context(_torch_kept())
        stack.enter_context(_jax_kept())
        stack.callback(gc.unfreeze)
        if not gc.isenabled():
            stack.callback(gc.disable)
        stack.enter_context(jax.default_device(make_mesh(device=settings.device, devices=1).devices.flat[0]))
        yield


@contextmanager
def _torch_kept() -> Iterator[None]:
    threads, algorithms = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn, matmul = cast("Any", torch.backends.cudnn), torch.backends.cuda.matmul
    rounded = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    flushes = not (torch.full((1,), 1e-310, dtype=torch.float64) * 1).item()
    try:
        with torch._dynamo.config.patch(recompile_limit=_PROGRAMS, accumulated_recompile_limit=_PROGRAMS):
            yield
    finally:
        torch._dynamo.reset()
        torch.set_num_threads(threads)
        torch.set_flush_denormal(flushes)
        torch.use_deterministic_algorithms(algorithms, warn_only=warn_only)
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = rounded


@contextmanager
def _jax_kept() -> Iterator[None]:
    names = ("jax_platforms", "jax_default_matmul_precision")
    before = {name: jax.config.values[name] for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


@contextmanager
def _cores_kept(cores: list[int]) -> Iterator[None]:
    """Keep all threads of this process, those to come too, to some cores; nothing where the system has no such call."""
    folder = Path("/proc/self/task")
    if not (hasattr(os, "sched_setaffinity") and folder.exists()):
        yield
        return
    before = os.sched_getaffinity(0)
    _move(folder, cores)
    try:
        yield
    finally:
        _move(folder, before)


def _move(folder: Path, cores: Iterable[int]) -> None:
    for thread in folder.iterdir():
        with suppress(ProcessLookupError):  # one that has ended
            os.sched_setaffinity(int(thread.name), cores)
