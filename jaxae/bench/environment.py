"""What a benchmark runs on: frameworks, processor, load, commit."""

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from jaxae.bench.runner import FrameworkInfo
from jaxae.bench.worker import Worker, WorkerError


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
