"""Moments: where optax keeps them in a chain's state, by the paths of the parameters."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jaxae.errors import InputError
from jaxae.port.optimizer.hyperparameters import Group
from jaxae.port.plan import Transfer

_FROZEN = "frozen"
Moments = dict[str, tuple[np.ndarray, ...]]


def parameters_of(module: nnx.Module, params: Any) -> Any:
    """The parameters as a chain will see them: as given, or the module's as a nested dict."""
    return nnx.to_pure_dict(nnx.state(module, nnx.Param)) if params is None else params


def _dotted(path: tuple) -> str:
    """The path of a leaf in a tree of parameters, of dicts or of an nnx.State."""
    parts = [
        str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", "")))) for key in path
    ]
    if parts and isinstance(path[-1], jax.tree_util.GetAttrKey) and parts[-1] == "value":
        parts.pop()  # the array of an nnx.Variable
    return ".".join(parts)


def chain(
    groups: Sequence[Group], owners: Mapping[str, Transfer], frozen: Sequence[str]
) -> optax.GradientTransformation:
    """The chain that steps each group as torch does, and leaves frozen paths as they are."""
    if len(groups) == 1 and not frozen:
        return groups[0].settings.optax()
    labels = dict.fromkeys(frozen, _FROZEN)
    chains: dict[Hashable, optax.GradientTransformation] = (
        {_FROZEN: optax.set_to_zero()} if frozen else {}
    )
    for number, group in enumerate(groups):
        chains[f"group_{number}"] = group.settings.optax()
        for name in group.names:
            if name in owners:
                labels |= dict.fromkeys(owners[name].flax, f"group_{number}")
    return optax.partition(
        chains,
        lambda tree: jax.tree_util.tree_map_with_path(lambda path, _: labels[_dotted(path)], tree),
    )


def _is_moments(node: Any) -> bool:
    return isinstance(node, optax.ScaleByAdamState | optax.TraceState)


def has_count(node: Any) -> bool:
    """Whether a node of a state keeps moments or a count."""
    fields = getattr(node, "_fields", ())
    return _is_moments(node) or ("count" in fields and "inner_state" not in fields)


def fill(state: Any, moments: Moments, steps: Mapping[str, int]) -> Any:
    """A fresh state with torch's moments and counts in it."""
    last = max(steps.values(), default=0)

    def tree(old: Any, index: int) -> Any:
        def leaf(path: tuple, before: Any) -> Any:
            array = moments[_dotted(path)][index]
            if array.shape != before.shape:
                raise InputError(f"expected a moment of {before.shape} for {_dotted(path)!r}, got "
                                 f"{array.shape}")  # fmt: skip
            return jnp.array(array, copy=True)

        return jax.tree_util.tree_map_with_path(leaf, old)

    def node(old: Any) -> Any:
        if isinstance(old, optax.ScaleByAdamState):
            leaves = jax.tree_util.tree_leaves_with_path(old.mu)
            count = max((steps[_dotted(path)] for path, _ in leaves), default=last)
            return optax.ScaleByAdamState(jnp.asarray(count, jnp.int32), tree(old.mu, 0),
                                          tree(old.nu, 1))  # fmt: skip
        if isinstance(old, optax.TraceState):
            return optax.TraceState(tree(old.trace, 0))
        if has_count(old):
            return old._replace(count=jnp.asarray(last, jnp.int32))
        return old

    try:
        return jax.tree.map(node, state, is_leaf=has_count)
    except (KeyError, IndexError) as error:
        raise InputError(
            f"the optax chain keeps moments that torch's optimizer has not ({error})"
        ) from error


def collect(state: Any) -> tuple[Moments, dict[str, int]]:
    """Moments in Flax's layout and counts by path, from wherever in a state they are."""
    moments: Moments = {}
    steps: dict[str, int] = {}
    for node in jax.tree.leaves(state, is_leaf=_is_moments):
        if isinstance(node, optax.ScaleByAdamState):
            second = dict(_leaves(node.nu))
            for path, first in _leaves(node.mu):
                moments[path] = (first, second[path])
                steps[path] = int(jax.tree.leaves(node.count)[0])
        elif isinstance(node, optax.TraceState):
            for path, first in _leaves(node.trace):
                moments[path] = (first,)
    return moments, steps


def _leaves(tree: Any) -> list[tuple[str, np.ndarray]]:
    return [
        (_dotted(path), np.array(leaf)) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


def check_same_step(
    tx: optax.GradientTransformation,
    state: Any,
    built: optax.GradientTransformation,
    reference: Any,
    params: Any,
    groups: Sequence[Group],
) -> None:
    """Hyperparameters hide in closures: take steps with both chains and compare the updates.

    One step goes on from torch's moments; one is a first step with gradients of every size down to
    1e-9, which an epsilon elsewhere or of another size does not survive.
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
            raise InputError(f"the optax chain does not fit the parameters: {error}") from error
        theirs = built.update(gradients, built.init(params) if two is None else two, params)[0]
        _compare(mine, theirs, groups)


def _compare(mine: Any, theirs: Any, groups: Sequence[Group]) -> None:
    for (path, one), two in zip(
        jax.tree_util.tree_leaves_with_path(mine), jax.tree.leaves(theirs), strict=True
    ):
        a, b = np.asarray(one, np.float64), np.asarray(two, np.float64)
        if not np.allclose(a, b, rtol=1e-5, atol=1e-6 * np.abs(b).max(initial=0.0)):
            said = "; ".join(str(group.settings) for group in groups)
            raise InputError(f"the optax chain takes another step than torch's optimizer would "
                             f"({said}), first at {_dotted(path)!r}")  # fmt: skip
