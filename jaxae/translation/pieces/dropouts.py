"""Kinds of dropout that Flax lacks."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx


class AlphaDropout(nnx.Dropout):
    """Dropout that keeps the mean and variance of what a SELU gives: what is dropped gets the SELU's lowest value."""

    def __call__(self, inputs: jax.Array, **more) -> jax.Array:
        """The input in evaluation; in training with some of it dropped."""
        if self.deterministic or self.rate == 0:
            return inputs
        lowest = -1.7580993408473766
        scale = 1 / math.sqrt((lowest**2 * self.rate + 1) * (1 - self.rate)) if self.rate < 1 else 0.0
        shape = [1 if axis in self.broadcast_dims else size for axis, size in enumerate(inputs.shape)]
        key: Any = self.rngs
        kept = jax.random.bernoulli(key(), 1 - self.rate, shape)
        return scale * (jnp.where(kept, inputs, lowest) - lowest * self.rate)


class RReLU(nnx.Dropout):
    """A ReLU whose slope below zero is drawn anew for each element in training, and else is the mean.

    Args:
        lower: The lowest slope.
        upper: The highest.
        rngs: Random streams.
    """

    def __init__(self, lower: float, upper: float, *, rngs: nnx.Rngs):
        super().__init__(0.0, rngs=rngs)
        self.lower, self.upper = lower, upper

    def __call__(self, inputs: jax.Array, **more) -> jax.Array:
        """What is above zero, and the rest times its slope."""
        slope = (self.lower + self.upper) / 2
        if not self.deterministic:
            key: Any = self.rngs
            slope = jax.random.uniform(key(), inputs.shape, inputs.dtype, self.lower, self.upper)
        return jnp.where(inputs >= 0, inputs, slope * inputs)
