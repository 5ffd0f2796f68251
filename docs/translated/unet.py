"""`UNet` of tests.translation.zoo, translated from PyTorch to Flax NNX.

torch 2.13.0, flax 0.12.8, jax 0.10.2.
proven in float64, with random parameters:
  inference: results: 6e-16
  inference: outputs of 36 layers and blocks: 1e-15
  inference: gradients of 22 layers: 2e-15
  inference: gradients of inputs: 8e-16
  inference: cost: 4e-16
  training, another batch: results: 6e-15
  training, another batch: outputs of 36 layers and blocks: 6e-15
  training, another batch: gradients of 22 layers: 3e-14
  training, another batch: gradients of inputs: 1e-14
  20 steps of Adam: parameters of 22 layers: 6e-14
  training, another batch: running means of 10 layers: 5e-15
  20 steps of Adam: costs: 4e-15
  training, another batch: running variances of 10 layers, but for n / (n - 1): 5e-12
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


def mixed(
    x: jax.Array, axis: int, indices: np.ndarray, weights: np.ndarray
) -> jax.Array:
    """Sums of elements along an axis: those at the indices, (terms, new), with their weights."""
    shape = [1] * x.ndim
    shape[axis] = -1
    total = jnp.zeros((), x.dtype)
    for at, share in zip(indices, weights, strict=True):
        total = total + jnp.take(x, at, axis=axis) * share.reshape(shape).astype(
            x.dtype
        )
    return total


def places(old: int, new: int, step: float | None, align_corners: bool) -> np.ndarray:
    """Where the elements of the new axis stand on the old one."""
    if align_corners:
        return np.arange(new) * ((old - 1) / (new - 1) if new > 1 else 0)
    return (np.arange(new) + 0.5) * (step or old / new) - 0.5


def resized_linear(
    x: jax.Array,
    sizes: Sequence[int],
    steps: Sequence[float] | None = None,
    align_corners: bool = False,
) -> jax.Array:
    """Images (n, *space, c) of another size, linearly between elements."""
    for axis, size in enumerate(sizes, start=1):
        old = x.shape[axis]
        at = np.maximum(
            places(old, size, steps[axis - 1] if steps else None, align_corners), 0
        )
        low = np.minimum(np.floor(at).astype(int), old - 1)
        share = at - low
        x = mixed(
            x,
            axis,
            np.stack([low, np.minimum(low + 1, old - 1)]),
            np.stack([1 - share, share]),
        )
    return x


class DoubleConv(nnx.Module):
    """`DoubleConv` of tests.translation.zoo."""

    def __init__(self, in_features: int, out_features: int, *, rngs: nnx.Rngs):
        self.double_conv = nnx.Sequential(
            nnx.Conv(
                in_features,
                out_features,
                kernel_size=(3, 3),
                padding=1,
                use_bias=False,
                rngs=rngs,
            ),
            nnx.BatchNorm(out_features, momentum=0.9, rngs=rngs),
            nnx.relu,
            nnx.Conv(
                out_features,
                out_features,
                kernel_size=(3, 3),
                padding=1,
                use_bias=False,
                rngs=rngs,
            ),
            nnx.BatchNorm(out_features, momentum=0.9, rngs=rngs),
            nnx.relu,
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.double_conv(x)


class Up(nnx.Module):
    """`Up` of tests.translation.zoo."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.up = nnx.ConvTranspose(
            16,
            8,
            kernel_size=(2, 2),
            strides=2,
            padding="VALID",
            transpose_kernel=True,
            rngs=rngs,
        )
        self.conv = DoubleConv(16, 8, rngs=rngs)

    def __call__(self, x1: jax.Array, x2: jax.Array) -> jax.Array:
        x1 = self.up(x1)
        x1 = jnp.pad(x1, ((0, 0), (0, 1), (0, 1), (0, 0)))
        return self.conv(jnp.concatenate([x2, x1], axis=-1))


class Up2(nnx.Module):
    """`Up` of tests.translation.zoo."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.conv = DoubleConv(12, 4, rngs=rngs)

    def __call__(self, x1: jax.Array, x2: jax.Array) -> jax.Array:
        x1 = resized_linear(x1, (14, 18), align_corners=True)
        return self.conv(jnp.concatenate([x2, x1], axis=-1))


class UNet(nnx.Module):
    """`UNet` of tests.translation.zoo."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.inc = DoubleConv(3, 4, rngs=rngs)
        self.down1 = nnx.Sequential(
            lambda x: nnx.max_pool(x, (2, 2), strides=(2, 2)),
            DoubleConv(4, 8, rngs=rngs),
        )
        self.down2 = nnx.Sequential(
            lambda x: nnx.max_pool(x, (2, 2), strides=(2, 2)),
            DoubleConv(8, 16, rngs=rngs),
        )
        self.up1 = Up(rngs=rngs)
        self.up2 = Up2(rngs=rngs)
        self.outc = nnx.Conv(4, 2, kernel_size=(1, 1), padding=0, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = jnp.moveaxis(x, 1, -1)  # (n, 14, 18, 3)
        x1 = self.inc(x)
        x2 = self.down1(x1)
        x3 = self.down2(x2)
        x = self.up1(x3, x2)
        x = self.up2(x, x1)
        return jnp.moveaxis(self.outc(x), -1, 1)
