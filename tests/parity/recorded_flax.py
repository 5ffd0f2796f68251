"""The same networks in Flax, with room for one mistake at a time; no torch is imported here."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxae.network.layers import flatten_as_torch


class Net(nnx.Module):
    def __init__(
        self,
        *,
        rate: float = 0.5,
        approximate: bool = False,
        epsilon: float = 1e-5,
        momentum: float = 0.9,
        last: bool = False,
    ):
        rngs = nnx.Rngs(0)
        self.conv = nnx.Conv(2, 3, (3, 2), padding="VALID", rngs=rngs)
        self.norm = nnx.BatchNorm(3, momentum=momentum, rngs=rngs)
        self.fc1 = nnx.Linear(3 * 3 * 4, 6, rngs=rngs)
        self.drop = nnx.Dropout(rate, rngs=rngs)
        self.ln = nnx.LayerNorm(6, epsilon=epsilon, rngs=rngs)
        self.fc2 = nnx.Linear(6, 2, rngs=rngs)
        self.approximate, self.last = approximate, last

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.norm(self.conv(x)))
        x = x.reshape(len(x), -1) if self.last else flatten_as_torch(x)
        return self.fc2(self.ln(self.drop(jax.nn.gelu(self.fc1(x), approximate=self.approximate))))


class Several(nnx.Module):
    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.embed = nnx.Embed(5, 4, rngs=rngs)
        self.fc = nnx.Linear(4, 4, rngs=rngs)

    def __call__(self, x: jax.Array, labels: jax.Array) -> dict[str, Any]:
        hidden = jnp.tanh(self.fc(x)) + self.embed(labels)
        return {"classes": hidden.argmax(1), "mean": hidden, "rest": (hidden.sum(1), None)}


class Noisy(nnx.Module):
    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.fc1 = nnx.Linear(4, 8, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.fc2 = nnx.Linear(8, 2, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.fc2(self.drop(self.fc1(x), deterministic=False))


def make() -> nnx.Module:
    return Net()


def make_gelu() -> nnx.Module:
    return Net(approximate=True)


def make_several() -> nnx.Module:
    return Several()


def make_noisy() -> nnx.Module:
    return Noisy()


def loss(result: jax.Array) -> jax.Array:
    return (result**2).mean()
