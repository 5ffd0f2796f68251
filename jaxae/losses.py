"""The terms of the two costs: binary cross-entropy in two forms, KL divergence, beta-ELBO.

Every function returns one value an example, in nats, summed over pixels or latent dimensions; how
examples are reduced to a cost is the training step's business. Targets are data: no gradient flows
into them.

The two forms of the cross-entropy agree to rounding while the sigmoid is far from 0 and 1. They
part where it saturates: in float32, at logit 20 and target 0, torch's form costs 100 (its clamp)
with a gradient of 0, the form from logits costs 20 with a gradient of 1. A replay uses the first,
to repeat torch's numbers; any other training the second.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxae.errors import InputError
from jaxae.feature_major import to_rows

# torch keeps this constant in single precision for every dtype: in float64, 4e-9 below 1e-12.
_TORCH_EPSILON = float(np.float32(1e-12))


def bce_from_probabilities(
    probabilities: Float[Array, "batch ..."], targets: Float[Array, "batch ..."]
) -> Float[Array, " batch"]:
    """Cross-entropy between pixels and reconstructions in [0, 1], as torch computes it.

    As `torch.nn.functional.binary_cross_entropy`: each logarithm is clamped at -100, and the
    gradient is (p - t) / max(p (1 - p), 1e-12), which is not the derivative of the clamped value.

    Raises:
        InputError: If the shapes differ.
    """
    _check_shapes(probabilities, targets)
    return _torch_bce(_rows(probabilities), _rows(targets)).sum(0)


def bce_from_logits(
    logits: Float[Array, "batch ..."], targets: Float[Array, "batch ..."]
) -> Float[Array, " batch"]:
    """Cross-entropy between pixels in [0, 1] and the sigmoid of the logits, stable at any logit.

    max(l, 0) - l t + log(1 + exp(-|l|)), with gradient sigmoid(l) - t.

    Raises:
        InputError: If the shapes differ.
    """
    _check_shapes(logits, targets)
    return _stable_bce(_rows(logits), _rows(targets)).sum(0)


def kl_from_standard_normal(
    mean: Float[Array, "batch latent"], log_var: Float[Array, "batch latent"]
) -> Float[Array, " batch"]:
    """KL divergence of N(mean, exp(log_var)) from N(0, I), summed over latent dimensions.

    Kingma and Welling 2014 (arXiv:1312.6114), appendix B, negated.

    Raises:
        InputError: If the shapes differ.
    """
    _check_shapes(mean, log_var)
    return 0.5 * (mean**2 + jnp.exp(log_var) - log_var - 1).sum(1)


def negative_elbo(
    reconstruction: Float[Array, " batch"],
    kl: Float[Array, " batch"],
    beta: Float[Array, ""] | float,
) -> Float[Array, " batch"]:
    """Reconstruction cost + beta KL; beta = 1 bounds -log p(x) (Higgins et al. 2017 for others).

    Raises:
        InputError: If the shapes differ.
    """
    _check_shapes(reconstruction, kl)
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
    return jnp.maximum(logits, 0) - logits * targets + jnp.log1p(jnp.exp(-jnp.abs(logits)))


def _stable_bce_forward(logits: Array, targets: Array) -> tuple[Array, Array]:
    # One exponential serves value and gradient; autodiff would take a second for the sigmoid.
    decay = jnp.exp(-jnp.abs(logits))
    value = jnp.maximum(logits, 0) - logits * targets + jnp.log1p(decay)
    sigmoid = jnp.where(logits >= 0, 1, decay) / (1 + decay)
    return value, sigmoid - targets


def _stable_bce_backward(slope: Array, cotangent: Array) -> tuple[Array, None]:
    return cotangent * slope, None


_stable_bce.defvjp(_stable_bce_forward, _stable_bce_backward)


def _rows(x: Float[Array, "batch ..."]) -> Float[Array, "pixels batch"]:
    # As the layers' fast lowering keeps images in memory: no transpose comes between.
    return to_rows(x) if x.ndim == 4 else x.reshape(len(x), -1).T


def _check_shapes(first: Array, second: Array) -> None:
    # Broadcasting would turn [batch, 1] against [batch] into a silent [batch, batch].
    if first.shape != second.shape:
        raise InputError(f"expected two arrays of one shape, got {first.shape} and {second.shape}")
