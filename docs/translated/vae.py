"""`VAE` of tests.translation.zoo, translated from PyTorch to Flax NNX.

torch 2.13.0, flax 0.12.8, jax 0.10.2.
proven in float64, with random parameters:
  inference: results: 3e-16
  inference: outputs of 5 layers and blocks: 4e-16
  inference: gradients of 5 layers: 2e-16
  inference: gradients of inputs: 4e-16
  inference: cost: 0e+00
  training, another batch: results: 3e-16
  training, another batch: outputs of 5 layers and blocks: 3e-16
  training, another batch: gradients of 5 layers: 4e-16
  training, another batch: gradients of inputs: 1e-16
  20 steps of Adam: parameters of 5 layers: 5e-15
  20 steps of Adam: costs: 6e-16
"""

import jax
import jax.numpy as jnp
from flax import nnx


class VAE(nnx.Module):
    """`VAE` of tests.translation.zoo."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.fc1 = nnx.Linear(20, 10, rngs=rngs)
        self.fc21 = nnx.Linear(10, 3, rngs=rngs)
        self.fc22 = nnx.Linear(10, 3, rngs=rngs)
        self.fc3 = nnx.Linear(3, 10, rngs=rngs)
        self.fc4 = nnx.Linear(10, 20, rngs=rngs)
        self.noise = rngs.noise.fork()

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        x = x.reshape(-1, 20)  # (n, 20)
        h1 = nnx.relu(self.fc1(x))
        mu = self.fc21(h1)
        logvar = self.fc22(h1)
        std = jnp.exp(logvar * 0.5)
        eps = jax.random.normal(self.noise(), std.shape, std.dtype)
        z = mu + eps * std
        h3 = nnx.relu(self.fc3(z))
        return nnx.sigmoid(self.fc4(h3)), mu, logvar
