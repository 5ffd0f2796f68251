"""Moments: where optax keeps them in a chain's state, by the paths of the parameters."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxae.errors import InputError
from jaxae.network.parameters import named_leaves
from jaxae.port.optimizer.hyperparameters import Group
from jaxae.port.plan import Transfer

_FROZEN = "frozen"
_MOMENTS = optax.ScaleByAdamState | optax.TraceState
Moments = dict[str, tuple[np.ndarray, ...]]


def _map_named(function: Callable[[str, Any], Any], tree: Any) -> Any:
    """A tree of what a function makes of each leaf's dotted path and value."""
    leaves = [function(name, leaf) for name, leaf in named_leaves(tree).items()]
    return jax.tree.unflatten(jax.tree.structure(tree), leaves)


def chain(
    groups: Sequence[Group], owners: Mapping[str, Transfer], frozen: Sequence[str]
) -> optax.GradientTransformation:
    """The chain that steps each group as torch does, and leaves frozen paths as they are."""
    if len(groups) == 1 and not frozen:
        return groups[0].settings.optax()
    labels = dict.fromkeys(frozen, _FROZEN)
    chains: dict[Hashable, optax.GradientTransformation] = {_FROZEN: optax.set_to_zero()} if frozen else {}
    for number, group in enumerate(groups):
        chains[f"group_{number}"] = group.settings.optax()
        labels |= {path: f"group_{number}" for name in group.names for path in owners[name].flax}
    return optax.partition(chains, lambda tree: _map_named(lambda name, _: labels[name], tree))


def has_count(node: object) -> bool:
    """Whether a node of a state keeps moments or a count."""
    fields = getattr(node, "_fields", ())
    return isinstance(node, _MOMENTS) or ("count" in fields and "inner_state" not in fields)


def fill(state: optax.OptState, moments: Moments, steps: Mapping[str, int]) -> optax.OptState:
    """A fresh state with torch's moments and counts in it."""
    last = max(steps.values(), default=0)

    def tree(old: Any, index: int) -> Any:
        def leaf(name: str, before: Any) -> jax.Array:
            array = moments[name][index]
            if array.shape != before.shape:
                raise InputError(f"expected a moment of shape {before.shape}, got {array.shape} for {name!r}")
            return jnp.array(array, copy=True)

        return _map_named(leaf, old)

    def node(old: Any) -> Any:
        if isinstance(old, optax.ScaleByAdamState):
            count = jnp.int32(max((steps[name] for name in named_leaves(old.mu)), default=last))
            return optax.ScaleByAdamState(count, tree(old.mu, 0), tree(old.nu, 1))
        if isinstance(old, optax.TraceState):
            return optax.TraceState(tree(old.trace, 0))
        return old._replace(count=jnp.int32(last)) if has_count(old) else old

    try:
        return jax.tree.map(node, state, is_leaf=has_count)
    except (KeyError, IndexError) as error:
        raise InputError(
            f"expected a chain with the moments of torch's optimizer, got one with others ({error})"
        ) from error


def collect(state: optax.OptState) -> tuple[Moments, dict[str, int]]:
    """Moments in Flax's layout and counts by path, from wherever in a state they are."""
    moments: Moments = {}
    steps: dict[str, int] = {}
    for node in jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, _MOMENTS)):
        if isinstance(node, optax.ScaleByAdamState):
            second = named_leaves(node.nu)
            for name, first in named_leaves(node.mu).items():
                moments[name] = (np.array(first), np.array(second[name]))
                steps[name] = int(jax.tree.leaves(node.count)[0])
        elif isinstance(node, optax.TraceState):
            for name, first in named_leaves(node.trace).items():
                moments[name] = (np.array(first),)
    return moments, steps


def check_same_step(
    tx: optax.GradientTransformation,
    state: optax.OptState,
    built: optax.GradientTransformation,
    reference: optax.OptState,
    params: optax.Params,
    groups: Sequence[Group],
) -> None:
    """Hyperparameters hide in closures: take steps with both chains and compare the updates.

    One step goes on from torch's moments; one is a first step with gradients of every size down to 1e-9, which an
    epsilon elsewhere or of another size does not survive.
    """
    rng = np.random.default_rng(0)

    def draw(leaf: Any, exponent: float) -> Any:
        sizes = 10.0 ** rng.uniform(exponent, 0.0, leaf.shape)
        return jnp.asarray(sizes * rng.choice([-1, 1], leaf.shape), leaf.dtype)

    for exponent, one, two in ((-1.0, state, reference), (-9.0, None, None)):
        gradients = jax.tree.map(lambda leaf, low=exponent: draw(leaf, low), params)
        try:
            mine = tx.update(gradients, tx.init(params) if one is None else one, params)[0]
        except (TypeError, ValueError, KeyError) as error:
            raise InputError(f"expected a chain that fits the parameters, got: {error}") from error
        theirs = built.update(gradients, built.init(params) if two is None else two, params)[0]
        for (name, a), b in zip(named_leaves(mine).items(), jax.tree.leaves(theirs), strict=True):
            a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
            if not np.allclose(a, b, rtol=1e-5, atol=1e-6 * np.abs(b).max(initial=0.0)):
                steps = f"steps as torch's optimizer would ({'; '.join(str(group.settings) for group in groups)})"
                raise InputError(f"expected a chain that {steps}, got another step, first at {name!r}")
