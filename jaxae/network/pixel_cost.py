"""What a decoder says of pixels, and what pixels then cost: Bernoulli, Gaussian, discretised logistic."""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxae.config import ModelConfig, VAEConfig
from jaxae.network.layers import activate
from jaxae.network.losses import bce_from_logits, discretized_logistic_cost, gaussian_cost, softplus

# Least log scales of those that are learned, by likelihood. A density has no bound where a pixel is met exactly: -6 is
# that of Rybkin, Daniilidis and Levine 2021 (arXiv:2006.13202). Of probabilities, which have one, the steepest are kept
# within float32: -7 for pixels from -1 to 1 in arXiv:1701.05517.
_FLOORS = {"gaussian": -6.0, "discretized-logistic": -7.0 - math.log(2)}


# A mean over a test set, of one model or of many.
Mean = float | Float[Array, ""] | Float[np.ndarray, "..."]


class DecodedPixels(NamedTuple):
    """The distributions of pixels that are decoded from codes.

    Attributes:
        logits: Logits of their means, or of the logistic's locations.
        log_scale: Log standard deviations, or log scales of the logistic, of each pixel or of all [1, 1, 1, 1], in
            units of pixels in [0, 1]; None of Bernoulli pixels.
    """

    logits: Float[Array, "batch h w c"]
    log_scale: Float[Array, "..."] | None


def decoded_pixels(
    config: VAEConfig, outputs: Float[Array, "batch h w decoded"], learned: Float[Array, "1"] | None
) -> DecodedPixels:
    """What a decoder's last layer, and perhaps a learned log scale over the first one, say of pixels."""
    if config.likelihood == "bernoulli":
        return DecodedPixels(outputs, None)
    start, channels = math.log(config.scale_value), config.num_output_channels
    if config.scale == "fixed":
        return DecodedPixels(outputs, jnp.full((1, 1, 1, 1), start, outputs.dtype))
    if config.scale == "learned":
        assert learned is not None
        raw = learned.astype(outputs.dtype).reshape(1, 1, 1, 1)
    else:
        outputs, raw = outputs[..., :channels], outputs[..., channels:]
    above = partial(_above, start, _FLOORS[config.likelihood])
    return DecodedPixels(outputs, activate(above, raw, config.lowering))


def pixel_cost(
    config: VAEConfig, pixels: DecodedPixels, targets: Float[Array, "batch h w c"]
) -> Float[Array, " batch"]:
    """Negative log-likelihood of images in [0, 1], in nats, summed over pixels.

    Of "gaussian" it is that of a density, which may be negative; of "discretized-logistic" that of probabilities.

    Raises:
        InputError: If the shapes differ, or one holds no floats.
    """
    if pixels.log_scale is None:
        return bce_from_logits(pixels.logits, targets)
    cost = {"gaussian": gaussian_cost, "discretized-logistic": discretized_logistic_cost}[config.likelihood]
    return cost(activate(jax.nn.sigmoid, pixels.logits, config.lowering), pixels.log_scale, targets)


def bits_per_dimension(config: ModelConfig, reconstruction: Mean, kl: Mean) -> Mean | None:
    """The bound on bits per value of an image, of its two terms in nats per image; None where there is no such bound.

    Grey values of 256 levels have one under "discretized-logistic". A density's nats depend on the unit of pixels, and
    the cross-entropy of grey values is no likelihood of them.
    """
    if isinstance(config, VAEConfig) and config.likelihood == "discretized-logistic":
        return (reconstruction + kl) / (math.log(2) * math.prod(config.image_shape))
    return None


def _above(start: float, floor: float, raw: Array) -> Array:
    """A log scale of an unbounded one over the start, held above a floor as softly as softplus is above zero."""
    return floor + softplus(raw + (start - floor))
