"""Convolutions that mean what torch's mean, each by more than one lowering to XLA."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

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


def _patches(
    x: Float[Array, "batch h w c"], size: tuple[int, int], stride: tuple[int, int]
) -> Float[Array, "batch h2 w2 patch"]:
    """The windows of x, each flattened in the order of the kernel: row, column, channel."""
    kh, kw = size
    sh, sw = stride
    h, w = ((n - k) // s + 1 for n, k, s in zip(x.shape[1:3], size, stride, strict=True))
    taps = [
        x[:, i : i + sh * (h - 1) + 1 : sh, j : j + sw * (w - 1) + 1 : sw]
        for i in range(kh)
        for j in range(kw)
    ]
    return jnp.concatenate(taps, axis=-1)


def conv_matmul(
    x: Float[Array, "batch h w c"],
    kernel: Float[Array, "kh kw c_per_group out"],
    *,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> Float[Array, "batch h2 w2 out"]:
    """`conv_plain` as one matrix product over patches; dilated or grouped ones stay plain."""
    if dilation != (1, 1) or groups != 1:
        return conv_plain(
            x, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups
        )
    kh, kw, _, out = kernel.shape
    x = jnp.pad(x, ((0, 0), *((p, p) for p in padding), (0, 0)))
    return _patches(x, (kh, kw), stride) @ kernel.reshape(-1, out)


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
    """`conv_transpose_plain` as one matrix product; dilated or grouped ones stay plain.

    Output pixels whose positions leave the same remainder by the stride see the same taps of the
    kernel: each such phase is a dense convolution of the input, and all share one product
    (Shi et al. 2016, arXiv:1609.05158, on sub-pixel convolution).
    """
    if dilation != (1, 1) or groups != 1:
        return conv_transpose_plain(
            x,
            kernel,
            stride=stride,
            padding=padding,
            output_padding=output_padding,
            dilation=dilation,
            groups=groups,
        )
    (kh, kw, out, channels), (sh, sw) = kernel.shape, stride
    th, tw = -(-kh // sh), -(-kw // sw)
    sizes = [
        (n - 1) * s - 2 * p + k + extra
        for n, s, p, k, extra in zip(
            x.shape[1:3], stride, padding, (kh, kw), output_padding, strict=True
        )
    ]
    padded = jnp.pad(kernel, ((0, th * sh - kh), (0, tw * sw - kw), (0, 0), (0, 0)))
    phases = padded.reshape(th, sh, tw, sw, out, channels)[::-1, :, ::-1]
    weight = phases.transpose(0, 2, 5, 1, 3, 4).reshape(th * tw * channels, sh * sw * out)
    # Enough zeros after the input that every output pixel, output_padding included, has its phase.
    reach = [-(-(size + p) // s) for size, p, s in zip(sizes, padding, stride, strict=True)]
    after = [max(r - n, 0) for r, n in zip(reach, x.shape[1:3], strict=True)]
    x = jnp.pad(x, ((0, 0), (th - 1, after[0]), (tw - 1, after[1]), (0, 0)))
    y = _patches(x, (th, tw), (1, 1)) @ weight
    batch, h, w, _ = y.shape
    spread = y.reshape(batch, h, w, sh, sw, out).transpose(0, 1, 3, 2, 4, 5)
    full = spread.reshape(batch, h * sh, w * sw, out)
    (top, left), (height, width) = padding, sizes
    return full[:, top : top + height, left : left + width]
