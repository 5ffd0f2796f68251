"""Linen's GRU cell: a layer for each gate where NNX has one for all, and torch's bias in the reset gate's product."""

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike


class SplitGRUCell(nnx.Module):
    """The parts of a `linen.GRUCell`, which is what runs.

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
        def linear(features: int, *, use_bias: bool) -> nnx.Linear:
            more = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
            return nnx.Linear(features, hidden_features, use_bias=use_bias, **more)

        self.ir, self.iz, self.in_ = (linear(in_features, use_bias=True) for _ in range(3))
        self.hr, self.hz = (linear(hidden_features, use_bias=False) for _ in range(2))
        self.hn = linear(hidden_features, use_bias=True)
        self.hidden_features = hidden_features
        self.dtype = dtype
