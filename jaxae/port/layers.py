"""Layers that Flax lacks: torch's, for which stock NNX has no place."""

from collections.abc import Sequence
from typing import Literal

import jax.numpy as jnp
from flax import nnx
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike
from jaxtyping import Array, Float

_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
_LECUN = nnx.initializers.lecun_normal()
PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]


class TorchGRUCell(nnx.GRUCell):
    """A GRU cell with torch's second bias, of which the new gate's third stands inside the reset gate's product.

    Args:
        in_features: Features of the input.
        hidden_features: Features of the hidden state.
        dtype: Dtype of the computation, None for the inputs' and parameters'.
        param_dtype: Dtype of the parameters.
        rngs: Random streams of the initialisers.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        super().__init__(in_features, hidden_features, dtype=dtype, param_dtype=param_dtype, rngs=rngs)
        self.dense_h = nnx.Linear(
            hidden_features,
            3 * hidden_features,
            kernel_init=nnx.initializers.orthogonal(),
            dtype=dtype,
            param_dtype=param_dtype,
            rngs=rngs,
        )


class PaddedConv(nnx.Conv):
    """A convolution with torch's numbers of padding in any of torch's modes, "replicate" among them.

    Args:
        in_features: Channels that come in.
        out_features: Channels that go out.
        kernel_size: Size of the kernel along each spatial axis.
        strides: Stride, one number for all axes or one for each.
        padding: Elements before and after each spatial axis, one number for all or one for each.
        padding_mode: What stands there.
        kernel_dilation: Dilation of the kernel, one number for all axes or one for each.
        feature_group_count: Groups of channels.
        use_bias: Whether a bias is added.
        kernel_init: Initialiser of the kernel.
        dtype: Dtype of the computation, None for the inputs' and parameters'.
        param_dtype: Dtype of the parameters.
        rngs: Random streams of the initialisers.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | Sequence[int],
        *,
        strides: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        padding_mode: PaddingMode = "replicate",
        kernel_dilation: int | Sequence[int] = 1,
        feature_group_count: int = 1,
        use_bias: bool = True,
        kernel_init: Initializer = _LECUN,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        super().__init__(
            in_features,
            out_features,
            kernel_size,
            strides,
            padding="VALID",
            kernel_dilation=kernel_dilation,
            feature_group_count=feature_group_count,
            use_bias=use_bias,
            kernel_init=kernel_init,
            dtype=dtype,
            param_dtype=param_dtype,
            rngs=rngs,
        )
        rank = len(self.kernel_size)
        sides = (padding,) * rank if isinstance(padding, int) else tuple(padding)
        self.sides = tuple((side, side) for side in sides)
        self.padding_mode = padding_mode

    def __call__(self, inputs: Float[Array, "*positions channels"]) -> Float[Array, "*outputs"]:
        """The convolution of the padded inputs, channels last."""
        batch = inputs.ndim - len(self.sides) - 1
        padded = jnp.pad(inputs, (*((0, 0),) * batch, *self.sides, (0, 0)), mode=_MODES[self.padding_mode])
        return super().__call__(padded)
