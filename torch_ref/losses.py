"""The post's two costs, in nats, on probabilities: torch clamps each logarithm at -100."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .models import VariationalAutoencoder, with_condition


def autoencoder_cost(decoded: Tensor, features: Tensor) -> Tensor:
    """Binary cross-entropy, the mean over batch and pixels; both in [0, 1], of one shape."""
    return F.binary_cross_entropy(decoded, features)


def kl_divergence(z_mean: Tensor, z_log_var: Tensor) -> Tensor:
    """KL from N(z_mean, exp z_log_var) to N(0, 1), summed over batch and latent dimensions."""
    return (0.5 * (z_mean**2 + torch.exp(z_log_var) - z_log_var - 1)).sum()


def cvae_cost(z_mean: Tensor, z_log_var: Tensor, decoded: Tensor, target: Tensor, beta: float = 1.0) -> Tensor:
    """Negative beta-ELBO: cross-entropy plus beta times KL, both summed over the whole batch.

    `target` is what `reconstruction_target` gives, of decoded's shape.
    """
    pixelwise_bce = F.binary_cross_entropy(decoded, target, reduction="sum")
    return beta * kl_divergence(z_mean, z_log_var) + pixelwise_bce


def reconstruction_target(model: VariationalAutoencoder, features: Tensor, targets: Tensor | None) -> Tensor:
    """What the model's output is held against, in [0, 1]: the images [B, 1, 28, 28].

    With `reconstruct_condition`, the images and one plane per class: [B, 1 + num_classes, 28, 28].
    """
    if not model.reconstruct_condition or targets is None:
        return features
    return with_condition(features, targets, model.num_classes)
