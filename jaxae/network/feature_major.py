"""Convolutions as one gather and one matrix product, for XLA's CPU backend.

XLA's own CPU convolutions are slow, and several times slower inside loops. Here a convolution is a gather of its
windows followed by one matrix product; a transposed convolution is the same two steps transposed: one product, then a
sum of gathers. Functions take and return NHWC; inside, arrays are feature-major: rows of (channel, height, width)
against the batch. So every elementwise loop and every copied window runs over contiguous examples, and layers follow
each other with no transpose in memory, since XLA makes bitcasts of the transposes between them. docs/performance.md
has figures.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int32, Num, UInt8

from jaxae.network.fence import fenced

Pair = tuple[int, int]


class Windows(NamedTuple):
    """How a kernel slides over an image: what a convolution and its transpose share."""

    channels: int
    size: Pair
    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    positions: Pair


@cache
def gather_tables(windows: Windows) -> tuple[Int32[np.ndarray, "1 window_rows"], Int32[np.ndarray, "terms image_rows"]]:
    """Row numbers that read windows off an image, and an image off windows; -1 reads zero.

    Image rows are (channel, height, width); window rows (kernel height, kernel width, channel, position), the order
    of a flattened kernel. An image row lies in several windows, hence several terms, which are to be added.
    """
    channels, (height, width), kernel, stride, padding, dilation, positions = windows
    i, j = (
        d * np.arange(k)[:, None] + s * np.arange(n) - p
        for d, k, s, n, p in zip(dilation, kernel, stride, positions, padding, strict=True)
    )
    i, j = i[:, None, None, :, None], j[None, :, None, None, :]
    inside = (i >= 0) & (i < height) & (j >= 0) & (j < width)
    channel = np.arange(channels)[:, None, None]
    read = np.where(inside, (channel * height + i) * width + j, -1).reshape(-1)
    window = np.flatnonzero(read >= 0)
    window = window[np.argsort(read[window], kind="stable")]
    image = read[window]
    term = np.arange(len(image)) - np.searchsorted(image, image)
    add = np.full((term.max(initial=0) + 1, channels * height * width), -1)
    add[term, image] = window
    return read[None].astype(np.int32), add.astype(np.int32)


def conv(
    x: Float[Array, "batch h w c"], kernel: Float[Array, "kh kw c out"], *, stride: Pair, padding: Pair, dilation: Pair
) -> Float[Array, "batch h2 w2 out"]:
    """Cross-correlate images with a kernel, as torch's `conv2d`."""
    kh, kw, channels, features = kernel.shape
    height, width = (
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(x.shape[1:3], (kh, kw), stride, padding, dilation, strict=True)
    )
    size = (x.shape[1], x.shape[2])
    windows = Windows(channels, size, (kh, kw), stride, padding, dilation, (height, width))
    rows = project(kernel.reshape(-1, features), _rearrange(to_rows(x), windows, False))
    return from_rows(rows, (height, width))


def conv_transpose(
    x: Float[Array, "batch h w c"],
    kernel: Float[Array, "kh kw out c"],
    *,
    stride: Pair,
    padding: Pair,
    output_padding: Pair,
    dilation: Pair,
) -> Float[Array, "batch h2 w2 out"]:
    """Transpose a convolution, as torch's `conv_transpose2d`: `conv` backwards."""
    kh, kw, features, channels = kernel.shape
    height, width = (
        (n - 1) * s - 2 * p + d * (k - 1) + extra + 1
        for n, k, s, p, extra, d in zip(x.shape[1:3], (kh, kw), stride, padding, output_padding, dilation, strict=True)
    )
    positions = (x.shape[1], x.shape[2])
    windows = Windows(features, (height, width), (kh, kw), stride, padding, dilation, positions)
    spread = expand(kernel.reshape(-1, channels), to_rows(x))
    rows: Array = _rearrange(spread, windows, True)
    return from_rows(rows, (height, width))


def linear(x: Float[Array, "batch inputs"], kernel: Float[Array, "inputs outputs"]) -> Float[Array, "batch outputs"]:
    """Multiply by a kernel, feature-major like the convolutions around it."""
    return project(kernel, x.T).T


def add_bias(
    x: Float[Array, "batch ... out"], bias: Float[Array, " out"] | Float[Array, "batch out"]
) -> Float[Array, "batch ... out"]:
    """Add a bias of each feature, or of each example and feature."""
    bias = bias[:, None] if bias.ndim == 1 else bias.T
    if x.ndim == 2:
        return (x.T + bias).T
    batch, height, width, features = x.shape
    rows = to_rows(x).reshape(features, height * width, batch) + bias[:, None]
    return from_rows(rows.reshape(-1, batch), (height, width))


def elementwise(function: Callable[..., Array], *images: Array) -> Array:
    """Apply a function of pixels, or of features, in the order in which they lie in memory.

    On the NHWC side it would pin that order, at the cost of a transpose before and after.
    """
    if images[0].ndim != 4:
        return function(*(image.T for image in images)).T
    _, height, width, _ = images[0].shape
    return from_rows(function(*map(to_rows, images)), (height, width))


def pixels(
    flat: UInt8[Array, "batch features"] | Float[Array, "batch features"], shape: tuple[int, ...]
) -> Float[Array, "batch ..."]:
    """Examples in [0, 1], in a shape: uint8 / 255 in float32, rounded as in torch; floats kept."""
    if flat.dtype != jnp.uint8:
        return flat.reshape(-1, *shape)
    if len(shape) != 3:
        return _divide_by_255(flat).reshape(-1, *shape)
    return from_rows(_pixel_rows(flat, shape), shape[:2])


def to_rows(x: Num[Array, "batch h w c"]) -> Num[Array, "chw batch"]:
    """Images as rows of features."""
    return x.transpose(3, 1, 2, 0).reshape(-1, x.shape[0])


def from_rows(rows: Float[Array, "chw batch"], size: Pair) -> Float[Array, "batch h w c"]:
    """Images of rows of features."""
    return rows.reshape(-1, *size, rows.shape[-1]).transpose(3, 1, 2, 0)


# 1 / 255 to 16 bits, and the rest of it.
_RECIPROCAL_HIGH = np.float32(np.floor(2.0**23 / 255) / 2.0**23)
_RECIPROCAL_LOW = np.float32(1 / 255 - float(_RECIPROCAL_HIGH))


def _divide_by_255(images: Array) -> Array:
    # XLA turns a division by a constant, behind a barrier too, into a product with its reciprocal, a bit off for 126
    # of 256 values. Of a reciprocal in two parts, the first product is exact (8 bits by 16) and the second a
    # correction: the sum is rounded once, to the quotient's own bits.
    values = images.astype(jnp.float32)
    return values * _RECIPROCAL_HIGH + values * _RECIPROCAL_LOW


@partial(fenced, static=1)
def _pixel_rows(flat: Array, shape: tuple[int, int, int]) -> Array:
    # Flat up to here: XLA would copy images into their layout byte by byte.
    return _divide_by_255(to_rows(flat.reshape(-1, *shape)))


def _sum_of_gathers(x: Array, windows: Windows, transpose: bool) -> Array:
    total = None
    for rows in gather_tables(windows)[transpose]:
        term = x.at[np.maximum(rows, 0)].get(mode="promise_in_bounds")
        if (rows < 0).any():
            term = jnp.where((rows >= 0)[:, None], term, 0)
        total = term if total is None else total + term
    assert total is not None
    return total


_fenced_sum_of_gathers = fenced(_sum_of_gathers, static=(1, 2))


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _rearrange(x: Float[Array, "rows batch"], windows: Windows, transpose: bool) -> Float[Array, "new_rows batch"]:
    """Image rows to window rows, or its transpose. Each is the other's derivative."""
    return _fenced_sum_of_gathers(x, windows, transpose)


_rearrange.defvjp(
    lambda x, windows, transpose: (_rearrange(x, windows, transpose), None),
    lambda windows, transpose, _, g: (_rearrange(g, windows, not transpose),),
)


def _dot(a: Array, b: Array, contract: Pair, shape_a: Pair, shape_b: Pair, shape: Pair) -> Array:
    dimensions = ((contract[:1], contract[1:]), ((), ()))
    return lax.dot_general(a.reshape(shape_a), b.reshape(shape_b), dimensions).reshape(shape)


_fenced_dot = fenced(_dot, static=(2, 3, 4, 5))


@jax.custom_vjp
def project(w: Float[Array, "k o"], x: Float[Array, "kn batch"]) -> Float[Array, "on batch"]:
    """Compute w^T x, where rows of x are (k, n) and those of the result (o, n)."""
    (k, o), batch = w.shape, x.shape[-1]
    n = x.shape[0] // k
    return _fenced_dot(w, x, (0, 0), (k, o), (k, n * batch), (o * n, batch))


@jax.custom_vjp
def expand(w: Float[Array, "k o"], y: Float[Array, "on batch"]) -> Float[Array, "kn batch"]:
    """Compute w y, where rows of y are (o, n) and those of the result (k, n)."""
    (k, o), batch = w.shape, y.shape[-1]
    n = y.shape[0] // o
    return _fenced_dot(w, y, (1, 0), (k, o), (o, n * batch), (k * n, batch))


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _outer(x: Float[Array, "kn batch"], y: Float[Array, "on batch"], shape: Pair) -> Float[Array, "k o"]:
    """Compute x y^T, summed over n and the batch."""
    k, o = shape
    return _fenced_dot(x, y, (1, 1), (k, x.size // k), (o, y.size // o), (k, o))


# The three are each other's derivatives, so that derivatives of any order stay in this form.
project.defvjp(
    lambda w, x: (project(w, x), (w, x)), lambda saved, g: (_outer(saved[1], g, saved[0].shape), expand(saved[0], g))
)
expand.defvjp(
    lambda w, y: (expand(w, y), (w, y)), lambda saved, g: (_outer(g, saved[1], saved[0].shape), project(saved[0], g))
)
_outer.defvjp(
    lambda x, y, shape: (_outer(x, y, shape), (x, y)), lambda _, saved, g: (expand(g, saved[1]), project(g, saved[0]))
)
