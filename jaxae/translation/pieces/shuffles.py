"""Channels that become pixels, and pixels that become channels."""

import jax


def pixel_shuffle(x: jax.Array, factor: int) -> jax.Array:
    """Images (n, h, w, c * factor^2) as (n, h * factor, w * factor, c)."""
    n, h, w, c = x.shape
    x = x.reshape(n, h, w, c // factor**2, factor, factor).transpose(0, 1, 4, 2, 5, 3)
    return x.reshape(n, h * factor, w * factor, -1)


def pixel_unshuffle(x: jax.Array, factor: int) -> jax.Array:
    """Images (n, h * factor, w * factor, c) as (n, h, w, c * factor^2)."""
    n, h, w, c = x.shape
    x = x.reshape(n, h // factor, factor, w // factor, factor, c).transpose(0, 1, 3, 5, 2, 4)
    return x.reshape(n, h // factor, w // factor, c * factor**2)


def channel_shuffle(x: jax.Array, groups: int) -> jax.Array:
    """The channels at the end, in turn from each group."""
    split = x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)
    return split.swapaxes(-1, -2).reshape(x.shape)
