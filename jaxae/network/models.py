"""The post's two networks as Flax modules: parameters and wiring.

Attributes are named as in the post's PyTorch modules, so that `enc_conv_1.kernel` here is `enc_conv_1.weight` there.
Modules hold no random state: noise comes in as an argument.
"""

from functools import cache, partial
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from jaxae.config import AutoencoderConfig, ConditionalVAEConfig, Lowering, ModelConfig
from jaxae.errors import InputError
from jaxae.network.layers import Conv, ConvTranspose, Linear, activate, flatten_as_torch, leaky_relu, unflatten_as_torch
from jaxae.network.parameters import Parameters, parameters_of
from jaxae.torch_rng.generator import Generator

# What a model is given: arrays on devices, tracers, and arrays of NumPy.
Input = Array | np.ndarray

ACTIVATIONS = {"leaky_relu": leaky_relu, "relu": jax.nn.relu, "tanh": jnp.tanh}


class AutoencoderOutput(NamedTuple):
    """A forward pass: code, reconstruction in [0, 1], and the logits it is the sigmoid of."""

    code: Float[Array, "batch code"]
    reconstruction: Float[Array, "batch features"]
    logits: Float[Array, "batch features"]


class VAEOutput(NamedTuple):
    """A forward pass: the Gaussian posterior's mean and log variance, and a code drawn from it.

    The reconstruction lies in [0, 1] and is the sigmoid of the logits.
    """

    mean: Float[Array, "batch latent"]
    log_var: Float[Array, "batch latent"]
    code: Float[Array, "batch latent"]
    reconstruction: Float[Array, "batch h w c"]
    logits: Float[Array, "batch h w c"]


class Autoencoder(nnx.Module):
    """The post's plain autoencoder: linear layers `linear_1`, `linear_2`, ..., then a sigmoid.

    Which layers start from N(0, 0.1), with biases of zero, is `config.initialization`; all others keep torch's
    defaults.
    """

    linear_1: Linear
    linear_2: Linear

    def __init__(self, config: AutoencoderConfig | None = None, *, rngs: nnx.Rngs):
        self.config = config or AutoencoderConfig()
        for number, (inputs, outputs) in enumerate(pairwise(self.config.widths), 1):
            layer = Linear(inputs, outputs, lowering=self._lowering, rngs=rngs)
            setattr(self, f"linear_{number}", layer)
        for layer in dict.fromkeys(self._drawn_over()):
            layer.kernel.set_value(0.1 * jax.random.normal(rngs.params(), layer.kernel.shape))
            layer.zero_bias()

    def reset_parameters(self, generator: Generator) -> None:
        """Redraw the parameters from torch's stream, in the order of the post's constructor."""
        drawn_over = self._drawn_over()
        for number, layer in enumerate(self._layers()):
            layer.reset_parameters(generator)
            for normal in drawn_over[number : number + 1]:
                inputs, outputs = normal.kernel.shape
                normal.kernel.set_value(jnp.asarray(generator.normal((outputs, inputs), 0.0, 0.1).T))
                normal.zero_bias()

    def encode(self, x: Float[Input, "batch ..."]) -> Float[Array, "batch code"]:
        """Codes of examples, which may come as images: they are flattened here."""
        x = jnp.asarray(x).reshape(len(x), -1)
        if x.shape[1] != self.config.num_features:
            raise InputError(f"expected {self.config.num_features} features per example, got {x.shape[1]}")
        for layer in self._layers()[: len(self.config.hidden)]:
            x = self._activate(layer(x))
        return x

    def decode_logits(self, code: Float[Input, "batch code"]) -> Float[Array, "batch features"]:
        """Reconstructions of codes, before the sigmoid."""
        *inner, last = self._layers()[len(self.config.hidden) :]
        code = jnp.asarray(code)
        for layer in inner:
            code = self._activate(layer(code))
        return last(code)

    def decode(self, code: Float[Input, "batch code"]) -> Float[Array, "batch features"]:
        """Reconstructions of codes, in [0, 1]."""
        return jax.nn.sigmoid(self.decode_logits(code))

    def __call__(self, x: Float[Input, "batch ..."]) -> AutoencoderOutput:
        """Encode and decode examples in [0, 1]."""
        code = self.encode(x)
        logits = self.decode_logits(code)
        return AutoencoderOutput(code, jax.nn.sigmoid(logits), logits)

    def interpolate(
        self, first: Float[Input, " *feature"], second: Float[Input, " *feature"], steps: int
    ) -> Float[Array, "steps features"]:
        """Decode the straight line between the codes of two examples, both ends included."""
        ends = self.encode(jnp.stack([first, second]))
        return self.decode(_line(ends[0], ends[1], steps))

    def _activate(self, x: Array) -> Array:
        return activate(ACTIVATIONS[self.config.activation], x, self._lowering)

    @property
    def _lowering(self) -> Lowering:
        # Feature-major arrays are for what surrounds convolutions; rows come so from the data.
        return "plain" if self.config.lowering == "auto" else self.config.lowering

    def _layers(self) -> list[Linear]:
        return [getattr(self, f"linear_{n}") for n in range(1, len(self.config.widths))]

    def _drawn_over(self) -> list[Linear]:
        """The layers that are drawn from N(0, 0.1) after the first layer's creation, and after the second's.

        The post means linear_2 the second time but names linear_1 again.
        """
        first, second, *_ = self._layers()
        return {"post": [first, first], "intended": [first, second], "torch": []}[self.config.initialization]


class ConditionalVAE(nnx.Module):
    """The post's convolutional VAE of 28 by 28 images, conditioned on a class label.

    Its side runs 28, 12, 5, 2 through the encoder and 2, 4, 11, 28 through the decoder. The class enters as one-hot
    planes beside the image and as a one-hot vector beside the code. With `num_classes=0` it is the plain VAE, which
    takes no label (Kingma and Welling 2014, arXiv:1312.6114; the condition is that of Sohn et al. 2015).
    """

    def __init__(self, config: ConditionalVAEConfig | None = None, *, rngs: nnx.Rngs):
        self.config = config = config or ConditionalVAEConfig()
        classes, lowering = config.num_classes, config.lowering
        self.enc_conv_1 = Conv(1 + classes, 16, 6, stride=2, lowering=lowering, rngs=rngs)
        self.enc_conv_2 = Conv(16, 32, 4, stride=2, lowering=lowering, rngs=rngs)
        self.enc_conv_3 = Conv(32, 64, 2, stride=2, lowering=lowering, rngs=rngs)
        self.z_mean = Linear(64 * 2 * 2, config.num_latent, lowering=lowering, rngs=rngs)
        self.z_log_var = Linear(64 * 2 * 2, config.num_latent, lowering=lowering, rngs=rngs)
        self.dec_linear_1 = Linear(config.num_latent + classes, 64 * 2 * 2, lowering=lowering, rngs=rngs)
        self.dec_deconv_1 = ConvTranspose(64, 32, 2, stride=2, lowering=lowering, rngs=rngs)
        self.dec_deconv_2 = ConvTranspose(32, 16, 4, stride=3, padding=1, lowering=lowering, rngs=rngs)
        self.dec_deconv_3 = ConvTranspose(
            16, config.num_output_channels, 6, stride=3, padding=4, lowering=lowering, rngs=rngs
        )

    def reset_parameters(self, generator: Generator) -> None:
        """Redraw the parameters from torch's stream, in the order of the post's constructor."""
        for layer in (
            self.enc_conv_1,
            self.enc_conv_2,
            self.enc_conv_3,
            self.z_mean,
            self.z_log_var,
            self.dec_linear_1,
            self.dec_deconv_1,
            self.dec_deconv_2,
            self.dec_deconv_3,
        ):
            layer.reset_parameters(generator)

    def encode(
        self, x: Float[Input, "batch 28 28 1"], label: Int[Input, " batch"] | None = None
    ) -> tuple[Float[Array, "batch latent"], Float[Array, "batch latent"]]:
        """Mean and log variance (not log deviation) of the posterior of images in [0, 1].

        Raises:
            InputError: If the images are not 28 by 28 by 1, or a label is missing or not wanted.
        """
        if x.shape[1:] != (28, 28, 1):
            raise InputError(f"expected images [batch, 28, 28, 1], got {list(x.shape)}")
        label = self._checked_label(label, len(x))
        x = self._activate(self.enc_conv_1(jnp.asarray(x), label))
        x = self._activate(self.enc_conv_2(x))
        x = self._activate(self.enc_conv_3(x))
        x = flatten_as_torch(x)
        return self.z_mean(x), self.z_log_var(x)

    def reparameterize(
        self,
        mean: Float[Input, "batch latent"],
        log_var: Float[Input, "batch latent"],
        eps: Float[Input, "batch latent"],
    ) -> Float[Array, "batch latent"]:
        """A code of the posterior, mean + eps exp(log_var / 2), given standard normal noise.

        Raises:
            InputError: If the shapes differ.
        """
        if not mean.shape == log_var.shape == eps.shape:
            raise InputError(
                f"expected mean, log_var and eps of one shape, got {mean.shape}, {log_var.shape}, {eps.shape}"
            )
        return jnp.asarray(mean) + eps * jnp.exp(log_var / 2)

    def decode_logits(
        self, code: Float[Input, "batch latent"], label: Int[Input, " batch"] | None = None
    ) -> Float[Array, "batch 28 28 c"]:
        """Reconstructions of codes, before the sigmoid (after the last leaky_relu, if any).

        Raises:
            InputError: If a label is missing or not wanted.
        """
        label, code = self._checked_label(label, len(code)), jnp.asarray(code)
        if label is not None:
            condition = jax.nn.one_hot(label, self.config.num_classes, dtype=code.dtype)
            code = jnp.concatenate([code, condition], axis=1)
        x = unflatten_as_torch(self.dec_linear_1(code), 2, 2)
        x = self._activate(self.dec_deconv_1(x))
        x = self._activate(self.dec_deconv_2(x))
        x = self.dec_deconv_3(x)
        return self._activate(x) if self.config.output_leaky_relu else x

    def decode(
        self, code: Float[Input, "batch latent"], label: Int[Input, " batch"] | None = None
    ) -> Float[Array, "batch 28 28 c"]:
        """Reconstructions of codes, in [0, 1]."""
        return jax.nn.sigmoid(self.decode_logits(code, label))

    def __call__(
        self,
        x: Float[Input, "batch 28 28 1"],
        label: Int[Input, " batch"] | None = None,
        *,
        eps: Float[Input, "batch latent"],
    ) -> VAEOutput:
        """Encode images in [0, 1], draw their codes by the given noise, decode these."""
        mean, log_var = self.encode(x, label)
        code = self.reparameterize(mean, log_var, eps)
        logits = self.decode_logits(code, label)
        return VAEOutput(mean, log_var, code, jax.nn.sigmoid(logits), logits)

    def sample(
        self, label: Int[Input, " batch"] | int | None = None, *, key: Key[Array, ""], count: int = 1
    ) -> Float[Array, "batch 28 28 c"]:
        """Decode codes of the prior N(0, I): one for each label, or `count` for a single one."""
        if label is not None:
            label = jnp.asarray(label, jnp.int32)
            label = jnp.full(count, label) if label.ndim == 0 else label
            count = len(label)
        code = jax.random.normal(key, (count, self.config.num_latent))
        return self.decode(code, label)

    def interpolate(
        self,
        first: Float[Input, "28 28 1"],
        second: Float[Input, "28 28 1"],
        steps: int,
        label: Int[Input, "2"] | None = None,
    ) -> Float[Array, "steps 28 28 c"]:
        """Decode the straight line between the posterior means of two images, ends included.

        With a condition, `label` holds the two images' classes; the first half of the way is decoded as the first,
        the rest as the second.
        """
        mean, _ = self.encode(jnp.stack([first, second]), label)
        way = _line(mean[0], mean[1], steps)
        if label is None:
            return self.decode(way)
        return self.decode(way, jnp.where(jnp.arange(steps) * 2 < steps, label[0], label[1]))

    def _activate(self, x: Array) -> Array:
        return activate(leaky_relu, x, self.config.lowering)

    def _checked_label(self, label: Input | None, batch: int) -> Array | None:
        if (label is None) != (self.config.num_classes == 0):
            came = "none" if label is None else "labels"
            raise InputError(
                f"expected labels exactly where there are classes, got {came} for {self.config.num_classes} classes"
            )
        if label is not None and label.shape != (batch,):
            raise InputError(f"expected {batch} labels, one per example, got {list(label.shape)}")
        return label if label is None else jnp.asarray(label)


Model = Autoencoder | ConditionalVAE


def build(config: ModelConfig, *, rngs: nnx.Rngs) -> Model:
    """A fresh model of these settings."""
    if isinstance(config, AutoencoderConfig):
        return Autoencoder(config, rngs=rngs)
    return ConditionalVAE(config, rngs=rngs)


@partial(jax.jit, static_argnames="config")
def init_parameters(config: ModelConfig, key: Key[Array, ""]) -> Parameters:
    """The parameters of a fresh model as a nested dict, drawn by one compiled program."""
    return parameters_of(build(config, rngs=nnx.Rngs(key)))


def with_parameters(config: ModelConfig, parameters: Parameters) -> Model:
    """The model of these settings that holds these parameters."""
    graphdef, _ = nnx.split(_shapes(config))
    return nnx.merge(graphdef, parameters)


def parameter_shapes(config: ModelConfig) -> Parameters:
    """The shapes and dtypes of a model's parameters, as a nested dict; nothing is computed."""
    return parameters_of(_shapes(config))


@cache
def _shapes(config: ModelConfig) -> Model:
    return nnx.eval_shape(lambda: build(config, rngs=nnx.Rngs(0)))


def _line(first: Array, second: Array, steps: int) -> Array:
    share = jnp.linspace(0, 1, steps)[:, None]
    return (1 - share) * first[None] + share * second[None]
