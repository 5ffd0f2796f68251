"""The post's two networks as Flax modules: parameters and wiring.

Attributes are named as in the post's PyTorch modules, so that `enc_conv_1.kernel` here is `enc_conv_1.weight` there.
Modules hold no random state: noise comes in as an argument.
"""

from functools import cache
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.core import Tracer
from jaxtyping import Array, Float, Int, Key

from jaxae.config import AutoencoderConfig, ConditionalVAEConfig, ConvVAEConfig, DenseVAEConfig, Lowering, ModelConfig
from jaxae.errors import InputError
from jaxae.network.conv_vae import ConvVAE
from jaxae.network.dense_vae import DenseVAE
from jaxae.network.fork import check_not_forked
from jaxae.network.layers import (
    ACTIVATIONS,
    Conv,
    ConvTranspose,
    Linear,
    activate,
    flatten_as_torch,
    leaky_relu,
    unflatten_as_torch,
)
from jaxae.network.parameters import Parameters, parameters_of
from jaxae.network.vae import VAE, Input, as_codes, as_floats, line_between, stack_ends
from jaxae.torch_rng.generator import Generator


class AutoencoderOutput(NamedTuple):
    """A forward pass: code, reconstruction in [0, 1], and the logits it is the sigmoid of."""

    code: Float[Array, "batch code"]
    reconstruction: Float[Array, "batch features"]
    logits: Float[Array, "batch features"]


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
        """Codes of examples, which may come as images: they are flattened here.

        Raises:
            InputError: If they are no floats, or of another number of features.
        """
        x = as_floats(x).reshape(x.shape[0], -1)
        if x.shape[1] != self.config.num_features:
            raise InputError(f"expected {self.config.num_features} features per example, got {x.shape[1]}")
        for layer in self._layers()[: len(self.config.hidden)]:
            x = self._activate(layer(x))
        return x

    def decode_logits(self, code: Float[Input, "batch code"]) -> Float[Array, "batch features"]:
        """Reconstructions of codes, before the sigmoid.

        Raises:
            InputError: If they are no floats, or of another width.
        """
        *inner, last = self._layers()[len(self.config.hidden) :]
        code = as_codes(code, self.config.code_size)
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
        """Decode the straight line between the codes of two examples, both ends included.

        Raises:
            InputError: If the examples are of two shapes or not the model's, or there is no step.
        """
        ends = self.encode(stack_ends(first, second, steps))
        return self.decode(line_between(ends[0], ends[1], steps))

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


class ConditionalVAE(VAE):
    """The post's convolutional VAE of 28 by 28 images, conditioned on a class label.

    Its side runs 28, 12, 5, 2 through the encoder and 2, 4, 11, 28 through the decoder. The class enters the encoder
    as one-hot planes beside the image.
    """

    config: ConditionalVAEConfig

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

    def _layers(self) -> list[Linear | Conv | ConvTranspose]:
        return [
            self.enc_conv_1,
            self.enc_conv_2,
            self.enc_conv_3,
            self.z_mean,
            self.z_log_var,
            self.dec_linear_1,
            self.dec_deconv_1,
            self.dec_deconv_2,
            self.dec_deconv_3,
        ]

    def _features(
        self, x: Float[Array, "batch 28 28 1"], label: Int[Array, " batch"] | None
    ) -> Float[Array, "batch 256"]:
        x = self._activate(self.enc_conv_1(x, label))
        x = self._activate(self.enc_conv_2(x))
        x = self._activate(self.enc_conv_3(x))
        return flatten_as_torch(x)

    def _outputs(self, code: Float[Array, "batch latent_classes"]) -> Float[Array, "batch 28 28 c"]:
        x = unflatten_as_torch(self.dec_linear_1(code), 2, 2)
        x = self._activate(self.dec_deconv_1(x))
        x = self._activate(self.dec_deconv_2(x))
        x = self.dec_deconv_3(x)
        return self._activate(x) if self.config.output_leaky_relu else x

    def _activate(self, x: Array) -> Array:
        return activate(leaky_relu, x, self.config.lowering)


Model = Autoencoder | VAE


def build(config: ModelConfig, *, rngs: nnx.Rngs) -> Model:
    """A fresh model of these settings."""
    if isinstance(config, AutoencoderConfig):
        return Autoencoder(config, rngs=rngs)
    if isinstance(config, DenseVAEConfig):
        return DenseVAE(config, rngs=rngs)
    if isinstance(config, ConvVAEConfig):
        return ConvVAE(config, rngs=rngs)
    assert isinstance(config, ConditionalVAEConfig)
    return ConditionalVAE(config, rngs=rngs)


def init_parameters(config: ModelConfig, key: Key[Array, ""]) -> Parameters:
    """The parameters of a fresh model as a nested dict, drawn by one compiled program."""
    return (_draw if isinstance(key, Tracer) else _draw_once)(config, key)


def _draw(config: ModelConfig, key: Key[Array, ""]) -> Parameters:
    return parameters_of(build(config, rngs=nnx.Rngs(key)))


# Level 1 draws the same bits, and compiles in a third of the time: by default as long as a training step takes, for one
# run. A program within another one takes no options of its own.
_draw_once = jax.jit(_draw, static_argnames="config", compiler_options={"xla_backend_optimization_level": "1"})


def with_parameters(config: ModelConfig, parameters: Parameters) -> Model:
    """The model of these settings that holds these parameters.

    Raises:
        InputError: If this process was forked from one in which JAX had started.
    """
    check_not_forked()
    graphdef, _ = nnx.split(_shapes(config, jnp.result_type(float)))
    return nnx.merge(graphdef, parameters)


def parameter_shapes(config: ModelConfig) -> Parameters:
    """The shapes and dtypes of a model's parameters, as a nested dict; nothing is computed."""
    return parameters_of(_shapes(config, jnp.result_type(float)))


@cache
def _shapes(config: ModelConfig, dtype: jnp.dtype) -> Model:
    """An abstract model; `dtype` is what JAX makes of a float now: a change of x64 is not answered from before it."""
    del dtype
    return nnx.eval_shape(lambda: build(config, rngs=nnx.Rngs(0)))
