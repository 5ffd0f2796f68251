"""How unlike the training images an image is: scores of reconstructions, higher is stranger."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from jaxae.errors import InputError
from jaxae.network.losses import bce_from_logits, kl_from_standard_normal
from jaxae.network.models import Autoencoder, ConditionalVAE
from jaxae.network.parts import in_parts

Images = Float[np.ndarray, "n 28 28 1"]
Scores = Float[np.ndarray, " n"]


def squared_error(images: Images, reconstructions: Images) -> Scores:
    """Sum over pixels of the squared difference."""
    difference = _difference(images, reconstructions)
    return (difference**2).sum((1, 2, 3))


def smoothed_relative_error(
    images: Images, reconstructions: Images, *, deviation: float = 1.0
) -> Scores:
    """Energy of the blurred difference, as a share of the image's own energy.

    A stroke that is a pixel off leaves a pair of thin lines of opposite sign, which a blur cancels;
    a stroke that is missing leaves a broad one, which it keeps. Dividing by the image's energy
    stops a thin anomaly from passing because it has little ink to get wrong.

    Args:
        images: Pixels in [0, 1].
        reconstructions: Of the same shape.
        deviation: Of the Gaussian blur, in pixels.
    """
    from scipy.ndimage import gaussian_filter

    difference = _difference(images, reconstructions)
    blurred = gaussian_filter(difference, (0, deviation, deviation, 0))
    # A blank image has no energy; one pixel's worth keeps its score finite.
    return (blurred**2).sum((1, 2, 3)) / np.maximum((images**2).sum((1, 2, 3)), 1)


def reconstruct(model: Autoencoder, images: Images) -> Images:
    """Reconstructions in [0, 1]."""
    return in_parts(partial(_autoencode, model), images).reshape(images.shape)


def cross_entropy(model: Autoencoder, images: Images) -> Scores:
    """Binary cross-entropy of images under their reconstruction, in nats."""
    return in_parts(partial(_cross_entropy, model), images)


def negative_elbo(
    model: ConditionalVAE, images: Images, *, key: Key[Array, ""], draws: int = 8
) -> Scores:
    """Bound on -log p(x) of a plain VAE, in nats, averaged over draws of the code.

    Kingma and Welling 2014 (arXiv:1312.6114), equation 3; all images share their draws.

    Raises:
        InputError: If the model takes labels, which an image of unknown kind does not have.
    """
    if model.config.num_classes:
        raise InputError(f"expected a VAE without classes, got one of {model.config.num_classes}")
    eps = jax.random.normal(key, (draws, model.config.num_latent))
    return in_parts(partial(_negative_elbo, model, eps), images)


def threshold(normal_scores: Scores, contamination: float) -> float:
    """The score that a wanted share of images like these will exceed.

    Args:
        normal_scores: Of images that the model was not trained on, or the share comes out larger.
        contamination: That share, between 0 and 1.
    """
    if not 0 < contamination < 1:
        raise InputError(f"expected a contamination between 0 and 1, got {contamination}")
    return float(np.quantile(normal_scores, 1 - contamination))


def _difference(images: Images, reconstructions: Images) -> Images:
    if images.shape != reconstructions.shape:
        raise InputError(
            f"expected images and reconstructions of one shape, got {images.shape} "
            f"and {reconstructions.shape}"
        )
    return images - reconstructions


@jax.jit
def _autoencode(model: Autoencoder, images: Array) -> Array:
    return model(images).reconstruction


@jax.jit
def _cross_entropy(model: Autoencoder, images: Array) -> Array:
    return bce_from_logits(model(images).logits, images.reshape(len(images), -1))


@jax.jit
def _negative_elbo(model: ConditionalVAE, eps: Array, images: Array) -> Array:
    mean, log_var = model.encode(images)

    def bound(eps: Array) -> Array:
        drawn = jnp.broadcast_to(eps[None], mean.shape)
        logits = model.decode_logits(model.reparameterize(mean, log_var, drawn))
        return bce_from_logits(logits, images)

    return jax.lax.map(bound, eps).mean(0) + kl_from_standard_normal(mean, log_var)
