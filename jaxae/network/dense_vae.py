"""The fully connected VAE of the literature, by default 784-200-200-50 and back."""

from itertools import pairwise

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from jaxae.config import DenseVAEConfig
from jaxae.network.layers import (
    ACTIVATIONS,
    Conv,
    ConvTranspose,
    Linear,
    activate,
    flatten_as_torch,
    unflatten_as_torch,
)
from jaxae.network.vae import VAE


class DenseVAE(VAE):
    """Layers `enc_linear_1`, ... to the posterior's two, and `dec_linear_1`, ... back to the pixels.

    The class enters the encoder as a one-hot vector behind the pixels. All layers start as torch's do.
    """

    config: DenseVAEConfig

    def __init__(self, config: DenseVAEConfig | None = None, *, rngs: nnx.Rngs):
        self.config = config = config or DenseVAEConfig()
        into = (28 * 28 + config.num_classes, *config.hidden)
        out_of = (
            config.num_latent + config.num_classes,
            *reversed(config.hidden),
            28 * 28 * config.num_decoded_channels,
        )

        def add(name: str, inputs: int, outputs: int) -> None:
            setattr(self, name, Linear(inputs, outputs, lowering=config.lowering, rngs=rngs))

        for number, sizes in enumerate(pairwise(into), 1):
            add(f"enc_linear_{number}", *sizes)
        add("z_mean", config.hidden[-1], config.num_latent)
        add("z_log_var", config.hidden[-1], config.num_latent)
        for number, sizes in enumerate(pairwise(out_of), 1):
            add(f"dec_linear_{number}", *sizes)
        if config.learns_scale:
            self.dec_log_scale = nnx.Param(jnp.zeros(1))

    def _layers(self) -> list[Linear | Conv | ConvTranspose]:
        return [*self._encoder(), self.z_mean, self.z_log_var, *self._decoder()]

    def _features(
        self, x: Float[Array, "batch 28 28 1"], label: Int[Array, " batch"] | None
    ) -> Float[Array, "batch features"]:
        x = self._with_condition(flatten_as_torch(x), label)
        for layer in self._encoder():
            x = self._activate(layer(x))
        return x

    def _outputs(self, code: Float[Array, "batch latent_classes"]) -> Float[Array, "batch 28 28 decoded"]:
        *inner, last = self._decoder()
        for layer in inner:
            code = self._activate(layer(code))
        return unflatten_as_torch(last(code), 28, 28)

    def _activate(self, x: Array) -> Array:
        return activate(ACTIVATIONS[self.config.activation], x, self.config.lowering)

    def _encoder(self) -> list[Linear]:
        return [getattr(self, f"enc_linear_{n}") for n in range(1, len(self.config.hidden) + 1)]

    def _decoder(self) -> list[Linear]:
        return [getattr(self, f"dec_linear_{n}") for n in range(1, len(self.config.hidden) + 2)]
