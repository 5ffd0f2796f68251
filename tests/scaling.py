"""How fast several processes of this machine train together: `python -m tests.scaling`, for docs/scaling.md.

Every process has one device and is bound to one core, of which four processes share two on a machine of two. Each round
starts all numbers of processes anew; a time is that of a step in process 0, which waits for the others in every step.
"""

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from statistics import quantiles

import jax
import numpy as np
import tyro

from jaxae import load
from jaxae.bench.problem import PRESETS
from jaxae.network.models import init_parameters
from jaxae.training.joining import joined
from jaxae.training.plan import Noise, Plan, batches
from jaxae.training.program import program_of
from jaxae.training.runtime import configure
from jaxae.training.state import Hyperparameters
from jaxae.training.trainer import Trainer

STEPS, TAKES = 40, 5  # steps of a program's call, and timed calls


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
        processes: Numbers of processes that train together.
        rounds: Number of times that each number of them is started.
        models: Names of the presets.
    """

    processes: tuple[int, ...] = (1, 2, 4)
    rounds: int = 3
    models: tuple[str, ...] = ("ae", "cvae")


def measure(settings: Settings) -> None:
    """Print a table of both ways to scale: the preset's batch for all, and for each."""
    found: dict[tuple[str, str, int], list[float]] = {}
    for _ in range(settings.rounds):
        for model in settings.models:
            for way in ("strong", "weak"):
                for count in settings.processes:
                    size = PRESETS[model].train.batch_size * (count if way == "weak" else 1)
                    found.setdefault((model, way, count), []).extend(together(model, size, count))
    print("| model | batch | processes | ms per step | quartiles | images/s |\n|---|---:|---:|---:|---:|---:|")
    for (model, way, count), times in found.items():
        size = PRESETS[model].train.batch_size * (count if way == "weak" else 1)
        low, middle, high = quantiles(times)
        cells = [
            model,
            f"{size}",
            f"{count}",
            f"{middle:.2f}",
            f"{low:.2f} to {high:.2f}",
            f"{1000 * size / middle:,.0f}",
        ]
        print("| " + " | ".join(cells) + " |")


def together(model: str, batch_size: int, count: int) -> list[float]:
    """Milliseconds of a step, of each timed call, by so many processes that train together."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        address = f"localhost:{probe.getsockname()[1]}"
    words = [model, str(batch_size), address, str(count)]
    command = [sys.executable, "-m", "tests.scaling", "process", *words]
    started = [subprocess.Popen([*command, str(index)], stdout=subprocess.PIPE, text=True) for index in range(count)]
    try:
        written = [process.communicate(timeout=300)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    if any(process.returncode for process in started):
        raise SystemExit(f"expected {count} processes to end well, got {[p.returncode for p in started]}")
    return json.loads(written[0])


def take_part(model: str, batch_size: int, address: str, count: int, index: int) -> None:
    """Train as one of the processes; print the times."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[index % len(cores)]})
    if count == 1:
        print(json.dumps(_times(model, batch_size)))
        return
    with joined(address, count, index):
        print(json.dumps(_times(model, batch_size)))


def _times(model: str, batch_size: int) -> list[float]:
    config = PRESETS[model]
    mesh = configure(device="cpu", devices=1, batch_size=batch_size, dtype="float32")
    program = program_of(config, mesh)
    images, labels = load("mnist").train
    parameters = init_parameters(config.model, jax.random.key(0))
    hyperparameters = Hyperparameters(config.train.learning_rate, 1.0)
    trainer = Trainer.start(program, parameters, (images, labels), hyperparameters)
    order = batches(np.random.default_rng(0).integers(len(images), size=STEPS * batch_size), batch_size)
    placed = trainer.place(Plan(order, Noise.drawn(jax.random.key(1)), 0))
    times = []
    for index in range(1 + TAKES):  # the first compiles
        begun = time.perf_counter()
        trainer.take(placed._replace(first_step=index * STEPS))
        jax.block_until_ready(trainer.state)
        times.append(1000 * (time.perf_counter() - begun) / STEPS)
    if int(trainer.state.step) != STEPS * (1 + TAKES):
        raise ArithmeticError("a cost or gradient was not finite")
    return times[1:]


if __name__ == "__main__":
    if sys.argv[1:2] == ["process"]:
        model, batch_size, address, count, index = sys.argv[2:]
        take_part(model, int(batch_size), address, int(count), int(index))
    else:
        measure(tyro.cli(Settings))
