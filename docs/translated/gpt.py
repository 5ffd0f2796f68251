"""`GPT` of tests.translation.zoo, translated from PyTorch to Flax NNX.

torch 2.13.0, flax 0.12.8, jax 0.10.2.
proven in float64, with random parameters:
  inference: results: 7e-16
  inference: outputs of 26 layers and blocks: 1e-15
  inference: gradients of 15 layers: 8e-16
  inference: cost: 2e-16
  training, another batch: results: 8e-16
  training, another batch: outputs of 26 layers and blocks: 1e-15
  training, another batch: gradients of 15 layers: 7e-16
  20 steps of Adam: parameters of 15 layers: 2e-07
  20 steps of Adam: costs: 7e-16
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx


class Buffer(nnx.Variable):
    """A constant that is kept with the weights."""


class CausalSelfAttention(nnx.Module):
    """`CausalSelfAttention` of tests.translation.zoo."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.bias = Buffer(jnp.tril(jnp.ones((1, 1, 8, 8))))
        self.c_attn = nnx.Linear(12, 36, rngs=rngs)
        self.c_proj = nnx.Linear(12, 12, rngs=rngs)
        self.attn_dropout = nnx.Dropout(0.1, rngs=rngs)
        self.resid_dropout = nnx.Dropout(0.1, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        q, k, v = jnp.split(self.c_attn(x), 3, axis=2)
        k = k.reshape(k.shape[0], 8, 2, 6).swapaxes(1, 2)
        q = q.reshape(q.shape[0], 8, 2, 6).swapaxes(1, 2)
        v = v.reshape(v.shape[0], 8, 2, 6).swapaxes(1, 2)
        att = q @ k.swapaxes(-2, -1) * 0.4082482904638631
        att = jnp.where(self.bias[:, :, :8, :8] == 0, -jnp.inf, att)
        att = self.attn_dropout(nnx.softmax(att, axis=-1))
        y = (att @ v).swapaxes(1, 2).reshape(x.shape[0], 8, 12)
        return self.resid_dropout(self.c_proj(y))


class Block(nnx.Module):
    """`Block` of tests.translation.zoo."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.ln_1 = nnx.LayerNorm(12, epsilon=1e-05, rngs=rngs)
        self.attn = CausalSelfAttention(rngs=rngs)
        self.ln_2 = nnx.LayerNorm(12, epsilon=1e-05, rngs=rngs)
        self.mlp: nnx.Dict[Any] = nnx.Dict(
            {
                "c_fc": nnx.Linear(12, 48, rngs=rngs),
                "c_proj": nnx.Linear(48, 12, rngs=rngs),
                "dropout": nnx.Dropout(0.1, rngs=rngs),
            }
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.attn(self.ln_1(x))
        h = nnx.gelu(self.mlp["c_fc"](self.ln_2(x)))
        return x + self.mlp["dropout"](self.mlp["c_proj"](h))


class GPT(nnx.Module):
    """`GPT` of tests.translation.zoo."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.transformer: nnx.Dict[Any] = nnx.Dict(
            {
                "wte": nnx.Embed(17, 12, rngs=rngs),
                "wpe": nnx.Embed(8, 12, rngs=rngs),
                "drop": nnx.Dropout(0.1, rngs=rngs),
                "h": nnx.List([Block(rngs=rngs) for _ in range(2)]),
                "ln_f": nnx.LayerNorm(12, epsilon=1e-05, rngs=rngs),
            }
        )

    def __call__(self, idx: jax.Array) -> jax.Array:
        pos = jnp.arange(8, dtype=int)
        x = self.transformer["drop"](
            self.transformer["wte"](idx) + self.transformer["wpe"](pos)
        )
        for block in self.transformer["h"]:
            x = block(x)
        return self.transformer["wte"].attend(self.transformer["ln_f"](x))
