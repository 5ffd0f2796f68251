"""An importance-weighted estimate of the VAE's log-likelihood, saying what pixels are taken for."""

import math
from functools import partial
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Int, Key

from jaxae.bounds import Count, check, check_fits
from jaxae.config import VAEConfig
from jaxae.data.pixels import check_images
from jaxae.errors import InputError
from jaxae.network.fork import check_not_forked
from jaxae.network.models import with_parameters
from jaxae.network.parameters import Parameters, parameters_of
from jaxae.network.pixel_cost import pixel_cost
from jaxae.network.vae import VAE, Input, as_floats

Pixels = Literal["binarized", "drawn", "continuous", "cross-entropy", "own"]


def importance_weighted_log_likelihood(
    model: VAE,
    images: Float[Input, "batch h w c"],
    labels: Int[Input, " batch"] | None = None,
    *,
    key: Key[Array, ""],
    num_samples: int = 64,
    pixels: Pixels = "binarized",
) -> Float[Array, " batch"]:
    """Estimate log p(x | label) of images in [0, 1], in nats per image, from codes of the posterior.

    log (1 / K) sum_k p(x | z_k) p(z_k) / q(z_k | x), a lower bound in expectation, which rises with K to the
    log-likelihood and is the ELBO at K = 1 (Burda, Grosse and Salakhutdinov 2016, arXiv:1509.00519, eq. 8).

    Args:
        model: The VAE.
        images: Pixels in [0, 1].
        labels: Classes, where the model has them.
        key: Key of the codes' noise, and of the pixels where they are drawn.
        num_samples: K, the number of codes per image.
        pixels: What p(x | z) is. "binarized": the pixels, rounded to 0 or 1, are Bernoulli: a probability, comparable
            with other models of images binarized so. "drawn": the same of pixels that are 1 with their grey value as
            the probability, as most of the literature has them; one key draws the same for any model. "continuous":
            they are continuous Bernoulli on [0, 1], a density, which may exceed 1 (Loaiza-Ganem and Cunningham 2019,
            arXiv:1907.06845). "cross-entropy": what training maximises, the Bernoulli formula at grey values; no
            distribution of pixels, for comparing costs alone. "own": the model's, where that is not Bernoulli: a
            density of Gaussian pixels, a probability of discretised logistic ones.

    Raises:
        InputError: If `num_samples` is below 1 or beyond memory, `pixels` unknown, images or labels are not the
            model's, or the model reconstructs its condition, which is no part of the image.
    """
    check_not_forked()
    check("num_samples", num_samples, Count)
    check_fits("samples", num_samples * len(images) * 4)
    images = as_floats(images)
    if not isinstance(images, Tracer):
        check_images(images, model.config.image_shape)
    if pixels not in get_args(Pixels):
        raise InputError(f"expected pixels of {', '.join(get_args(Pixels))}, got {pixels!r}")
    if model.config.num_output_channels > model.config.image_shape[2]:
        raise InputError("expected a model of images alone, got one that reconstructs its condition")
    if (model.config.likelihood != "bernoulli") != (pixels == "own"):
        raise InputError(
            f"expected pixels 'own' exactly where they are not Bernoulli, got {pixels!r} for {model.config.likelihood}"
        )
    if pixels == "binarized":
        images = jnp.round(images)
    if pixels == "drawn":
        # Folded, so that the pixels depend neither on the number of samples nor on their noise.
        images = jax.random.bernoulli(jax.random.fold_in(key, 0x7FFFFFFF), images).astype(images.dtype)
    return _estimate(model.config, pixels, num_samples, parameters_of(model), images, labels, key)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _estimate(
    config: VAEConfig,
    pixels: Pixels,
    num_samples: int,
    parameters: Parameters,
    images: Array,
    labels: Array | None,
    key: Array,
) -> Array:
    model = with_parameters(config, parameters)
    assert isinstance(model, VAE)
    mean, log_var = model.encode(images, labels)

    def log_weight(key: Array) -> Array:
        eps = jax.random.normal(key, mean.shape, mean.dtype)
        code = model.reparameterize(mean, log_var, eps)
        decoded = model.decode_pixels(code, labels)
        log_likelihood = -pixel_cost(config, decoded, images)
        if pixels == "continuous":
            log_likelihood += _log_normaliser(decoded.logits).reshape(len(images), -1).sum(1)
        # The normalising constants of prior and posterior cancel.
        log_prior = -0.5 * (code**2).sum(1)
        log_posterior = -0.5 * (eps**2 + log_var).sum(1)
        return log_likelihood + log_prior - log_posterior

    weights = jax.lax.map(log_weight, jax.random.split(key, num_samples))
    return logsumexp(weights, axis=0) - math.log(num_samples)


def _log_normaliser(logits: Float[Array, "..."]) -> Float[Array, "..."]:
    """Log of the continuous Bernoulli's constant, 2 artanh(1 - 2p) / (1 - 2p), 2 at p = 1/2.

    In logits l it is l / tanh(l / 2); near 0, where that is 0 / 0, its series 2 + l^2 / 6.
    """
    small = jnp.abs(logits) < 1e-2
    safe = jnp.where(small, 1.0, logits)
    return jnp.where(small, jnp.log(2 + logits**2 / 6), jnp.log(safe / jnp.tanh(safe / 2)))
