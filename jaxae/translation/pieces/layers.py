"""Small layers that Flax lacks, and embeddings."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax


class ChannelPReLU(nnx.Module):
    """A ReLU with a slope below zero for each channel, the last axis.

    Args:
        num_features: Number of channels.
        rngs: Random streams.
    """

    def __init__(self, num_features: int, *, rngs: nnx.Rngs):
        self.weight = nnx.Param(jnp.full(num_features, 0.25))

    def __call__(self, x: jax.Array) -> jax.Array:
        """What is above zero, and the rest times its channel's slope."""
        return jnp.where(x > 0, x, self.weight[...] * x)


class Bilinear(nnx.Module):
    """A layer that is linear in each of two inputs.

    Args:
        first_features: Features of the first.
        second_features: Features of the second.
        out_features: Features of the result.
        use_bias: Whether a bias is added.
        rngs: Random streams.
    """

    def __init__(
        self, first_features: int, second_features: int, out_features: int, *, use_bias: bool = True, rngs: nnx.Rngs
    ):
        shape = (out_features, first_features, second_features)
        self.weight = nnx.Param(jax.random.normal(rngs.params(), shape) / math.sqrt(first_features))
        self.bias = nnx.Param(jnp.zeros(out_features)) if use_bias else None

    def __call__(self, first: jax.Array, second: jax.Array) -> jax.Array:
        """The products of all pairs of features, weighted."""
        x = jnp.einsum("...i,oij,...j->...o", first, self.weight[...], second)
        return x if self.bias is None else x + self.bias[...]


def embedded(weight: jax.Array, ids: jax.Array, padding: int) -> jax.Array:
    """Rows of a table, of which that for padding is not trained."""
    return jnp.where((ids == padding)[..., None], lax.stop_gradient(weight)[ids], weight[ids])


class PaddedEmbed(nnx.Embed):
    """An embedding one of whose rows stands for padding, and is not trained.

    Args:
        num_embeddings: Number of rows.
        features: Features of each.
        padding: The row that stands for padding.
        rngs: Random streams.
    """

    torch_rows = (("weight", "embedding", "rows outputs -> rows outputs"),)

    def __init__(self, num_embeddings: int, features: int, *, padding: int, rngs: nnx.Rngs):
        super().__init__(num_embeddings, features, rngs=rngs)
        self.padding = padding

    def __call__(self, inputs: jax.Array, **more) -> jax.Array:
        """The rows of which the numbers are given."""
        return embedded(self.embedding[...], inputs, self.padding)
