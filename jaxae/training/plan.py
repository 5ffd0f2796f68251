"""Plans: the batches and the noise that are fed to training steps, in either framework."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Int32, Key, UInt32

_EVALUATION_BATCH = 512
_EVALUATION_SEED = 0


class Noise(NamedTuple):
    """Where the standard normal noise of a plan's codes comes from: one of the two.

    Attributes:
        key: Key of which each example of each step draws its own noise; for many models, as many.
        eps: The noise itself.
    """

    key: Key[Array, "*models"] | UInt32[Array, "*models 2"] | None
    eps: Float[np.ndarray, "*models steps batch latent"] | Float[Array, "*models steps batch latent"] | None

    @classmethod
    def drawn(cls, key: Key[Array, ""]) -> "Noise":
        """Noise that the compiled step draws of a key."""
        return cls(key, None)

    @classmethod
    def given(cls, eps: Float[np.ndarray, "..."] | Float[Array, "..."]) -> "Noise":
        """Noise that comes as arrays."""
        return cls(None, eps)


class Plan(NamedTuple):
    """What an epoch, or a part of one, feeds to its steps; for many models, their axis is first.

    Attributes:
        order: Indices of the examples of each step; -1 fills up the last, smaller batch.
        noise: The noise of each example of each step.
        first_step: Number of steps taken before.
    """

    order: Int32[np.ndarray, "*models steps batch"] | Int32[Array, "*models steps batch"]
    noise: Noise
    first_step: Int[Array, ""] | int


def part_of(plan: Plan, begin: int, length: int) -> Plan:
    """The `length` steps of a plan from `begin` on, filled up with empty ones past its end.

    So all parts of an epoch have one shape, and one compiled program takes them.
    """
    order = np.asarray(plan.order)[begin : begin + length]
    missing = length - len(order)
    noise = plan.noise
    if noise.eps is not None:
        eps = np.asarray(noise.eps)[begin : begin + length]
        noise = Noise.given(np.pad(eps, ((0, missing), (0, 0), (0, 0))))
    order = np.pad(order, ((0, missing), (0, 0)), constant_values=-1)
    return Plan(order, noise, plan.first_step + begin)


def stack_plans(plans: Sequence[Plan]) -> Plan:
    """Plans of as many models, which take the same steps, along a leading axis."""
    keys = [plan.noise.key for plan in plans if plan.noise.key is not None]
    eps = [plan.noise.eps for plan in plans if plan.noise.eps is not None]
    noise = Noise(jnp.stack(keys), None) if keys else Noise.given(np.stack(eps))
    return Plan(np.stack([plan.order for plan in plans]), noise, plans[0].first_step)


def batches(order: Int[np.ndarray, " examples"], size: int) -> Int32[np.ndarray, "steps size"]:
    """Indices cut into batches; -1 fills up the last."""
    steps = -(-len(order) // size)
    filled = np.full(steps * size, -1, np.int32)
    filled[: len(order)] = order
    return filled.reshape(steps, size)


def evaluation_plan(num_examples: int) -> Plan:
    """All examples in order, with the one key that evaluations draw from."""
    order = batches(np.arange(num_examples), min(num_examples, _EVALUATION_BATCH))
    return Plan(order, Noise.drawn(jax.random.key(_EVALUATION_SEED)), 0)
