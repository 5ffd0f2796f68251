"""Convolutions that mean what torch's mean, by XLA's own: the plain lowering."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def conv(
    x: Float[Array, "batch h w c"],
    kernel: Float[Array, "kh kw c_per_group out"],
    *,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> Float[Array, "batch h2 w2 out"]:
    """Cross-correlate images with a kernel, as torch's `conv2d`."""
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=stride,
        padding=[(p, p) for p in padding],
        rhs_dilation=dilation,
        dimension_numbers=_DIMENSIONS,
        feature_group_count=groups,
    )


def conv_transpose(
    x: Float[Array, "batch h w c"],
    kernel: Float[Array, "kh kw out_per_group c"],
    *,
    stride: tuple[int, int],
    padding: tuple[int, int],
    output_padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> Float[Array, "batch h2 w2 out"]:
    """Transpose a convolution, as torch's `conv_transpose2d`, as a convolution of spread input.

    The input is spread by the stride and padded by dilation (k - 1) - padding on each side, after it also by
    output_padding; the kernel is flipped in space.
    """
    kh, kw, out_per_group, channels = kernel.shape
    grouped = kernel.reshape(kh, kw, out_per_group, groups, channels // groups)
    flipped = jnp.flip(grouped.transpose(0, 1, 4, 3, 2), (0, 1))
    border = [d * (k - 1) - p for d, k, p in zip(dilation, (kh, kw), padding, strict=True)]
    return lax.conv_general_dilated(
        x,
        flipped.reshape(kh, kw, channels // groups, groups * out_per_group),
        window_strides=(1, 1),
        padding=[(b, b + extra) for b, extra in zip(border, output_padding, strict=True)],
        lhs_dilation=stride,
        rhs_dilation=dilation,
        dimension_numbers=_DIMENSIONS,
        feature_group_count=groups,
    )
