"""Convolutions that mean what torch's mean, each by more than one lowering to XLA."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxae import feature_major

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def conv_plain(
    x: Float[Array, "batch h w c"],
    kernel: Float[Array, "kh kw c_per_group out"],
    *,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> Float[Array, "batch h2 w2 out"]:
    """Cross-correlate images with a kernel, as torch's `conv2d`, by XLA's own convolution."""
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=stride,
        padding=[(p, p) for p in padding],
        rhs_dilation=dilation,
        dimension_numbers=_DIMENSIONS,
        feature_group_count=groups,
    )


def conv_transpose_plain(
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

    The input is spread by the stride and padded by dilation (k - 1) - padding on each side, after
    it also by output_padding; the kernel is flipped in space.
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


def conv_matmul(
    x: Float[Array, "batch h w c"],
    kernel: Float[Array, "kh kw c_per_group out"],
    *,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> Float[Array, "batch h2 w2 out"]:
    """`conv_plain` as a gather of windows and one matrix product; a grouped one stays plain."""
    if groups != 1:
        return conv_plain(
            x, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups
        )
    return feature_major.conv(x, kernel, stride=stride, padding=padding, dilation=dilation)


def conv_transpose_matmul(
    x: Float[Array, "batch h w c"],
    kernel: Float[Array, "kh kw out_per_group c"],
    *,
    stride: tuple[int, int],
    padding: tuple[int, int],
    output_padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> Float[Array, "batch h2 w2 out"]:
    """`conv_transpose_plain` as a matrix product and sums of gathers; a grouped one stays plain."""
    if groups != 1:
        return conv_transpose_plain(
            x,
            kernel,
            stride=stride,
            padding=padding,
            output_padding=output_padding,
            dilation=dilation,
            groups=groups,
        )
    return feature_major.conv_transpose(
        x,
        kernel,
        stride=stride,
        padding=padding,
        output_padding=output_padding,
        dilation=dilation,
    )
