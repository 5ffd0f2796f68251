"""The post's two training loops, one step of each, and the evaluation of a test set."""

import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from .data import to_float
from .errors import InputError
from .losses import autoencoder_cost, kl_divergence, reconstruction_target
from .models import Autoencoder, VariationalAutoencoder

EVALUATION_SEED = 0
# What torch says when a number ceases to be one: its cross-entropy on a CPU and on a GPU, where NaN
# is all that a sigmoid can give outside [0, 1], and its Adam.
DIVERGENCE = ("between 0 and 1", "device-side assert", "without overflow")


class Batches(Protocol):
    """Pairs of features [B, 1, 28, 28] and labels [B]; each pass over it is an epoch."""

    def __len__(self) -> int:
        """How many batches an epoch has."""
        ...

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Begin an epoch."""
        ...


class Evaluation(NamedTuple):
    """Means over a test set in nats per image: sums over pixels and over latent dimensions."""

    cost: float
    reconstruction: float
    kl: float


def train_step_autoencoder(model: torch.nn.Module, optimizer: torch.optim.Optimizer, features: Tensor) -> Tensor:
    """One step on features [B, num_features]; gives the mean cost before it, detached."""
    decoded = model(features)
    cost = autoencoder_cost(decoded, features)
    optimizer.zero_grad()
    cost.backward()
    optimizer.step()
    return cost.detach()


def train_step_cvae(
    model: VariationalAutoencoder,
    optimizer: torch.optim.Optimizer,
    features: Tensor,
    targets: Tensor | None,
    *,
    eps: Tensor | None = None,
    beta: float = 1.0,
) -> Tensor:
    """One step on features [B, 1, 28, 28]; gives the summed cost before it, detached.

    Without `eps` [B, num_latent] the noise is drawn as the post draws it.
    """
    z_mean, z_log_var, encoded = model.encoder(features, targets, eps)
    target = reconstruction_target(model, features, targets)
    pixel_cost = model.pixel_cost(*model.pixels(encoded, targets), target)
    cost = beta * kl_divergence(z_mean, z_log_var) + pixel_cost
    optimizer.zero_grad()
    cost.backward()
    optimizer.step()
    return cost.detach()


def train_autoencoder(
    model: Autoencoder,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    *,
    num_epochs: int,
    log_every: int = 50,
    log: Callable[[str], object] = print,
) -> float | None:
    """Train in place and log the post's lines; gives the last batch's cost, None for no epochs.

    Raises InputError when the cost or a parameter ceases to be finite.
    """

    def step(features: Tensor, targets: Tensor) -> Tensor:
        return train_step_autoencoder(model, optimizer, features.flatten(1))

    return _train(step, model, batches, num_epochs, log_every, log)


def train_cvae(
    model: VariationalAutoencoder,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    *,
    num_epochs: int,
    beta: float = 1.0,
    log_every: int = 50,
    log: Callable[[str], object] = print,
) -> float | None:
    """Train in place and log the post's lines; gives the last batch's cost, None for no epochs.

    Raises InputError when the cost or a parameter ceases to be finite.
    """

    def step(features: Tensor, targets: Tensor) -> Tensor:
        return train_step_cvae(model, optimizer, features, targets, beta=beta)

    return _train(step, model, batches, num_epochs, log_every, log)


def _train(
    step: Callable[[Tensor, Tensor], Tensor],
    model: torch.nn.Module,
    batches: Batches,
    num_epochs: int,
    log_every: int,
    log: Callable[[str], object],
) -> float | None:
    parameter = next(model.parameters())
    cost = None
    start_time = time.time()
    for epoch in range(num_epochs):
        for batch_idx, (features, targets) in enumerate(batches):
            if not features.is_floating_point():
                raise InputError(f"expected features of floats in [0, 1], got {features.dtype}")
            features = features.to(parameter)
            targets = targets.to(parameter.device)
            try:
                cost = step(features, targets)
            except RuntimeError as error:
                if "elements of target should be between 0 and 1" in str(error):
                    raise InputError("expected features in [0, 1], got others") from error
                if not any(words in str(error) for words in DIVERGENCE):
                    raise
                raise _diverged(epoch, batch_idx) from error
            if not batch_idx % log_every:
                if not math.isfinite(cost):
                    raise _diverged(epoch, batch_idx)
                log(
                    f"Epoch: {epoch + 1:03d}/{num_epochs:03d} "
                    f"| Batch {batch_idx:03d}/{len(batches):03d} | Cost: {cost:.4f}"
                )
        log(f"Time elapsed: {(time.time() - start_time) / 60:.2f} min")
    log(f"Total Training Time: {(time.time() - start_time) / 60:.2f} min")
    if not _is_finite(model):
        raise InputError("the last step left parameters that are not finite: lower learning rate?")
    return None if cost is None else float(cost)


def evaluate(
    model: Autoencoder | VariationalAutoencoder,
    images: Tensor,
    labels: Tensor | None = None,
    eps: Tensor | None = None,
    *,
    beta: float = 1.0,
    batch_size: int = 1000,
) -> Evaluation:
    """Mean cost, reconstruction and KL in nats per image of uint8 images [N, 1, 28, 28].

    One eps [N, num_latent] an image; left out, it comes from a generator of its own with a fixed
    seed, so that an evaluation repeats and leaves the training's stream alone. The Autoencoder
    has no KL, and its reconstruction is its training cost times the number of pixels. With
    `reconstruct_condition` the class planes count as pixels.
    """
    if images.dtype != torch.uint8 or images.shape[1:] != (1, 28, 28) or not len(images):
        raise InputError(f"expected images of uint8 (N, 1, 28, 28), got {images.dtype} {tuple(images.shape)}")
    if batch_size < 1 or not math.isfinite(beta):
        raise InputError(f"expected batches of 1 or more and a finite beta, got {batch_size} and {beta}")
    if labels is not None and labels.shape != images.shape[:1]:
        raise InputError(f"expected {len(images)} labels, got {tuple(labels.shape)}")
    parameter = next(model.parameters())
    if eps is None and isinstance(model, VariationalAutoencoder):
        generator = torch.Generator().manual_seed(EVALUATION_SEED)
        eps = torch.randn(len(images), model.num_latent, generator=generator)
    reconstruction = kl = 0.0
    with torch.inference_mode():
        for start in range(0, len(images), batch_size):
            batch = slice(start, start + batch_size)
            features = to_float(images[batch]).to(parameter)
            if isinstance(model, Autoencoder):
                target = features.flatten(1)
                reconstruction += F.binary_cross_entropy(model(target), target, reduction="sum").item()
            else:
                targets = None if labels is None else labels[batch].to(parameter.device)
                noise = None if eps is None else eps[batch]
                z_mean, z_log_var, encoded = model.encoder(features, targets, noise)
                target = reconstruction_target(model, features, targets)
                kl += kl_divergence(z_mean, z_log_var).item()
                reconstruction += model.pixel_cost(*model.pixels(encoded, targets), target).item()
    count = len(images)
    return Evaluation((reconstruction + beta * kl) / count, reconstruction / count, kl / count)


def _is_finite(model: torch.nn.Module) -> bool:
    return all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters())


def _diverged(epoch: int, batch_idx: int) -> InputError:
    return InputError(
        f"training diverged by epoch {epoch + 1}, batch {batch_idx}: "
        "expected a finite cost, got NaN or infinity (a lower learning rate may help)"
    )
