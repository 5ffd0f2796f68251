"""Losses as torch has them."""

import jax
import jax.numpy as jnp


def smooth_l1(gap: jax.Array, beta: float) -> jax.Array:
    """A square near zero, and a straight line beyond beta."""
    size = jnp.abs(gap)
    return jnp.where(size < beta, 0.5 * jnp.square(gap) / beta, size - 0.5 * beta)


def huber(gap: jax.Array, delta: float) -> jax.Array:
    """A square near zero, and a straight line beyond delta."""
    size = jnp.abs(gap)
    return jnp.where(size <= delta, 0.5 * jnp.square(gap), delta * (size - 0.5 * delta))


def binary_cross_entropy(p: jax.Array, target: jax.Array) -> jax.Array:
    """The cross entropy of each element in nats, its logarithms not below -100."""
    return -(target * jnp.maximum(jnp.log(p), -100) + (1 - target) * jnp.maximum(jnp.log1p(-p), -100))


def nll_loss(
    scores: jax.Array,
    labels: jax.Array,
    *,
    weight: jax.Array | None = None,
    ignored: int = -100,
    smoothing: float = 0.0,
    reduction: str = "mean",
) -> jax.Array:
    """Minus the score of each label, (..., classes) and (...); the mean is over the weights of the labels."""
    counted = labels != ignored
    safe = jnp.where(counted, labels, 0)
    losses = -jnp.take_along_axis(scores, safe[..., None], axis=-1)[..., 0]
    if smoothing:
        losses = (1 - smoothing) * losses - smoothing * scores.mean(axis=-1)
    share = jnp.where(counted, 1 if weight is None else weight[safe], 0)
    losses = jnp.where(counted, losses * share, 0)
    if reduction == "none":
        return losses
    return losses.sum() if reduction == "sum" else losses.sum() / share.sum()
