"""What a benchmark runs on: frameworks, processor, load, commit."""

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from jaxae.bench.result import Machine, ThreadPool
from jaxae.bench.runner import FrameworkInfo
from jaxae.bench.worker import Worker, WorkerError
from jaxae.errors import InputError


def probe(
    device: str, frameworks: list[str], environment: Mapping[str, str]
) -> tuple[dict[str, FrameworkInfo], dict[str, str]]:
    """Each framework that is there with such a device, and why others are not; asked of a process of its own."""
    there: dict[str, FrameworkInfo] = {}
    missing: dict[str, str] = {}
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(Worker(f"jaxae.bench.{name}_worker", cores=None, environment=environment))
            for name in frameworks
        }
        for name, worker in workers.items():
            try:
                there[name] = FrameworkInfo(*worker.ask("describe", device=device))
            except WorkerError as error:
                missing[name] = error.reason
    return there, missing


def variables(device: str, *, deterministic: bool) -> dict[str, str]:
    """Environment variables of the worker processes."""
    found = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    if device == "cpu":
        found |= {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    if deterministic:
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true".strip()
        found |= {"XLA_FLAGS": flags, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    return found


def usable_cores(threads: int | None) -> list[int]:
    """Numbers of the processor cores of each contender: so many, by default all.

    Raises:
        InputError: If there are fewer.
    """
    if not hasattr(os, "sched_getaffinity"):
        return list(range(threads or os.cpu_count() or 1))
    usable = sorted(os.sched_getaffinity(0))
    if threads is not None and threads > len(usable):
        raise InputError(f"expected at most {len(usable)} threads, got {threads}")
    return usable[: threads or len(usable)]


def machine(
    there: Mapping[str, FrameworkInfo], device: Literal["cpu", "gpu"], *, threads: int, load_before: float | None
) -> Machine:
    """The machine, as frameworks that are there describe it."""
    described = there.get("jax") or there["torch"]
    return Machine(
        versions={name: version for one in there.values() for name, version in one.versions.items()},
        cpu=cpu_name(),
        cores=os.cpu_count(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        device=device,
        gpu=described.device if device == "gpu" else None,
        threads=threads,
        commit=commit(),
        load_before=load_before,
        reports={name: one.report for name, one in there.items()},
        thread_pools={name: tuple(ThreadPool(**pool) for pool in one.thread_pools) for name, one in there.items()},
    )


def load() -> float | None:
    """Load average of the last minute; None where the system tells none."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def commit() -> str | None:
    """The commit of this source, "-dirty" where it is changed; None outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.check_output(command, cwd=Path(__file__).parent, stderr=subprocess.DEVNULL, text=True).strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def cpu_name() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    if info.exists() and (found := re.search(r"^model name\s*: *(.*\S)", info.read_text(), re.MULTILINE)):
        return found[1]
    return platform.processor() or platform.machine()
