"""Norms, likenesses, and what is largest."""

import jax
import jax.numpy as jnp
from jax import lax


def norm(x: jax.Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> jax.Array:
    """The Euclidean norm, whose derivative at zero is zero, as torch has it."""
    squares = jnp.sum(jnp.square(x), axis=axis, keepdims=keepdims)
    return jnp.where(squares == 0, 0, jnp.sqrt(jnp.where(squares == 0, 1, squares)))


def cosine_similarity(x: jax.Array, y: jax.Array, axis: int, eps: float = 1e-8) -> jax.Array:
    """The cosine of the angle between vectors on an axis."""
    lengths = jnp.maximum(norm(x, axis), eps) * jnp.maximum(norm(y, axis), eps)
    return jnp.sum(x * y, axis=axis) / lengths


def topk(x: jax.Array, k: int, axis: int = -1, largest: bool = True) -> tuple[jax.Array, jax.Array]:
    """The k largest or smallest elements along an axis in order, and their places."""
    order = jnp.argsort(x, axis=axis, descending=largest)
    places = lax.slice_in_dim(order, 0, k, axis=axis)
    return jnp.take_along_axis(x, places, axis=axis), places
