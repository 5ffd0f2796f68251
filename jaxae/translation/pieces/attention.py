"""Attention in its inputs' precision, as a function and as torch's layer has it."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx


def attending(scores: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Weights of a mean over the last axis; zeros for a query that may attend to nothing.

    Args:
        scores: What each query makes of each key, (..., queries, keys).
        mask: Which keys a query sees, or what is added to its scores.
    """
    if mask is None:
        return nnx.softmax(scores, axis=-1)
    scores = jnp.where(mask, scores, -jnp.inf) if mask.dtype == bool else scores + mask
    blind = jnp.isneginf(scores).all(axis=-1, keepdims=True)
    return jnp.where(blind, 0, nnx.softmax(jnp.where(blind, 0, scores), axis=-1))


def attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None = None,
    *,
    scale: float | None = None,
    dropout: Callable[[jax.Array], jax.Array] = nnx.identity,
) -> jax.Array:
    """Attention over the last two axes, (..., length, features), in the precision of its arguments.

    Args:
        query: What asks.
        key: What it is compared with.
        value: What is averaged.
        mask: Which keys a query sees, or what is added to its scores.
        scale: Factor of the scores, one over the root of the features where it is None.
        dropout: What is done to the weights of the mean.
    """
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = query @ key.swapaxes(-1, -2) * factor
    return dropout(attending(scores, mask)) @ value


class MultiHeadAttention(nnx.Module):
    """Attention of several heads, computed in its inputs' precision: Flax's takes the softmax in float32.

    Args:
        num_heads: Number of heads.
        in_features: Features of queries and of the result.
        key_features: Features of what keys are made of; by default as many.
        value_features: Features of what values are made of; by default as many.
        dropout_rate: Rate of dropout among the weights.
        use_bias: Whether the projections have biases.
        batch_first: Whether the batch comes before the length.
        rngs: Random streams.
    """

    def __init__(
        self,
        num_heads: int,
        in_features: int,
        *,
        key_features: int | None = None,
        value_features: int | None = None,
        dropout_rate: float = 0.0,
        use_bias: bool = True,
        batch_first: bool = True,
        rngs: nnx.Rngs,
    ):
        heads = (num_heads, in_features // num_heads)
        self.query = nnx.LinearGeneral(in_features, heads, use_bias=use_bias, rngs=rngs)
        self.key = nnx.LinearGeneral(key_features or in_features, heads, use_bias=use_bias, rngs=rngs)
        self.value = nnx.LinearGeneral(value_features or in_features, heads, use_bias=use_bias, rngs=rngs)
        self.out = nnx.LinearGeneral(heads, in_features, axis=(-2, -1), use_bias=use_bias, rngs=rngs)
        self.dropout = nnx.Dropout(dropout_rate, rngs=rngs)
        self.batch_first = batch_first

    @property
    def torch_rows(self) -> tuple[tuple[str, str | tuple[str, ...], str], ...]:
        """Names of torch's tensors, of the variables that they become, and their axes."""
        parts = ("query", "key", "value")
        if len({getattr(self, part).kernel.shape[0] for part in parts}) == 1:
            kernels = tuple(f"{part}.kernel" for part in parts)
            weights = (("in_proj_weight", kernels, "(parts heads dim) inputs -> parts inputs heads dim"),)
        else:
            weights = tuple(
                (f"{part[0]}_proj_weight", f"{part}.kernel", "(heads dim) inputs -> inputs heads dim") for part in parts
            )
        return (
            *weights,
            ("in_proj_bias", tuple(f"{part}.bias" for part in parts), "(parts heads dim) -> parts heads dim"),
            ("out_proj.weight", "out.kernel", "outputs (heads dim) -> heads dim outputs"),
            ("out_proj.bias", "out.bias", "outputs -> outputs"),
        )

    def __call__(
        self,
        query: jax.Array,
        key: jax.Array | None = None,
        value: jax.Array | None = None,
        mask: jax.Array | None = None,
    ) -> jax.Array:
        """The result for queries, keys and values.

        Args:
            query: Queries.
            key: Keys; by default the queries.
            value: Values; by default the keys.
            mask: Where to attend, or what to add to the scores: (batch, heads, queries, keys) or what broadcasts so.
        """
        key = query if key is None else key
        value = key if value is None else value
        weights = self.dropout(self.weights(query, key, mask))
        values = self.value(value if self.batch_first or value.ndim == 2 else value.swapaxes(0, 1))
        result = self.out(jnp.einsum("...hqk,...khd->...qhd", weights, values))
        return result if self.batch_first or query.ndim == 2 else result.swapaxes(0, 1)

    def weights(self, query: jax.Array, key: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """How much each query takes of each key, before dropout: (batch, heads, queries, keys)."""
        if query.ndim > 2 and not self.batch_first:
            query, key = query.swapaxes(0, 1), key.swapaxes(0, 1)
        queries, keys = self.query(query), self.key(key)
        scores = jnp.einsum("...qhd,...khd->...hqk", queries / math.sqrt(queries.shape[-1]), keys)
        return attending(scores, mask)


def attention_weights(
    layer: MultiHeadAttention, query: jax.Array, key: jax.Array, mask: jax.Array | None = None
) -> jax.Array:
    """How much each query takes of each key, before dropout, the mean of all heads: (batch, queries, keys)."""
    return layer.weights(query, key, mask).mean(-3)


def attention_weights_of_heads(
    layer: MultiHeadAttention, query: jax.Array, key: jax.Array, mask: jax.Array | None = None
) -> jax.Array:
    """How much each query takes of each key in each head, before dropout: (batch, heads, queries, keys)."""
    return layer.weights(query, key, mask)
