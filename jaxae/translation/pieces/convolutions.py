"""Convolutions whose weights are computed, or read from elsewhere, or come in groups that Flax lacks."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax


def conv(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None = None,
    *,
    strides: Sequence[int] | None = None,
    padding: Sequence[tuple[int, int]] | None = None,
    dilation: Sequence[int] | None = None,
    groups: int = 1,
) -> jax.Array:
    """A convolution of images (n, *space, c) with a kernel (c_out, c / groups, *space)."""
    space = "DHW"[5 - x.ndim :]
    ones = (1,) * len(space)
    y = lax.conv_general_dilated(
        x,
        kernel,
        window_strides=strides or ones,
        padding=padding or ((0, 0),) * len(space),
        rhs_dilation=dilation or ones,
        dimension_numbers=(f"N{space}C", f"OI{space}", f"N{space}C"),
        feature_group_count=groups,
    )
    return y if bias is None else y + bias


def conv_transpose(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None = None,
    *,
    strides: Sequence[int] | None = None,
    padding: Sequence[int] | None = None,
    output_padding: Sequence[int] | None = None,
    dilation: Sequence[int] | None = None,
    groups: int = 1,
) -> jax.Array:
    """A transposed convolution of images (n, *space, c) with a kernel (c, c_out / groups, *space)."""
    space = "DHW"[5 - x.ndim :]
    ones, zeros = (1,) * len(space), (0,) * len(space)
    split = kernel.reshape(groups, kernel.shape[0] // groups, *kernel.shape[1:]).swapaxes(1, 2)
    turned = jnp.flip(split.reshape(-1, *split.shape[2:]), axis=range(2, kernel.ndim))
    around = [d * (k - 1) - p for d, k, p in zip(dilation or ones, kernel.shape[2:], padding or zeros, strict=True)]
    y = lax.conv_general_dilated(
        x,
        turned,
        window_strides=ones,
        padding=[(one, one + more) for one, more in zip(around, output_padding or zeros, strict=True)],
        lhs_dilation=strides or ones,
        rhs_dilation=dilation or ones,
        dimension_numbers=(f"N{space}C", f"OI{space}", f"N{space}C"),
        feature_group_count=groups,
    )
    return y if bias is None else y + bias


class GroupedConvTranspose(nnx.Module):
    """A transposed convolution in groups of channels, each of which sees those of its own group alone.

    Args:
        in_features: Channels that come in.
        out_features: Channels that go out.
        kernel_size: Size of the kernel along each spatial axis.
        feature_group_count: Number of groups.
        strides: Stride along each spatial axis.
        padding: Elements before and after each spatial axis of the input, spread by the stride.
        kernel_dilation: Dilation of the kernel along each spatial axis.
        use_bias: Whether a bias is added.
        rngs: Random streams.
    """

    torch_rows = (
        ("weight", "kernel", "inputs outputs ... -> ... outputs inputs"),
        ("bias", "bias", "outputs -> outputs"),
    )

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: tuple[int, ...],
        *,
        feature_group_count: int,
        strides: tuple[int, ...],
        padding: tuple[tuple[int, int], ...],
        kernel_dilation: tuple[int, ...],
        use_bias: bool = True,
        rngs: nnx.Rngs,
    ):
        shape = (*kernel_size, out_features // feature_group_count, in_features)
        self.kernel = nnx.Param(nnx.initializers.lecun_normal()(rngs.params(), shape))
        self.bias = nnx.Param(jnp.zeros(out_features)) if use_bias else None
        self.groups, self.strides, self.dilation = feature_group_count, strides, kernel_dilation
        self.padding = padding

    def __call__(self, x: jax.Array) -> jax.Array:
        """The transposed convolution, channels last."""
        kernel = jnp.flip(self.kernel[...], tuple(range(len(self.strides))))
        *size, outputs, inputs = kernel.shape
        kernel = kernel.reshape(*size, outputs, self.groups, inputs // self.groups)
        kernel = jnp.moveaxis(kernel, -1, -3).swapaxes(-1, -2).reshape(*size, inputs // self.groups, -1)
        spatial = "DHW"[-len(size) :]
        x = lax.conv_general_dilated(
            x,
            kernel,
            window_strides=(1,) * len(size),
            padding=self.padding,
            lhs_dilation=self.strides,
            rhs_dilation=self.dilation,
            dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
            feature_group_count=self.groups,
        )
        return x if self.bias is None else x + self.bias[...]
