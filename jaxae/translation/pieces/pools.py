"""Pools that Flax lacks."""

import itertools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax


def max_pool(
    x: jax.Array,
    window: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]] | None = None,
    dilation: Sequence[int] | None = None,
) -> jax.Array:
    """The largest elements of windows of images (n, *space, c) whose elements stand apart."""
    ones = (1,) * len(window)
    around = ((0, 0), *(padding or ((0, 0),) * len(window)), (0, 0))
    x = jnp.pad(x, around, constant_values=-jnp.inf)
    apart = list(zip(x.shape[1:-1], window, strides, dilation or ones, strict=True))
    lengths = [(size - d * (k - 1) - 1) // s * s + 1 for size, k, s, d in apart]
    parts = []
    for starts in itertools.product(*(range(0, k * d, d) for _, k, _, d in apart)):
        space = (slice(a, a + n, s) for a, n, s in zip(starts, lengths, strides, strict=True))
        parts.append(x[(slice(None), *space)])
    return jnp.max(jnp.stack(parts), axis=0)


def sum_pool(
    x: jax.Array, window: Sequence[int], strides: Sequence[int], padding: Sequence[tuple[int, int]] | None = None
) -> jax.Array:
    """The sums over windows of images (n, *space, c)."""
    around = ((0, 0), *(padding or ((0, 0),) * len(window)), (0, 0))
    return lax.reduce_window(x, 0.0, lax.add, (1, *window, 1), (1, *strides, 1), around)


def avg_pool(
    x: jax.Array,
    window: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    counted: Sequence[tuple[int, int]],
) -> jax.Array:
    """The means over windows, in which only so much of the padding counts."""
    ones = jnp.pad(jnp.ones((1, *x.shape[1:-1], 1), x.dtype), ((0, 0), *counted, (0, 0)), constant_values=1)
    beyond = [(p - q, r - s) for (p, r), (q, s) in zip(padding, counted, strict=True)]
    return sum_pool(x, window, strides, padding) / sum_pool(ones, window, strides, beyond)


def adaptive_pool(x: jax.Array, sizes: Sequence[int], reduce: Callable[..., jax.Array]) -> jax.Array:
    """Images (n, *space, c) reduced to some size: each element over its part, which may overlap the next."""
    for axis, size in enumerate(sizes, start=1):
        whole = x.shape[axis]
        ends = [(n * whole // size, -(-(n + 1) * whole // size)) for n in range(size)]
        parts = [reduce(lax.slice_in_dim(x, a, b, axis=axis), axis=axis, keepdims=True) for a, b in ends]
        x = jnp.concatenate(parts, axis=axis)
    return x
