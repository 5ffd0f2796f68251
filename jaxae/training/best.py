"""The best of a training so far: the parameters after the epoch whose test cost was the least."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxae.network.parameters import Parameters
from jaxae.training.state import Best


@jax.jit
def better_of(
    best: Best,
    parameters: Parameters,
    cost: Float[Array, "*models"],
    epoch: Int[Array, ""] | int,
    patience: Int[Array, ""] | int,
) -> Best:
    """The better of the best so far and what an epoch has led to; of many models, each one's own.

    A model that is out of patience keeps what it has, as if it had stopped, though others train on beside it.

    Args:
        best: The best of the epochs before.
        parameters: Parameters after the epoch.
        cost: Their test cost, in nats per image.
        epoch: Number of epochs up to here.
        patience: Number of epochs without a better cost that end a training; 0 ends none.
    """
    in_time = (patience == 0) | (epoch - best.epoch <= patience)
    better = ((cost < best.cost) | ~jnp.isfinite(best.cost)) & in_time

    def chosen(new: Array, old: Array) -> Array:
        return jnp.where(better.reshape(better.shape + (1,) * (old.ndim - better.ndim)), new, old)

    return jax.tree.map(chosen, Best(parameters, cost, jnp.full_like(best.epoch, epoch)), best)


def out_of_patience(best: Best | None, epoch: int, patience: int) -> bool:
    """Whether a training ends after so many epochs: its best, or that of all its models, is `patience` epochs old."""
    return best is not None and patience > 0 and bool((epoch - np.asarray(best.epoch) >= patience).all())
