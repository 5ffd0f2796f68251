"""A convolutional VAE of images of any size, grey or in colour."""

from itertools import pairwise

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from jaxae.config import ConvVAEConfig
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


class ConvVAE(VAE):
    """Layers `enc_conv_1`, ... to the posterior's two; `dec_linear_1` and `dec_deconv_1`, ... back to the pixels.

    The class enters encoder and decoder as a one-hot vector: behind the flattened features, and behind the code. All
    layers start as torch's do.
    """

    config: ConvVAEConfig
    dec_linear_1: Linear

    def __init__(self, config: ConvVAEConfig | None = None, *, rngs: nnx.Rngs):
        self.config = config = config or ConvVAEConfig()
        lowering, classes = config.lowering, config.num_classes
        channels = (config.channels, *config.widths)
        for number, (inputs, outputs) in enumerate(pairwise(channels), 1):
            layer = Conv(inputs, outputs, 4, stride=2, padding=1, lowering=lowering, rngs=rngs)
            setattr(self, f"enc_conv_{number}", layer)
        height, width = config.sides[-1]
        features = channels[-1] * height * width
        self.z_mean = Linear(features + classes, config.num_latent, lowering=lowering, rngs=rngs)
        self.z_log_var = Linear(features + classes, config.num_latent, lowering=lowering, rngs=rngs)
        self.dec_linear_1 = Linear(config.num_latent + classes, features, lowering=lowering, rngs=rngs)
        channels = (config.num_decoded_channels, *config.widths)
        growing = zip(pairwise(reversed(channels)), reversed(config.sides[:-1]), strict=True)
        for number, ((inputs, outputs), (high, wide)) in enumerate(growing, 1):
            # A side that was odd lost a row when it was halved.
            odd = (high % 2, wide % 2)
            deconv = ConvTranspose(
                inputs, outputs, 4, stride=2, padding=1, output_padding=odd, lowering=lowering, rngs=rngs
            )
            setattr(self, f"dec_deconv_{number}", deconv)
        if config.learns_scale:
            self.dec_log_scale = nnx.Param(jnp.zeros(1))

    def _layers(self) -> list[Linear | Conv | ConvTranspose]:
        return [*self._encoder(), self.z_mean, self.z_log_var, self.dec_linear_1, *self._decoder()]

    def _features(
        self, x: Float[Array, "batch h w channels"], label: Int[Array, " batch"] | None
    ) -> Float[Array, "batch features"]:
        for layer in self._encoder():
            x = self._activate(layer(x))
        return self._with_condition(flatten_as_torch(x), label)

    def _outputs(self, code: Float[Array, "batch latent_classes"]) -> Float[Array, "batch h w decoded"]:
        *inner, last = self._decoder()
        x = unflatten_as_torch(self._activate(self.dec_linear_1(code)), *self.config.sides[-1])
        for layer in inner:
            x = self._activate(layer(x))
        return last(x)

    def _activate(self, x: Array) -> Array:
        return activate(ACTIVATIONS[self.config.activation], x, self.config.lowering)

    def _encoder(self) -> list[Conv]:
        return [getattr(self, f"enc_conv_{n}") for n in range(1, len(self.config.widths) + 1)]

    def _decoder(self) -> list[ConvTranspose]:
        return [getattr(self, f"dec_deconv_{n}") for n in range(1, len(self.config.widths) + 1)]
