"""Three ways to draw a conditional VAE's codes: prior, aggregated posterior, rejection sampling.

A VAE's decoder learns from codes of the aggregated posterior q(z | y): the mean of the posteriors q(z | x, y) over
the training images x of class y. Sampling usually asks it for codes of the prior p(z). Where the two differ, it is
asked for what it never saw.

Drawing from q(z | y) itself (a training image at random, then its posterior) asks for what it did see. Rejection
sampling goes there from the prior: propose z from p, accept it with probability min(1, r(z) / M), r = q(z | y) /
p(z). Both densities are known in closed form, so r needs no estimate: q(z | y) is a mixture of as many Gaussians as
there are training images of the class. With M the largest r, accepted codes would be draws of q(z | y), but in many
dimensions next to none would be accepted. Here M is a quantile of r over proposals, as truncated in Azadi et al. 2019
(arXiv:1810.06758): what the prior proposes in places that q(z | y) does not cover is rejected, and what is covered
well is kept with the prior's density.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxae.bounds import Seed, Share, check
from jaxae.data.dataset import Split
from jaxae.data.pixels import check_labels
from jaxae.errors import InputError
from jaxae.network.apply import posterior
from jaxae.network.vae import VAE

SamplerName = Literal["prior", "aggregated", "rejection"]

_PROPOSALS = 5000


class Draw(NamedTuple):
    """Codes of the wanted labels, and what share of proposals was accepted, if any were made."""

    codes: Float[np.ndarray, "n latent"]
    acceptance: float | None


@dataclass(frozen=True, eq=False)
class Posteriors:
    """Mean and log variance of the posterior of each training image, with its label."""

    mean: Float[np.ndarray, "n latent"]
    log_var: Float[np.ndarray, "n latent"]
    labels: Int[np.ndarray, " n"]

    @classmethod
    def of(cls, model: VAE, split: Split) -> "Posteriors":
        """Encode a training set.

        Raises:
            InputError: If it is not the model's, or a posterior is not finite.
        """
        mean, log_var = posterior(model, split.images, split.labels)
        if not (np.isfinite(mean).all() and np.isfinite(log_var).all()):  # no proposal would ever be accepted
            raise InputError("expected a model whose posteriors are finite, got NaN or infinity")
        return cls(mean, log_var, split.labels)

    @property
    def num_latent(self) -> int:
        """Dimensions of the code."""
        return self.mean.shape[1]

    def draw(self, labels: Int[np.ndarray, " n"], generator: np.random.Generator) -> np.ndarray:
        """A code of the aggregated posterior of each label.

        Raises:
            InputError: If no training image has one of the labels.
        """
        rows = np.empty(len(labels), np.int64)
        for label in np.unique(labels):
            wanted = labels == label
            rows[wanted] = generator.choice(self._rows_of(int(label)), wanted.sum())
        noise = generator.standard_normal((len(labels), self.num_latent), np.float32)
        return self.mean[rows] + np.exp(self.log_var[rows] / 2) * noise

    def log_ratio(self, codes: Float[np.ndarray, "n latent"], label: int) -> np.ndarray:
        """Log q(z | y) / p(z) of codes, exactly, by the aggregated posterior of one label.

        Raises:
            InputError: If no training image has the label.
        """
        own = self._rows_of(label)
        return np.asarray(_log_ratio(codes, self.mean[own], self.log_var[own]))

    def _rows_of(self, label: int) -> np.ndarray:
        rows = np.flatnonzero(self.labels == label)
        if not len(rows):
            raise InputError(f"expected a label of the training images, got {label}")
        return rows


@dataclass(frozen=True, eq=False)
class RejectionSampler:
    """Proposes codes from the prior, and accepts those that the aggregated posterior covers.

    Attributes:
        posteriors: Posteriors of the training images.
        quantile: Quantile of r among proposals, which becomes M: the larger, the fewer are accepted.
    """

    posteriors: Posteriors
    quantile: float = 0.99

    def draw(self, labels: Int[np.ndarray, " n"], generator: np.random.Generator) -> Draw:
        """A code of each label, and the share of proposals accepted.

        Raises:
            InputError: If no training image has one of the labels.
        """
        codes = np.empty((len(labels), self.posteriors.num_latent), np.float32)
        proposed = accepted = 0
        for label in np.unique(labels):
            wanted = np.flatnonzero(labels == label)
            kept: list[np.ndarray] = []
            log_bound = None
            while sum(map(len, kept)) < len(wanted):
                shape = (_PROPOSALS, codes.shape[1])
                proposals = generator.standard_normal(shape, np.float32)
                log_ratio = self.posteriors.log_ratio(proposals, int(label))
                if log_bound is None:
                    log_bound = np.quantile(log_ratio, self.quantile)
                keep = np.log(generator.random(_PROPOSALS)) < log_ratio - log_bound
                kept.append(proposals[keep])
                proposed += _PROPOSALS
                accepted += int(keep.sum())
            codes[wanted] = np.concatenate(kept)[: len(wanted)]
        return Draw(codes, accepted / proposed)


def draw_codes(
    sampler: SamplerName, labels: Int[np.ndarray, " n"], posteriors: Posteriors, *, seed: int, quantile: float = 0.99
) -> Draw:
    """A code of each label by one of the three samplers.

    Raises:
        InputError: If the sampler is unknown, a number is out of range, or no training image has one of the labels,
            where that matters.
    """
    check("sampler", sampler, SamplerName)
    check("seed", seed, Seed)
    check("quantile", quantile, Share)
    check_labels(labels, 2**31 - 1)
    generator = np.random.default_rng(seed)
    if sampler == "rejection":
        return RejectionSampler(posteriors, quantile).draw(labels, generator)
    if sampler == "aggregated":
        return Draw(posteriors.draw(labels, generator), None)
    shape = (len(labels), posteriors.num_latent)
    return Draw(generator.standard_normal(shape, np.float32), None)


@jax.jit
def _log_ratio(
    codes: Float[Array, "n latent"], mean: Float[Array, "m latent"], log_var: Float[Array, "m latent"]
) -> Float[Array, " n"]:
    # Matrix products in place of an [n, m, latent] array: the square is multiplied out.
    precision = jnp.exp(-log_var)
    squares = codes**2 @ precision.T - 2 * codes @ (mean * precision).T
    constant = (mean**2 * precision + log_var).sum(1)[None]
    log_mixture = jax.nn.logsumexp(-(squares + constant) / 2, axis=1) - jnp.log(len(mean))
    # The normalising constants of q and p cancel.
    return log_mixture + (codes**2).sum(1) / 2
