"""Windows and patches."""

import jax
import jax.numpy as jnp


def windows(x: jax.Array, axis: int, size: int, step: int) -> jax.Array:
    """The windows along an axis, their elements on a new one at the end."""
    starts = jnp.arange(0, x.shape[axis] - size + 1, step)
    taken = jnp.take(x, starts[:, None] + jnp.arange(size), axis=axis)
    return jnp.moveaxis(taken, axis + 1, -1)


def patches(
    x: jax.Array,
    kernel: tuple[int, int],
    strides: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
) -> jax.Array:
    """The patches of images (n, h, w, c), as torch lists them: (n, c * kernel, number of patches)."""
    x = jnp.pad(x, ((0, 0), *((p, p) for p in padding), (0, 0)))
    height, width = (
        (size - d * (k - 1) - 1) // s + 1 for size, k, s, d in zip(x.shape[1:3], kernel, strides, dilation, strict=True)
    )
    taken = [
        x[:, i * dilation[0] :: strides[0], j * dilation[1] :: strides[1]][:, :height, :width]
        for i in range(kernel[0])
        for j in range(kernel[1])
    ]
    return jnp.stack(taken, axis=-1).reshape(x.shape[0], height * width, -1).swapaxes(1, 2)


def from_patches(
    x: jax.Array,
    size: tuple[int, int],
    kernel: tuple[int, int],
    strides: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
) -> jax.Array:
    """The images (n, h, w, c) whose patches (n, c * kernel, number of patches) are summed where they overlap."""
    padded = [one + 2 * p for one, p in zip(size, padding, strict=True)]
    height, width = (
        (one - d * (k - 1) - 1) // s + 1 for one, k, s, d in zip(padded, kernel, strides, dilation, strict=True)
    )
    parts = x.reshape(x.shape[0], -1, *kernel, height, width)
    image = jnp.zeros((x.shape[0], *padded, parts.shape[1]), x.dtype)
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            top, left = i * dilation[0], j * dilation[1]
            rows = slice(top, top + (height - 1) * strides[0] + 1, strides[0])
            columns = slice(left, left + (width - 1) * strides[1] + 1, strides[1])
            image = image.at[:, rows, columns].add(jnp.moveaxis(parts[:, :, i, j], 1, -1))
    return image[:, padding[0] : padding[0] + size[0], padding[1] : padding[1] + size[1]]
