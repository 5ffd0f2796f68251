"""Folders of Orbax: trees of arrays, read onto the host whatever machine wrote them."""

import logging
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from jaxae.errors import InputError, brief

_TREE = "_METADATA"
_STEP = "_CHECKPOINT_METADATA"
# What a folder may unpack to: a gigabyte, or a hundred times its size.
_SMALL, _LARGEST_RATIO = 1 << 30, 100


def is_orbax(path: Path) -> bool:
    """Whether a folder is a tree that Orbax saved, a step of its manager, or the manager's folder of steps."""
    return (path / _TREE).is_file() or (path / _STEP).is_file() or bool(_steps(path))


def read(path: Path) -> dict[str, Any]:
    """Read a tree as nested dicts and lists of NumPy arrays; of a folder of steps the last one.

    Raises:
        InputError: If it is no such folder, it is damaged, it holds several trees, or it would unpack to far more than
            its size.
    """
    folder = _tree_in(path)
    import orbax.checkpoint as ocp

    def argument(leaf: Any) -> Any:
        return ocp.RestoreArgs(restore_type=str if "String" in type(leaf).__name__ else np.ndarray)

    try:
        with _quiet(), ocp.PyTreeCheckpointer() as checkpointer:
            found: Any = checkpointer.metadata(folder.absolute())
            found = getattr(found, "item_metadata", found)  # of newer versions
            declared = getattr(found, "tree", found)
            _check_size(folder, declared)
            arguments = _mapped(declared, argument)
            tree = checkpointer.restore(folder.absolute(), restore_args=arguments)
    except Exception as error:  # Orbax raises nearly any type for a damaged file
        reason = brief(error, 160) or type(error).__name__
        raise InputError(f"expected a sound folder of Orbax, got {path}: {reason}") from error
    if not isinstance(tree, dict):
        raise InputError(f"expected a folder of Orbax that holds a dict, got {path} with a {type(tree).__name__}")
    return _without_values(tree)


def _steps(path: Path) -> list[Path]:
    there = [one for one in path.iterdir() if one.name.isdigit() and (one / _STEP).is_file()] if path.is_dir() else []
    return sorted(there, key=lambda one: int(one.name))


def _tree_in(path: Path) -> Path:
    """The folder of the one tree in a step, or in the last of several steps."""
    if (path / _TREE).is_file():
        return path
    step = path if (path / _STEP).is_file() else next(reversed(_steps(path)), path)
    trees = sorted(one for one in step.iterdir() if (one / _TREE).is_file()) if step.is_dir() else []
    if len(trees) == 1:
        return trees[0]
    found = f"several, {brief(', '.join(one.name for one in trees))}: name one" if trees else "none"
    raise InputError(f"expected one tree of arrays in Orbax's folder {step}, got {found}")


def _check_size(folder: Path, declared: Any) -> None:
    sizes: list[int] = []

    def note(leaf: Any) -> None:
        if (shape := getattr(leaf, "shape", None)) is not None:
            sizes.append(math.prod(shape) * np.dtype(leaf.dtype or np.int64).itemsize)

    _mapped(declared, note)
    held = sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())
    if sum(sizes) > max(_SMALL, _LARGEST_RATIO * held):
        raise ValueError("it unpacks to far more than its size")


def _mapped(tree: Any, function: Any) -> Any:
    """A tree of dicts and lists with what a function gives for each leaf."""
    if isinstance(tree, dict):
        return {name: _mapped(child, function) for name, child in tree.items()}
    if isinstance(tree, list | tuple):
        return [_mapped(child, function) for child in tree]
    return None if tree is None else function(tree)


def _without_values(tree: Any) -> Any:
    """A tree without the level "value" that every variable of a saved `nnx.State` has."""

    def ends(node: Any) -> bool:
        return isinstance(node, dict) and bool(node) and (set(node) == {"value"} or all(map(ends, node.values())))

    def strip(node: Any) -> Any:
        return node["value"] if set(node) == {"value"} else {name: strip(child) for name, child in node.items()}

    return strip(tree) if ends(tree) else tree


@contextmanager
def _quiet() -> Iterator[None]:
    # A damaged file fills standard error with tracebacks of Orbax's threads; ours is one line.
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    levels, hook = [one.level for one in loggers], sys.unraisablehook
    for one in loggers:
        one.setLevel(logging.CRITICAL + 1)
    sys.unraisablehook = lambda _: None
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)
