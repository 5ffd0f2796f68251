"""Moments: where optax keeps them in a chain's state, by the paths of the parameters."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxae.errors import InputError
from jaxae.network.parameters import named_leaves
from jaxae.port.held import above_part
from jaxae.port.optimizer.hyperparameters import Group
from jaxae.port.plan import Transfer

_FROZEN = "frozen"
# Where each state keeps the moments, in the order in which torch's optimizers name them.
_MOMENTS: dict[type, tuple[str, ...]] = {
    optax.ScaleByAdamState: ("mu", "nu"),
    optax.ScaleByAmsgradState: ("mu", "nu", "nu_max"),
    optax.TraceState: ("trace",),
    optax.ScaleByRmsState: ("nu",),
    optax.ScaleByRStdDevState: ("nu", "mu"),
    optax.ScaleByRssState: ("sum_of_squares",),
    optax.ScaleByLionState: ("mu",),
}
_COUNTS = ("count", "gradient_step")
Moments = dict[str, tuple[np.ndarray, ...]]


def _map_named(function: Callable[[str, Any], Any], tree: Any) -> Any:
    """A tree of what a function makes of each leaf's dotted path and value."""
    leaves = [function(name, leaf) for name, leaf in named_leaves(tree).items()]
    return jax.tree.unflatten(jax.tree.structure(tree), leaves)


def chain(
    groups: Sequence[Group], owners: Mapping[str, Transfer], frozen: Sequence[str], steps: Mapping[str, int]
) -> optax.GradientTransformation:
    """The chain that steps each group as torch does, and leaves frozen paths as they are.

    optax counts once a chain: parameters of one group at different steps get a chain for each count.
    """
    labels = dict.fromkeys(frozen, _FROZEN)
    chains: dict[Hashable, optax.GradientTransformation] = {_FROZEN: optax.set_to_zero()} if frozen else {}
    for number, group in enumerate(groups):
        for name in group.names:
            for path in map(above_part, owners[name].flax if name not in group.frozen else ()):
                labels[path] = f"group_{number}_step_{steps.get(path, 0)}"
                chains[labels[path]] = group.settings.optax()
    if len(chains) == 1:
        return next(iter(chains.values()))
    return optax.partition(chains, lambda tree: _map_named(lambda name, _: labels[name], tree))


def _is_node(node: object) -> bool:
    """Whether a node of a state keeps moments, a count, or the state of a chain that steps some parameters alone."""
    fields = getattr(node, "_fields", ())
    return type(node) in _MOMENTS or isinstance(node, optax.MaskedState) or not set(_COUNTS).isdisjoint(fields)


def _nodes(state: object) -> list[Any]:
    return [node for node in jax.tree.leaves(state, is_leaf=_is_node) if _is_node(node)]


def fill(state: optax.OptState, moments: Moments, steps: Mapping[str, int]) -> optax.OptState:
    """A fresh state with torch's moments and counts in it.

    Raises:
        InputError: If the state keeps other moments.
    """
    try:
        return _fill(state, moments, steps, max(steps.values(), default=0))
    except (KeyError, IndexError) as error:
        raise InputError(
            f"expected a chain with the moments of torch's optimizer, got one with others ({error})"
        ) from error


def _fill(state: Any, moments: Moments, steps: Mapping[str, int], last: int) -> Any:
    """The same of one chain, of which a count that no moment stands beside is the last of its parameters'."""
    kept = [getattr(node, _MOMENTS[type(node)][0]) for node in _nodes(state) if type(node) in _MOMENTS]
    last = max((steps.get(name, 0) for tree in kept for name in named_leaves(tree)), default=last)
    filled = 0

    def tree(old: Any, index: int) -> Any:
        def leaf(name: str, before: Any) -> jax.Array:
            array = moments[name][index]
            if array.shape != before.shape:
                raise InputError(f"expected a moment of shape {before.shape}, got {array.shape} for {name!r}")
            return jnp.array(array, copy=True)

        return _map_named(leaf, old)

    def node(old: Any) -> Any:
        nonlocal filled
        if not _is_node(old):
            return old
        fields = {name: getattr(old, name) for name in old._fields}
        new = {name: jnp.int32(last) if name in _COUNTS else value for name, value in fields.items()}
        if (names := _MOMENTS.get(type(old))) is None:
            new |= {name: _fill(fields[name], moments, steps, last) for name in fields if name not in _COUNTS}
        else:
            new |= {name: tree(fields[name], filled + number) for number, name in enumerate(names)}
            filled += len(names)
        return old._replace(**new)

    return jax.tree.map(node, state, is_leaf=_is_node)


def collect(state: optax.OptState) -> tuple[Moments, dict[str, int]]:
    """Moments in Flax's layout and counts by path, from wherever in a state they are."""
    moments: Moments = {}
    steps: dict[str, int] = {}

    def look(below: object, count: int | None) -> None:
        nodes = _nodes(below)
        counts = [getattr(node, name) for node in nodes for name in _COUNTS if name in node._fields]
        count = int(jax.tree.leaves(counts)[0]) if counts else count
        for node in nodes:
            if (names := _MOMENTS.get(type(node))) is None:
                for name in node._fields:
                    look(getattr(node, name), count)
                continue
            trees = [named_leaves(getattr(node, name)) for name in names]
            for path in trees[0]:
                moments[path] = moments.get(path, ()) + tuple(np.array(one[path]) for one in trees)
                if count is not None:
                    steps[path] = count

    look(state, None)
    return moments, steps
