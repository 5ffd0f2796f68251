"""What a benchmark ran on: machine, versions, commit."""

import os
import platform
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from jaxae.bench.wire import Worker, WorkerError
from jaxae.errors import InputError


def probe(
    device: str, frameworks: list[str], environment: Mapping[str, str]
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Versions and devices of each framework, asked of a process of its own.

    Returns:
        What is there, and for each framework that is not why.

    Raises:
        InputError: If none has such a device, naming what there is.
    """
    there: dict[str, dict[str, Any]] = {}
    missing: dict[str, str] = {}
    with ExitStack() as stack:
        workers = {
            framework: stack.enter_context(
                Worker(f"jaxae.bench.{framework}_worker", cores=None, environment=environment)
            )
            for framework in frameworks
        }
        for framework, worker in workers.items():
            try:
                there[framework] = worker.ask("describe", device=device)
            except WorkerError as error:
                missing[framework] = error.reason
    if not there:
        raise InputError("; ".join(missing.values()))
    return there, missing


def machine() -> dict[str, Any]:
    """The processor, the system and Python."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def load() -> float | None:
    """Processes that wanted to run at once over the last minute; None where that is not told."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def commit() -> str | None:
    """The commit of this source, "-dirty" where it is changed; None outside a repository."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
