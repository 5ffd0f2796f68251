"""Checkpoints: training states on disk, through Orbax.

Orbax makes a checkpoint whole or absent whenever the process dies, but restores flipped bits without a word, and its
threads write tracebacks of their own about files that are damaged. So each checkpoint carries the SHA-256 of its files,
which are looked at first, and of its content (a process may die between the checkpoint and its files' sums); restoring
falls back to the newest one that is what was saved.
"""

import hashlib
import json
import logging
import shutil
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxae.errors import InputError
from jaxae.network.parameters import named_leaves
from jaxae.storage import documents
from jaxae.storage.files import refuse_unwritable, write_text
from jaxae.training.state import TrainState

Arrays = dict[str, np.ndarray]

_SUMS = "sha256.json"
_SETTLING = 10  # twentieths of a second


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
        # Saving in the background would read arrays that the next step overwrites in place; and a damaged checkpoint's
        # own record of when it was made would end the manager before an older one can be tried.
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            create=False,
            enable_async_checkpointing=False,
            lightweight_initialize=True,
            # Of processes that train together each has the whole state, and the first keeps it: no folder is shared.
            multiprocessing_options=ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0}),
        )
        with _quiet_orbax(), refuse_unwritable(folder, "a folder of checkpoints"):
            folder.mkdir(exist_ok=True)
            self._manager = ocp.CheckpointManager(folder.resolve(), options=options)

    def save(self, state: TrainState, meta: dict[str, Any]) -> None:
        """Save a state and JSON values under the state's step, unless it is saved already.

        Raises:
            InputError: If it cannot be written; those before it are as they were.
        """
        arrays = _named(state)
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        content = {"meta": meta, "digest": _digest(arrays, meta), "leaves": _leaves(arrays)}
        folder = self._folder / str(step)
        args = self._ocp.args.Composite(
            state=self._ocp.args.StandardSave(arrays), content=self._ocp.args.JsonSave(content)
        )
        try:
            with _quiet_orbax():
                self._manager.save(step, args=args)
            write_text(folder / _SUMS, json.dumps(_file_sums(folder)))
        except Exception as error:  # Orbax raises nearly any type for a disk that is full
            self._drop_begun(step)
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"expected to write the checkpoint {folder}, got {reason}: with room on the disk, --resume goes on "
                "from the checkpoint before it"
            ) from error

    def _drop_begun(self, step: int) -> None:
        """Delete what Orbax had begun to write; its threads go on with it for a while."""
        with _quiet_orbax():
            for _ in range(_SETTLING):
                time.sleep(0.05)
                for begun in self._folder.glob(f"{step}.*"):
                    shutil.rmtree(begun, ignore_errors=True)

    def restore(self, like: TrainState) -> Restored | None:
        """The newest undamaged checkpoint of a state of this structure; None where there is none.

        A damaged one is named in a warning and deleted once an older one has been restored.

        Raises:
            InputError: If there are checkpoints and none is usable, or one is of another model or optimizer.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        damaged = []
        for step in steps:
            whole = False
            try:
                _check_files(self._folder / str(step))
                whole = True
                with _quiet_orbax():
                    restored = self._restore(step, like)
            except Exception as error:  # Orbax raises nearly any type for a damaged file.
                if whole:
                    self._check_leaves(step, like)
                damaged.append(step)
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                warnings.warn(f"checkpoint {self._folder / str(step)} is damaged and not used: {reason}", stacklevel=2)
                continue
            for bad in damaged:
                self._manager.delete(bad)
            return restored
        if steps:
            raise InputError(f"expected a usable checkpoint in {self._folder}, got only damaged ones")
        return None

    def _check_leaves(self, step: int, like: TrainState) -> None:
        """Refuse a checkpoint whose arrays have other names or shapes than a state's; one that tells none passes."""
        try:
            with _quiet_orbax():
                content = self._manager.restore(
                    step, args=self._ocp.args.Composite(content=self._ocp.args.JsonRestore())
                )
            there = content["content"].get("leaves")
        except Exception:  # what is damaged tells nothing
            return
        here = _leaves(_named(like))
        if there is not None and there != here:
            differing = sorted({*there.items()} ^ {*here.items()})
            raise InputError(
                f"expected the model and optimizer that {self._folder / str(step)} was saved with, got others: "
                f"{', '.join(sorted({name for name, _ in differing})[:3])} differ"
            )

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
                state=self._ocp.args.StandardRestore(_named(like)), content=self._ocp.args.JsonRestore()
            ),
        )
        arrays, content = restored["state"], restored["content"]
        if _digest(arrays, content["meta"]) != content["digest"]:
            raise InputError("expected the content that was saved, got other bytes")
        leaves = named_leaves(like, separator="/")
        for name, leaf in leaves.items():
            came = arrays[name]
            if came.shape != leaf.shape or came.dtype != leaf.dtype:
                raise InputError(f"expected {name} of {leaf.dtype} {leaf.shape}, got {came.dtype} {came.shape}")
        state = jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in leaves])
        return Restored(state, content["meta"])


def _file_sums(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file of a checkpoint, by its path in the folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != _SUMS]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _check_files(folder: Path) -> None:
    path = folder / _SUMS
    if path.exists() and documents.read(path) != _file_sums(folder):
        raise InputError("expected the files that were saved, got others")


def _named(state: TrainState) -> Arrays:
    # A copy: on a CPU, NumPy's view of a JAX array is the memory that training overwrites.
    return {name: np.array(leaf) for name, leaf in named_leaves(state, separator="/").items()}


def _leaves(arrays: Arrays) -> dict[str, str]:
    """Dtype and shape of each array, by its name."""
    return {name: f"{array.dtype}{list(array.shape)}" for name, array in arrays.items()}


def _digest(arrays: Arrays, meta: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


@contextmanager
def _quiet_orbax() -> Iterator[None]:
    # A damaged file, or a full disk, fills standard error with tracebacks of Orbax and its threads; ours is one line.
    logger, hook = logging.getLogger("absl"), sys.unraisablehook
    level = logger.level

    def tell(unraisable: "sys.UnraisableHookArgs") -> None:
        if threading.current_thread() is threading.main_thread():
            hook(unraisable)

    logger.setLevel(logging.CRITICAL + 1)
    sys.unraisablehook = tell
    try:
        yield
    finally:
        logger.setLevel(level)
        sys.unraisablehook = hook
