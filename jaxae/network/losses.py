"""The terms of the costs: binary cross-entropy in two forms, other likelihoods of pixels, KL divergence, beta-ELBO.

Every function returns one value an example, in nats, summed over pixels or latent dimensions; how examples are
reduced to a cost is the training step's business. Targets are data: no gradient flows into them.

The two forms of the cross-entropy agree to rounding while the sigmoid is far from 0 and 1. They part where it
saturates: in float32, at logit 20 and target 0, torch's form costs 100 (its clamp) with a gradient of 0, the form
from logits costs 20 with a gradient of 1. A replay uses the first, to repeat torch's numbers; any other training the
second.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.polynomial import Chebyshev, Polynomial

from jaxae.errors import InputError
from jaxae.network.feature_major import to_rows
from jaxae.network.fence import fenced

# torch keeps this constant in single precision for every dtype: in float64, 4e-9 below 1e-12.
_TORCH_EPSILON = float(np.float32(1e-12))


def bce_from_probabilities(
    probabilities: Float[Array, "batch ..."], targets: Float[Array, "batch ..."]
) -> Float[Array, " batch"]:
    """Cross-entropy between pixels and reconstructions in [0, 1], as torch computes it.

    As `torch.nn.functional.binary_cross_entropy`: each logarithm is clamped at -100, and the gradient is (p - t) /
    max(p (1 - p), 1e-12), which is not the derivative of the clamped value.

    Raises:
        InputError: If the shapes differ, or one holds no floats.
    """
    _check_alike(probabilities, targets)
    return _sum_pixels(_torch_bce, probabilities, targets)


def bce_from_logits(logits: Float[Array, "batch ..."], targets: Float[Array, "batch ..."]) -> Float[Array, " batch"]:
    """Cross-entropy between pixels in [0, 1] and the sigmoid of the logits, stable at any logit.

    `max(l, 0) - l t + log(1 + exp(-abs(l)))`, with gradient `sigmoid(l) - t`.

    Raises:
        InputError: If the shapes differ, or one holds no floats.
    """
    _check_alike(logits, targets)
    return _sum_pixels(_stable_bce, logits, targets)


def gaussian_cost(
    mean: Float[Array, "batch ..."], log_scale: Float[Array, "..."], targets: Float[Array, "batch ..."]
) -> Float[Array, " batch"]:
    """Negative log density of pixels under Gaussians of these means and log standard deviations.

    The log scales are those of each pixel, or one for all, of one element along each axis.

    Raises:
        InputError: If the shapes differ, or one holds no floats.
    """
    _check_alike(mean, targets)
    _check_scale(log_scale, targets)
    return _sum_pixels(_gaussian, mean, jax.lax.stop_gradient(targets), log_scale)


def discretized_logistic_cost(
    location: Float[Array, "batch ..."], log_scale: Float[Array, "..."], targets: Float[Array, "batch ..."]
) -> Float[Array, " batch"]:
    """Negative log probability of pixels of 256 grey values, k / 255, under discretised logistic distributions.

    A grey value has what the logistic distribution has within 1 / 510 of it, 0 and 1 all that is beyond them too
    (Kingma et al. 2016, arXiv:1606.04934; Salimans et al. 2017, arXiv:1701.05517, eq. 2). So the 256 probabilities add
    up to 1. Targets are rounded to the nearest grey value. The log scales are as in `gaussian_cost`.

    Raises:
        InputError: If the shapes differ, or one holds no floats.
    """
    _check_alike(location, targets)
    _check_scale(log_scale, targets)
    return _sum_pixels(_discretized_logistic, location, targets, log_scale)


def softplus(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Compute log(1 + exp(x)), stable at any x, with gradient `sigmoid(x)`."""
    return _stable_bce(x, jnp.zeros_like(x))


def kl_from_standard_normal(
    mean: Float[Array, "batch latent"], log_var: Float[Array, "batch latent"]
) -> Float[Array, " batch"]:
    """KL divergence of N(mean, exp(log_var)) from N(0, I), summed over latent dimensions.

    Kingma and Welling 2014 (arXiv:1312.6114), appendix B, negated.

    Raises:
        InputError: If the shapes differ, or one holds no floats.
    """
    return 0.5 * _twice_the_kl(mean, log_var).sum(1)


def kl_of_dimensions(
    mean: Float[Array, "batch latent"], log_var: Float[Array, "batch latent"]
) -> Float[Array, "batch latent"]:
    """The terms of `kl_from_standard_normal`, one for each latent dimension.

    Raises:
        InputError: If the shapes differ, or one holds no floats.
    """
    return 0.5 * _twice_the_kl(mean, log_var)


def _twice_the_kl(
    mean: Float[Array, "batch latent"], log_var: Float[Array, "batch latent"]
) -> Float[Array, "batch latent"]:
    _check_alike(mean, log_var)
    return mean**2 + jnp.exp(log_var) - log_var - 1


def negative_elbo(
    reconstruction: Float[Array, "*batch"],
    kl: Float[Array, "*batch"],
    beta: Float[Array, ""] | Float[Array, "*batch"] | float,
) -> Float[Array, "*batch"]:
    """Reconstruction cost + beta KL; beta = 1 bounds -log p(x) (Higgins et al. 2017 for others).

    Raises:
        InputError: If the shapes differ, or one holds no floats.
    """
    _check_alike(reconstruction, kl)
    return reconstruction + beta * kl


@jax.custom_vjp
def _torch_bce(probabilities: Array, targets: Array) -> Array:
    log_p = jnp.maximum(jnp.log(probabilities), -100)
    log_q = jnp.maximum(jnp.log1p(-probabilities), -100)
    return -(targets * log_p + (1 - targets) * log_q)


def _torch_bce_forward(probabilities: Array, targets: Array) -> tuple[Array, tuple[Array, Array]]:
    return _torch_bce(probabilities, targets), (probabilities, targets)


def _torch_bce_backward(saved: tuple[Array, Array], cotangent: Array) -> tuple[Array, None]:
    probabilities, targets = saved
    scale = jnp.maximum((1 - probabilities) * probabilities, _TORCH_EPSILON)
    return cotangent * (probabilities - targets) / scale, None


_torch_bce.defvjp(_torch_bce_forward, _torch_bce_backward)


@jax.custom_vjp
def _stable_bce(logits: Array, targets: Array) -> Array:
    return _stable_bce_value(logits, targets)


def _stable_bce_forward(logits: Array, targets: Array) -> tuple[Array, Array]:
    decay = jnp.exp(-jnp.abs(logits))
    sigmoid = jnp.where(logits >= 0, 1, decay) / (1 + decay)
    return _stable_bce_value(logits, targets), sigmoid - targets


def _stable_bce_backward(slope: Array, cotangent: Array) -> tuple[Array, None]:
    return cotangent * slope, None


_stable_bce.defvjp(_stable_bce_forward, _stable_bce_backward)


@fenced
def _stable_bce_value(logits: Array, targets: Array) -> Array:
    decay = jnp.exp(-jnp.abs(logits))
    return jnp.maximum(logits, 0) - logits * targets + _log1p_to_1(decay)


def _gaussian(mean: Array, targets: Array, log_scale: Array) -> Array:
    return log_scale + 0.5 * ((targets - mean) * jnp.exp(-log_scale)) ** 2 + 0.5 * math.log(2 * math.pi)


def _discretized_logistic(location: Array, targets: Array, log_scale: Array) -> Array:
    level = jnp.round(255 * targets)
    steepness = jnp.exp(-log_scale)
    above = ((level + 0.5) / 255 - location) * steepness
    below = ((level - 0.5) / 255 - location) * steepness
    # sigmoid(above) - sigmoid(below) = sigmoid(above) sigmoid(-below) (1 - exp(below - above)): no difference of two
    # numbers that are nearly one, and above - below does not depend on the pixel.
    between = -jnp.log(-jnp.expm1(-steepness / 255))
    first, last = level == 0, level == 255
    cost = jnp.where(last, 0, softplus(-above)) + jnp.where(first, 0, softplus(below))
    return cost + jnp.where(first | last, 0, between)


def _log1p_to_1(x: Array) -> Array:
    """Compute log(1 + x) for x from 0 to 1, in float32 within 2e-7 of it."""
    if x.dtype != jnp.float32:
        return jnp.log1p(x)
    centred, ratio = 2 * x - 1, jnp.float32(_LOG1P_RATIO[-1])
    for coefficient in _LOG1P_RATIO[-2::-1]:
        ratio = ratio * centred + jnp.float32(coefficient)
    return x * ratio


# log(1 + x) / x as a polynomial of 2 x - 1: a quarter of the time that XLA's log1p takes.
_LOG1P_RATIO = (
    Chebyshev.interpolate(lambda x: np.log1p(x) / x, 9, domain=[0, 1])
    .convert(kind=Polynomial, domain=[0, 1], window=[-1, 1])
    .coef
)


def _sum_pixels(
    cost: Callable[..., Array], outputs: Float[Array, "batch ..."], *others: Float[Array, "..."]
) -> Float[Array, " batch"]:
    if outputs.ndim == 4:
        # As the layers' fast lowering keeps images in memory: no transpose comes between.
        return cost(to_rows(outputs), *map(to_rows, others)).sum(0)
    return cost(outputs, *others).reshape(len(outputs), -1).sum(1)


def _check_alike(first: Array, second: Array) -> None:
    # Broadcasting would turn [batch, 1] against [batch] into a silent [batch, batch].
    if first.shape != second.shape:
        raise InputError(f"expected two arrays of one shape, got {first.shape} and {second.shape}")
    _check_floats(first, second)


def _check_scale(log_scale: Array, targets: Array) -> None:
    if log_scale.shape not in (targets.shape, (1,) * targets.ndim):
        raise InputError(f"expected log scales of {targets.shape} or of one element, got {log_scale.shape}")
    _check_floats(log_scale)


def _check_floats(*arrays: Array) -> None:
    for one in arrays:
        if not jnp.issubdtype(one.dtype, jnp.floating):
            raise InputError(f"expected arrays of floats, got {one.dtype}")
