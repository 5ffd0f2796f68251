"""Linear, Conv and ConvTranspose that mean what torch's mean, in Flax's layout.

Images are NHWC. Parameters are named `kernel` and `bias`; a fresh layer is drawn as torch draws its own: weight and
bias both uniform within 1 / sqrt(fan_in).
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from jaxae.config import Lowering
from jaxae.errors import InputError
from jaxae.network import convolution, feature_major
from jaxae.network.platform import platform
from jaxae.torch_rng.generator import Generator

Size = int | tuple[int, int]


def _pair(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


class _Layer(nnx.Module):
    """A layer whose parameters are drawn as torch draws them.

    torch's weight is the kernel with its axes the other way round, [out, in, ...]; its fan-in is what all but the
    kernel's last axis count (for a transposed convolution, the channels that go out).
    """

    kernel: nnx.Param
    bias: nnx.Param | None

    def _draw_parameters(self, kernel: tuple[int, ...], features: int, *, use_bias: bool, rngs: nnx.Rngs) -> None:
        bound = 1 / math.sqrt(math.prod(kernel[:-1]))

        def uniform(shape: tuple[int, ...]) -> nnx.Param:
            return nnx.Param(jax.random.uniform(rngs.params(), shape, minval=-bound, maxval=bound))

        self.kernel = uniform(kernel)
        self.bias = uniform((features,)) if use_bias else None

    def reset_parameters(self, generator: Generator) -> None:
        """Redraw weight, then bias, from torch's random stream as torch's layer does."""
        *window, inputs, outputs = self.kernel.shape
        fan_in = math.prod(window) * inputs
        # torch takes the weight's bound through a gain, sqrt(3) * sqrt(2 / 6) / sqrt(fan_in), which rounds otherwise
        # than the bias's 1 / sqrt(fan_in); a replay wants its very bits.
        bound = math.sqrt(3.0) * (math.sqrt(2.0 / 6.0) / math.sqrt(fan_in))
        weight = generator.uniform((outputs, inputs, *window), -bound, bound)
        self.kernel.set_value(jnp.asarray(np.moveaxis(weight, (1, 0), (-2, -1))))
        if self.bias is not None:
            bound = 1 / math.sqrt(fan_in)
            self.bias.set_value(jnp.asarray(generator.uniform(self.bias.shape, -bound, bound)))


class Linear(_Layer):
    """x kernel + bias. Kernel [in, out], the transpose of torch's weight."""

    def __init__(
        self, in_features: int, out_features: int, *, use_bias: bool = True, lowering: Lowering = "auto", rngs: nnx.Rngs
    ):
        self.in_features = in_features
        self.out_features = out_features
        self.lowering: Lowering = lowering
        self._draw_parameters((in_features, out_features), out_features, use_bias=use_bias, rngs=rngs)

    def zero_bias(self) -> None:
        """Set the bias, if any, to zero."""
        if self.bias is not None:
            self.bias.set_value(jnp.zeros_like(self.bias[...]))

    def __call__(self, x: Float[Array, "*batch in"]) -> Float[Array, "*batch out"]:
        """Multiply by the kernel and add the bias."""
        fast = _is_matmul(self.lowering) and x.ndim == 2
        y = feature_major.linear(x, self.kernel[...]) if fast else x @ self.kernel[...]
        return y if self.bias is None else _add_bias(y, self.bias[...], fast)


class Conv(_Layer):
    """torch's Conv2d on NHWC images. Kernel [kh, kw, in / groups, out]."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        *,
        stride: Size = 1,
        padding: Size = 0,
        dilation: Size = 1,
        groups: int = 1,
        use_bias: bool = True,
        lowering: Lowering = "auto",
        rngs: nnx.Rngs,
    ):
        _check_groups(in_channels, out_channels, groups)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = _pair(kernel_size)
        self.stride = _pair(stride)
        self.padding = _pair(padding)
        self.dilation = _pair(dilation)
        self.groups = groups
        self.lowering: Lowering = lowering
        kernel = (*self.kernel_size, in_channels // groups, out_channels)
        self._draw_parameters(kernel, out_channels, use_bias=use_bias, rngs=rngs)

    def __call__(
        self, x: Float[Array, "batch h w c"], label: Int[Array, " batch"] | None = None
    ) -> Float[Array, "batch h2 w2 out"]:
        """Convolve; with a label, as if its one-hot planes were appended to the channels of x.

        A constant plane under a convolution without padding adds the same number everywhere: the sum of that
        channel's kernel. So the planes become a bias of each class, exactly. A label outside the planes has none of
        them set.
        """
        kernel, bias = self.kernel[...], None if self.bias is None else self.bias[...]
        if label is not None:
            if self.padding != (0, 0) or self.groups != 1:
                raise InputError(
                    "expected no padding and one group where labels are planes, "
                    f"got padding {self.padding}, groups {self.groups}"
                )
            kernel, planes = kernel[:, :, : x.shape[-1]], kernel[:, :, x.shape[-1] :].sum((0, 1))
            chosen = jax.nn.one_hot(label, len(planes), dtype=planes.dtype) @ planes
            bias = chosen if bias is None else chosen + bias[None]
        window: Any = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}
        fast = self.groups == 1 and _is_matmul(self.lowering)
        if fast:
            y = feature_major.conv(x, kernel, **window)
        else:
            y = convolution.conv(x, kernel, **window, groups=self.groups)
        return y if bias is None else _add_bias(y, bias, fast)


class ConvTranspose(_Layer):
    """torch's ConvTranspose2d on NHWC images. Kernel [kh, kw, out / groups, in]."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        *,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        dilation: Size = 1,
        groups: int = 1,
        use_bias: bool = True,
        lowering: Lowering = "auto",
        rngs: nnx.Rngs,
    ):
        _check_groups(in_channels, out_channels, groups)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = _pair(kernel_size)
        self.stride = _pair(stride)
        self.padding = _pair(padding)
        self.output_padding = _pair(output_padding)
        self.dilation = _pair(dilation)
        self.groups = groups
        self.lowering: Lowering = lowering
        kernel = (*self.kernel_size, out_channels // groups, in_channels)
        self._draw_parameters(kernel, out_channels, use_bias=use_bias, rngs=rngs)

    def __call__(self, x: Float[Array, "batch h w c"]) -> Float[Array, "batch h2 w2 out"]:
        """Transpose-convolve: spread the input by the stride, then convolve."""
        window: Any = {
            "stride": self.stride,
            "padding": self.padding,
            "output_padding": self.output_padding,
            "dilation": self.dilation,
        }
        fast = self.groups == 1 and _is_matmul(self.lowering)
        if fast:
            y = feature_major.conv_transpose(x, self.kernel[...], **window)
        else:
            y = convolution.conv_transpose(x, self.kernel[...], **window, groups=self.groups)
        return y if self.bias is None else _add_bias(y, self.bias[...], fast)


def activate(
    function: Callable[[Array], Array], x: Float[Array, "batch ..."], lowering: Lowering
) -> Float[Array, "batch ..."]:
    """Apply an elementwise function in the order in which this lowering keeps arrays in memory."""
    return feature_major.elementwise(function, x) if _is_matmul(lowering) else function(x)


def leaky_relu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Keep x where positive, else 0.01 x: torch's default slope, and its derivative at 0 too."""
    # Not jax.nn.leaky_relu, whose derivative at 0 is 1.
    return jnp.where(x > 0, x, 0.01 * x)


ACTIVATIONS = {"leaky_relu": leaky_relu, "relu": jax.nn.relu, "tanh": jnp.tanh}


def flatten_as_torch(x: Float[Array, "batch h w c"]) -> Float[Array, "batch features"]:
    """Flatten images channel by channel, as torch flattens NCHW, so that weights after it port."""
    return feature_major.to_rows(x).T


def unflatten_as_torch(x: Float[Array, "batch features"], h: int, w: int) -> Float[Array, "batch h w c"]:
    """Undo `flatten_as_torch`."""
    return feature_major.from_rows(x.T, (h, w))


def _add_bias(y: Array, bias: Array, fast: bool) -> Array:
    if fast:
        return feature_major.add_bias(y, bias)
    shape = (1,) * (y.ndim - 1) if bias.ndim == 1 else (y.shape[0], *(1,) * (y.ndim - 2))
    return y + bias.reshape(*shape, -1)


def _check_groups(in_channels: int, out_channels: int, groups: int) -> None:
    if in_channels % groups or out_channels % groups:
        raise InputError(f"expected channels that {groups} groups divide, got {in_channels} to {out_channels}")


def _is_matmul(lowering: Lowering) -> bool:
    return lowering == "matmul" or (lowering == "auto" and platform() == "cpu")
