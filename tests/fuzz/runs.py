"""A run folder, gone on with: what its checkpoints hold, and what a damaged one gives."""

import contextlib
import math
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from .samples import EPOCHS, training_config, training_data


@cache
def _states() -> Any:
    """What goes on from a checkpoint: a trainer's first state, and the data and program that a checkpoint names."""
    from jaxae.training.placement import init_state
    from jaxae.training.program import program_of
    from jaxae.training.run_folder import Circumstances
    from jaxae.training.runtime import make_mesh
    from jaxae.training.schedule import make_schedule

    data, config = training_data(), training_config()
    program = program_of(config, make_mesh(devices=1))
    initial = make_schedule(config, len(data.train.labels)).init_parameters()
    return init_state(program, initial), Circumstances(data, program)


@cache
def _kept(run: Path) -> list[dict[str, np.ndarray]]:
    """The states in the sound run's checkpoints, the newest first."""
    found = []
    with _copied(run) as folder:
        while states := list((folder / "checkpoints").iterdir()):
            found.append(_restored(folder))
            shutil.rmtree(max(states, key=lambda path: int(path.name)))
            if len(states) == 1:
                break
    assert len(found) == EPOCHS
    return found


@contextlib.contextmanager
def _copied(run: Path) -> Iterator[Path]:
    copy = run.with_name(f"{run.name}-copy")
    shutil.copytree(run, copy)
    try:
        yield copy
    finally:
        shutil.rmtree(copy)


def _restored(run: Path) -> dict[str, np.ndarray]:
    """The state that a run is gone on from, its metrics with it."""
    from jaxae.network.parameters import named_leaves
    from jaxae.training.checkpoint import Checkpoints
    from jaxae.training.run_folder import RunFolder

    like, circumstances = _states()
    with RunFolder.open(run, training_config(9), resume=True) as folder, Checkpoints(folder.checkpoints) as checkpoints:
        restored = checkpoints.restore(like)
        if restored is None:
            return {}
        circumstances.check(restored.meta, run)
        lines = folder.truncate_metrics(restored.meta["metrics_lines"])
        assert all(isinstance(value, int | float) and math.isfinite(value) for line in lines for value in line.values())
    return {name: np.asarray(leaf) for name, leaf in named_leaves(restored.state).items()}


def read_run(path: Path) -> None:
    """Load a run of which a file is altered, and go on with it: its state is that of a checkpoint of the sound run."""
    from jaxae import load_run

    run = _run_of(path)
    if path.name in ("weights.safetensors", "config.json"):
        load_run(run)
    if path.name != "weights.safetensors":
        found = _restored(run)
        assert any(
            all(np.array_equal(found[name], state[name]) for name in state) for state in _kept(run.with_name("sound"))
        )


def read_unsummed_run(path: Path) -> None:
    """The same, where no checkpoint has sums of its files: a process may die between the two."""
    for sums in _run_of(path).glob("checkpoints/*/sha256.json"):
        sums.unlink()
    read_run(path)


def _run_of(path: Path) -> Path:
    return next(folder for folder in path.parents if folder.name == "folder")
