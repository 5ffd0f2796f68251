"""Images of another size."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np


def places(old: int, new: int, step: float | None, align_corners: bool) -> np.ndarray:
    """Where the elements of the new axis stand on the old one."""
    if align_corners:
        return np.arange(new) * ((old - 1) / (new - 1) if new > 1 else 0)
    return (np.arange(new) + 0.5) * (step or old / new) - 0.5


def mixed(x: jax.Array, axis: int, indices: np.ndarray, weights: np.ndarray) -> jax.Array:
    """Sums of elements along an axis: those at the indices, (terms, new), with their weights."""
    shape = [1] * x.ndim
    shape[axis] = -1
    total = jnp.zeros((), x.dtype)
    for at, share in zip(indices, weights, strict=True):
        total = total + jnp.take(x, at, axis=axis) * share.reshape(shape).astype(x.dtype)
    return total


def resized_nearest(
    x: jax.Array, sizes: Sequence[int], steps: Sequence[float] | None = None, shift: float = 0.0
) -> jax.Array:
    """Images (n, *space, c) of another size, whose elements are copied."""
    for axis, size in enumerate(sizes, start=1):
        old = x.shape[axis]
        step = steps[axis - 1] if steps else old / size
        at = np.minimum(np.floor((np.arange(size) + shift) * step).astype(int), old - 1)
        x = jnp.take(x, at, axis=axis)
    return x


def resized_linear(
    x: jax.Array, sizes: Sequence[int], steps: Sequence[float] | None = None, align_corners: bool = False
) -> jax.Array:
    """Images (n, *space, c) of another size, linearly between elements."""
    for axis, size in enumerate(sizes, start=1):
        old = x.shape[axis]
        at = np.maximum(places(old, size, steps[axis - 1] if steps else None, align_corners), 0)
        low = np.minimum(np.floor(at).astype(int), old - 1)
        share = at - low
        x = mixed(x, axis, np.stack([low, np.minimum(low + 1, old - 1)]), np.stack([1 - share, share]))
    return x


def resized_cubic(
    x: jax.Array, sizes: Sequence[int], steps: Sequence[float] | None = None, align_corners: bool = False
) -> jax.Array:
    """Images (n, *space, c) of another size, by cubic convolution with a = -0.75."""
    for axis, size in enumerate(sizes, start=1):
        old = x.shape[axis]
        at = places(old, size, steps[axis - 1] if steps else None, align_corners)
        low = np.floor(at).astype(int)
        far = np.abs(at - low - np.arange(-1, 3)[:, None])  # of each of four neighbours
        near = (1.25 * far - 2.25) * far**2 + 1
        wide = -0.75 * (((far - 5) * far + 8) * far - 4)
        indices = np.clip(low + np.arange(-1, 3)[:, None], 0, old - 1)
        x = mixed(x, axis, indices, np.where(far <= 1, near, wide))
    return x
