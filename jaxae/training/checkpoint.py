"""Saving and restoring: training states through Orbax, weights as safetensors.

Orbax makes a checkpoint whole or absent whenever the process dies, but restores flipped bits
without a word. So each checkpoint carries a SHA-256 of its content, and restoring falls back to
the newest one whose content is what was saved.
"""

import hashlib
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxae.config import ModelConfig, RunConfig, read_config
from jaxae.errors import InputError
from jaxae.network.models import Model, parameter_shapes, with_parameters
from jaxae.network.parameters import Parameters
from jaxae.storage import safetensors
from jaxae.training.step import TrainState

Arrays = dict[str, np.ndarray]

WEIGHTS_FILE = "weights.safetensors"


class Restored(NamedTuple):
    """A training state, on the host, and the JSON that was saved beside it."""

    state: TrainState
    meta: dict[str, Any]


class Checkpoints:
    """The newest few checkpoints of a run, in a folder of their own, numbered by step."""

    def __init__(self, folder: Path, *, keep: int = 3):
        import orbax.checkpoint as ocp

        self._ocp = ocp
        self._folder = folder
        # Saving in the background would read arrays that the next step overwrites in place.
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=False)
        with _quiet_orbax():
            self._manager = ocp.CheckpointManager(folder.resolve(), options=options)

    def save(self, state: TrainState, meta: dict[str, Any]) -> None:
        """Save a state and JSON values under the state's step, unless it is saved already."""
        arrays = _named(state)
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        content = {"meta": meta, "digest": _digest(arrays, meta)}
        self._manager.save(
            step,
            args=self._ocp.args.Composite(
                state=self._ocp.args.StandardSave(arrays), content=self._ocp.args.JsonSave(content)
            ),
        )

    def restore(self, like: TrainState) -> Restored | None:
        """The newest undamaged checkpoint of a state of this structure; None where there is none.

        A damaged one is named in a warning and deleted once an older one has been restored.

        Raises:
            InputError: If there are checkpoints and none is usable.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        damaged = []
        for step in steps:
            try:
                with _quiet_orbax():
                    restored = self._restore(step, like)
            except Exception as error:  # Orbax raises nearly any type for a damaged file.
                damaged.append(step)
                reason = " ".join(str(error).split())[:200]
                warnings.warn(
                    f"checkpoint {self._folder / str(step)} is damaged and not used: {reason}",
                    stacklevel=2,
                )
                continue
            for bad in damaged:
                self._manager.delete(bad)
            return restored
        if steps:
            raise InputError(
                f"expected a usable checkpoint in {self._folder}, got only damaged ones"
            )
        return None

    def close(self) -> None:
        """Wait for Orbax to finish."""
        self._manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _restore(self, step: int, like: TrainState) -> Restored:
        restored = self._manager.restore(
            step,
            args=self._ocp.args.Composite(
                state=self._ocp.args.StandardRestore(_named(like)),
                content=self._ocp.args.JsonRestore(),
            ),
        )
        arrays, content = restored["state"], restored["content"]
        if _digest(arrays, content["meta"]) != content["digest"]:
            raise InputError("its content is not what was saved")
        names, leaves, structure = _flatten(like)
        for name, leaf in zip(names, leaves, strict=True):
            if arrays[name].shape != leaf.shape or arrays[name].dtype != leaf.dtype:
                raise InputError(f"{name} has another shape or dtype than the model's")
        state = jax.tree.unflatten(structure, [arrays[name] for name in names])
        return Restored(state, content["meta"])


def save_weights(path: Path, config: RunConfig, parameters: Parameters) -> None:
    """Write parameters as safetensors in Flax's layout, under dotted names, whole or absent."""
    arrays = {
        name.replace("/", "."): np.ascontiguousarray(leaf)
        for name, leaf in _named(parameters).items()
    }
    config_json = json.dumps(config.to_json())
    safetensors.write(path, arrays, safetensors.weight_metadata("flax", config=config_json))


def load_weights(path: Path, model: ModelConfig) -> Parameters:
    """The parameters that `save_weights` wrote, checked against a model's names and shapes.

    Raises:
        InputError: If the file is missing or damaged, or holds another model.
    """
    if not path.exists():
        raise InputError(f"expected the weights of a finished run, got no {path}")
    arrays = safetensors.read(path).arrays
    names, shapes, structure = _flatten(parameter_shapes(model))
    names = [name.replace("/", ".") for name in names]
    expected = {name: leaf.shape for name, leaf in zip(names, shapes, strict=True)}
    came = {name: array.shape for name, array in arrays.items()}
    if expected != came:
        differing = sorted(set(expected.items()) ^ set(came.items()))
        raise InputError(
            f"expected the weights of {model} in {path}, got others: {differing[0][0]} "
            f"(and {len(differing) - 1} more)"
        )
    return jax.tree.unflatten(structure, [arrays[name] for name in names])


def load_run(run_dir: str | Path) -> tuple[RunConfig, Model]:
    """The configuration and the trained model of a run directory.

    Raises:
        InputError: If it holds no finished run.
    """
    folder = Path(run_dir)
    config = read_config(folder / "config.json")
    parameters = load_weights(folder / WEIGHTS_FILE, config.model)
    return config, with_parameters(config.model, jax.tree.map(jax.numpy.asarray, parameters))


def _flatten(tree: Any) -> tuple[list[str], list[Any], Any]:
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
    return names, [leaf for _, leaf in leaves], structure


def _named(tree: Any) -> Arrays:
    names, leaves, _ = _flatten(tree)
    # A copy: on a CPU, NumPy's view of a JAX array is the memory that training overwrites.
    return {name: np.array(leaf) for name, leaf in zip(names, leaves, strict=True)}


def _digest(arrays: Arrays, meta: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


@contextmanager
def _quiet_orbax() -> Iterator[None]:
    # A damaged file fills standard error with Orbax's own tracebacks; ours is one warning.
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
