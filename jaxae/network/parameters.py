"""Parameters: nested dicts of arrays, and the dotted names of their leaves."""

from typing import Any

import jax
from flax import nnx

Parameters = dict[str, Any]
# An array, or containers of arrays that `jax.tree` walks.
ArrayTree = Any


def parameters_of(module: nnx.Module) -> Parameters:
    """A module's parameters as a nested dict of arrays: what crosses `jax.jit` here."""
    return nnx.to_pure_dict(nnx.state(module, nnx.Param))


def named_leaves(tree: ArrayTree, *, separator: str = ".") -> dict[str, Any]:
    """The leaves of a tree of arrays by their dotted paths, `linear_1.kernel`, in its own order.

    An `nnx.State` gives the names that the nested dict of the same parameters gives.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {_path_name(path, separator): leaf for path, leaf in leaves}


def _path_name(path: tuple[Any, ...], separator: str) -> str:
    if path and path[-1] == jax.tree_util.GetAttrKey("value"):
        path = path[:-1]  # the array of an nnx.Variable
    return jax.tree_util.keystr(path, simple=True, separator=separator)
