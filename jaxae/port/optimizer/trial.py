"""The trial of a chain: its hyperparameters hide in closures, so its steps are compared with those of another."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxae.errors import InputError
from jaxae.network.parameters import named_leaves
from jaxae.port.optimizer.hyperparameters import Group
from jaxae.port.optimizer.moments import Moments, fill

_STEPS = 3
# Norms of the gradients: below what anyone clips at, and above.
_SMALL, _LARGE = 1e-3, 1e6


def check_same_step(
    tx: optax.GradientTransformation,
    state: optax.OptState,
    built: optax.GradientTransformation,
    params: optax.Params,
    groups: Sequence[Group],
    moments: Moments,
    steps: Mapping[str, int],
) -> list[str]:
    """Take steps with both chains, from torch's moments and from none, at torch's counts; give what to note.

    Gradients are small, so that no clipping is in force: torch's optimizer has none, its training loop may. They have
    every size down to 1e-9 of the largest, which an epsilon elsewhere or of another size does not survive.

    Args:
        tx: The chain to try.
        state: Its state, with the moments and counts.
        built: The chain that steps as torch does.
        params: The parameters.
        groups: The groups of the latter, for the message.
        moments: The moments by path.
        steps: The counts by path.

    Raises:
        InputError: If a step differs.
    """
    none = {path: tuple(map(np.zeros_like, kept)) for path, kept in moments.items()}
    fresh, reference = fill(tx.init(params), none, steps), fill(built.init(params), moments, steps)
    empty = fill(built.init(params), none, steps)
    for exponent, mine, theirs in ((-1.0, state, reference), (-2.0, fresh, empty), (-9.0, fresh, empty)):
        if (name := _first_apart(tx, mine, built, theirs, params, (exponent, _SMALL, _STEPS))) is not None:
            takes = f"steps as torch's optimizer would ({'; '.join(str(group.settings) for group in groups)})"
            raise InputError(f"expected a chain that {takes}, got another step, first at {name!r}")
    notes = []
    if _first_apart(tx, state, built, reference, params, (-1.0, _LARGE, 1)) is not None:
        notes.append("the chain changes large gradients (clipping): right where torch's training loop does the same")
    if _states(state, optax.ScaleByScheduleState):
        last = max(steps.values(), default=0)
        notes.append(f"the chain has a schedule, which is compared at torch's step {last} alone")
    return notes


def _first_apart(
    tx: optax.GradientTransformation,
    mine: Any,
    built: optax.GradientTransformation,
    theirs: Any,
    params: optax.Params,
    draw: tuple[float, float, int],
) -> str | None:
    """The first parameter whose updates differ: draws are the least exponent, the norm, and the number of steps."""
    exponent, norm, steps = draw
    rng = np.random.default_rng(0)
    for _ in range(steps):
        gradients = _gradients(params, rng, exponent, norm)
        before = mine
        try:
            one, mine = _step(tx, gradients, mine, params)
        except (TypeError, ValueError, KeyError) as error:
            raise InputError(f"expected a chain that fits the parameters, got: {error}") from error
        two, after = built.update(gradients, theirs, params)
        mine, theirs = _hold_schedules(mine, before), _hold_schedules(after, theirs)
        for (name, a), b in zip(named_leaves(one).items(), jax.tree.leaves(two), strict=True):
            a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
            if not np.allclose(a, b, rtol=1e-5, atol=1e-6 * np.abs(b).max(initial=0.0)):
                return name
    return None


def _gradients(params: optax.Params, rng: np.random.Generator, exponent: float, norm: float) -> Any:
    """Random gradients of a global norm, of sizes down to 10 ** exponent of the largest."""

    def draw(leaf: Any) -> np.ndarray:
        return 10.0 ** rng.uniform(exponent, 0.0, leaf.shape) * rng.choice([-1, 1], leaf.shape)

    drawn = jax.tree.map(draw, params)
    scale = norm / np.sqrt(sum(float(np.square(leaf).sum()) for leaf in jax.tree.leaves(drawn)) or 1.0)
    return jax.tree.map(lambda leaf, one: jnp.asarray(leaf * scale, one.dtype), drawn, params)


def _step(tx: optax.GradientTransformation, gradients: Any, state: Any, params: optax.Params) -> tuple[Any, Any]:
    """One step; of a chain that accumulates gradients as many as it takes to arrive at one."""
    updates, state = tx.update(gradients, state, params)
    while any(int(node.mini_step) for node in _states(state, optax.MultiStepsState)):
        updates, state = tx.update(gradients, state, params)
    return updates, state


def _hold_schedules(state: Any, before: Any) -> Any:
    """A state whose schedules stay where they were: torch's learning rate is known at one step alone."""

    def is_schedule(node: object) -> bool:
        return getattr(node, "_fields", ()) == ("count",)

    return jax.tree.map(lambda new, old: old if is_schedule(new) else new, state, before, is_leaf=is_schedule)


def _states(state: object, kind: type) -> list[Any]:
    leaves = jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, kind))
    return [node for node in leaves if isinstance(node, kind)]
