"""What VAEs have in common: posterior, reparameterization, decoding, samples, interpolation.

Modules hold no random state: noise comes in as an argument.
"""

import math
from abc import abstractmethod
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.core import Tracer
from jaxtyping import Array, Float, Int, Key

from jaxae.bounds import Count, check, check_fits
from jaxae.config import VAEConfig
from jaxae.data.pixels import check_labels
from jaxae.errors import InputError
from jaxae.network.layers import Conv, ConvTranspose, Linear
from jaxae.network.pixel_cost import DecodedPixels, decoded_pixels
from jaxae.torch_rng.generator import Generator

# What a model is given: arrays on devices, tracers, and arrays of NumPy.
Input = Array | np.ndarray


def as_floats(x: Input) -> Array:
    """What a model computes with; pixels of uint8, a hundred times too large, are nothing to compute with.

    Raises:
        InputError: If it holds no floats.
    """
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise InputError(f"expected floats, for images in [0, 1] (jaxae.as_unit_float makes them), got {x.dtype}")
    return jnp.asarray(x)


def as_codes(code: Input, size: int) -> Array:
    """Codes that a decoder computes with.

    Raises:
        InputError: If they are no floats, or not [batch, size].
    """
    if code.ndim != 2 or code.shape[1] != size:
        raise InputError(f"expected codes [batch, {size}], got {list(code.shape)}")
    return as_floats(code)


class VAEOutput(NamedTuple):
    """A forward pass: the Gaussian posterior's mean and log variance, and a code drawn from it.

    The reconstruction lies in [0, 1] and is the sigmoid of the logits; it is the mean of the pixels' distributions (the
    logistic's location), whose log scales stand beside it where they have any.
    """

    mean: Float[Array, "batch latent"]
    log_var: Float[Array, "batch latent"]
    code: Float[Array, "batch latent"]
    reconstruction: Float[Array, "batch h w c"]
    logits: Float[Array, "batch h w c"]
    log_scale: Float[Array, "..."] | None = None


class VAE(nnx.Module):
    """A VAE of images, conditioned on a class label where there are classes.

    The class enters the decoder as a one-hot vector beside the code. With `num_classes=0` it is the
    plain VAE, which takes no label (Kingma and Welling 2014, arXiv:1312.6114; the condition is that
    of Sohn et al. 2015). A network's layers are attributes beside these.

    Attributes:
        config: Settings of the network.
        z_mean: Layer of the posterior's mean.
        z_log_var: Layer of the posterior's log variance.
        dec_log_scale: Log of the scale of all pixels over the one that it starts from, where it is learned.
    """

    config: VAEConfig
    z_mean: Linear
    z_log_var: Linear
    dec_log_scale: nnx.Param

    def reset_parameters(self, generator: Generator) -> None:
        """Redraw the parameters from torch's stream, in the order of the torch module's constructor."""
        for layer in self._layers():
            layer.reset_parameters(generator)
        if self.config.learns_scale:
            self.dec_log_scale.set_value(jnp.zeros(1))

    @abstractmethod
    def _layers(self) -> list[Linear | Conv | ConvTranspose]:
        """The layers in the order of the torch module's constructor."""

    @abstractmethod
    def _features(
        self, x: Float[Array, "batch h w channels"], label: Int[Array, " batch"] | None
    ) -> Float[Array, "batch features"]:
        """What the posterior's two layers are given, of images and perhaps their labels."""

    @abstractmethod
    def _outputs(self, code: Float[Array, "batch latent_classes"]) -> Float[Array, "batch h w decoded"]:
        """What the decoder's last layer computes of codes with the one-hot class behind them.

        Reconstructions before the sigmoid and, of scales per pixel, as many channels of these.
        """

    def encode(
        self, x: Float[Input, "batch h w channels"], label: Int[Input, " batch"] | None = None
    ) -> tuple[Float[Array, "batch latent"], Float[Array, "batch latent"]]:
        """Mean and log variance (not log deviation) of the posterior of images in [0, 1].

        Raises:
            InputError: If the images are not floats of the model's shape, or a label is missing or not wanted.
        """
        if x.shape[1:] != (shape := self.config.image_shape):
            raise InputError(f"expected images [batch, {', '.join(map(str, shape))}], got {list(x.shape)}")
        features = self._features(as_floats(x), self._checked_label(label, x))
        return self.z_mean(features), self.z_log_var(features)

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
    ) -> Float[Array, "batch h w c"]:
        """Reconstructions of codes, before the sigmoid.

        Raises:
            InputError: If a label is missing, not wanted or of no class.
        """
        return self.decode_pixels(code, label).logits

    def decode_pixels(
        self, code: Float[Input, "batch latent"], label: Int[Input, " batch"] | None = None
    ) -> DecodedPixels:
        """Distributions of the pixels of codes.

        Raises:
            InputError: If a label is missing, not wanted or of no class.
        """
        label = self._checked_label(label, code)
        outputs = self._outputs(self._with_condition(as_codes(code, self.config.num_latent), label))
        learned = self.dec_log_scale[...] if self.config.learns_scale else None
        return decoded_pixels(self.config, outputs, learned)

    def decode(
        self, code: Float[Input, "batch latent"], label: Int[Input, " batch"] | None = None
    ) -> Float[Array, "batch h w c"]:
        """Reconstructions of codes, in [0, 1]."""
        return jax.nn.sigmoid(self.decode_logits(code, label))

    def __call__(
        self,
        x: Float[Input, "batch h w channels"],
        label: Int[Input, " batch"] | None = None,
        *,
        eps: Float[Input, "batch latent"],
    ) -> VAEOutput:
        """Encode images in [0, 1], draw their codes by the given noise, decode these."""
        mean, log_var = self.encode(x, label)
        code = self.reparameterize(mean, log_var, eps)
        pixels = self.decode_pixels(code, label)
        return VAEOutput(mean, log_var, code, jax.nn.sigmoid(pixels.logits), *pixels)

    def sample(
        self, label: Int[Input, " batch"] | int | None = None, *, key: Key[Array, ""], count: int = 1
    ) -> Float[Array, "batch h w c"]:
        """Decode codes of the prior N(0, I): one for each label, or `count` for a single one.

        Raises:
            InputError: If a label is missing, not wanted or of no class, or the count is below 1 or beyond memory.
        """
        check("count", count, Count)
        if label is not None:
            # In NumPy's int64, until it is checked: int32 would wrap a large one into the classes.
            label = label if isinstance(label, Array) else np.asarray(label)
            full = jnp.full if isinstance(label, Array) else np.full
            label = full(count, label) if label.ndim == 0 else label
            count = len(label)
        check_fits("samples", count * (self.config.num_latent + math.prod(self.config.image_shape)) * 4)
        code = jax.random.normal(key, (count, self.config.num_latent))
        return self.decode(code, label)

    def interpolate(
        self,
        first: Float[Input, "h w channels"],
        second: Float[Input, "h w channels"],
        steps: int,
        label: Int[Input, "2"] | None = None,
    ) -> Float[Array, "steps h w c"]:
        """Decode the straight line between the posterior means of two images, ends included.

        With a condition, `label` holds the two images' classes; the first half of the way is
        decoded as the first, the rest as the second.

        Raises:
            InputError: If the images are of two shapes or not the model's, or there is no step.
        """
        mean, _ = self.encode(stack_ends(first, second, steps), label)
        way = line_between(mean[0], mean[1], steps)
        if label is None:
            return self.decode(way)
        return self.decode(way, jnp.where(jnp.arange(steps) * 2 < steps, label[0], label[1]))

    def _with_condition(
        self, rows: Float[Array, "batch features"], label: Int[Array, " batch"] | None
    ) -> Float[Array, "batch features_classes"]:
        """Rows with the one-hot class behind them, where there are classes."""
        if label is None:
            return rows
        return jnp.concatenate([rows, jax.nn.one_hot(label, self.config.num_classes, dtype=rows.dtype)], axis=1)

    def _checked_label(self, label: Input | None, rows: Input) -> Array | None:
        batch = rows.shape[0]  # which is no number where a program is exported for any
        if (label is None) != (self.config.num_classes == 0):
            came = "none" if label is None else "labels"
            raise InputError(
                f"expected labels exactly where there are classes, got {came} for {self.config.num_classes} classes"
            )
        if label is not None and label.shape != (batch,):
            raise InputError(f"expected {batch} labels, one per example, got {list(label.shape)}")
        if label is not None and not jnp.issubdtype(label.dtype, jnp.integer):
            raise InputError(f"expected labels of integers, got {label.dtype}")
        if label is not None and not isinstance(label, Tracer) and batch:  # of a tracer the values are not there yet
            check_labels(label, self.config.num_classes)
        return label if label is None else jnp.asarray(label)


def stack_ends(first: Float[Input, "*feature"], second: Float[Input, "*feature"], steps: int) -> Float[Array, "2 ..."]:
    """The two ends of a way of so many steps, as one array.

    Raises:
        InputError: If they are of two shapes, or there is no step.
    """
    check("steps", steps, Count)
    if first.shape != second.shape:
        raise InputError(f"expected two ends of one shape, got {list(first.shape)} and {list(second.shape)}")
    return jnp.stack([first, second])


def line_between(first: Float[Array, " code"], second: Float[Array, " code"], steps: int) -> Float[Array, "steps code"]:
    """So many points of the straight line from one code to another, both ends included."""
    share = jnp.linspace(0, 1, steps)[:, None]
    return (1 - share) * first[None] + share * second[None]
