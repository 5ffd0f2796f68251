"""What a benchmark runs on: frameworks, processor, load, commit."""

import os
import platform
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from jaxae.bench.runner import FrameworkInfo
from jaxae.bench.worker import Worker, WorkerError
from jaxae.errors import InputError


def probe(
    device: str, frameworks: list[str], environment: Mapping[str, str]
) -> tuple[dict[str, FrameworkInfo], dict[str, str]]:
    """Versions and devices of each framework, asked of a process of its own.

    Returns:
        Each framework that is there, and the reason for each that is not.

    Raises:
        InputError: If none is there, or none has such a device.
    """
    there: dict[str, FrameworkInfo] = {}
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
                there[framework] = FrameworkInfo(*worker.ask("describe", device=device))
            except WorkerError as error:
                missing[framework] = error.reason
    if not there:
        raise absent(missing)
    return there, missing


def absent(missing: Mapping[str, str]) -> InputError:
    """The error that no framework can run, with the reason for each."""
    reasons = "; ".join(f"{framework}: {reason}" for framework, reason in missing.items())
    return InputError(f"expected a framework that can train here, got none: {reasons}")


def load() -> float | None:
    """Load average of the last minute; None where the system tells none."""
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


def cpu_name() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
