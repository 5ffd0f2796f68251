"""The average of a training's parameters: the newest count most, older ones less and less (an EMA)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxae.network.parameters import Parameters


class Average(NamedTuple):
    """The exponential moving average of the parameters after each step; of many models, each one's own.

    It begins at zero, as Adam's moments do, and is divided by the weight of what has come in, as they are, when it is
    used.

    Attributes:
        raw: The average as it is accumulated: raw = decay * raw + (1 - decay) * parameters.
        rate: 1 - decay, the weight of the newest parameters.
    """

    raw: Parameters
    rate: Float[Array, "*models"]


@jax.jit
def debiased(average: Average, parameters: Parameters, step: Int[Array, "*models"]) -> Parameters:
    """The average as it is used, the weights of whose terms add up to 1.

    Args:
        average: The average after some steps.
        parameters: Parameters after as many; they are what is used before the first step.
        step: Number of steps.
    """
    # 1 - decay ** step, without the cancellation.
    weight = -jnp.expm1(step * jnp.log1p(-average.rate))

    def use(raw: Array, own: Array) -> Array:
        shape = weight.shape + (1,) * (raw.ndim - weight.ndim)
        return jnp.where(step.reshape(shape) > 0, raw / weight.reshape(shape), own)

    return jax.tree.map(use, average.raw, parameters)
